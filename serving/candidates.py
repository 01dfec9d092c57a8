"""Ranked lists of every customer, made once when rows are published, and how often what stands at a rank is bought."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.interactions import Interactions
from serving.decisions.scoring import wilson
from serving.gather import Ragged
from serving.new_items import NewItems
from training.contracts import PURPOSES, FittedRanker, Floats, Integers, Purpose, Ranking
from training.controls import Controls, controlled, with_places

LENGTH = 50
"""Items kept per list."""
LONG = 200
"""Items that the shop's wishes choose them from."""
BLOCK = 20_000
"""Customers whose lists are made at once."""
MOST = 20_000
"""Customers that the share by rank is counted on."""


@dataclass(frozen=True)
class Lists:
    """Lists of one purpose, one row per customer: positions in ``names``, -1 where a list is shorter."""

    items: NDArray[np.int32]
    shares: Floats
    """(2, ranks, 3) share, low, high with which the item at a rank is bought within the horizon: of all customers, and of those who buy at all."""


@dataclass(frozen=True)
class Terms:
    """What the shop wishes of its lists, and what of its items that takes; items by position in ``names``."""

    wishes: Controls
    category: Integers
    """-1 is of no category."""
    margin: Floats | None
    """Against the usual; None where no margin is known."""


@dataclass(frozen=True)
class Maker:
    """Makes lists of one purpose: the ranker's own, the shop's wishes, then places for what is new."""

    ranker: FittedRanker
    names: NDArray[np.object_]
    """Ids of items, sorted; lists hold positions in it."""
    terms: Terms
    purpose: Purpose

    @property
    def width(self) -> int:
        """Places of the ranker's own lists: more than are kept where wishes have to choose."""
        return LENGTH if self.terms.wishes.is_neutral else LONG

    def own(self, history: Interactions, rows: Integers) -> NDArray[np.int32]:
        """(rows, width) the ranker's own lists for customers of a history."""
        place = positions(self.names, self.ranker.items)
        found = self.ranker.rank(history, rows, self.width, self.purpose).items
        return np.asarray(np.where(found >= 0, place[found], -1), dtype=np.int32)

    def wished(self, own: NDArray[np.int32], share: Floats, length: int = LENGTH) -> NDArray[np.int32]:
        """Lists under the shop's wishes; ``share`` is how often what stands at a rank of the own lists is bought."""
        if self.terms.wishes.is_neutral:
            return own[:, :length]
        scores = np.where(own >= 0, share[None, :], np.nan)
        return controlled(Ranking(own, scores), length, self.terms.wishes, self.terms.category, self.terms.margin).items

    def placed(self, lists: NDArray[np.int32], new: NewItems | None, history: Interactions, rows: Integers) -> NDArray[np.int32]:
        """Lists of what is new to a customer, with the places that are kept for what is new to the shop."""
        every = self.terms.wishes.new_items_every
        if new is None or every is None or self.purpose != "new":
            return lists
        place = positions(self.names, new.items)
        found = new.nearest(history, rows, LENGTH // every)
        return with_places(lists, np.where(found >= 0, place[found], -1).astype(np.int32), every)


def ranked(
    ranker: FittedRanker,
    history: Interactions,
    past: Interactions,
    ids: NDArray[np.object_],
    names: NDArray[np.object_],
    terms: Terms,
    new: NewItems | None = None,
    new_then: NewItems | None = None,
) -> dict[Purpose, Lists]:
    """Lists of every purpose for ``ids``.

    Args:
        ranker: the champion.
        history: everything before now.
        past: everything before one horizon ago; what was bought since then says how often each rank is right.
        ids: customers; one without history has empty lists.
        names: ids of items, sorted; lists hold positions in it.
        terms: the shop's wishes.
        new: items too new for the ranker now; None where there are none.
        new_then: those of one horizon ago.
    """
    rows = positions(history.customers, ids)
    known = np.flatnonzero(rows >= 0)
    result: dict[Purpose, Lists] = {}
    for purpose in PURPOSES:
        maker = Maker(ranker, names, terms, purpose)
        then = Past.of(maker, history, past)
        share = then.share_by_rank(then.own)
        items = np.full((len(ids), LENGTH), -1, dtype=np.int32)
        for start in range(0, len(known), BLOCK):
            chosen = known[start : start + BLOCK]
            asked = rows[chosen].astype(np.int64)
            items[chosen] = maker.placed(maker.wished(maker.own(history, asked), share), new, history, asked)
        served = maker.placed(maker.wished(then.own, share), new_then, past, then.sample)
        result[purpose] = Lists(items, then.shares(served))
    return result


def owning(history: Interactions, ids: NDArray[np.object_], names: NDArray[np.object_], now: datetime, zone: str) -> dict[str, NDArray[Any]]:
    """What each customer owns at a moment, as the rows hold it; days are calendar days on the clock of ``zone``."""
    found = owned(history, ids, names)
    day = pd.DatetimeIndex(found.columns["micros"].astype("datetime64[us]")).tz_localize("UTC").tz_convert(zone).normalize()
    today = pd.Timestamp(now).tz_convert(zone).normalize()
    # Days on a clock that moves in spring: rounded, because one of them has 23 hours.
    days = np.rint((today - day) / pd.Timedelta(days=1)).astype(np.int32)
    return {"owned.start": found.start, "owned.item": found.columns["item"], "owned.orders": found.columns["orders"], "owned.days": days}


def owned(history: Interactions, ids: NDArray[np.object_], names: NDArray[np.object_]) -> Ragged:
    """What each customer has bought: ``item`` (position in ``names``), ``orders``, ``micros`` of the last."""
    place = positions(names, history.items)
    cell = history.customer.astype(np.int64) * len(history.items) + history.item
    order = np.lexsort((history.at, cell))
    cells, start, count = np.unique(cell[order], return_index=True, return_counts=True)
    last = history.at[order][start + count - 1].astype("datetime64[us]").astype(np.int64)
    owner = positions(ids, history.customers)[cells // max(len(history.items), 1)]
    kept = np.flatnonzero(owner >= 0)
    kept = kept[np.argsort(owner[kept], kind="stable")]
    item = place[cells % max(len(history.items), 1)]
    starts = np.concatenate([[0], np.cumsum(np.bincount(owner[kept], minlength=len(ids)))]).astype(np.int64)
    return Ragged(starts, {"item": item[kept].astype(np.int32), "orders": count[kept].astype(np.int32), "micros": last[kept]})


def positions(sorted_ids: NDArray[np.object_], ids: NDArray[np.object_]) -> Integers:
    """Position of each id in ``sorted_ids``; -1 where it is not there."""
    if not len(sorted_ids):
        return np.full(len(ids), -1, dtype=np.int64)
    found = np.searchsorted(sorted_ids, ids)
    found[found == len(sorted_ids)] = 0
    return np.where(sorted_ids[found] == ids, found, -1).astype(np.int64)


def falling(shares: Floats, weights: Floats) -> Floats:
    """The nearest shares that never rise from rank to rank (pool adjacent violators).

    >>> falling(np.array([0.5, 0.2, 0.3]), np.array([1.0, 1.0, 1.0])).tolist()
    [0.5, 0.25, 0.25]
    """
    pools: list[list[float]] = []
    for share, weight in zip(shares, weights, strict=True):
        pools.append([share * weight, weight, 1])
        while len(pools) > 1 and pools[-1][0] * pools[-2][1] > pools[-2][0] * pools[-1][1]:
            total, weight_, count = pools.pop()
            pools[-1] = [pools[-1][0] + total, pools[-1][1] + weight_, pools[-1][2] + count]
    return np.concatenate([np.full(int(count), total / weight if weight else 0.0) for total, weight, count in pools]) if pools else np.zeros(0)


@dataclass(frozen=True)
class Past:
    """Lists made one horizon ago and what was bought since. The champion may have learned from those purchases too."""

    sample: Integers
    """Customers of the past who are looked at, by position in its history."""
    own: NDArray[np.int32]
    bought: Integers
    """Place in the sample * names + item, sorted."""
    is_buyer: NDArray[np.bool_]
    names: int

    @classmethod
    def of(cls, maker: Maker, history: Interactions, past: Interactions) -> Past:
        """Look at some of the customers of the past."""
        if not len(past):
            nobody = np.empty(0, dtype=np.int64)
            return cls(nobody, np.empty((0, maker.width), dtype=np.int32), nobody, np.empty(0, dtype=np.bool_), len(maker.names))
        step = -(-len(past.customers) // MOST)
        sample = np.arange(0, len(past.customers), step, dtype=np.int64)
        fresh = history.at >= np.datetime64(past.moment.replace(tzinfo=None), "us")
        item = positions(maker.names, history.items)[history.item[fresh]]
        rows = positions(past.customers[sample], history.customers)[history.customer[fresh]]
        useful = (rows >= 0) & (item >= 0)
        is_buyer = np.zeros(len(sample), dtype=np.bool_)
        is_buyer[rows[rows >= 0]] = True
        bought = np.unique(rows[useful] * len(maker.names) + item[useful])
        return cls(sample, maker.own(past, sample), bought, is_buyer, len(maker.names))

    def hits(self, lists: NDArray[np.int32]) -> NDArray[np.bool_]:
        """(sample, places) what of the lists was bought since."""
        return np.isin(np.arange(len(self.sample)).reshape(-1, 1) * self.names + lists, self.bought) & (lists >= 0)

    def share_by_rank(self, lists: NDArray[np.int32], who: NDArray[np.bool_] | slice = slice(None)) -> Floats:
        """How often what stands at a rank is bought by some of the sample: never rising, zero where nobody's list is so long."""
        n = (lists[who] >= 0).sum(axis=0).astype(np.float64)
        return falling(np.divide(self.hits(lists)[who].sum(axis=0), n, out=np.zeros(len(n)), where=n > 0), n)

    def shares(self, lists: NDArray[np.int32]) -> Floats:
        """See ``Lists.shares``."""
        result = np.zeros((2, LENGTH, 3))
        if not len(self.sample):
            return result
        for which, chosen in enumerate((np.ones(len(self.sample), dtype=bool), self.is_buyer)):
            n = (lists[chosen] >= 0).sum(axis=0).astype(np.float64)
            shares = self.share_by_rank(lists, chosen)
            result[which] = [wilson(share * count, count).triple if count else (0.0, 0.0, 0.0) for share, count in zip(shares, n, strict=True)]
        return result
