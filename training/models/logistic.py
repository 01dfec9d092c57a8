"""Logistic regression on signed logs of features, standardised, with missing values said by a weight of their own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from retain.errors import RefusedError
from retain.files import write_json
from training.contracts import Floats, Frame
from training.models import stored
from training.models.rows import canonical

_BLOCK = 2048
"""Rows that are summed at once."""


@dataclass(frozen=True)
class FittedLogistic:
    """Weights on standardised signed logs."""

    columns: tuple[str, ...]
    mean: Floats
    scale: Floats
    weight: Floats
    missing: Floats
    """What a missing value adds instead of its weight."""
    bias: float

    def predict(self, x: Floats) -> Floats:
        """The chance."""
        return sigmoid(self.total(x))

    def total(self, x: Floats) -> Floats:
        """(rows,) the logit; each row is summed on its own and in the columns' order, so that a row alone gets the answer it gets in a batch."""
        values = stored.checked(x, self.columns)
        total = np.full(len(values), self.bias)
        # In blocks that stay in the processor's cache: a quarter of the time that passes over the whole matrix take.
        for start in range(0, len(values), _BLOCK):
            block = total[start : start + _BLOCK]
            for term in np.ascontiguousarray(self._terms(values[start : start + _BLOCK]).T):
                block += term
        return total

    def contributions(self, x: Floats) -> Floats:
        """(rows, columns + 1) the terms of the sum: what each feature adds to the logit, the bias last."""
        terms = self._terms(stored.checked(x, self.columns))
        return np.column_stack([terms, np.full(len(terms), self.bias)])

    def _terms(self, x: Floats) -> Floats:
        values = signed_log(x)
        known = (values - self.mean) / self.scale * self.weight
        return np.where(np.isnan(values), self.missing, known)

    def save(self, folder: Path) -> None:
        """Write ``logistic.json``."""
        lists = {name: getattr(self, name).tolist() for name in ("mean", "scale", "weight", "missing")}
        write_json(folder / "logistic.json", {"columns": list(self.columns), **lists, "bias": self.bias})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read ``logistic.json``."""
        found = stored.values(folder / "logistic.json")
        columns = stored.names(found, "columns")
        mean, scale, weight, missing = (stored.numbers(found, name, count=len(columns)) for name in ("mean", "scale", "weight", "missing"))
        return cls(columns, mean, np.where(scale > 0, scale, 1.0), weight, missing, stored.number(found, "bias"))


class Logistic(BaseModel):
    """Logistic regression with a ridge."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: tuple[str, ...] = ()
    """Features to use, as ``view__column``; those that the frame has dropped are left out. Empty: all."""
    c: float = Field(default=1.0, gt=0)
    """Inverse strength of the ridge on standardised features."""

    def fit(self, frame: Frame) -> FittedLogistic:
        """Learn weights by Newton steps from a fixed start.

        Raises:
            RefusedError: the frame has none of the columns.
        """
        from sklearn.linear_model import LogisticRegression
        from threadpoolctl import threadpool_limits

        columns = tuple(name for name in self.columns if name in frame.columns) if self.columns else frame.columns
        if not columns:
            raise RefusedError(f"logistic: the frame has none of {', '.join(self.columns)}; name features that it has with `columns`")
        chosen = canonical(frame).select(columns)
        if len(np.unique(chosen.y)) < 2:
            share = float(np.clip(chosen.y.mean() if len(chosen) else 0.5, 1e-6, 1 - 1e-6))
            nothing = np.zeros(len(columns))
            return FittedLogistic(columns, nothing, np.ones(len(columns)), nothing, nothing, float(np.log(share / (1 - share))))
        mean, scale, design = standardised(chosen.x)
        # Newton steps on the few columns are quicker than L-BFGS and stop at the same place; one thread adds up in one order.
        with threadpool_limits(1, "blas"):
            learned = LogisticRegression(C=self.c, solver="newton-cholesky", max_iter=200, tol=1e-8).fit(design, chosen.y)
        weight = learned.coef_[0]
        return FittedLogistic(columns, mean, scale, weight[: len(columns)], weight[len(columns) :], float(learned.intercept_[0]))


def standardised(x: Floats) -> tuple[Floats, Floats, Floats]:
    """Mean and scale of the known signed logs per column, and (rows, 2 columns) of them standardised, then what is missing as ones."""
    # In place: this is the largest thing that is held while lines are learned.
    width, gaps = x.shape[1], np.isnan(x)
    design = np.empty((len(x), 2 * width))
    values, design[:, width:] = design[:, :width], gaps
    np.log1p(np.abs(x, out=values), out=values)
    values *= np.sign(x)
    np.copyto(values, 0.0, where=gaps)
    known = np.maximum((~gaps).sum(axis=0), 1)
    mean = values.sum(axis=0) / known
    values -= mean
    np.copyto(values, 0.0, where=gaps)
    scale = np.sqrt(np.square(values).sum(axis=0) / known)
    scale = np.where(scale > 1e-12, scale, 1.0)
    values /= scale
    return mean, scale, design


def signed_log(x: Floats) -> Floats:
    """sign(x) log(1 + |x|): large counts and money count by their ratio, returns keep their sign."""
    return np.asarray(np.sign(x) * np.log1p(np.abs(x)))


def sigmoid(z: Floats) -> Floats:
    """1 / (1 + exp(-z)), without overflow."""
    small = np.exp(-np.abs(z))
    return np.asarray(np.where(z >= 0, 1 / (1 + small), small / (1 + small)))
