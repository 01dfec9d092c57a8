"""How sure a figure is: percentile intervals from resampling customers, with all rows of a customer drawn together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from training.contracts import Floats

REPS = 500
LEVEL = 0.95
_CELLS = 2_000_000
"""Weights held at once: resamples are worked through in blocks of this many cells."""

Statistic = Callable[..., Floats]
"""(*arrays, weights) -> one value per resample; every metric of training.metrics is one."""


@dataclass(frozen=True)
class Interval:
    """A figure and the range it would fall into on other customers of the same kind."""

    value: float
    low: float
    high: float

    @property
    def is_clear_of_zero(self) -> bool:
        """Whether zero lies outside."""
        return self.low > 0 or self.high < 0


def draws(customers: NDArray[np.object_] | Sequence[str], reps: int, seed: int) -> Iterator[Floats]:
    """Bootstrap counts of rows as (resamples, rows) blocks; a customer drawn twice brings all its rows twice."""
    unique, place = np.unique(np.asarray(customers, dtype=str), return_inverse=True)
    count = len(unique)
    random = np.random.default_rng(seed)
    done = 0
    while done < reps:
        block = min(reps - done, max(1, _CELLS // max(len(place), 1)))
        counts = np.stack([np.bincount(random.integers(0, count, count), minlength=count) for _ in range(block)])
        yield counts[:, place].astype(np.float64)
        done += block


def bootstrap(
    metric: Statistic, arrays: Sequence[ArrayLike], customers: NDArray[np.object_] | Sequence[str], *, seed: int, reps: int = REPS
) -> Interval:
    """A metric with its percentile interval over customers."""
    return _interval(_point(metric, arrays), _samples(metric, arrays, customers, reps, seed))


def paired(
    metric: Statistic,
    a: Sequence[ArrayLike],
    b: Sequence[ArrayLike],
    customers: NDArray[np.object_] | Sequence[str],
    *,
    seed: int,
    reps: int = REPS,
) -> Interval:
    """The difference a - b of a metric on the same rows, both measured on the same resamples."""
    samples = _samples(metric, a, customers, reps, seed) - _samples(metric, b, customers, reps, seed)
    return _interval(_point(metric, a) - _point(metric, b), samples)


def _point(metric: Statistic, arrays: Sequence[ArrayLike]) -> float:
    rows = len(np.asarray(arrays[0]))
    return float(metric(*arrays, np.ones((1, rows)))[0])


def _samples(metric: Statistic, arrays: Sequence[ArrayLike], customers: NDArray[np.object_] | Sequence[str], reps: int, seed: int) -> Floats:
    return np.concatenate([metric(*arrays, weights) for weights in draws(customers, reps, seed)])


def _interval(value: float, samples: Floats) -> Interval:
    if np.isnan(samples).all():
        return Interval(value, float("nan"), float("nan"))
    tail = (1 - LEVEL) / 2
    low, high = np.nanquantile(samples, [tail, 1 - tail])
    return Interval(value, float(low), float(high))
