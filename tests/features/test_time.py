"""What may not change a feature: the future, what was known too late, what is too long ago, the order of rows, the number of threads."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

MOMENTS = (datetime(2024, 6, 15, 13, 30, 7, tzinfo=UTC), datetime(2024, 7, 1, tzinfo=UTC))
FIRST = MOMENTS[0] - timedelta(days=500)
MINUTES = 530 * 24 * 60

# A time is minutes after FIRST; a delay is how much later the row was known.
times = st.tuples(st.integers(0, MINUTES), st.one_of(st.just(0), st.integers(0, 60 * 24 * 60)))
customers = st.sampled_from(("a", "b", "c"))
products = st.sampled_from(("milk", "pen", "tape"))
amounts = st.integers(1, 9999).map(lambda cents: cents / 100)
purchases = st.tuples(st.just("transactions"), times, customers, st.integers(0, 6), products, amounts)
returns = st.tuples(st.just("returns"), times, customers, st.integers(0, 6), products, amounts)
events = st.tuples(
    st.just("events"),
    times,
    customers,
    st.sampled_from(("visit", "view", "cart", "complaint", "complaint_resolved", "rating", "survey", "points_earned")),
    amounts,
)
contacts = st.tuples(st.just("contacts"), times, customers, st.sampled_from(("email", "mail")), st.integers(0, 20))
outcomes = st.tuples(st.just("outcomes"), times, customers, st.sampled_from(("opened", "accepted")), st.integers(0, 20))
descriptions = st.tuples(st.just("customers"), times, customers, st.sampled_from(("north", "south")))
facts = st.lists(st.one_of(purchases, returns, events, contacts, outcomes, descriptions), max_size=30)
few = settings(
    max_examples=5,
    deadline=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),  # an example takes a second: shrinking one would take minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def tables(rows: list[Any]) -> dict[str, list[dict[str, Any]]]:
    """Contract rows of facts. Keys are unique, as ingest leaves them."""
    made: dict[str, dict[Any, dict[str, Any]]] = {name: {} for name in ("transactions", "events", "contacts", "outcomes", "customers")}
    for number, (table, (minute, delay), customer, *rest) in enumerate(rows):
        at = FIRST + timedelta(minutes=minute)
        row: dict[str, Any] = {"customer_id": customer, "occurred_at": at, "known_at": at + timedelta(minutes=delay)}
        if table in ("transactions", "returns"):
            order, product, amount = rest
            sign = 1 if table == "transactions" else -1
            row |= {
                "order_id": f"{customer}{order}",
                "product_id": product,
                "quantity": sign * 1.0,
                "amount": sign * amount,
                "discount": amount / 4,
                "margin": amount / 3,
            }
            row |= {"kind": "sale" if sign > 0 else "return", "channel": "store", "local_hour": at.hour, "local_weekday": at.isoweekday()}
            row |= {"order_gap_days": minute % 40}
            made["transactions"][number] = row
        elif table == "events":
            made["events"][number] = {**row, "kind": rest[0], "value": rest[1], "score": rest[1]}
        elif table == "contacts":
            made["contacts"].setdefault(rest[1], {**row, "contact_id": f"{rest[1]}", "channel": rest[0], "cost": 0.1})
        elif table == "outcomes":
            made["outcomes"][number] = {**row, "kind": rest[0], "contact_id": f"{rest[1]}"}
        else:
            made["customers"].setdefault((customer, at), {**row, "region": rest[0], "joined_at": at})
    products = [
        {"product_id": name, "occurred_at": FIRST, "category": kind} for name, kind in (("milk", "dairy"), ("pen", "office"), ("tape", "office"))
    ]
    return {**{name: list(rows.values()) for name, rows in made.items()}, "products": products}


def seen(row: dict[str, Any]) -> datetime:
    return max(row["occurred_at"], row["known_at"])


def kept(given: dict[str, list[dict[str, Any]]], chosen: Any) -> dict[str, list[dict[str, Any]]]:
    return {name: [row for row in rows if name == "products" or chosen(row)] for name, rows in given.items()}


def same(left: dict[str, pd.DataFrame], right: dict[str, pd.DataFrame]) -> None:
    assert left.keys() == right.keys()
    for name in left:
        assert_frame_equal(left[name], right[name], check_exact=True, obj=name)


@few
@given(facts)
def test_what_happens_or_is_known_from_the_moment_on_changes_nothing(tinies, rows):
    everything = tables(rows)
    moment = MOMENTS[0]
    before = kept(everything, lambda row: seen(row) < moment)
    same(tinies().fill(**everything).all(moment), tinies().fill(**before).all(moment))


@few
@given(facts)
def test_what_is_older_than_a_year_changes_no_feature_but_who_a_customer_is(tinies, rows):
    # Orders of one line: an order is counted when it was first seen, so one that began before the year would begin anew.
    everything = tables([(*row[:3], number, *row[4:]) if row[0] in ("transactions", "returns") else row for number, row in enumerate(rows)])
    moment = MOMENTS[1]
    year = moment - timedelta(days=365)
    lately = kept(everything, lambda row: row["occurred_at"] >= year)
    whole, cut = tinies().fill(**everything).all(moment), tinies().fill(**lately).all(moment)
    # An answer takes its channel from its contact, however old that is; a profile is the newest, however old that is.
    for name in [name for name in whole if name not in ("profile", "contacts") and len(cut[name])]:
        assert_frame_equal(whole[name].loc[cut[name].index], cut[name], check_exact=True, check_dtype=False, obj=name)


@few
@given(facts, st.randoms(use_true_random=False))
def test_the_order_of_rows_and_the_number_of_threads_change_nothing(tinies, rows, random):
    everything = tables(rows)
    shuffled = {name: random.sample(rows, len(rows)) for name, rows in everything.items()}
    same(tinies(threads=1).fill(**everything).all(*MOMENTS), tinies(threads=4).fill(**shuffled).all(*MOMENTS))


@few
@given(facts)
def test_counts_equal_those_of_a_plain_loop_at_moments_that_are_no_midnight(tinies, rows):
    everything = tables([("transactions", *row[1:]) if row[0] == "returns" else row for row in rows])
    said = tinies().fill(**everything).all(*MOMENTS)
    for moment in MOMENTS:
        known = [row for row in everything["transactions"] if seen(row) < moment]
        for customer in {row["customer_id"] for row in known}:
            own = [row for row in known if row["customer_id"] == customer]
            for days in (30, 90, 365):
                window = [row for row in own if row["occurred_at"] >= moment - timedelta(days=days)]
                cents = sum(round(row["amount"] * 100) for row in window)
                assert round(said["purchases"].loc[(customer, moment), f"amount_{days}d"] * 100) == cents
                assert said["breadth"].loc[(customer, moment), f"products_{days}d"] == len({row["product_id"] for row in window})
                assert said["breadth"].loc[(customer, moment), f"categories_{days}d"] == len({row["product_id"] == "milk" for row in window})
                # Of each order the line that was visible first says when it was; which one that is no later line can change.
                opening = {row["order_id"]: row for row in sorted(own, key=lambda row: (seen(row), row["occurred_at"]), reverse=True)}
                assert said["purchases"].loc[(customer, moment), f"orders_{days}d"] == len([row for row in opening.values() if row in window])
        for product in {row["product_id"] for row in known}:
            buyers = {row["customer_id"] for row in known if row["product_id"] == product and row["occurred_at"] >= moment - timedelta(days=90)}
            assert said["product_sales"].loc[(product, moment), "buyers_90d"] == len(buyers)


@few
@given(facts)
def test_purchase_days_and_windows_equal_those_of_a_plain_loop(tinies, rows):
    everything = tables(rows)
    said = tinies().fill(**everything).all(*MOMENTS)
    for moment in MOMENTS:
        known = [row for row in everything["transactions"] if seen(row) < moment]
        for customer in {row["customer_id"] for row in known}:
            own = [row for row in known if row["customer_id"] == customer]
            for window in (14, 60, 180):
                cents = sum(round(row["amount"] * 100) for row in own if row["occurred_at"] >= moment - timedelta(days=window))
                assert round(said["purchases"].loc[(customer, moment), f"amount_{window}d"] * 100) == cents
            spent = Counter[Any]()
            for row in own:
                spent[row["occurred_at"].date()] += round(row["amount"] * 100) if row["kind"] == "sale" else 0
            year = moment - timedelta(days=365)
            cents = {day: spent[day] for day in sorted(spent) if spent[day] and datetime(*day.timetuple()[:3], tzinfo=UTC) >= year}
            days = said["days"].loc[(customer, moment)]
            assert days["order_days_365d"] == len(cents)
            assert round(days["repeat_amount_365d"] * 100) == sum(list(cents.values())[1:])
            for name, place in (("second", 2), ("third", 3), ("fifth", 5)):
                found = days[f"days_since_{name}_newest_day_365d"]
                assert pd.isna(found) if len(cents) < place else found == (moment.date() - list(cents)[-place]).days
            if cents:
                assert days["span_days_365d"] == (max(cents) - min(cents)).days
                assert days["median_day_amount_365d"] == pytest.approx(median(cents.values()) / 100)
