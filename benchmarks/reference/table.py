"""Our predictions beside each rebuilt row: the row's figure beside the published one, the paired difference, and what may be said of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import erfc, sqrt

from benchmarks.reference.published import HEADS, Published
from training.evidence import holm

HIGHER = {"auc", "gini_norm", "ndcg@10"}
LEVEL = 0.05
ALIKE = "no difference shown"


@dataclass(frozen=True)
class Compared:
    """One row under one metric."""

    row: str
    column: str
    """The metric, with the target where there are several."""
    metric: str
    ours: float
    rebuilt: float
    published: Published | None
    difference: tuple[float, float, float]
    """Ours minus the row's, and its 95 % interval, on the same resamples."""

    @property
    def p(self) -> float:
        """Of no difference, two-sided, from the interval's width: resamples are too few for the small ones that a correction asks for."""
        value, low, high = self.difference
        error = (high - low) / (2 * 1.96)
        return erfc(abs(value) / error / sqrt(2)) if error > 0 else float(value == 0)

    @property
    def is_near(self) -> bool:
        """Whether the rebuilt figure lies within the published interval."""
        return self.published is None or self.published.holds(self.rebuilt, 1 if self.metric == "mae" else 3)

    def verdict(self, corrected: float) -> str:
        """Ahead or behind where the interval is clear of zero; and what a correction for the whole table, or the published figure, takes back."""
        value, low, high = self.difference
        is_ahead, is_shown = (value > 0) == (self.metric in HIGHER), not low <= 0 <= high
        said = ("ahead" if is_ahead else "behind") if is_shown else ALIKE
        if is_shown and corrected > LEVEL:
            said += ", not after correction"
        # A rebuild that falls short proves nothing against the row itself.
        is_weak = is_ahead if is_shown else not self.is_near
        if is_weak and self.published is not None and not self._beats(self.published.value):
            said += ", published better"
        return said

    def _beats(self, figure: float) -> bool:
        ours = round(self.ours, 1 if self.metric == "mae" else 3)
        return ours > figure if self.metric in HIGHER else ours < figure


def markdown(found: Sequence[Compared], own: Mapping[str, tuple[float, float, float]]) -> list[str]:
    """A line for each row, three cells for each metric.

    Args:
        found: every row under every metric.
        own: column to our figure and its interval.
    """
    columns = list(own)
    corrected = dict(zip([(each.row, each.column) for each in found], holm([each.p for each in found]), strict=True))
    places = {(each.row, each.column): each for each in found}
    own_cells = [f"| {_number(value, name)} | [{_number(low, name)}, {_number(high, name)}]" for name, (value, low, high) in own.items()]
    lines = [
        "| row | " + " | ".join(f"{column}: published | rebuilt | ours less the row's" for column in columns) + " |",
        "| --- |" + " ---: | ---: | --- |" * len(columns),
        f"| **ours** | {' | '.join(own_cells)} |",
    ]
    for row in dict.fromkeys(each.row for each in found):
        cells = [_cells(places.get((row, column)), corrected) for column in columns]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    known = [each for each in found if each.published is not None]
    near = sum(each.is_near for each in known)
    said = [each.verdict(corrected[each.row, each.column]).split(",")[0] for each in found]
    counts = ", ".join(f"{word} {said.count(word)}" for word in ("ahead", ALIKE, "behind"))
    lines += ["", f"{near} of {len(known)} rebuilt figures lie within the published interval (\\* marks the others). Ours: {counts}."]
    return lines


def _cells(each: Compared | None, corrected: Mapping[tuple[str, str], float]) -> str:
    if each is None:
        return "| |"
    published = "" if each.published is None else _number(each.published.value, each.column)
    sign = "" if each.is_near else "\\*"
    value, low, high = (_number(part, each.column, sign="+") for part in each.difference)
    return f"{published} | {_number(each.rebuilt, each.column)}{sign} | {value} [{low}, {high}] {each.verdict(corrected[each.row, each.column])}"


def _number(value: float, column: str, sign: str = "") -> str:
    if column.startswith(HEADS["mae"]):
        return f"{value:{sign}.1f}"
    return f"{value:{sign}.4f}" if sign else f"{value:.3f}"
