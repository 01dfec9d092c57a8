"""How a history of purchases is handed to rankers: on the catalogue of the model, in blocks of customers, as matrices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from features.interactions import Interactions
from retain.errors import DataError
from training.contracts import Floats, Integers

CELLS = 4_000_000
"""Scores held at once (32 MB): customers of a block times items of the catalogue."""
Weight = Literal["binary", "log", "recency"]


@dataclass(frozen=True)
class Block:
    """Purchases of some customers, one row per customer, item and order."""

    customers: int
    items: int
    row: NDArray[np.int64]
    """(rows,) position of the customer in the block, rising."""
    item: NDArray[np.int64]
    age_days: Floats
    """(rows,) days from the purchase to the moment of the history."""
    order: NDArray[np.int64]
    """(rows,) a number for the order; equal within one order."""
    price: Floats
    """(rows,) amount per unit; NaN where unknown."""

    @cached_property
    def bought(self) -> NDArray[np.bool_]:
        """(customers, items) who bought what."""
        mask = np.zeros(self.customers * self.items, dtype=bool)
        mask[self._cell] = True
        return mask.reshape(self.customers, self.items)

    def dense(self, weights: Floats) -> Floats:
        """(customers, items) sums of ``weights`` (one per purchase)."""
        sums = np.bincount(self._cell, weights, self.customers * self.items)
        return np.asarray(sums, dtype=np.float64).reshape(self.customers, self.items)

    def sparse(self, weight: Weight, half_life_days: float) -> Any:
        """CSR (customers, items): one cell per pair bought; 1, log(1 + orders), or orders fading by half each half-life.

        Within a row the items rise, so whatever is summed along a row is summed in the same order however customers are blocked.
        """
        from scipy.sparse import csr_matrix

        value = np.exp2(-self.age_days / half_life_days) if weight == "recency" else np.ones(len(self.row))
        matrix = csr_matrix((value, (self.row, self.item)), shape=(self.customers, self.items))
        matrix.sum_duplicates()
        if weight != "recency":
            matrix.data = np.log1p(matrix.data) if weight == "log" else np.ones(matrix.nnz)
        return matrix

    @cached_property
    def _cell(self) -> NDArray[np.int64]:
        return self.row * self.items + self.item


def block(history: Interactions, customers: Integers) -> Block:
    """The purchases of customers, given by their positions in ``history``; a customer may be asked twice.

    Raises:
        DataError: a position is outside the history. Arrays would answer -1 from their end.
    """
    outside = customers[(customers < 0) | (customers >= len(history.customers))]
    if len(outside):
        raise DataError(f"customer {outside[0]} is no position in a history of {len(history.customers)} customers; look ids up in its `customers`")
    first = np.searchsorted(history.customer, customers)
    count = np.searchsorted(history.customer, customers, side="right") - first
    row = np.repeat(np.arange(len(customers)), count)
    source = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count) + np.repeat(first, count)
    item = history.item[source].astype(np.int64)
    return Block(len(customers), len(history.items), row, item, ages(history, source), history.order[source], history.price[source])


def blocks(history: Interactions, customers: Integers, cells: int = CELLS) -> Iterator[tuple[slice, Block]]:
    """Customers in blocks whose scores fit into ``cells``, each with its place in ``customers``."""
    size = max(1, cells // max(len(history.items), 1))
    for start in range(0, len(customers), size):
        place = slice(start, min(start + size, len(customers)))
        yield place, block(history, customers[place])


def everybody(history: Interactions) -> Block:
    """One block of all customers of a history; for learning, where nothing dense is made of it."""
    item = history.item.astype(np.int64)
    return Block(len(history.customers), len(history.items), history.customer.astype(np.int64), item, ages(history), history.order, history.price)


def ages(history: Interactions, rows: Integers | None = None) -> Floats:
    """Days from each purchase, or from those in some rows, to the moment of the history."""
    moment = np.datetime64(history.moment.replace(tzinfo=None), "us")
    return np.asarray((moment - (history.at if rows is None else history.at[rows])) / np.timedelta64(1, "D"), dtype=np.float64)


def buyers(history: Interactions, days: float = np.inf) -> Floats:
    """(items,) distinct customers who bought the item within ``days`` before the moment."""
    recent = ages(history) <= days
    pairs = distinct(history.customer[recent].astype(np.int64) * len(history.items) + history.item[recent])
    return np.bincount(pairs % max(len(history.items), 1), minlength=len(history.items)).astype(np.float64)


def distinct(values: Integers) -> Integers:
    """Sorted distinct values; by sorting, which is many times faster for these than the hashing of ``np.unique``."""
    ordered = np.sort(values)
    return ordered[np.concatenate([[True], ordered[1:] != ordered[:-1]])] if len(ordered) else ordered


def catalogue(history: Interactions, min_customers: int) -> Interactions:
    """The history of those items alone that at least ``min_customers`` bought."""
    # One purchase is one buyer: distinct buyers need counting only where more are asked for.
    count = buyers(history) if min_customers > 1 else np.bincount(history.item, minlength=len(history.items))
    return align(history, history.items[count >= min_customers])


def align(history: Interactions, items: NDArray[np.object_]) -> Interactions:
    """A history on the catalogue ``items`` (sorted): purchases of other items are left out, all customers stay."""
    if history.items is items or np.array_equal(history.items, items):
        return history
    place = np.searchsorted(items, history.items)
    known = np.zeros(len(history.items), dtype=bool)
    inside = place < len(items)
    known[inside] = items[place[inside]] == history.items[inside]
    rows = known[history.item]
    return replace(
        history, items=items, customer=history.customer[rows], item=place[history.item[rows]].astype(np.int32),
        order=history.order[rows], at=history.at[rows], price=history.price[rows],
    )  # fmt: skip


def before(history: Interactions, days: float) -> Interactions:
    """What was bought until ``days`` before the moment: the history as it stood then, by what is known now."""
    rows = ages(history) > days
    return replace(
        history, moment=history.moment - timedelta(days=days), customer=history.customer[rows], item=history.item[rows],
        order=history.order[rows], at=history.at[rows], price=history.price[rows],
    )  # fmt: skip
