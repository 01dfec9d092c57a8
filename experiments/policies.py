"""``retain policies compare``: what a challenger would have earned on logged decisions, in words and figures, and whether it may be launched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np

from experiments.ope import gate, overlap
from experiments.ope.gate import Rules, Verdict
from experiments.ope.log import Log
from experiments.ope.overlap import Gap
from experiments.ope.values import NAMES, Values, judge
from retain.terminal import table
from training.intervals import Interval

WORDS: Mapping[str, str] = {
    "ips": "IPS: weighted rewards",
    "snips": "SNIPS: over the mean weight",
    "dr": "DR: regression and weighted surprises",
    "controlled": "controlled: by what is nothing on average",
}

GAIN, CHANCE = 0.15, 0.7
"""Share of the champion's value, and chance of launch, for which the decisions needed are told."""


@dataclass(frozen=True)
class Compared:
    """Everything about one challenger."""

    title: str
    """Where the decisions come from."""
    values: Values
    gaps: tuple[Gap, ...]
    verdict: Verdict
    unknown: int
    """Decisions left out: their reward is not known yet."""
    has_champion: bool
    """Whether it is compared to a named policy, and not to the one that logged."""
    left_out: tuple[str, ...] = ()
    """What else was left out, in words."""


def compare(
    log: Log,
    title: str,
    *,
    unknown: int = 0,
    left_out: tuple[str, ...] = (),
    rules: Rules | None = None,
    clip: float | None = None,
    seed: int = 7,
) -> Compared:
    """Judge the challenger of a log. Pure."""
    values, found = judge(log, clip, seed), overlap.gaps(log)
    is_other = log.champion is not None and (log.logging is None or not np.array_equal(log.champion, log.logging))
    return Compared(title, values, found, gate.decide(values, found, rules), unknown, is_other, left_out)


UNREACHED = "what the log does not reach is in none of these figures, and the intervals know nothing of it: read them only once it is explored"


def words(found: Compared) -> str:
    """For people."""
    told = found.values
    other = "champion" if found.has_champion else "log"
    rows = [[WORDS[name], *_cells(one.value), *_cells(one.difference), _number(one.clipping)] for name, one in told.estimates.items()]
    rows.append(["direct method: regression alone", _number(told.direct), "", _number(told.direct - told.champion.value), "", ""])
    unknown = f"; {found.unknown} more are left out, their reward is not known yet" if found.unknown else ""
    cut = f"cut at {told.clip:.3g} in {told.clipped:.2%} of the decisions" if told.clipped else "none was cut"
    lines = [
        f"{found.title}: {told.decisions} decisions of {told.customers} customers{unknown}",
        f"{'the champion' if found.has_champion else 'the policy that logged'} earned {_range(told.champion)} per decision",
        "",
        table(rows, ["challenger", "per decision", "95 %", f"against {other}", "95 %", "moved by clipping"]),
        "",
        f"a policy that is {GAIN:.0%} better, with weights like these, would be launched in {CHANCE:.0%} of all logs of "
        f"{_count(told.needed(GAIN, CHANCE))} decisions",
        f"the log is worth {told.effective:.0f} customers of the challenger; the largest weight is {told.highest:.3g}, {cut}",
        "the direct method is as wrong as its regression: it is shown and decides nothing",
        *(f"left out: {why}" for why in found.left_out),
        *([UNREACHED] if overlap.missing(found.gaps) > gate.Rules().unreached else []),
        *(f"not reached: {gap.words}" for gap in found.gaps),
        "",
        ("may be launched: " if found.verdict.is_allowed else "kept from launch: ") + "; ".join(found.verdict.reasons),
    ]
    return "\n".join(lines)


def values(found: Compared) -> dict[str, Any]:
    """For programs."""
    told = found.values
    return {
        "title": found.title,
        "decisions": told.decisions,
        "customers": told.customers,
        "reward_unknown": found.unknown,
        "left_out": list(found.left_out),
        "champion": {"policy": "named" if found.has_champion else "log", **_interval(told.champion)},
        "challenger": {
            name: {
                **_interval(told.estimates[name].value),
                "difference": _interval(told.estimates[name].difference),
                "least_difference": told.estimates[name].least,
                "moved_by_clipping": told.estimates[name].clipping,
            }
            for name in NAMES
        },
        "direct_method": told.direct,
        "effective_sample_size": told.effective,
        "decisions_needed": {"gain": GAIN, "chance": CHANCE, "decisions": _finite(told.needed(GAIN, CHANCE))},
        "weights": {"highest": told.highest, "clip": told.clip if told.clip < float("inf") else None, "share_clipped": told.clipped},
        "not_reached": [{"action": gap.action, "where": gap.where or None, "share": gap.share, "is_proven": gap.is_proven} for gap in found.gaps],
        "is_allowed": found.verdict.is_allowed,
        "reasons": list(found.verdict.reasons),
    }


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None


def _count(value: float) -> str:
    return f"{value:,.0f}" if isfinite(value) else "endlessly many"


def _interval(of: Interval) -> dict[str, float]:
    return {"value": of.value, "low": of.low, "high": of.high}


def _cells(of: Interval) -> list[str]:
    return [_number(of.value), f"{_number(of.low)} to {_number(of.high)}"]


def _range(of: Interval) -> str:
    return f"{_number(of.value)} ({_number(of.low)} to {_number(of.high)})"


def _number(value: float) -> str:
    return f"{value:.4g}"
