"""A split of purchases as arrays, and how lists on it are judged while settings are searched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

Target = Literal["all", "new", "repeat"]
TARGETS: tuple[Target, ...] = ("all", "new", "repeat")
Scores = NDArray[np.float32]
LENGTH = 20
BLOCK = 400


@dataclass(frozen=True)
class Bought:
    """What was bought before a cut, one row per user, item and basket, sorted by user; users and items by position in their sorted ids."""

    users: NDArray[Any]
    items: NDArray[Any]
    user: NDArray[np.int64]
    item: NDArray[np.int64]
    basket: NDArray[np.int64]
    """(rows,) the same within one basket."""
    age: NDArray[np.float64]
    """(rows,) days before the cut."""
    price: NDArray[np.float64]

    @classmethod
    def of(cls, events: pd.DataFrame, cut: pd.Timestamp) -> Bought:
        """The evaluator's events.

        Raises:
            ValueError: one of them does not lie before the cut.
        """
        late = events.time >= cut
        if late.any():
            raise ValueError(f"{int(late.sum())} events at or after {cut}, the first at {events.time[late].min()}: they may teach nothing")
        events = events.sort_values(["user_id", "time", "basket", "item_id"], kind="stable")
        users, user = np.unique(events.user_id.to_numpy(), return_inverse=True)
        items, item = np.unique(events.item_id.to_numpy(), return_inverse=True)
        age = ((cut - events.time) / pd.Timedelta(days=1)).to_numpy(float)
        return cls(users, items, user, item, pd.factorize(events.basket)[0], age, events.price.to_numpy(float))

    @property
    def shape(self) -> tuple[int, int]:
        """Users and items."""
        return len(self.users), len(self.items)

    def matrix(self, weight: NDArray[np.float64]) -> Any:
        """CSR (users, items) of sums of one weight per row."""
        found = sparse.csr_matrix((weight, (self.user, self.item)), shape=self.shape)
        found.sum_duplicates()
        return found

    @cached_property
    def counts(self) -> Any:
        """CSR of baskets."""
        return self.matrix(np.ones(len(self.user)))

    @cached_property
    def baskets(self) -> NDArray[np.float64]:
        """(users,) baskets."""
        pairs = pd.DataFrame({"user": self.user, "basket": self.basket}).drop_duplicates()
        return np.bincount(pairs.user, minlength=len(self.users)).astype(float)

    @cached_property
    def cells(self) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Pairs bought, by user * items + item: age of the first and of the last basket, and how many."""
        cell = self.user * len(self.items) + self.item
        order = np.argsort(cell, kind="stable")
        found, start, times = np.unique(cell[order], return_index=True, return_counts=True)
        age = self.age[order]
        return found, np.maximum.reduceat(age, start), np.minimum.reduceat(age, start), times.astype(float)

    def buyers(self, days: float = np.inf) -> NDArray[np.float64]:
        """(items,) distinct buyers within days before the cut."""
        recent = self.age <= days
        pairs = np.unique(self.user[recent] * len(self.items) + self.item[recent])
        return np.bincount(pairs % len(self.items), minlength=len(self.items)).astype(float)

    def weighted(self, how: str) -> Any:
        """CSR of bought items, counted once, by the log of baskets, by baskets, or fading by half in 60 days."""
        if how == "recency":
            return self.matrix(np.exp2(-self.age / 60.0))
        found = self.counts.copy()
        if how != "count":
            found.data = np.log1p(found.data) if how == "log" else np.ones_like(found.data)
        return found


@dataclass(frozen=True)
class Wanted:
    """What users bought after a cut, by a target."""

    rows: NDArray[np.int64]
    """Users with something to find."""
    pairs: Any
    """CSR (users, items), boolean."""

    @classmethod
    def of(cls, targets: pd.DataFrame, known: Bought, target: Target) -> Wanted:
        """The evaluator's targets."""
        part = targets if target == "all" else targets[targets.seen == (target == "repeat")]
        user, item = np.searchsorted(known.users, part.user_id.to_numpy()), np.searchsorted(known.items, part.item_id.to_numpy())
        pairs = sparse.csr_matrix((np.ones(len(part), dtype=bool), (user, item)), shape=known.shape)
        return cls(np.unique(user), pairs)

    def ndcg(self, lists: NDArray[np.int64], k: int = 10) -> NDArray[np.float64]:
        """(users with something to find,) of lists of all users, -1 where one is short."""
        asked, gain = lists[self.rows, :k], 1.0 / np.log2(np.arange(2, k + 2))
        hit = np.stack([self._hit(asked[:, place]) for place in range(k)], axis=1)
        size = np.minimum(np.diff(self.pairs.indptr)[self.rows], k)
        return np.asarray((hit @ gain) / np.cumsum(gain)[size - 1])

    def _hit(self, item: NDArray[np.int64]) -> NDArray[np.bool_]:
        found = np.asarray(self.pairs[self.rows, np.maximum(item, 0)]).ravel()
        return np.asarray(found & (item >= 0))


def allowed(scores: Scores, known: Bought, rows: slice, target: Target) -> Scores:
    """Scores of a block of users, minus infinity where the target takes no item."""
    if target == "all":
        return scores
    had = known.counts[rows].toarray() > 0
    return np.where(had if target == "repeat" else ~had, scores, np.float32(-np.inf))


def lists(scores: Scores, known: Bought, target: Target, length: int = LENGTH) -> NDArray[np.int64]:
    """(users, length) best items, the smaller id first among equals; -1 where nothing is left."""
    found = np.full((len(scores), length), -1, dtype=np.int64)
    for rows in blocks(len(scores)):
        usable = allowed(scores[rows], known, rows, target)
        width = min(2 * length, usable.shape[1])
        near = np.sort(np.argpartition(-usable, width - 1, axis=1)[:, :width], axis=1)
        value = np.take_along_axis(usable, near, axis=1)
        order = np.argsort(-value, axis=1, kind="stable")[:, :length]
        best = np.take_along_axis(near, order, axis=1)
        found[rows, : best.shape[1]] = np.where(np.isfinite(np.take_along_axis(value, order, axis=1)), best, -1)
    return found


def blocks(rows: int, size: int = BLOCK) -> Iterator[slice]:
    """Users some at a time."""
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))


def frame(found: NDArray[np.int64], known: Bought) -> pd.DataFrame:
    """The evaluator's ``user_id``, ``item_id``, ``rank``."""
    row, place = np.nonzero(found >= 0)
    return pd.DataFrame({"user_id": known.users[row], "item_id": known.items[found[row, place]], "rank": place + 1})
