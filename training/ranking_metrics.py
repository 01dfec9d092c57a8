"""Measures of ranked lists, one value per customer; their mean over eligible customers is the figure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.contracts import Floats

Hits = NDArray[np.bool_]
"""(customers, ranks) whether the item at a rank was bought; False where the list is short."""
Sizes = NDArray[np.int64]
"""(customers,) number of items bought, at least one."""


def hits(items: NDArray[np.int32], row: NDArray[np.int64], item: NDArray[np.int64], catalogue: int) -> Hits:
    """Which listed items were bought, where ``row`` and ``item`` are the bought pairs by row of ``items``."""
    listed = np.arange(len(items))[:, None] * catalogue + items
    return np.isin(listed, row * catalogue + item) & (items >= 0)


def recall(hit: Hits, size: Sizes, k: int) -> Floats:
    """Share of what was bought that stands among the first ``k``: hits / all bought items."""
    return np.asarray(hit[:, :k].sum(axis=1) / size, dtype=np.float64)


def ndcg(hit: Hits, size: Sizes, k: int) -> Floats:
    """Sum of 1 / log2(rank + 1) over hits, over the best that min(k, size) hits could reach.

    >>> ndcg(np.array([[False, True]]), np.array([1]), 2).round(4).tolist()
    [0.6309]
    """
    gain = 1.0 / np.log2(np.arange(2, k + 2))
    ideal = np.array(np.cumsum(gain))
    width = min(k, hit.shape[1])
    return np.asarray((hit[:, :width] * gain[:width]).sum(axis=1) / ideal[np.minimum(size, k) - 1], dtype=np.float64)


def hit_rate(hit: Hits, size: Sizes, k: int) -> Floats:  # noqa: ARG001 - all measures are called alike
    """1 where at least one of the first ``k`` was bought."""
    return np.asarray(hit[:, :k].any(axis=1), dtype=np.float64)


def average_precision(hit: Hits, size: Sizes, k: int) -> Floats:
    """Mean over min(k, size) of the share of hits up to each hit.

    >>> average_precision(np.array([[True, False, True]]), np.array([2]), 3).round(4).tolist()
    [0.8333]
    """
    first = hit[:, :k]
    precision = np.cumsum(first, axis=1) / np.arange(1, first.shape[1] + 1)
    return np.asarray((precision * first).sum(axis=1) / np.minimum(size, k), dtype=np.float64)


def precision(hit: Hits, size: Sizes, k: int) -> Floats:  # noqa: ARG001 - all measures are called alike
    """Share of ``k`` places that are hits; a place left empty is a miss."""
    return np.asarray(hit[:, :k].sum(axis=1) / k, dtype=np.float64)


def coverage(items: NDArray[np.int32], catalogue: int, k: int) -> float:
    """Share of the catalogue that stands in at least one list's first ``k``."""
    first = items[:, :k]
    return len(np.unique(first[first >= 0])) / max(catalogue, 1)
