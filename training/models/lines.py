"""Linear regression on signed logs of features and on the features as they are, with a ridge.

Money of the next weeks grows with money of the last ones, not with its log; what customers differ by otherwise is told by ratios. A
regression that expects money needs both.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from retain.files import write_json
from training.contracts import Floats, Frame
from training.models import stored
from training.models.logistic import signed_log
from training.models.rows import canonical

_LISTS = ("mean", "scale", "weight")


@dataclass(frozen=True)
class FittedLines:
    """Weights on standardised columns: first the signed logs, then the values as they are, then marks of what is missing."""

    columns: tuple[str, ...]
    mean: Floats
    """(3 columns,)"""
    scale: Floats
    weight: Floats
    bias: float

    def predict(self, x: Floats) -> Floats:
        """(rows,) the sum of the terms; each row is summed on its own, so that a row alone gets the answer it gets in a batch."""
        terms = (_design(stored.checked(x, self.columns), self.mean[: 2 * len(self.columns)]) - self.mean) / self.scale * self.weight
        total = np.full(len(terms), self.bias)
        for position in range(terms.shape[1]):
            total += terms[:, position]
        return total

    def save(self, folder: Path) -> None:
        """Write ``lines.json``."""
        write_json(
            folder / "lines.json", {"columns": list(self.columns), **{name: getattr(self, name).tolist() for name in _LISTS}, "bias": self.bias}
        )

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read ``lines.json``."""
        found = stored.values(folder / "lines.json")
        columns = stored.names(found, "columns")
        mean, scale, weight = (stored.numbers(found, name, count=3 * len(columns)) for name in _LISTS)
        return cls(columns, mean, np.where(scale > 0, scale, 1.0), weight, stored.number(found, "bias"))


class Lines(BaseModel):
    """Ridge regression. Rows count as the frame's weight says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ridge: float = Field(default=100.0, gt=0)
    """Strength of the ridge on standardised features, in rows."""

    def fit(self, frame: Frame) -> FittedLines:
        """Solve the normal equations; one thread adds up in one order."""
        from threadpoolctl import threadpool_limits

        ordered = canonical(frame)
        both = np.hstack([signed_log(ordered.x), ordered.x])
        known = np.maximum((~np.isnan(both)).sum(axis=0), 1)
        filled = np.where(np.isnan(both), 0.0, both).sum(axis=0) / known
        design = _design(ordered.x, filled)
        share = np.ones(len(ordered)) if ordered.weight is None else ordered.weight / max(float(ordered.weight.mean()), 1e-300)
        if not len(ordered):
            return FittedLines(ordered.columns, np.zeros(design.shape[1]), np.ones(design.shape[1]), np.zeros(design.shape[1]), 0.0)
        mean, spread = np.average(design, axis=0, weights=share), design.std(axis=0)
        scale = np.where(spread > 1e-12, spread, 1.0)
        bias = float(np.average(ordered.y, weights=share))
        with threadpool_limits(1, "blas"):
            root = np.sqrt(share)
            scaled = (design - mean) / scale * root[:, None]
            gram = scaled.T @ scaled + self.ridge * np.eye(design.shape[1])
            weight = np.asarray(np.linalg.solve(gram, scaled.T @ ((ordered.y - bias) * root)), dtype=np.float64)
        # A missing value stands at the mean of the known ones, whatever mean is taken off; the mark says the rest.
        return FittedLines(
            ordered.columns, np.concatenate([filled, np.zeros(len(ordered.columns))]), scale, weight, bias - _shift(mean, filled, scale, weight)
        )


def _design(x: Floats, filled: Floats) -> Floats:
    """(rows, 3 columns) signed logs and values, each missing one at its mean, and marks of what is missing."""
    both = np.hstack([signed_log(x), x])
    return np.hstack([np.where(np.isnan(both), filled, both), np.isnan(x).astype(np.float64)])


def _shift(mean: Floats, filled: Floats, scale: Floats, weight: Floats) -> float:
    """What the bias loses when ``filled`` is taken off the columns instead of ``mean``."""
    away = mean.copy()
    away[: len(filled)] -= filled
    return float((away / scale * weight).sum())
