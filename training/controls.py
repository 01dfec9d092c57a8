"""The shop's own wishes for a ranked list: variety, at most so many of a category, margin, places for what is new. Pure, on lists.

Each of them moves items that a customer is less likely to buy ahead of others; ``price`` says what that costs in NDCG.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

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

    @property
    def is_neutral(self) -> bool:
        """Whether nothing is wished for."""
        return self.variety == 0 and self.most_of_category is None and self.margin == 0


def controlled(ranking: Ranking, k: int, controls: Controls, category: Integers, margin: Floats | None = None) -> Ranking:
    """The best ``k`` of longer lists under the shop's wishes, place by place: each takes the item whose weighed score is highest.

    Args:
        ranking: lists longer than ``k``, for there to be something to choose from.
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
