"""Intervals around a predicted amount: how far outcomes lay from what models of other customers had said, at predictions of that size.

Split conformal prediction (Vovk, Gammerman and Shafer 2005), by groups of alike predictions and in ratios, so that a small customer's
interval is not that of a large one. It promises its share of customers as long as windows stay alike; for a season that no window holds,
the level itself may move, and the intervals are widened as if it moved twice as far as the levels of the windows did.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from retain.config import build
from retain.errors import IntegrityError
from retain.files import write_json
from training.contracts import PROMISED, Fitted, Floats, Frame
from training.models import held_out, stored
from training.models.explained import contributions
from training.models.held_out import Learned
from training.models.rows import canonical
from training.models.seasons import is_unseen

_FILE = "bounded.json"
_SIDES = 2 * len(PROMISED)
_NORMAL = {0.8: 1.2816, 0.95: 1.96}
"""Standard deviations within which so many of a normal spread lie."""


@dataclass(frozen=True)
class FittedBounded:
    """A model, and the ratios of outcomes to predictions by size of the prediction."""

    inner: Fitted
    at: Floats
    """(groups,) typical predictions, rising."""
    ratios: Floats
    """(groups, 4) low and high of each promised share, as multiples of the prediction."""
    least: float
    """A prediction below counts as this one where ratios are multiplied."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Those of the model inside."""
        return self.inner.columns

    def predict(self, x: Floats) -> Floats:
        """The answer of the model inside."""
        return self.inner.predict(x)

    def bounds(self, x: Floats) -> Floats:
        """See ``Bounding``."""
        answer = self.inner.predict(x)
        size = np.maximum(answer, self.least)
        found = np.column_stack([np.interp(np.log(size), np.log(self.at), self.ratios[:, side]) * size for side in range(_SIDES)])
        # A mean may lie above what nine in ten spend; an interval that leaves its own prediction out would only puzzle.
        found[:, 0::2] = np.minimum(found[:, 0::2], answer[:, None])
        found[:, 1::2] = np.maximum(found[:, 1::2], answer[:, None])
        return found

    def contributions(self, x: Floats) -> Floats | None:
        """Those of the model inside."""
        return contributions(self.inner, x)

    def save(self, folder: Path) -> None:
        """Write ``bounded.json`` and the model inside."""
        write_json(folder / _FILE, {"at": self.at.tolist(), "ratios": self.ratios.ravel().tolist(), "least": self.least})
        stored.write(self.inner, folder / "inner")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        found = stored.values(folder / _FILE)
        at = stored.numbers(found, "at")
        if not len(at) or (at <= 0).any() or (np.diff(at) <= 0).any():
            raise IntegrityError(f"{_FILE}: the sizes do not rise from above zero; train the model again")
        ratios = stored.numbers(found, "ratios", count=len(at) * _SIDES).reshape(len(at), _SIDES)
        return cls(stored.read(folder / "inner"), at, ratios, stored.number(found, "least", least=1e-12))


class Bounded(BaseModel):
    """Wrap a model of amounts in intervals."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    inner: dict[str, Any]
    """The model inside, as ``use: module:Class``."""
    group_rows: int = Field(default=400, ge=20)
    """Held-out rows of a group of alike predictions, at least."""
    most_groups: int = Field(default=30, ge=1)
    unseen: float = Field(default=2.0, ge=1)
    """Where the season to come was never seen, the levels of windows are taken to spread so many times as far as those that were seen."""
    least_spread: float = Field(default=0.05, ge=0)
    """Nor less than this, as a standard deviation of the log: few windows may look alike by chance."""

    def fit(self, frame: Frame) -> FittedBounded:
        """Learn the model, and how far off models of other customers were."""
        found = self.learn(canonical(frame)).fitted
        assert isinstance(found, FittedBounded)  # noqa: S101 - for the type checker
        return found

    def learn(self, frame: Frame) -> Learned:
        """See ``HoldsOut``."""
        inner = held_out.learn(build(self.inner, "bounded"), frame)
        return Learned(self.around(inner, frame), inner.held_out)

    def around(self, inner: Learned, frame: Frame) -> FittedBounded:
        """Intervals around a model that has learned from a frame."""
        if inner.held_out is None or not (inner.held_out > 0).any():
            return FittedBounded(inner.fitted, np.ones(1), np.tile([0.0, math.e], len(PROMISED))[None, :], 1.0)
        said = inner.held_out
        least = float(np.quantile(said[said > 0], 0.01))
        at, ratios = _ratios(np.maximum(said, least), frame.y, self.group_rows, self.most_groups)
        level = _level_spread(said, frame)
        if is_unseen(frame):
            level = self.unseen * max(level, self.least_spread)
        for number, share in enumerate(PROMISED):
            wider = float(np.exp(_NORMAL[share] * level))
            ratios[:, 2 * number] = np.where(ratios[:, 2 * number] > 0, ratios[:, 2 * number] / wider, ratios[:, 2 * number] * wider)
            ratios[:, 2 * number + 1] = np.maximum(ratios[:, 2 * number + 1], 0.0) * wider
        return FittedBounded(inner.fitted, at, ratios, least)


def _ratios(size: Floats, y: Floats, rows: int, most: int) -> tuple[Floats, Floats]:
    """Typical size and the four ratios of each group of alike predictions.

    Of the intervals that hold the promised share of a group the shortest is taken: many spend nothing, so equal tails would hold more.
    """
    order = np.argsort(size, kind="stable")
    parts = [part for part in np.array_split(order, max(1, min(most, len(order) // rows))) if len(part)]
    at = np.array([float(np.exp(np.mean(np.log(size[part])))) for part in parts])
    ratios = np.array([[side for share in PROMISED for side in _shortest(np.sort(y[part] / size[part]), share)] for part in parts])
    # A wider promise holds a narrower one.
    ratios[:, 2] = np.minimum(ratios[:, 2], ratios[:, 0])
    ratios[:, 3] = np.maximum(ratios[:, 3], ratios[:, 1])
    kept = np.flatnonzero(np.concatenate([[True], np.diff(at) > 0]))
    return at[kept], ratios[kept]


def _shortest(ordered: Floats, share: float) -> tuple[float, float]:
    """Ends of the shortest stretch of ordered values that holds a share of them, one more than that for the row to come."""
    held = min(math.ceil(share * (len(ordered) + 1)), len(ordered))
    starts = np.arange(len(ordered) - held + 1)
    first = int(starts[np.argmin(ordered[starts + held - 1] - ordered[starts])])
    return float(ordered[first]), float(ordered[first + held - 1])


def _level_spread(said: Floats, frame: Frame) -> float:
    """How far the level of a window lay from what was said of it: the standard deviation of its log over the windows, less that of chance."""
    logs: list[float] = []
    errors: list[float] = []
    for cutoff in np.unique(frame.cutoff):
        rows = frame.cutoff == cutoff
        total, expected = float(frame.y[rows].sum()), float(said[rows].sum())
        if total > 0 and expected > 0:
            logs.append(float(np.log(total / expected)))
            errors.append(float(((frame.y[rows] - said[rows] * total / expected) ** 2).sum()) / total**2)
    return math.sqrt(max(float(np.var(logs)) - float(np.mean(errors)), 0.0)) if len(logs) > 1 else 0.0
