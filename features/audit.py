"""Whether serving would see what training learned from: online against offline, row by row and bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features import catalog, store
from retain.engine import of
from retain.workspace import Workspace

COLUMNS = ("customer_id", "feature", "online", "offline")


def differences(workspace: Workspace, ids: Sequence[str], at: datetime, refs: Sequence[str] | None = None) -> pd.DataFrame:
    """Values of customers that the online store and the historical join give differently at a moment, one row each.

    Args:
        workspace: filled and materialised at ``at``.
        ids: customers to compare.
        at: the moment of the historical side.
        refs: features as ``view:column``; all features of customers if not given.

    Returns:
        ``customer_id``, ``feature`` (``view__column``, or ``is_known``), ``online``, ``offline``; empty when the two agree.
    """
    chosen = all_refs() if refs is None else list(refs)
    names = [str(each) for each in ids]
    spine = pd.DataFrame({"customer_id": names, "event_timestamp": pd.Series([pd.Timestamp(at)] * len(names), dtype="datetime64[us, UTC]")})
    offline = store.historical(workspace, chosen, spine)
    served = store.online(workspace, chosen, names, at)
    return compared(names, served.values.assign(is_known=served.known), offline)


def sample(workspace: Workspace, at: datetime, count: int) -> list[str]:
    """At most ``count`` customers with a transaction before a moment, chosen by hash: spread over all, the same ones every time."""
    before = f"timestamptz '{at.isoformat()}'"
    where = f"customer_id is not null and occurred_at < {before} and known_at < {before}"
    with of(workspace) as engine:
        rows = engine.rows(f"select distinct customer_id from transactions where {where} order by md5(customer_id) limit {int(count)}")
    return [str(each) for (each,) in rows]


def all_refs() -> list[str]:
    """Every feature of customers."""
    return [f"{view.name}:{name}" for view in catalog.customer_views() for name in view.names]


def compared(ids: Sequence[str], online: pd.DataFrame, offline: pd.DataFrame) -> pd.DataFrame:
    """The cells in which two row-aligned frames differ; two nulls are equal, -0.0 and 0.0 are not."""
    customers = np.asarray(ids, dtype=object)
    found = []
    for feature in online.columns:
        served, learned = online[feature].to_numpy(), offline[feature].to_numpy()
        odd = np.flatnonzero(_differs(served, learned))
        found.append(pd.DataFrame({"customer_id": customers[odd], "feature": feature, "online": served[odd], "offline": learned[odd]}, dtype=object))
    return pd.concat(found, ignore_index=True)[list(COLUMNS)] if found else pd.DataFrame(columns=list(COLUMNS), dtype=object)


def _differs(a: NDArray[np.generic], b: NDArray[np.generic]) -> NDArray[np.bool_]:
    either = ~(np.asarray(pd.isna(a)) & np.asarray(pd.isna(b)))
    if a.dtype == b.dtype == np.float64:
        return np.asarray(either & (a.view(np.uint64) != b.view(np.uint64)), dtype=np.bool_)
    return np.asarray(either & (a.astype(object) != b.astype(object)), dtype=np.bool_)
