"""What every decision reads of a row stands in one record: it is what the arrays say, in files, in memory, and after an erasure."""

from __future__ import annotations

import dataclasses
import tracemalloc
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from retain.erasure import Tombstones
from serving import fixed
from serving.answers import Answers
from serving.decisions import drivers
from serving.decisions.facts import HABITS, WORDS
from serving.erasure import without
from serving.rows import Rows

PEOPLE = 40
Make = Callable[..., Answers]


def arrays(seed: int = 3) -> dict[str, NDArray[Any]]:
    """Rows of some people in which no two numbers are alike, so that none can stand in the place of another unseen."""
    draw = np.random.default_rng(seed)

    def numbers(*shape: int) -> NDArray[np.float64]:
        found = draw.normal(0, 1e6, (PEOPLE, *shape))
        return np.where(draw.random(found.shape) < 0.1, np.nan, found)

    def codes(*shape: int) -> NDArray[np.int32]:
        return draw.integers(-1, 30_000, (PEOPLE, *shape)).astype(np.int32)

    found: dict[str, NDArray[Any]] = {"ids": np.array([f"c{number:03}".encode() for number in range(PEOPLE)])}
    found |= {name: codes() for name in (*WORDS, "consents", "unsubscribed", "birth_year", "band", "stage")}
    found |= {name: draw.random(PEOPLE) < 0.5 for name in ("is_known", "is_stale")} | {"flags": draw.random((PEOPLE, 5)) < 0.5}
    found |= {"cause": codes().astype(np.int16), "sign": codes(drivers.MOST).astype(np.int16), "complaint": draw.integers(-1, 2**60, PEOPLE)}
    found |= {"credit_limit": numbers(), "age_s": numbers(), "scores": numbers(2), "habits": numbers(len(HABITS))}
    found |= {"sign_weight": numbers(drivers.MOST), "sign_figures": numbers(drivers.MOST, drivers.WIDTH), "parts": numbers(4)}
    for table in fixed.RAGGED:
        found[f"{table}.start"] = np.concatenate([[0], np.cumsum(draw.integers(0, 5, PEOPLE))])
        found[f"{table}.item"] = np.arange(found[f"{table}.start"][-1])
    return found


def read(records: memoryview, position: int) -> dict[str, NDArray[Any]]:
    values = fixed.read(records, position * fixed.SIZE)
    return {name: np.array(values[place]) for name, place in fixed.PLACES.items()}


def test_a_record_holds_what_the_arrays_say() -> None:
    given = arrays()
    found, records = fixed.opened(given)
    assert set(found) == set(given)
    assert set(fixed.FIELDS) <= set(given)
    for name, array in given.items():
        np.testing.assert_array_equal(found[name], array)
    for position in range(PEOPLE):
        values = read(records, position)
        for name in fixed.FIELDS:
            np.testing.assert_array_equal(values[name], np.ravel(given[name][position]))
        counts = [int(np.diff(given[f"{table}.start"])[position]) for table in fixed.RAGGED]
        assert values[fixed.COUNTS].tolist() == counts


def test_what_lies_in_files_is_opened_as_it_was_and_nothing_lies_there_twice(tmp_path: Path) -> None:
    given = arrays()
    stored = fixed.stored(given)
    assert not set(stored) & set(fixed.FIELDS)
    assert fixed.stored(stored).keys() == stored.keys()
    for name, array in stored.items():
        np.save(tmp_path / f"{name}.npy", array, allow_pickle=False)
    mapped = {name: np.load(tmp_path / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in stored}
    found, records = fixed.opened(mapped)
    for name, array in given.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype.kind == array.dtype.kind
    # Of the map, not a copy of it: all processes share it, and nobody writes it.
    assert records.readonly
    assert np.shares_memory(np.frombuffer(records, dtype=np.uint8), mapped[fixed.NAME])


def test_who_is_erased_takes_the_record_along() -> None:
    given, keep = arrays(), np.arange(PEOPLE) % 3 != 1
    plainly, _ = fixed.opened(without(given, keep))
    found, records = fixed.opened(without(fixed.stored(given), keep))
    for name, array in plainly.items():
        np.testing.assert_array_equal(found[name], array)
    for position in range(int(keep.sum())):
        np.testing.assert_array_equal(read(records, position)["scores"], plainly["scores"][position])


def test_rows_that_are_made_in_memory_read_as_published_ones(make: Make) -> None:
    rows = make().rows
    again = Rows(rows.card, rows.shop, fixed.stored(rows.arrays))
    assert again.names == rows.names
    for place in range(len(rows)):
        assert again.row(place).record == pytest.approx(rows.row(place).record, nan_ok=True)
        assert again.row(place).customer(rows.card.moment, rows.row(place).stored) == rows.row(place).customer(
            rows.card.moment, rows.row(place).stored
        )


def test_who_is_buried_is_nobody_in_the_same_rows(make: Make) -> None:
    rows = make().rows
    assert not rows.buried.any()
    other = rows.burying(Tombstones(b"k", frozenset({Tombstones(b"k").of("ann")})))
    assert other.get("ann") is None
    assert rows.get("ann") is not None
    assert other.buried.sum() == 1
    # Not one number is copied for it: a shop may have millions of rows.
    assert all(other.array(name) is rows.array(name) for name in rows.names)


def test_contacts_offers_taken_and_signs_are_read_with_the_record(make: Make, now: datetime) -> None:
    hand = make(contacts={"ann": [(now - timedelta(days=3), "email", "spring"), (now - timedelta(days=1), None, None)]}).rows
    # Each has as many signs as there may be, but for the first, who has none; no two figures are alike.
    shape = (len(hand), drivers.MOST)
    signs = np.where(np.arange(len(hand))[:, None] > 0, np.arange(drivers.MOST)[None, :], -1).astype(np.int16)
    figures = np.arange(len(hand) * drivers.MOST * drivers.WIDTH, dtype=np.float64).reshape(*shape, drivers.WIDTH)
    told = {"sign": signs, "sign_weight": np.arange(len(hand) * drivers.MOST, dtype=np.float64).reshape(shape), "sign_figures": figures}
    rows = Rows(hand.card, hand.shop, {**hand.arrays, **told})
    for place in range(len(rows)):
        row = rows.row(place)
        customer = row.customer(rows.card.moment, row.stored, explain=True)
        starts = {table: rows.array(f"{table}.start") for table in fixed.RAGGED}
        sizes = {table: int(start[place + 1] - start[place]) for table, start in starts.items()}
        assert (len(customer.contacts), len(customer.accepted), len(customer.owned)) == (sizes["contacts"], sizes["taken"], sizes["owned"])
        codes = [rows.card.vocabulary["sign"][code] for code in rows.array("sign")[place] if code >= 0]
        assert [sign.code for sign in customer.signs] == codes
        for number, sign in enumerate(customer.signs):
            assert sign.weight == rows.array("sign_weight")[place, number]
            held = rows.array("sign_figures")[place, number]
            np.testing.assert_array_equal([value for _, value in sign.figures], held[: len(sign.figures)])
    assert max(sizes_of(rows, "contacts")) == 2
    assert max(sizes_of(rows, "taken")) > 0


FLAGS = ("do_not_contact", "refuses_profiling", "is_minor", "is_credit_blocked", "is_vulnerable")
"""What each flag of a row says of the customer."""


def test_each_thing_that_is_known_of_a_customer_stands_under_its_own_name(make: Make) -> None:
    hand = make().rows
    card = dataclasses.replace(hand.card, vocabulary={**hand.card.vocabulary, **{name: (f"no_{name}", f"a_{name}") for name in WORDS}})
    flags = np.arange(len(hand))[:, None] == np.arange(len(FLAGS))[None, :]
    changed = {"flags": flags, "birth_year": np.arange(len(hand)) + 1980, "credit_limit": np.arange(len(hand)) + 0.5}
    words = {name: np.ones(len(hand), dtype=np.int32) for name in WORDS}
    rows = Rows(card, hand.shop, {**hand.arrays, **changed, **words})
    for place in range(len(rows)):
        row = rows.row(place)
        customer = row.customer(card.moment, row.stored)
        assert [getattr(customer, name) for name in FLAGS] == flags[place].tolist()
        assert [getattr(customer, name) for name in WORDS] == [f"a_{name}" for name in WORDS]
        assert (customer.birth_year, customer.credit_limit) == (1980 + place, place + 0.5)
        assert customer.customer_id == row.customer_id == rows.id(place)
        found = rows.get(customer.customer_id)
        assert found is not None
        assert (found.position, found.customer_id) == (place, row.customer_id)
        assert customer.scores == row.stored
        assert (customer.contacts, customer.held_out, customer.complaint_at, customer.unsubscribed) == ((), {}, None, frozenset())


def sizes_of(rows: Rows, table: str) -> list[int]:
    return list(np.diff(rows.array(f"{table}.start")).tolist())


def test_a_sign_that_this_release_says_with_other_figures_is_not_said(make: Make) -> None:
    rows = make().rows
    place = next(place for place in range(len(rows)) if rows.row(place).signs())
    first = rows.row(place).signs()[0]
    for changed in ({**rows.card.figures, first.code: ("other",)}, {code: names for code, names in rows.card.figures.items() if code != first.code}):
        other = Rows(dataclasses.replace(rows.card, figures=changed), rows.shop, rows.arrays)
        assert [sign.code for sign in other.row(place).signs()] == [sign.code for sign in rows.row(place).signs() if sign.code != first.code]


def test_who_says_nothing_is_nobody_in_particular(make: Make) -> None:
    hand = make().rows
    nothing = {name: np.full(len(hand), -1, dtype=np.int32) for name in (*WORDS, "consents", "unsubscribed")}
    # The last word of each list, which a code of -1 must not be taken for.
    words = {**hand.card.vocabulary, **{name: (*hand.card.vocabulary[name], "email:marketing") for name in nothing}}
    rows = Rows(
        dataclasses.replace(hand.card, vocabulary=words), hand.shop, {**hand.arrays, **nothing, "cause": np.full(len(hand), -1, dtype=np.int16)}
    )
    for place in range(len(rows)):
        customer = rows.row(place).customer(rows.card.moment, rows.row(place).stored)
        told = (customer.relation, customer.region, customer.country, customer.time_zone, customer.relation_level, customer.preferred_channel)
        assert told == (None,) * len(WORDS)
        assert (customer.consents, customer.unsubscribed, customer.cause) == (frozenset(), frozenset(), None)


def test_a_day_is_said_of_signs_whose_features_are_older_than_the_rows(make: Make) -> None:
    hand = make().rows
    place = next(place for place in range(len(hand)) if hand.row(place).signs())
    for age, is_dated in ((3600.0, False), (3 * 86_400.0, True), (np.nan, False)):
        rows = Rows(hand.card, hand.shop, {**hand.arrays, "age_s": np.full(len(hand), age)})
        expected = rows.card.moment - timedelta(seconds=age) if is_dated else None
        assert {sign.as_of for sign in rows.row(place).signs()} == {expected}


def test_rows_made_for_a_few_hold_nothing_of_the_words_of_all(make: Make) -> None:
    hand = make().rows
    words = tuple(f"channel{number}:marketing" for number in range(20_000))
    card = dataclasses.replace(hand.card, vocabulary={**hand.card.vocabulary, "consents": words})
    tracemalloc.start()
    try:
        kept = [Rows(card, hand.shop, dict(hand.arrays)) for _ in range(20)]
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The overlay keeps one for each round in which rows were made again.
    assert held / len(kept) < 50_000
