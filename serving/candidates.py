"""Ranked lists of every customer, made once when rows are published, and how often what stands at a rank is bought."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.interactions import Interactions
from serving.decisions.scoring import wilson
from serving.gather import Ragged
from training.contracts import PURPOSES, FittedRanker, Floats, Integers, Purpose

LENGTH = 50
"""Items kept per list."""
MOST = 20_000
"""Customers that the share by rank is counted on."""


@dataclass(frozen=True)
class Lists:
    """Lists of one purpose, one row per customer: positions in ``names``, -1 where a list is shorter."""

    items: NDArray[np.int32]
    shares: Floats
    """(2, ranks, 3) share, low, high with which the item at a rank is bought within the horizon: of all customers, and of those who buy at all."""


def ranked(
    ranker: FittedRanker, history: Interactions, past: Interactions, ids: NDArray[np.object_], names: NDArray[np.object_]
) -> dict[Purpose, Lists]:
    """Lists of every purpose for ``ids``.

    Args:
        ranker: the champion.
        history: everything before now.
        past: everything before one horizon ago; what was bought since then says how often each rank is right.
        ids: customers; one without history has empty lists.
        names: ids of items, sorted; lists hold positions in it.
    """
    place = positions(names, ranker.items)
    rows = positions(history.customers, ids)
    known = np.flatnonzero(rows >= 0)
    result: dict[Purpose, Lists] = {}
    for purpose in PURPOSES:
        items = np.full((len(ids), LENGTH), -1, dtype=np.int32)
        found = ranker.rank(history, rows[known].astype(np.int64), LENGTH, purpose).items
        items[known] = np.where(found >= 0, place[found], -1)
        result[purpose] = Lists(items, _shares(ranker, history, past, purpose))
    return result


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


def _shares(ranker: FittedRanker, history: Interactions, past: Interactions, purpose: Purpose) -> Floats:
    """Share of lists made one horizon ago whose item at a rank was bought since. The champion may have learned from those purchases too."""
    result = np.zeros((2, LENGTH, 3))
    if not len(past):
        return result
    step = -(-len(past.customers) // MOST)
    sample = np.arange(0, len(past.customers), step, dtype=np.int64)
    lists = ranker.rank(past, sample, LENGTH, purpose).items
    since = np.datetime64(past.moment.replace(tzinfo=None), "us")
    fresh = history.at >= since
    item = positions(ranker.items, history.items)[history.item[fresh]]
    rows = positions(past.customers[sample], history.customers)[history.customer[fresh]]
    width = len(ranker.items)
    useful = (rows >= 0) & (item >= 0)
    bought = np.unique(rows[useful] * width + item[useful])
    is_buyer = np.zeros(len(sample), dtype=bool)
    is_buyer[rows[rows >= 0]] = True
    hit = np.isin(np.arange(len(sample)).reshape(-1, 1) * width + lists, bought) & (lists >= 0)
    for which, chosen in enumerate((np.ones(len(sample), dtype=bool), is_buyer)):
        n = (lists[chosen] >= 0).sum(axis=0).astype(np.float64)
        shares = falling(np.divide(hit[chosen].sum(axis=0), n, out=np.zeros(LENGTH), where=n > 0), n)
        result[which] = [wilson(share * count, count) if count else (0.0, 0.0, 0.0) for share, count in zip(shares, n, strict=True)]
    return result
