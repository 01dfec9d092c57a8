"""How sure a figure is: percentile intervals from resampling customers, with all rows of a customer drawn together.

How often a customer is drawn depends on the customer, the seed and the number of the draw only (a Poisson bootstrap). So draw ``i`` holds
the same customers on every cutoff and in every slice, and samples that were made apart can be paired, added up and averaged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from math import exp, factorial, floor, isfinite, log10

import numpy as np
from numpy.typing import ArrayLike, NDArray

from training.contracts import Floats

REPS = 500
LEVEL = 0.95
_CELLS = 2_000_000
"""Weights held at once: resamples are worked through in blocks of this many cells."""
_POISSON = np.cumsum([exp(-1) / factorial(count) for count in range(16)])
"""Chance of being drawn at most 0, 1, 2 ... times."""

Statistic = Callable[..., Floats]
"""(*arrays, weights) -> one value per resample; every metric of training.metrics is one."""


def decimals(low: float, high: float) -> int | None:
    """Decimals with which half of an interval has two digits that say something; None where it has no width.

    >>> decimals(0.819, 0.854), decimals(68.9, 75.5), decimals(102_000, 118_000), decimals(1.0, 1.0)
    (3, 1, 0, None)
    """
    half = (high - low) / 2
    return max(0, 1 - floor(log10(half))) if isfinite(half) and half > 0 else None


def told(value: float, low: float, high: float, *, is_signed: bool = False) -> tuple[str, str, str]:
    """The three as text with equally many decimals, as many as the interval can tell.

    >>> told(0.8365, 0.8192, 0.8539)
    ('0.837', '0.819', '0.854')
    """
    places, sign = decimals(low, high), "+" if is_signed else ""
    if places is None:
        return f"{value:{sign}.4g}", f"{low:{sign}.4g}", f"{high:{sign}.4g}"
    return f"{value:{sign},.{places}f}", f"{low:{sign},.{places}f}", f"{high:{sign},.{places}f}"


@dataclass(frozen=True)
class Interval:
    """A figure and the range it would fall into on other customers of the same kind."""

    value: float
    low: float
    high: float


def draws(customers: NDArray[np.object_] | Sequence[str], reps: int, seed: int) -> Iterator[Floats]:
    """Bootstrap counts of rows as (resamples, rows) blocks; a customer drawn twice brings all its rows twice."""
    unique, place = np.unique(np.asarray(customers, dtype=str), return_inverse=True)
    stream = np.array([int.from_bytes(blake2b(f"{seed}/{name}".encode(), digest_size=8).digest(), "little") for name in unique], dtype=np.uint64)
    done = 0
    while done < reps:
        block = min(reps - done, max(1, _CELLS // max(len(place), 1)))
        number = np.arange(done + 1, done + 1 + block, dtype=np.uint64)[:, None]
        yield np.searchsorted(_POISSON, _uniform(stream[None, :], number), side="right")[:, place].astype(np.float64)
        done += block


def _uniform(stream: NDArray[np.uint64], number: NDArray[np.uint64]) -> Floats:
    """The ``number``-th value of each stream of splitmix64 (Steele, Lea and Flood, 2014), as a number from 0 to 1."""
    mixed = stream + number * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) / 2.0**53)


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
