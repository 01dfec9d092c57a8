"""From scores to lists: what a purpose allows, the best k, and how equal scores are ordered."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from features.interactions import Interactions
from training.contracts import Floats, Integers, Purpose, Ranking
from training.models.purchases import CELLS, Block, align, blocks

_LEAST = np.nextafter(0.0, 1.0)
_GROUPS = 4
"""Groups of columns per place of the list, at least."""
_WIDEST = 64


class Scorer(Protocol):
    """A fitted ranker from inside: it scores a block of customers against its whole catalogue."""

    @property
    def items(self) -> NDArray[np.object_]:
        """The catalogue."""

    def scores(self, block: Block, purpose: Purpose) -> Floats:
        """(customers, items); what is not above zero is no recommendation. A customer's row does not depend on the others."""


def ranked(scorer: Scorer, history: Interactions, customers: Integers, k: int, purpose: Purpose, cells: int = CELLS) -> Ranking:
    """The best ``k`` of a scorer for customers, block by block: memory does not grow with the number of customers."""
    aligned = align(history, scorer.items)
    items = np.full((len(customers), k), -1, dtype=np.int32)
    scores = np.full((len(customers), k), np.nan)
    for place, block in blocks(aligned, customers, cells):
        items[place], scores[place] = top(scorer.scores(block, purpose), k, allowed(block, purpose))
    return Ranking(items, scores)


def allowed(block: Block, purpose: Purpose) -> NDArray[np.bool_] | None:
    """(customers, items) what a list of this purpose may hold; None is everything."""
    if purpose == "all":
        return None
    return block.bought if purpose == "repeat" else ~block.bought


def top(scores: Floats, k: int, mask: NDArray[np.bool_] | None = None) -> tuple[NDArray[np.int32], Floats]:
    """Positions and scores of the best ``k`` per row: above zero, inside the mask; equal scores by smaller position.

    Where fewer are left the list is short: -1 and NaN, never an item that was filtered.

    >>> top(np.array([[0.5, 0.0, 0.5, 0.9]]), 3)[0].tolist()
    [[3, 0, 2]]
    """
    rows, width = scores.shape
    valid = scores > 0
    if mask is not None:
        valid &= mask
    if width > k and np.count_nonzero(valid) > 2 * k * rows:
        # Everything at or above a bar goes on, ties at the bar included: they are ordered with the rest.
        usable = np.where(valid, scores, 0.0)
        valid = usable >= np.maximum(bar(usable, k), _LEAST)
    row, item = np.nonzero(valid)
    return best_of_pairs(row, item, scores[row, item], rows, k)


def best_of_pairs(row: Integers, item: Integers, value: Floats, rows: int, k: int) -> tuple[NDArray[np.int32], Floats]:
    """Positions and scores of the best ``k`` pairs per row: above zero; equal scores by smaller position."""
    above = value > 0
    row, item, value = row[above], item[above], value[above]
    order = np.lexsort((item, -value, row))
    row, item, value = row[order], item[order], value[order]
    count = np.bincount(row, minlength=rows)
    rank = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    best_k = rank < k
    row, item, value, rank = row[best_k], item[best_k], value[best_k], rank[best_k]
    positions = np.full((rows, k), -1, dtype=np.int32)
    best = np.full((rows, k), np.nan)
    positions[row, rank], best[row, rank] = item, value
    return positions, best


def bar(usable: NDArray[Any], k: int) -> NDArray[Any]:
    """(rows, 1) a score that at least ``k`` of each row reach, and few more.

    The k-th best of the maxima of groups of columns is such a bar, and many times quicker to find than the k-th best of all.
    """
    rows, width = usable.shape
    size = min(width // (_GROUPS * k), _WIDEST)
    if size > 1:
        count = width // size
        # What is left over at the right takes no part in the bar, only in what is held against it.
        usable = usable[:, : size * count].reshape(rows, size, count).max(axis=1)
        width = count
    return np.partition(usable, width - k, axis=1)[:, width - k, None]
