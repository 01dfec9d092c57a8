"""How customers bought lately, from their purchases alone: what a ranker's drift is measured by. Nothing here grows with the length of history."""

from __future__ import annotations

import numpy as np

from features.interactions import Interactions
from training.contracts import Floats, Integers
from training.models.purchases import ages, distinct

NAMES = ("days_since_order", "orders_28d", "items_per_order_28d", "repeat_share_28d")
RECENT_DAYS = 28
ACTIVE_DAYS = 90
"""Customers with an order in so many days are looked at, and a repeat is of what was bought within them."""


def active(history: Interactions) -> Integers:
    """Positions of the customers with an order lately."""
    return np.unique(history.customer[ages(history) <= ACTIVE_DAYS]).astype(np.int64)


def habits(history: Interactions) -> Floats:
    """(active customers, names); NaN where a customer bought nothing in the days that a figure is of."""
    who = active(history)
    age, width = ages(history), max(len(history.items), 1)
    place = np.full(len(history.customers), -1, dtype=np.int64)
    place[who] = np.arange(len(who))
    row = place[history.customer]
    rows = np.flatnonzero((row >= 0) & (age <= ACTIVE_DAYS))
    since = np.full(len(who), np.inf)
    np.minimum.at(since, row[rows], age[rows])
    recent, earlier = rows[age[rows] <= RECENT_DAYS], rows[age[rows] > RECENT_DAYS]
    number = np.unique(history.order[recent], return_inverse=True)[1] if len(recent) else np.empty(0, dtype=np.int64)
    orders = np.bincount(distinct(row[recent] * max(len(recent), 1) + number) // max(len(recent), 1), minlength=len(who)).astype(np.float64)
    lines = np.bincount(row[recent], minlength=len(who)).astype(np.float64)
    bought, before = distinct(row[recent] * width + history.item[recent]), distinct(row[earlier] * width + history.item[earlier])
    items = np.bincount(bought // width, minlength=len(who)).astype(np.float64)
    again = np.bincount(bought[np.isin(bought, before)] // width, minlength=len(who)).astype(np.float64)
    return np.column_stack([np.floor(since), orders, _ratio(lines, orders), _ratio(again, items)])


def _ratio(above: Floats, below: Floats) -> Floats:
    return np.asarray(np.divide(above, below, out=np.full(len(above), np.nan), where=below > 0), dtype=np.float64)
