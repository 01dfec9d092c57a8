"""Pairs of a user and an item to be put in order: what the rankers say of each, and what is known of both at the cut."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.reference.bought import LENGTH, Bought, Scores, Target, Wanted, allowed, blocks

DEPTH = 60
"""Best items of each ranker that are put in order."""
WINDOWS = (7, 30, 90, np.inf)


@dataclass(frozen=True)
class Pairs:
    """Rows by user, then item."""

    user: NDArray[np.int64]
    item: NDArray[np.int64]
    shares: NDArray[np.float32]
    """(rows, rankers) score as a share of the user's best allowed one; nothing below zero."""
    facts: NDArray[np.float32]
    """(rows, facts) the ranks among the pairs of the user, then what is known of user and item."""

    def of(self, users: NDArray[np.int64]) -> Pairs:
        """Those of some users."""
        kept = np.isin(self.user, users)
        return replace(self, user=self.user[kept], item=self.item[kept], shares=self.shares[kept], facts=self.facts[kept])

    def with_blend(self, weights: NDArray[np.float64]) -> NDArray[np.float32]:
        """(rows, columns) all there is to learn from, the blend the first column."""
        mixed = (self.shares @ weights.astype(np.float32))[:, None]
        return np.hstack([mixed, _ranks(self.user, mixed), self.shares, self.facts])

    def lists(self, score: NDArray[Any], users: int, length: int = LENGTH) -> NDArray[np.int64]:
        """(users, length) best first; equals by item."""
        order = np.lexsort((self.item, -np.asarray(score), self.user))
        user = self.user[order]
        place = np.arange(len(user)) - np.searchsorted(user, user)
        found = np.full((users, length), -1, dtype=np.int64)
        kept = place < length
        found[user[kept], place[kept]] = self.item[order][kept]
        return found

    def hits(self, wanted: Wanted) -> NDArray[np.float64]:
        """(rows,) whether the user bought the item in the window."""
        return np.asarray(wanted.pairs[self.user, self.item], dtype=np.float64).ravel()


def pairs(scores: Mapping[str, Scores], known: Bought, target: Target) -> Pairs:
    """Of all users: the best of each ranker that the target allows."""
    of_item = _items(known)
    found = [_block({name: each[rows] for name, each in scores.items()}, known, rows, target, of_item) for rows in blocks(len(known.users))]
    return Pairs(*(np.concatenate([getattr(part, name) for part in found]) for name in ("user", "item", "shares", "facts")))


def _block(scores: Mapping[str, Scores], known: Bought, rows: slice, target: Target, of_item: NDArray[np.float64]) -> Pairs:
    shared, chosen = [], np.zeros((rows.stop - rows.start, len(known.items)), dtype=bool)
    for each in scores.values():
        usable = np.maximum(allowed(each, known, rows, target), 0.0)
        usable /= np.maximum(usable.max(axis=1, keepdims=True), 1e-12)
        shared.append(usable)
        width = min(DEPTH, usable.shape[1])
        best = np.argpartition(-usable, width - 1, axis=1)[:, :width]
        above = np.take_along_axis(usable, best, axis=1) > 0
        row = np.broadcast_to(np.arange(len(best))[:, None], best.shape)
        chosen[row[above], best[above]] = True
    row, item = np.nonzero(chosen)
    shares = np.stack([each[row, item] for each in shared], axis=1).astype(np.float32)
    user = row + rows.start
    facts = np.hstack([_ranks(user, shares), _known(known, user, item, of_item)])
    return Pairs(user, item, shares, facts.astype(np.float32))


def _ranks(user: NDArray[np.int64], shares: NDArray[np.float32]) -> NDArray[np.float32]:
    found = np.empty(shares.shape, dtype=np.float32)
    for column in range(shares.shape[1]):
        order = np.lexsort((-shares[:, column], user))
        of = user[order]
        found[order, column] = np.arange(len(of)) - np.searchsorted(of, of) + 1.0
    return found


def _items(known: Bought) -> NDArray[np.float64]:
    """(items, facts): buyers in windows, trend, age, repeat rate, days between two baskets of one buyer, log price."""
    count = len(known.items)
    buyers = [known.buyers(days) for days in WINDOWS]
    oldest = np.zeros(count)
    np.maximum.at(oldest, known.item, known.age)
    baskets = np.bincount(known.item, minlength=count).astype(float)
    span, again = _gaps(known)
    usual = span.sum() / max(again.sum(), 1.0)
    priced = known.price > 0
    price = np.bincount(known.item[priced], np.log(known.price[priced]), count) / np.maximum(np.bincount(known.item[priced], minlength=count), 1)
    return np.column_stack(
        [*buyers, (buyers[0] + 1) / (buyers[1] * 7 / 30 + 1), (buyers[1] + 1) / (buyers[2] / 3 + 1), oldest, baskets / buyers[-1],
         (span + 5 * usual) / (again + 5), price]
    )  # fmt: skip


def _gaps(known: Bought) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(items,) days and number of the gaps between two baskets of one buyer with the item."""
    cell, first, last, times = known.cells
    item = cell % len(known.items)
    return np.bincount(item, first - last, len(known.items)), np.bincount(item, times - 1, len(known.items))


def _known(known: Bought, user: NDArray[np.int64], item: NDArray[np.int64], of_item: NDArray[np.float64]) -> NDArray[np.float64]:
    """Own count, rate, recency and whether it is due; facts of the item; how far its price is; facts of the user."""
    cell, first, last, times = known.cells
    place = np.searchsorted(cell, user * len(known.items) + item)
    place = np.minimum(place, len(cell) - 1)
    had = cell[place] == user * len(known.items) + item
    nothing = np.where(had, 0.0, np.nan)
    count, since = np.where(had, times[place], 0.0), last[place] + nothing
    gap = np.where(count > 1, (first[place] - last[place]) / np.maximum(count - 1, 1), of_item[item, -2])
    tenure, newest = np.zeros(len(known.users)), np.full(len(known.users), np.inf)
    np.maximum.at(tenure, known.user, known.age)
    np.minimum.at(newest, known.user, known.age)
    lines = np.bincount(known.user, minlength=len(known.users)).astype(float)
    own_items = np.diff(known.counts.indptr).astype(float)
    priced = known.price > 0
    usual = np.bincount(known.user[priced], np.log(known.price[priced]), len(known.users))
    usual /= np.maximum(np.bincount(known.user[priced], minlength=len(known.users)), 1)
    return np.column_stack(
        [
            count, count / known.baskets[user], count / (tenure[user] + 1), since, gap + nothing, since / np.maximum(gap, 1.0), of_item[item],
            of_item[item, -1] - usual[user], np.abs(of_item[item, -1] - usual[user]), known.baskets[user], lines[user] / known.baskets[user],
            own_items[user], 1 - own_items[user] / lines[user], tenure[user], newest[user], usual[user],
        ]
    )  # fmt: skip
