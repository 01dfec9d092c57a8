"""What is known of each item at a moment: how many buy it, whether they come back for it, how old and how dear it is, its season."""

from __future__ import annotations

import numpy as np

from features.interactions import Interactions
from training.contracts import Floats, Integers
from training.models.purchases import ages, distinct

WINDOWS = (7, 30, 90)
"""Days in which buyers are counted, besides all of history."""
NAMES = (
    *(f"item_share_{days}d" for days in WINDOWS),
    "item_share",
    "item_trend_week",
    "item_trend_month",
    "item_age_days",
    "item_idle_days",
    "item_repeat_share",
    "item_orders_per_buyer",
    "item_gap_days",
    "item_log_price",
    "item_season",
)
GAP, PRICE = NAMES.index("item_gap_days"), NAMES.index("item_log_price")
_YEAR = 365
_FIRST_DAYS = 14
"""Items seen in the first days of a history are of unknown age: they may have been sold for years."""
_OF_OLD = 1000.0
_HELD = 5.0
"""Buyers of the average item that each item's rates are filled up with."""


def item_facts(history: Interactions, horizon_days: int) -> Floats:
    """(items, facts) in the order of ``NAMES``.

    The season is how many bought the item in the window to come, a year ago, against the rest of that year; -1 where history is shorter.
    """
    items, age = len(history.items), ages(history)
    length = float(age.max(initial=0.0))
    cell = history.customer.astype(np.int64) * max(items, 1) + history.item
    counts = [_buyers(cell[age <= days], items) for days in WINDOWS] + [_buyers(cell, items)]
    active = [len(np.unique(history.customer[age <= days])) for days in WINDOWS] + [len(np.unique(history.customer))]
    shares = [count / max(some, 1) for count, some in zip(counts, active, strict=True)]
    week, month, quarter, buyers = counts
    oldest, newest = np.zeros(items), np.full(items, length)
    np.maximum.at(oldest, history.item, age)
    np.minimum.at(newest, history.item, age)
    first = np.where(oldest >= length - _FIRST_DAYS, _OF_OLD, oldest)
    orders = np.bincount(history.item, minlength=items).astype(np.float64)
    again, gap = _returns(cell, age, items)
    columns = [
        *shares,
        (week + 1.0) / (month * WINDOWS[0] / WINDOWS[1] + 1.0),
        (month + 1.0) / (quarter * WINDOWS[1] / WINDOWS[2] + 1.0),
        first,
        newest,
        _held(again, buyers),
        _held(orders, buyers),
        gap,
        _log_price(history, items),
        _season(cell, age, items, length, horizon_days),
    ]
    return np.stack(columns, axis=1) if items else np.empty((0, len(NAMES)))


def _buyers(cell: Integers, items: int) -> Floats:
    return np.bincount(distinct(cell) % max(items, 1), minlength=items).astype(np.float64)


def _held(count: Floats, buyers: Floats) -> Floats:
    """A count per buyer, drawn towards that of all items."""
    usual = count.sum() / max(float(buyers.sum()), 1.0)
    return np.asarray((count + _HELD * usual) / (buyers + _HELD), dtype=np.float64)


def _returns(cell: Integers, age: Floats, items: int) -> tuple[Floats, Floats]:
    """Buyers of an item who bought it more than once, and the mean days between two orders of it."""
    if not len(cell):
        return np.zeros(items), np.ones(items)
    order = np.argsort(cell, kind="stable")
    ordered, value = cell[order], age[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    count = np.diff(np.append(starts, len(ordered)))
    span = np.maximum.reduceat(value, starts) - np.minimum.reduceat(value, starts)
    item = ordered[starts] % items
    again = np.bincount(item, count > 1, items).astype(np.float64)
    gaps, days = np.bincount(item, count - 1, items), np.bincount(item, span, items)
    usual = float(days.sum()) / max(float(gaps.sum()), 1.0)
    return again, np.asarray(np.maximum((days + _HELD * usual) / (gaps + _HELD), 1.0), dtype=np.float64)


def _log_price(history: Interactions, items: int) -> Floats:
    """Mean log price; that of all purchases where an item's is unknown."""
    known = np.isfinite(history.price) & (history.price > 0)
    logs = np.log(history.price[known])
    count = np.bincount(history.item[known], minlength=items)
    usual = float(logs.mean()) if len(logs) else 0.0
    return np.where(count > 0, np.bincount(history.item[known], logs, items) / np.maximum(count, 1), usual)


def _season(cell: Integers, age: Floats, items: int, length: float, horizon_days: int) -> Floats:
    if length < _YEAR:
        return np.full(items, -1.0)
    then = (age <= _YEAR) & (age > _YEAR - horizon_days)
    year = age <= _YEAR
    window, whole = _buyers(cell[then], items), np.bincount(cell[year] % items, minlength=items)
    return np.asarray((window + 1.0) / (whole * horizon_days / _YEAR + 1.0), dtype=np.float64)
