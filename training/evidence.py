"""What a model was judged at: point values and bootstrap samples of every metric, so that any two models can be compared later.

Samples of two models are paired when both were drawn from the same rows with the same seed: then draw i holds the same customers for
both, and the difference of their samples is the paired bootstrap. No customer's name is kept.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import erfc, sqrt
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retain.errors import IntegrityError
from retain.files import atomic_path
from training.contracts import Floats, Frame
from training.drift import psi
from training.intervals import LEVEL, REPS, Interval, draws
from training.metrics import Direction, Metric

FILE = "evidence.npz"
WORK = 5_000_000
"""Rows times draws that a bootstrap may cost; above, fewer draws are made, never fewer than ``FEWEST``."""
FEWEST = 100
QUANTILES = 1001
_COUNTABLE = 100
"""Draws from which the spread of a bootstrap is worth a normal tail."""
_LEAST_P = 1e-12


@dataclass(frozen=True)
class Evidence:
    """Values and samples of every metric on one test window."""

    rows: str
    """Digest of what the samples were drawn from: customers, cutoffs, outcomes, seed and number of draws."""
    customers: int
    values: dict[str, float]
    samples: dict[str, Floats]
    newest: Floats = field(default_factory=lambda: np.empty(0))
    """Quantiles of the final model's scores on the customers of the day it was trained, to see a shift; empty for a ranker."""

    def with_newest(self, scores: Floats) -> Evidence:
        """The same with the spread of the newest scores."""
        return replace(self, newest=np.quantile(scores, np.linspace(0, 1, QUANTILES)) if len(scores) else np.empty(0))

    def shift_from(self, other: Evidence) -> float | None:
        """PSI of the newest scores against another model's; None where one of the two has none."""
        return psi(other.newest, self.newest) if len(self.newest) and len(other.newest) else None

    def interval(self, metric: str) -> Interval:
        """A metric with its 95 % interval."""
        return _interval(self.values[metric], self.samples[metric])

    def minus(self, other: Evidence, metric: str, better: Direction | None) -> Interval | None:
        """Paired difference on a metric, turned so that more is better; None when the two were not judged on the same rows."""
        drawn = self.differences(other, metric, better)
        if drawn is None:
            return None
        return _interval(float(_turned(self.values[metric], better) - _turned(other.values[metric], better)), drawn)

    def differences(self, other: Evidence, metric: str, better: Direction | None) -> Floats | None:
        """The paired samples behind ``minus``."""
        if self.rows != other.rows or metric not in self.samples or metric not in other.samples:
            return None
        return np.asarray(_turned(self.samples[metric], better) - _turned(other.samples[metric], better), dtype=np.float64)

    def save(self, folder: Path) -> None:
        """Write ``evidence.npz`` into a folder."""
        names = sorted(self.values)
        buffer = io.BytesIO()
        np.savez(
            buffer,
            rows=np.array(self.rows),
            customers=np.array(self.customers),
            names=np.array(names),
            values=np.array([self.values[name] for name in names]),
            samples=np.array([self.samples[name] for name in names]),
            newest=self.newest,
        )
        with atomic_path(folder / FILE) as partial:
            partial.write_bytes(buffer.getvalue())

    @classmethod
    def load(cls, folder: Path) -> Evidence:
        """Read what ``save`` wrote.

        Raises:
            IntegrityError: the file is missing or broken.
        """
        try:
            with np.load(folder / FILE, allow_pickle=False) as file:
                names = [str(name) for name in file["names"]]
                values = {name: float(value) for name, value in zip(names, file["values"], strict=True)}
                samples = {name: np.asarray(row, dtype=np.float64) for name, row in zip(names, file["samples"], strict=True)}
                return cls(str(file["rows"]), int(file["customers"]), values, samples, np.asarray(file["newest"], dtype=np.float64))
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise IntegrityError(f"{folder.name}: {FILE} cannot be read ({error}); train the model again") from error


def of_scores(frame: Frame, predictions: Floats, metrics: Mapping[str, Metric], seed: int, reps: int = REPS) -> Evidence:
    """Judge scores on a frame; customers, with all their rows, are drawn with replacement."""
    reps = _reps(len(frame), reps)
    blocks = [{name: metric(frame.y, predictions, weights) for name, metric in metrics.items()} for weights in draws(frame.customer_id, reps, seed)]
    return Evidence(
        _digest(frame.customer_id, [frame.cutoff, frame.y], seed, reps),
        len(np.unique(frame.customer_id.astype(str))),
        {name: metric(frame.y, predictions) for name, metric in metrics.items()},
        {name: np.concatenate([block[name] for block in blocks]) for name in metrics},
    )


def of_means(customer_id: NDArray[np.object_], truth: str, figures: Mapping[str, Floats], seed: int, reps: int = REPS) -> Evidence:
    """Judge figures that are means over customers, as those of ranked lists are.

    Args:
        customer_id: (rows,) the customer of each row.
        truth: what was bought when, digested, so that only equal test windows are compared.
        figures: name to (rows,) values; NaN where the customer does not count for a figure.
        seed: of the draws.
        reps: number of draws.
    """
    names = sorted(figures)
    table = np.array([figures[name] for name in names], dtype=np.float64).reshape(len(names), len(customer_id))
    counted = (~np.isnan(table)).astype(np.float64)
    filled = np.nan_to_num(table)
    reps = _reps(len(customer_id), reps)
    samples = np.concatenate([_ratio(weights @ filled.T, weights @ counted.T) for weights in draws(customer_id, reps, seed)])
    values = _ratio(filled.sum(axis=1), counted.sum(axis=1))
    return Evidence(
        _digest(customer_id, [], seed, reps, truth),
        len(np.unique(customer_id.astype(str))),
        {name: float(values[i]) for i, name in enumerate(names)},
        {name: samples[:, i] for i, name in enumerate(names)},
    )


def p_value(differences: Floats) -> float:
    """Two-sided p of "no difference" from paired bootstrap samples: twice the smaller tail, never zero.

    Counting cannot say less than 2 / (n + 1), which after a correction over many pairs would hide any difference. Where none of enough
    draws crosses zero, the tail of the normal distribution with the draws' mean and spread is taken if it is smaller.

    >>> p_value(np.array([1.0, 2.0, 3.0]))
    0.5
    """
    tail = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    counted = min(1.0, 2.0 * (tail + 1) / (len(differences) + 1))
    spread = float(np.std(differences))
    if tail or len(differences) < _COUNTABLE or not spread:
        return counted
    return min(counted, max(erfc(abs(float(np.mean(differences))) / spread / sqrt(2)), _LEAST_P))


def holm(p: list[float]) -> list[float]:
    """Holm's correction: each p times the number of those not smaller, kept rising.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    corrected = [0.0] * len(p)
    highest = 0.0
    for rank, position in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        highest = max(highest, min(1.0, (len(p) - rank) * p[position]))
        corrected[position] = highest
    return corrected


def _turned(value: float | Floats, better: Direction | None) -> Floats:
    """The figure so that more is better; one that only describes stays as it is."""
    figure = np.asarray(value, dtype=np.float64)
    if better == "lower":
        return -figure
    return -np.abs(figure) if better == "zero" else figure


def _interval(value: float, samples: Floats) -> Interval:
    tail = (1 - LEVEL) / 2
    low, high = (np.nan, np.nan) if np.isnan(samples).all() else np.nanquantile(samples, [tail, 1 - tail])
    return Interval(float(value), float(low), float(high))


def _reps(rows: int, reps: int) -> int:
    return max(min(reps, FEWEST), min(reps, WORK // max(rows, 1)))


def _digest(customer_id: NDArray[np.object_], arrays: Sequence[NDArray[np.datetime64] | Floats], seed: int, reps: int, truth: str = "") -> str:
    digest = hashlib.sha256(f"{seed}/{reps}/{truth}".encode())
    digest.update("\n".join(customer_id.astype(str)).encode())
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _ratio(sums: Floats, counts: Floats) -> Floats:
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
