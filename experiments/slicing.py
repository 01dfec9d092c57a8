"""Slice by slice: how each model of a board does, and whether the first is behind anybody anywhere."""

from __future__ import annotations

from dataclasses import dataclass

from experiments.compare import SIGNIFICANT, Comparison
from training.harm import by_slice
from training.intervals import Interval


@dataclass(frozen=True)
class Sliced:
    """One slice of the customers."""

    name: str
    customers: int
    figures: dict[str, Interval]
    """Label to the primary metric on this slice."""
    behind: tuple[str, ...]
    """Labels of models that the first of the board is shown to be behind of here, corrected over slices."""


def sliced(comparison: Comparison) -> tuple[Sliced, ...]:
    """The slices of a board."""
    first, *others = comparison.standing
    primary = first.card.primary
    better = first.metrics[primary].better or None
    ahead = {
        other.label: {
            each.name
            for each in by_slice(other.evidence, first.evidence, primary, better)
            if each.difference.low > 0 and each.p_corrected < SIGNIFICANT
        }
        for other in others
    }
    return tuple(
        Sliced(
            name,
            own.customers,
            {each.label: each.evidence.slices[name].interval(primary) for each in comparison.standing if name in each.evidence.slices},
            tuple(label for label, names in ahead.items() if name in names),
        )
        for name, own in first.evidence.slices.items()
    )
