"""Slice by slice: is one model behind another anywhere? Paired, and corrected over all slices that were looked at."""

from __future__ import annotations

from dataclasses import dataclass

from training.evidence import Evidence, holm, p_value
from training.intervals import Interval
from training.metrics import Direction


@dataclass(frozen=True)
class SliceDifference:
    """Two models on one slice."""

    name: str
    """``dimension: label``."""
    customers: int
    difference: Interval
    """Turned so that more is better for the first."""
    p_corrected: float
    """Of "no difference", by Holm over the slices."""

    def is_behind(self, level: float) -> bool:
        """Whether the first is shown to be worse here."""
        return self.difference.high < 0 and self.p_corrected < level


def by_slice(ours: Evidence, theirs: Evidence, metric: str, better: Direction | None, least: int = 1) -> tuple[SliceDifference, ...]:
    """The slices that both were judged on, with at least so many customers; empty where they were judged on other rows."""
    found = []
    for name, own in ours.slices.items():
        other = theirs.slices.get(name)
        if other is None or own.customers < least:
            continue
        difference, drawn = own.minus(other, metric, better), own.differences(other, metric, better)
        if difference is not None and drawn is not None:
            found.append((name, own.customers, difference, p_value(drawn)))
    corrected = holm([p for *_, p in found])
    return tuple(SliceDifference(name, customers, difference, p) for (name, customers, difference, _), p in zip(found, corrected, strict=True))
