"""Who bought which item when: before the moment, as then known, of what may be proposed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from features.interactions import load

MOMENT = datetime(2024, 6, 15, 13, 30, tzinfo=UTC)


def line(customer: str | None, order: str, product: str, days: float, **more: Any) -> dict[str, Any]:
    row = {"customer_id": customer, "order_id": order, "product_id": product, "occurred_at": MOMENT - timedelta(days=days), "kind": "sale"}
    return {**row, "quantity": 1.0, "amount": 2.0, **more}


LINES = [
    line("b", "2", "milk", 3, quantity=2.0, amount=3.0),
    line("b", "2", "milk", 3, quantity=1.0, amount=1.5),  # the same item twice in one order
    line("b", "2", "cheese", 3),
    line("a", "1", "pen", 40),
    line("a", "3", "milk", 0),  # at the moment
    line("a", "4", "milk", 1, known_at=MOMENT),  # known too late
    line("a", "5", "milk", 2, quantity=-1.0, kind="return"),
    line("a", "6", "postage", 5),
    line("a", "7", "new", 5),  # products does not know it
    line(None, "8", "milk", 5),
    line("a", "9", "milk", 6, amount=0.0),  # taken for nothing is taken
]
PRODUCTS = [
    {"product_id": "milk", "occurred_at": MOMENT - timedelta(days=400), "category": "dairy"},
    {"product_id": "cheese", "occurred_at": MOMENT - timedelta(days=400), "category": "dairy"},
    {"product_id": "pen", "occurred_at": MOMENT - timedelta(days=400), "category": "paper"},
    {"product_id": "pen", "occurred_at": MOMENT - timedelta(days=10), "category": "office"},
    {"product_id": "pen", "occurred_at": MOMENT - timedelta(days=1), "known_at": MOMENT, "category": "desk"},
    {"product_id": "postage", "occurred_at": MOMENT - timedelta(days=400), "is_sellable": False},
]


@pytest.fixture
def engine(tiny):
    return tiny.fill(transactions=LINES, products=PRODUCTS).engine


def rows(found) -> list[tuple[str, str, int]]:
    return [(found.customers[c], found.items[i], round(float((np.datetime64("2024-06-15T13:30", "us") - at) / np.timedelta64(1, "D"))))
            for c, i, at in zip(found.customer, found.item, found.at, strict=True)]  # fmt: skip


def test_products_are_one_row_per_customer_item_and_order(engine):
    found = load(engine, MOMENT, "product")
    assert rows(found) == [("a", "pen", 40), ("a", "milk", 6), ("a", "new", 5), ("b", "cheese", 3), ("b", "milk", 3)]
    assert found.customers.tolist() == ["a", "b"]
    assert found.items.tolist() == ["cheese", "milk", "new", "pen"]
    assert found.price.tolist() == [2.0, 0.0, 2.0, 2.0, 1.5]
    assert found.order[3] == found.order[4]
    assert len(set(found.order.tolist())) == 4
    assert (found.customer.dtype, found.item.dtype, found.order.dtype, found.at.dtype) == (np.int32, np.int32, np.int64, np.dtype("datetime64[us]"))
    assert found.moment == MOMENT


def test_categories_are_those_known_at_the_moment_and_what_has_none_is_left_out(engine):
    found = load(engine, MOMENT, "category")
    assert rows(found) == [("a", "office", 40), ("a", "dairy", 6), ("b", "dairy", 3)]
    assert found.price[2] == pytest.approx(6.5 / 4)


def test_days_are_calendar_days_before_the_moment(engine):
    assert rows(load(engine, MOMENT, "product", days=5)) == [("a", "new", 5), ("b", "cheese", 3), ("b", "milk", 3)]


def test_the_order_of_rows_changes_nothing(tinies):
    one = load(tinies(1).fill(transactions=LINES, products=PRODUCTS).engine, MOMENT, "product")
    other = load(tinies(4).fill(transactions=LINES[::-1], products=PRODUCTS[::-1]).engine, MOMENT, "product")
    for name in ("customers", "items", "customer", "item", "order", "at", "price"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_nothing_bought_is_an_empty_answer(tiny):
    found = load(tiny.fill().engine, MOMENT, "product")
    assert len(found) == 0
    assert found.customers.tolist() == found.items.tolist() == []
