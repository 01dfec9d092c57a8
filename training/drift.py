"""Statistics of change against what a model was trained on."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

BINS = 10
_LEAST = 1e-4
"""A bin counts at least this share, so that an empty one gives a large number and not infinity."""


Array = NDArray[np.float64]


def psi(expected: ArrayLike, actual: ArrayLike) -> float:
    """Population stability index over ten equal-count bins of ``expected``; missing values are a bin of their own.

    The sum of (a - e) log(a / e) over the shares of each bin. Below 0.1 is calm, above 0.25 is a shift.

    >>> psi([1, 2, 3, 4], [1, 2, 3, 4])
    0.0
    """
    before, after = np.asarray(expected, dtype=np.float64), np.asarray(actual, dtype=np.float64)
    if not len(before) or not len(after):
        raise ValueError(f"psi: {len(before)} expected and {len(after)} actual values; both are needed")
    cuts = edges(before)
    return psi_of(shares(before, cuts), shares(after, cuts))


def edges(values: Array) -> Array:
    """Where ten bins of equal count part; fewer where many values are equal."""
    known = values[~np.isnan(values)]
    return np.unique(np.quantile(known, np.arange(1, BINS) / BINS)) if len(known) else np.empty(0)


def shares(values: Array, cuts: Array) -> Array:
    """Share of the values in each bin, the last one of those that are missing."""
    missing = np.isnan(values)
    counts = np.bincount(np.where(missing, len(cuts) + 1, np.searchsorted(cuts, values, side="left")), minlength=len(cuts) + 2)
    return np.asarray(counts / len(values), dtype=np.float64)


def psi_of(expected: ArrayLike, actual: ArrayLike) -> float:
    """The index of shares that are known already.

    >>> round(psi_of([0.5, 0.5], [0.4, 0.6]), 4)
    0.0405
    """
    e, a = (np.maximum(np.asarray(each, dtype=np.float64), _LEAST) for each in (expected, actual))
    return float(((a - e) * np.log(a / e)).sum())


def chance(bins: int, before: int, after: int) -> float:
    """The index that samples of these sizes from one population reach once in a thousand times.

    Its distribution is that of chi-square with one degree of freedom less than bins, times 1 / before + 1 / after (Yurdakul, 2018).

    >>> round(chance(11, 1000, 1000), 3)
    0.059
    """
    from scipy.stats import chi2

    return float(chi2.ppf(0.999, max(bins - 1, 1)) * (1 / max(before, 1) + 1 / max(after, 1)))
