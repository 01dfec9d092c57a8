"""Statistics of change against what a model was trained on."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

BINS = 10
_LEAST = 1e-4
"""A bin counts at least this share, so that an empty one gives a large number and not infinity."""


def psi(expected: ArrayLike, actual: ArrayLike) -> float:
    """Population stability index over ten equal-count bins of ``expected``; missing values are a bin of their own.

    The sum of (a - e) log(a / e) over the shares of each bin. Below 0.1 is calm, above 0.25 is a shift.

    >>> psi([1, 2, 3, 4], [1, 2, 3, 4])
    0.0
    """
    before, after = np.asarray(expected, dtype=np.float64), np.asarray(actual, dtype=np.float64)
    if not len(before) or not len(after):
        raise ValueError(f"psi: {len(before)} expected and {len(after)} actual values; both are needed")
    known = before[~np.isnan(before)]
    edges = np.unique(np.quantile(known, np.arange(1, BINS) / BINS)) if len(known) else np.empty(0)
    e, a = _shares(before, edges), _shares(after, edges)
    return float(((a - e) * np.log(a / e)).sum())


def _shares(
    values: np.ndarray[tuple[int], np.dtype[np.float64]], edges: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    missing = np.isnan(values)
    counts = np.bincount(np.where(missing, len(edges) + 1, np.searchsorted(edges, values, side="left")), minlength=len(edges) + 2)
    return np.maximum(counts / len(values), _LEAST)
