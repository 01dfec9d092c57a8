"""The shop's own wishes for a ranked list: variety, at most so many of a category, margin, places for what is new. Pure, on lists.

Each of them moves items that a customer is less likely to buy ahead of others; ``price`` says what that costs in NDCG. What a house wishes
is declared in ``configs/controls.yaml``, once for the lists of recommendations and of decisions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from retain import config
from training.contracts import Floats, Integers, Ranking
from training.intervals import Interval


class Controls(BaseModel):
    """What a shop wishes; the defaults wish nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    variety: float = Field(default=0.0, ge=0, le=1)
    """Taken off an item's share of the best score for each item of its category that stands above it, as this part of one."""
    most_of_category: int | None = Field(default=None, ge=1)
    """Items of one category on a list."""
    margin: float = Field(default=0.0, ge=0)
    """Power of an item's relative margin that its score is multiplied by: 0 ignores it, 1 ranks by expected margin."""

    new_items_every: int | None = Field(default=None, ge=2)
    """Every so manieth place of a list of what a customer never bought goes to an item too new for the ranker; None keeps no place."""

    @property
    def is_neutral(self) -> bool:
        """Whether nothing is wished for in the order of what is ranked; places for new items are another matter."""
        return self.variety == 0 and self.most_of_category is None and self.margin == 0


def controls() -> Controls:
    """The wishes of ``configs/controls.yaml``."""
    return config.read(config.shipped("controls.yaml"), Controls)


def relative(margin: Floats) -> Floats | None:
    """(items,) each margin against the usual (the median of those above zero); 1 where none is known, a hundredth at most where nothing is earned.

    None where no margin is known at all.

    >>> relative(np.array([1.0, 4.0, np.nan, 2.0, -1.0])).tolist()
    [0.5, 2.0, 1.0, 1.0, 0.01]
    """
    earned = margin[np.isfinite(margin) & (margin > 0)]
    if not len(earned):
        return None
    return np.where(np.isfinite(margin), np.maximum(np.nan_to_num(margin) / float(np.median(earned)), 0.01), 1.0)


def with_places(items: NDArray[np.int32], new: NDArray[np.int32], every: int) -> NDArray[np.int32]:
    """Lists in which every ``every``-th place belongs to the next of ``new``, as long as there is one; what is on both moves to that place.

    Args:
        items: (customers, k) positions, -1 where a list is shorter.
        new: (customers, m) positions, the best first, -1 where fewer are left.
        every: at least 2.

    >>> with_places(np.array([[0, 1, 2, 3]], dtype=np.int32), np.array([[9, -1]], dtype=np.int32), 2).tolist()
    [[0, 9, 1, 2]]
    """
    k = items.shape[1]
    new = new[:, : k // every]
    count = (new >= 0).sum(axis=1)[:, None]
    twice = (items[:, :, None] == new[:, None, :]).any(axis=2) & (items >= 0)
    kept = (items >= 0) & ~twice
    # A listed item moves back by the places that are given away before it.
    place = np.cumsum(kept, axis=1) - 1
    place = np.where(kept, place + np.minimum(place // (every - 1), count), np.iinfo(np.int64).max)
    given = np.where(new >= 0, (np.arange(new.shape[1]) + 1) * every - 1.5, np.inf)
    order = np.argsort(np.concatenate([place.astype(np.float64), given], axis=1), axis=1, kind="stable")[:, :k]
    both = np.concatenate([np.where(kept, items, -1), new], axis=1)
    return np.asarray(np.take_along_axis(both, order, axis=1), dtype=np.int32)


def controlled(ranking: Ranking, k: int, controls: Controls, category: Integers, margin: Floats | None = None) -> Ranking:
    """The best ``k`` of longer lists under the shop's wishes, place by place: each takes the item whose weighed score is highest.

    Args:
        ranking: lists longer than ``k``, for there to be something to choose from; scores in the unit of the wishes, best by share bought.
        k: places.
        controls: the wishes.
        category: (items,) of the catalogue; -1 is of no category and never held back.
        margin: (items,) above zero, 1 the usual; None where none is known.

    Returns:
        Lists of ``k``; scores are places counted down from ``k``, because what was weighed is no score of one item alone.
    """
    rows, width = ranking.items.shape
    listed = ranking.items >= 0
    item = np.where(listed, ranking.items, 0)
    value = np.where(listed, np.nan_to_num(ranking.scores), 0.0)
    value = value / np.maximum(value.max(axis=1, initial=0.0), 1e-300)[:, None] if width else value
    if margin is not None and controls.margin:
        value = value * margin[item] ** controls.margin
    kind = category[item]
    open_, taken = listed.copy(), np.full((rows, k), -1, dtype=np.int32)
    same_above = np.zeros((rows, width))
    row = np.arange(rows)
    for place in range(min(k, width)):
        weighed = np.where(open_, value - controls.variety * same_above, -np.inf)
        if controls.most_of_category is not None:
            weighed = np.where(same_above >= controls.most_of_category, -np.inf, weighed)
        best = weighed.argmax(axis=1)
        found = np.isfinite(weighed[row, best])
        taken[found, place] = item[found, best[found]]
        open_[found, best[found]] = False
        same_above += found[:, None] & (kind == kind[row, best][:, None]) & (kind >= 0)
    order = np.argsort(taken < 0, axis=1, kind="stable")
    items: NDArray[np.int32] = np.take_along_axis(taken, order, axis=1)
    return Ranking(items, np.where(items >= 0, np.arange(k, 0, -1, dtype=np.float64), np.nan))


def price(before: Floats, after: Floats) -> Interval:
    """What a wish costs: NDCG of each customer's list after it less that before, with its 95 % interval over customers."""
    change = after - before
    mean, error = float(change.mean()), float(change.std(ddof=1) / np.sqrt(len(change))) if len(change) > 1 else 0.0
    return Interval(mean, mean - 1.96 * error, mean + 1.96 * error)
