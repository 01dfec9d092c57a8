"""Order number and gap: equal to the plain definition row by row, and blind to what becomes known later."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retain import derive
from retain.engine import Engine

START = datetime(2024, 3, 29, 22, tzinfo=UTC)
ZONE = "Europe/Berlin"
Line = tuple[str, str, int, int, str, float]

# Few customers, orders and hours, so that ties, late rows and orders over several moments are frequent.
lines = st.lists(
    st.tuples(
        st.sampled_from(["c1", "c2"]),
        st.sampled_from(["o1", "o2", "o3", "o4"]),
        st.integers(0, 60),
        st.sampled_from([0, 0, 0, 5, 30, 200]),
        st.sampled_from(["sale", "sale", "sale", "return", "gift"]),
        st.sampled_from([0.0, 1.0, 2.5]),
    ),
    max_size=14,
)


def _frame(rows: list[Line]) -> pd.DataFrame:
    at = [START + timedelta(hours=hour) for _, _, hour, _, _, _ in rows]
    known = [START + timedelta(hours=hour + late) for _, _, hour, late, _, _ in rows]
    return pd.DataFrame(
        {
            "customer_id": pd.Series([row[0] for row in rows], dtype="object"),
            # An order belongs to one customer.
            "order_id": pd.Series([f"{row[0]}-{row[1]}" for row in rows], dtype="object"),
            "occurred_at": pd.Series(at, dtype="datetime64[us, UTC]"),
            "known_at": pd.Series(known, dtype="datetime64[us, UTC]"),
            "kind": pd.Series([row[4] for row in rows], dtype="object"),
            "amount": pd.Series([row[5] for row in rows], dtype="float64"),
        }
    )


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine(threads=1) as one:
        yield one


def _numbered(engine: Engine, frame: pd.DataFrame) -> dict[tuple[object, ...], tuple[object, ...]]:
    engine.attach({"lines": frame})
    derive.number_orders(engine, "select * from lines", ZONE)
    rows = engine.rows(f"select customer_id, order_id, occurred_at, known_at, order_number, order_gap_days from {derive.NUMBERED}")
    return {row[:4]: row[4:] for row in rows}


def _plain(frame: pd.DataFrame) -> dict[tuple[object, ...], tuple[object, ...]]:
    """The definition, line by line: which other orders had a purchase line before this one that was known no later than it?"""
    bought = frame[(frame.kind == "sale") & (frame.amount > 0)]
    rows = list(bought[["customer_id", "order_id", "occurred_at", "known_at"]].itertuples(index=False, name=None))
    result: dict[tuple[object, ...], tuple[object, ...]] = {}
    for customer, order, at, known in rows:
        before: dict[str, list[tuple[datetime, bool]]] = {}
        for other, other_order, other_at, other_known in rows:
            if other == customer and other_order != order and (other_at, other_order) < (at, order) and other_known <= known:
                before.setdefault(other_order, []).append((other_at, other_known == other_at))
        # The order's time is its first line recorded at once; of one that became known late, its first late line.
        times = [min([t for t, prompt in seen if prompt] or [t for t, _ in seen]) for seen in before.values()]
        gap = None if not times else (at.astimezone(ZoneInfo(ZONE)).date() - max(times).astimezone(ZoneInfo(ZONE)).date()).days
        result[customer, order, at.to_pydatetime(), known.to_pydatetime()] = (len(before) + 1, gap)
    return result


@settings(max_examples=60, deadline=None)
@given(lines)
def test_numbers_and_gaps_follow_the_definition(engine: Engine, rows: list[Line]) -> None:
    frame = _frame(rows)
    assert _numbered(engine, frame) == _plain(frame)


@settings(max_examples=40, deadline=None)
@given(lines, lines, st.integers(1, 80))
def test_what_becomes_known_later_changes_nothing_before(engine: Engine, rows: list[Line], more: list[Line], hour: int) -> None:
    moment = START + timedelta(hours=hour)
    frame = _frame(rows)
    late = _frame(more)
    late["known_at"] = late["known_at"].where(late["known_at"] >= moment, moment).astype("datetime64[us, UTC]")
    seen = {key: value for key, value in _numbered(engine, frame).items() if key[3] < moment}  # type: ignore[operator]
    both = _numbered(engine, pd.concat([frame, late], ignore_index=True))
    assert {key: both[key] for key in seen} == seen


def test_hand_counted_orders(engine: Engine) -> None:
    rows: list[Line] = [
        ("c1", "o1", 0, 0, "sale", 1.0),
        ("c1", "o1", 0, 0, "sale", 2.5),
        ("c1", "o2", 24, 100, "sale", 1.0),
        ("c1", "o3", 48, 0, "sale", 1.0),
        ("c1", "o4", 60, 200, "sale", 1.0),
    ]
    found = sorted((str(key[1]), value) for key, value in _numbered(engine, _frame(rows)).items())
    # In Berlin o1 is of 29 March, 23:00, and o3 of 1 April, 00:00. o3 comes after o2 and did not know of it; when o4 became known, o2 was known.
    assert found == [("c1-o1", (1, None)), ("c1-o2", (2, 1)), ("c1-o3", (2, 3)), ("c1-o4", (4, 0))]


def test_the_category_is_the_level_that_is_asked_for(engine: Engine) -> None:
    sql = f"select {derive.category('path', 2)} from (values ('FOOD > BREAD > RYE'), ('FOOD'), (null), ('A >  > C')) as t(path)"
    assert [row[0] for row in engine.rows(sql)] == ["BREAD", None, None, None]


def test_hour_and_weekday_are_the_customers_own(engine: Engine) -> None:
    at = "timestamptz '2024-03-31 22:30:00+00'"
    assert engine.rows(f"select {derive.local_hour(at, 'Europe/Berlin')}, {derive.local_weekday(at, 'Europe/Berlin')}") == [(0, 1)]
    assert engine.rows(f"select {derive.local_hour(at, 'America/New_York')}, {derive.local_weekday(at, 'America/New_York')}") == [(18, 7)]
