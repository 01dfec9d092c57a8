"""What a model was judged at: point values and bootstrap samples of every metric, so that any two models can be compared later.

Samples of two models are paired when both were drawn from the same rows with the same seed: then draw i holds the same customers for
both, and the difference of their samples is the paired bootstrap. No customer's name is kept. Slices of the customers carry evidence of
their own on the primary metric, from the same draws.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import erfc, sqrt
from pathlib import Path
from typing import Any

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
    slices: dict[str, Evidence] = field(default_factory=dict)
    """Slice, as ``dimension: label``, to the primary metric on its rows."""

    def with_newest(self, scores: Floats) -> Evidence:
        """The same with the spread of the newest scores."""
        return replace(self, newest=np.quantile(scores, np.linspace(0, 1, QUANTILES)) if len(scores) else np.empty(0))

    def with_parts(self, primary: str, parts: Mapping[str, tuple[str, int]]) -> Evidence:
        """The same with slices made of other figures: slice -> the figure that judges it in place of the primary one, and its customers.

        The question that a list answers (what is new, what is bought again) is looked at apart in this way.
        """
        made = {
            name: Evidence(f"{self.rows}/{name}", customers, {primary: self.values[figure]}, {primary: self.samples[figure]})
            for name, (figure, customers) in parts.items()
        }
        return replace(self, slices={**made, **self.slices})

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
        arrays = {f"0/{name}": value for name, value in self._arrays().items()}
        arrays["slices"] = np.array(list(self.slices), dtype=np.str_)
        for number, each in enumerate(self.slices.values(), start=1):
            arrays |= {f"{number}/{name}": value for name, value in each._arrays().items()}
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
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
                names = [str(name) for name in file["slices"]]
                whole, *parts = (cls._of(file, f"{number}/") for number in range(len(names) + 1))
                return replace(whole, slices=dict(zip(names, parts, strict=True)))
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise IntegrityError(f"{folder.name}: {FILE} cannot be read ({error}); train the model again") from error

    def _arrays(self) -> dict[str, NDArray[Any]]:
        names = sorted(self.values)
        return {
            "rows": np.array(self.rows),
            "customers": np.array(self.customers),
            "names": np.array(names, dtype=np.str_),
            "values": np.array([self.values[name] for name in names]),
            "samples": np.array([self.samples[name] for name in names]),
            "newest": self.newest,
        }

    @classmethod
    def _of(cls, file: Mapping[str, NDArray[Any]], prefix: str) -> Evidence:
        names = [str(name) for name in file[f"{prefix}names"]]
        values = {name: float(value) for name, value in zip(names, file[f"{prefix}values"], strict=True)}
        samples = {name: np.asarray(row, dtype=np.float64) for name, row in zip(names, file[f"{prefix}samples"], strict=True)}
        newest = np.asarray(file[f"{prefix}newest"], dtype=np.float64)
        return cls(str(file[f"{prefix}rows"]), int(file[f"{prefix}customers"]), values, samples, newest)


Slices = Mapping[str, NDArray[np.intp]]
"""Slice to its rows."""


def of_scores(
    frame: Frame,
    predictions: Floats,
    metrics: Mapping[str, Metric],
    seed: int,
    reps: int = REPS,
    *,
    primary: str = "",
    slices: Slices | None = None,
) -> Evidence:
    """Judge scores on a frame, and the primary metric on each slice; customers, with all their rows, are drawn with replacement."""
    reps, apart = _reps(len(frame), reps), slices or {}
    samples: dict[str, list[Floats]] = {name: [] for name in metrics}
    parts: dict[str, list[Floats]] = {name: [] for name in apart}
    for weights in draws(frame.customer_id, reps, seed):
        for name, metric in metrics.items():
            samples[name].append(metric(frame.y, predictions, weights))
        for name, rows in apart.items():
            parts[name].append(metrics[primary](frame.y[rows], predictions[rows], weights[:, rows]))
    digest = _digest(frame.customer_id, [frame.cutoff, frame.y], seed, reps)
    found = {}
    for name, rows in apart.items():
        value = metrics[primary](frame.y[rows], predictions[rows])
        found[name] = _part(digest, name, frame.customer_id[rows], primary, value, np.concatenate(parts[name]))
    return Evidence(
        digest,
        _count(frame.customer_id),
        {name: metric(frame.y, predictions) for name, metric in metrics.items()},
        {name: np.concatenate(each) for name, each in samples.items()},
        slices=found,
    )


def of_means(
    customer_id: NDArray[np.object_],
    truth: str,
    figures: Mapping[str, Floats],
    seed: int,
    reps: int = REPS,
    *,
    primary: str = "",
    slices: Slices | None = None,
) -> Evidence:
    """Judge figures that are means over customers, as those of ranked lists are, and the primary one on each slice.

    Args:
        customer_id: (rows,) the customer of each row.
        truth: what was bought when, digested, so that only equal test windows are compared.
        figures: name to (rows,) values; NaN where the customer does not count for a figure.
        seed: of the draws.
        reps: number of draws.
        primary: the figure that slices are judged by.
        slices: slice to its rows.
    """
    names, apart = sorted(figures), slices or {}
    reps = _reps(len(customer_id), reps)
    table = np.array([figures[name] for name in names], dtype=np.float64).reshape(len(names), len(customer_id))
    for rows in apart.values():
        inside = np.full(len(customer_id), np.nan)
        inside[rows] = figures[primary][rows]
        table = np.vstack([table, inside])
    counted = (~np.isnan(table)).astype(np.float64)
    filled = np.nan_to_num(table)
    samples = np.concatenate([_ratio(weights @ filled.T, weights @ counted.T) for weights in draws(customer_id, reps, seed)])
    values = _ratio(filled.sum(axis=1), counted.sum(axis=1))
    digest, whole = _digest(customer_id, [], seed, reps, truth), len(names)
    return Evidence(
        digest,
        _count(customer_id),
        {name: float(values[i]) for i, name in enumerate(names)},
        {name: samples[:, i] for i, name in enumerate(names)},
        slices={
            name: _part(digest, name, customer_id[rows], primary, float(values[whole + i]), samples[:, whole + i])
            for i, (name, rows) in enumerate(apart.items())
        },
    )


def of_draws(
    customer_id: NDArray[np.object_], arrays: Sequence[NDArray[Any]], measure: Callable[[Floats], Mapping[str, Floats]], seed: int, reps: int = REPS
) -> Evidence:
    """Judge by a function from counts of a bootstrap, (draws, rows), to figures of (draws,) each.

    Args:
        customer_id: (rows,) the customer of each row.
        arrays: What the figures rest on besides, digested, so that only equal rows are compared.
        measure: Gives every figure.
        seed: Of the draws.
        reps: Number of draws.
    """
    reps = _reps(len(customer_id), reps)
    parts = [measure(weights) for weights in draws(customer_id, reps, seed)]
    values = {name: float(value[0]) for name, value in measure(np.ones((1, len(customer_id)))).items()}
    samples = {name: np.concatenate([part[name] for part in parts]) for name in values}
    return Evidence(_digest(customer_id, arrays, seed, reps), _count(customer_id), values, samples)


def pooled(parts: Sequence[Evidence]) -> Evidence:
    """Several test windows as one: each counts the same, and a draw holds the same customers in all of them.

    Slices are those of the first part, each over the windows that have it.
    """
    if len(parts) == 1:
        return parts[0]
    slices = {name: pooled([part.slices[name] for part in parts if name in part.slices]) for name in parts[0].slices}
    names = [name for name in parts[0].values if all(name in part.values for part in parts)]
    shortest = min(len(sample) for part in parts for sample in part.samples.values())
    return Evidence(
        hashlib.sha256("/".join(part.rows for part in parts).encode()).hexdigest(),
        max(part.customers for part in parts),
        {name: float(np.mean([part.values[name] for part in parts])) for name in names},
        {name: np.mean([part.samples[name][:shortest] for part in parts], axis=0) for name in names},
        slices=slices,
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


def _part(digest: str, name: str, customers: NDArray[np.object_], primary: str, value: float, samples: Floats) -> Evidence:
    return Evidence(f"{digest}/{name}", _count(customers), {primary: value}, {primary: samples})


def _count(customers: NDArray[np.object_]) -> int:
    return len(np.unique(customers.astype(str)))


def _reps(rows: int, reps: int) -> int:
    return max(min(reps, FEWEST), min(reps, WORK // max(rows, 1)))


def _digest(customer_id: NDArray[np.object_], arrays: Sequence[NDArray[Any]], seed: int, reps: int, truth: str = "") -> str:
    digest = hashlib.sha256(f"{seed}/{reps}/{truth}".encode())
    digest.update("\n".join(customer_id.astype(str)).encode())
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _ratio(sums: Floats, counts: Floats) -> Floats:
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
