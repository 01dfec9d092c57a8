"""What is known of a customer and an item together: how often and how lately bought, whether it is due again, how far its price is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.contracts import Floats, Integers
from training.models import item_facts
from training.models.purchases import Block
from training.models.tifu import order_places

OWN = (
    "own_orders",
    "own_share_of_orders",
    "own_per_day",
    "own_last_days",
    "own_orders_since",
    "own_gap_days",
    "own_due",
    "own_due_in_orders",
    "own_lately",
    "price_distance",
    "price_above",
)
CUSTOMER = (
    "customer_orders",
    "customer_items",
    "customer_items_per_order",
    "customer_repeat_share",
    "customer_tenure_days",
    "customer_last_days",
    "customer_gap_days",
    "customer_due",
    "customer_log_price",
)
NAMES = (*OWN, *CUSTOMER, *item_facts.NAMES)
_LATELY = 3
"""Orders that count as lately."""


def pair_facts(block: Block, row: Integers, item: Integers, facts: Floats) -> NDArray[np.float32]:
    """(pairs, facts) in the order of ``NAMES``; NaN where there is nothing to say, such as when an item never bought is due."""
    place, orders = order_places(block)
    customer = _customers(block, orders)
    x = np.empty((len(row), len(NAMES)), dtype=np.float32)
    x[:, len(OWN) : len(OWN) + len(CUSTOMER)] = customer[row]
    x[:, len(OWN) + len(CUSTOMER) :] = facts[item]
    own = x[:, : len(OWN)]
    own[:] = np.nan
    away = facts[item, item_facts.PRICE] - customer[row, CUSTOMER.index("customer_log_price")]
    own[:, OWN.index("price_distance")], own[:, OWN.index("price_above")] = np.abs(away), away
    own[:, 0] = 0.0
    cell, count, last, first, newest, lately = _bought(block, place)
    if not len(cell) or not len(row):
        return x
    asked = row * block.items + item
    found = np.minimum(np.searchsorted(cell, asked), len(cell) - 1)
    known = np.flatnonzero(cell[found] == asked)
    at, who, what = found[known], row[known], item[known]
    times, since = count[at], last[at]
    gap = np.where(times > 1, (first[at] - since) / np.maximum(times - 1, 1), facts[what, item_facts.GAP])
    gap_orders = np.where(times > 1, orders[who] / np.maximum(times, 1), np.nan)
    columns = [
        times,
        times / orders[who],
        times / (customer[who, CUSTOMER.index("customer_tenure_days")] + 1.0),
        since,
        newest[at],
        gap,
        since / np.maximum(gap, 1.0),
        newest[at] / gap_orders,
        lately[at],
    ]
    for number, values in enumerate(columns):
        own[known, number] = values
    return x


def _customers(block: Block, orders: Integers) -> Floats:
    """(customers, facts) in the order of ``CUSTOMER``."""
    lines = np.bincount(block.row, minlength=block.customers).astype(np.float64)
    pairs = _distinct_cells(block)
    items = np.bincount(pairs // max(block.items, 1), minlength=block.customers).astype(np.float64)
    oldest, newest = np.zeros(block.customers), np.full(block.customers, np.inf)
    np.maximum.at(oldest, block.row, block.age_days)
    np.minimum.at(newest, block.row, block.age_days)
    newest = np.where(np.isfinite(newest), newest, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = np.where(orders > 1, (oldest - newest) / (orders - 1.0), np.nan)
        priced = np.isfinite(block.price) & (block.price > 0)
        known = np.bincount(block.row[priced], minlength=block.customers)
        price = np.bincount(block.row[priced], np.log(block.price[priced]), block.customers) / known
        columns = [
            orders, items, lines / orders, 1.0 - items / lines, oldest, newest, gap, newest / np.maximum(gap, 1.0), price,
        ]  # fmt: skip
        return np.stack(columns, axis=1).astype(np.float64)


def _distinct_cells(block: Block) -> Integers:
    cell = np.sort(block.row * block.items + block.item)
    return cell[np.concatenate([[True], cell[1:] != cell[:-1]])] if len(cell) else cell


def _bought(block: Block, place: Integers) -> tuple[Integers, Floats, Floats, Floats, Floats, Floats]:
    """Per pair bought, by cell: orders, days since the last and the first, orders since the last, and how many of them were lately."""
    cell = block.row * block.items + block.item
    order = np.argsort(cell, kind="stable")
    ordered = cell[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])) if len(ordered) else np.empty(0, dtype=np.int64)
    if not len(starts):
        empty = np.empty(0)
        return ordered, empty, empty, empty, empty, empty
    count = np.diff(np.append(starts, len(ordered))).astype(np.float64)
    age, when = block.age_days[order], place[order]
    last, first = np.minimum.reduceat(age, starts), np.maximum.reduceat(age, starts)
    return ordered[starts], count, last, first, np.minimum.reduceat(when, starts).astype(np.float64), np.add.reduceat((when < _LATELY) * 1.0, starts)
