"""What products are called: of what is on sale, as known at the moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from features.descriptions import load

MOMENT = datetime(2024, 6, 15, 13, 30, tzinfo=UTC)
OLD = MOMENT - timedelta(days=400)
PRODUCTS = [
    {"product_id": "mug", "occurred_at": OLD, "name": "Red mug", "category_path": "Home > Kitchen", "brand": "Acme"},
    {"product_id": "mug", "occurred_at": MOMENT - timedelta(days=9), "name": "Blue mug"},
    {"product_id": "mug", "occurred_at": MOMENT - timedelta(days=1), "known_at": MOMENT, "name": "Green mug"},
    {"product_id": "later", "occurred_at": MOMENT, "name": "Later"},
    {"product_id": "never bought", "occurred_at": OLD, "name": "Tea cosy"},
    {"product_id": "postage", "occurred_at": OLD, "name": "Postage", "is_sellable": False},
]


def test_words_are_those_known_at_the_moment_of_what_may_be_proposed(tiny):
    found = load(tiny.fill(products=PRODUCTS).engine, MOMENT)
    said = [[found.words[word] for word in found.word[start:stop]] for start, stop in zip(found.start, found.start[1:], strict=False)]
    assert dict(zip(found.items, said, strict=True)) == {
        "mug": ["blue", "brand: acme", "category: home", "category: kitchen", "mug"],
        "never bought": ["cosy", "tea"],
    }


def test_no_products_have_no_words(tiny):
    found = load(tiny.fill().engine, MOMENT)
    assert (found.items.tolist(), found.words, found.start.tolist()) == ([], (), [0])
