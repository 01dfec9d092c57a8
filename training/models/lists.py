"""From scores to lists: what a purpose allows, the best k, and how equal scores are ordered."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from features.interactions import Interactions
from training.contracts import Floats, Integers, Purpose, Ranking
from training.models.purchases import Block, align, blocks


class Scorer(Protocol):
    """A fitted ranker from inside: it scores a block of customers against its whole catalogue."""

    @property
    def items(self) -> NDArray[np.object_]:
        """The catalogue."""

    def scores(self, block: Block, purpose: Purpose) -> Floats:
        """(customers, items); what is not above zero is no recommendation. A customer's row does not depend on the others."""


def ranked(scorer: Scorer, history: Interactions, customers: Integers, k: int, purpose: Purpose) -> Ranking:
    """The best ``k`` of a scorer for customers, block by block: memory does not grow with the number of customers."""
    aligned = align(history, scorer.items)
    items = np.full((len(customers), k), -1, dtype=np.int32)
    scores = np.full((len(customers), k), np.nan)
    for place, block in blocks(aligned, customers):
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
    usable = np.where(valid, scores, 0.0)
    if width > k:
        # A partition alone would break ties at the k-th score as it likes: take all above it, then the first ones equal to it.
        bar = np.partition(usable, width - k, axis=1)[:, width - k, None]
        above = usable > bar
        equal = valid & (usable == bar)
        left = k - above.sum(axis=1)
        if (equal.sum(axis=1) > left).any():
            equal &= np.cumsum(equal, axis=1, dtype=np.int32) <= left[:, None]
        valid = above | equal
    row, item = np.nonzero(valid)
    value = usable[row, item]
    order = np.lexsort((item, -value, row))
    row, item, value = row[order], item[order], value[order]
    count = np.bincount(row, minlength=rows)
    rank = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    positions = np.full((rows, k), -1, dtype=np.int32)
    best = np.full((rows, k), np.nan)
    positions[row, rank], best[row, rank] = item, value
    return positions, best
