"""The likely cause behind each customer: gathered and assigned when the rows are published, put into words when they are read."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from retain.tables import CAUSES
from serving.decisions.cause_table import UNKNOWN
from serving.decisions.causes import Causes, assign, basis, shares
from serving.decisions.facts import Language
from serving.decisions.figures import Floats
from serving.rows import Rows
from serving.schemas import CauseOut, CauseShare

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def assigned(table: Causes, found: pd.DataFrame, returned_share: Floats, feature: Callable[[str], Floats]) -> dict[str, NDArray[Any]]:
    """``cause``, ``cause_rule``, ``cause_value``, ``cause_recorded`` and ``cause_at`` of everybody, for the rows.

    Args:
        table: the rules.
        found: what ``circumstances`` gives.
        returned_share: (customers,) money returned as a share of money spent in a year.
        feature: (customers,) a raw feature by ``view__column``; NaN where it is not known.
    """
    recorded = np.array([CAUSES.index(each) if isinstance(each, str) else -1 for each in found["recorded"]], dtype=np.int16)
    facts = {name: found[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in found.columns if name not in ("recorded", "recorded_at")}
    facts |= {
        "support_calls": feature("voice__support_calls_365d"),
        "rating_mean": feature("voice__rating_mean_365d"),
        "returned_share": returned_share,
        "discount_fall": feature("baskets__discount_share_365d") - feature("baskets__discount_share_90d"),
    }
    given = assign(table, facts, recorded)
    at = pd.to_datetime(found["recorded_at"], utc=True)
    micros = np.where(at.isna(), -1, (at.fillna(pd.Timestamp(_EPOCH)) - _EPOCH) // pd.Timedelta(microseconds=1)).astype(np.int64)
    return {"cause": given.cause, "cause_rule": given.rule, "cause_value": given.value, "cause_recorded": recorded, "cause_at": micros}


def cause(rows: Rows, position: int, table: Causes, language: Language) -> CauseOut:
    """The likely cause of one customer, on what it rests, and what answers it."""
    code, rule = int(rows.array("cause")[position]), int(rows.array("cause_rule")[position])
    name = UNKNOWN if code < 0 else CAUSES[code]
    remedy = table.remedies[name]
    answer = remedy.zh if language == "zh" else remedy.en
    if code < 0:
        return CauseOut(
            name, "none", "没有记录，也没有规则成立。" if language == "zh" else "Nothing is recorded, and no rule holds.", answer, remedy.coupon
        )
    if rule < 0:
        day = _EPOCH + timedelta(microseconds=int(rows.array("cause_at")[position]))
        return CauseOut(name, "recorded", f"{day:%Y-%m-%d} 有记录。" if language == "zh" else f"Recorded on {day:%Y-%m-%d}.", answer, remedy.coupon)
    title = rows.card.vocabulary["cause_rule"][rule]
    held = next((each for each in table.rules if each.name == title), None)
    words = title if held is None else basis(held, float(rows.array("cause_value")[position]), language)
    return CauseOut(name, "rule", words, answer, remedy.coupon)


def recorded_shares(rows: Rows, who: NDArray[np.bool_]) -> list[CauseShare]:
    """By value band, how often each cause is recorded, of those whose cause is recorded; everybody in ``who``."""
    recorded = np.where(who, rows.array("cause_recorded"), -1).astype(np.int16)
    found = shares(recorded, rows.array("band"), rows.card.vocabulary["band"])
    return [CauseShare(each.segment, each.cause, each.count, each.of, (each.share, each.low, each.high)) for each in found]
