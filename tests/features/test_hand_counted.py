"""Every column of every view, counted by hand on one small history at a moment that is no midnight."""

from __future__ import annotations

from datetime import UTC, datetime
from math import nan, sqrt
from typing import Any

import pandas as pd
import pytest

from features import catalog

MOMENT = datetime(2024, 6, 15, 13, 30, tzinfo=UTC)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def line(order: str, product: str, when: str, amount: float, quantity: float = 1, **more: Any) -> dict[str, Any]:
    row = {"order_id": order, "product_id": product, "occurred_at": at(when), "amount": amount, "quantity": quantity}
    return {**row, "kind": "sale", "customer_id": "a", **more}


O2 = {"channel": "store", "local_hour": 10, "local_weekday": 6, "order_gap_days": 174}
O3 = {"channel": "web", "local_hour": 9, "local_weekday": 3, "order_gap_days": 152}
O4 = {"channel": "store", "local_hour": 20, "local_weekday": 3, "order_gap_days": 42}
TRANSACTIONS = [
    line("o1", "milk", "2023-06-10 09:00", 100, local_hour=1, local_weekday=1, channel="web"),  # older than a year
    line("o2", "milk", "2023-12-01 10:00", 4, 2, discount=1, margin=1, **O2),
    line("o2", "pen", "2023-12-01 10:00", 6, discount=0, margin=2, **O2),
    line("o3", "milk", "2024-05-01 09:00", 2, discount=0.5, margin=0.5, **O3),
    line("o4", "pen", "2024-06-12 20:00", 15, 3, discount=5, margin=4, **O4),
    line("o4", "pen", "2024-06-12 20:00", 0, kind="gift"),
    line("o4", "tape", "2024-06-12 20:00", 1, known_at=at("2024-06-14"), **O4),  # known late, but in time
    line("r1", "pen", "2024-06-13 08:00", -5, -1, kind="return", margin=-2),
    line("o5", "milk", "2024-06-15 13:00", 7, known_at=at("2024-06-16"), order_gap_days=3),  # known too late
    line("o6", "milk", "2024-06-15 13:30", 7, order_gap_days=0),  # at the moment itself
    line("o7", "pen", "2024-06-14 10:00", 4, customer_id=None),
    line("o8", "pen", "2024-05-20 10:00", 5, margin=1, customer_id="b"),
]


def event(kind: str, when: str, **more: Any) -> dict[str, Any]:
    return {"customer_id": "a", "kind": kind, "occurred_at": at(when), **more}


EVENTS = [
    *(event("visit", when) for when in ("2024-06-14", "2024-05-20", "2024-04-10", "2024-01-01", "2024-06-15 14:00")),
    event("visit", "2024-06-10", known_at=at("2024-06-16")),
    event("app_open", "2024-06-15 12:00"),
    *(event("view", when) for when in ("2024-06-10", "2024-04-01")),
    event("search", "2024-05-01"),
    *(event("cart", when) for when in ("2024-06-01", "2024-04-01")),
    event("wishlist", "2024-05-05"),
    event("complaint", "2024-06-10"),
    event("complaint", "2024-05-01", resolved_at=at("2024-05-03")),
    event("complaint_resolved", "2024-05-03"),
    event("complaint", "2024-02-01", resolved_at=at("2024-06-20")),
    *(event("support_call", when) for when in ("2024-06-01", "2024-01-10")),
    event("rating", "2024-06-01", value=4.0),
    event("rating", "2024-01-01", value=2.0),
    event("survey", "2024-06-02", score=9.0),
    event("survey", "2024-05-02", expected_score=6.0, perceived_score=8.0),
    event("referral", "2024-03-01"),
    event("points_earned", "2024-06-01", value=10.0),
    event("points_earned", "2024-01-01", value=20.0),
    event("points_spent", "2024-01-02", value=5.0),
]


def contact(name: str, channel: str, when: str, cost: float, **more: Any) -> dict[str, Any]:
    return {"customer_id": "a", "contact_id": name, "channel": channel, "occurred_at": at(when), "cost": cost, **more}


def outcome(kind: str, name: str, when: str, channel: str | None = None, **more: Any) -> dict[str, Any]:
    return {"customer_id": "a", "kind": kind, "contact_id": name, "occurred_at": at(when), "channel": channel, **more}


CONTACTS = [
    contact("c1", "email", "2024-06-10", 0.02),
    contact("c2", "mail", "2024-05-01", 0.5),
    contact("c3", "email", "2024-01-05", 0.02),
    contact("c4", "sms", "2024-06-11", 0.0, is_control=True),
    contact("c5", "push", "2024-06-15 13:30", 0.01),
]
OUTCOMES = [
    outcome("opened", "c1", "2024-06-10", "email"),
    outcome("clicked", "c1", "2024-06-11", "email"),
    outcome("accepted", "c2", "2024-05-05"),  # its channel is that of the contact
    outcome("rejected", "c3", "2024-01-06", "email"),
    outcome("unsubscribed", "c3", "2024-01-07", "email"),
    outcome("complained", "c3", "2024-01-08", "email"),
    outcome("accepted", "c1", "2024-06-10", "email", known_at=at("2024-06-16")),
]
CUSTOMERS = [
    {"customer_id": "a", "occurred_at": at("2023-01-01"), "joined_at": at("2023-01-01"), "region": "north", "relation": "general",
     "household_size": 2},
    {"customer_id": "a", "occurred_at": at("2024-06-01"), "joined_at": at("2023-01-01"), "region": "south", "relation": "general",
     "household_size": 3,
     "relation_level": "basic", "acquisition_channel": "search", "acquisition_cost": 14.0, "preferred_channel": "email", "country": "DE",
     "age_band": "30-44",
     "income_band": "3 middle", "children": 1, "home_ownership": "Renter", "lifestyle": "sport", "profile_grade": "A", "loyalty_tier": "gold"},
    {"customer_id": "a", "occurred_at": at("2024-06-10"), "known_at": at("2024-06-16"), "region": "west"},
    {"customer_id": "nobody", "occurred_at": at("2024-06-01")},
]  # fmt: skip
SUBSCRIPTIONS = [
    {"subscription_id": "s1", "customer_id": "a", "occurred_at": at("2023-06-16"), "started_at": at("2023-06-16"), "plan": "year", "price": 12.0,
     "period_days": 365, "ends_at": at("2024-06-16"), "is_renewed_automatically": True},
    # A new version of the same contract; a second contract; one that was over by its agreed day; one whose end is known only after the moment.
    {"subscription_id": "s1", "customer_id": "a", "occurred_at": at("2024-06-01"), "started_at": at("2023-06-16"), "plan": "year", "price": 15.0,
     "period_days": 365, "ends_at": at("2025-06-16"), "is_renewed_automatically": True},
    {"subscription_id": "s2", "customer_id": "a", "occurred_at": at("2024-06-01"), "started_at": at("2024-06-01"), "plan": "month", "price": 2.5,
     "period_days": 30, "is_renewed_automatically": False, "notice_days": 14, "exit_fee": 5.0},
    {"subscription_id": "s3", "customer_id": "a", "occurred_at": at("2022-06-01"), "started_at": at("2022-06-01"), "plan": "old", "price": 9.0,
     "ends_at": at("2023-06-01"), "is_renewed_automatically": False},
    {"subscription_id": "s2", "customer_id": "a", "occurred_at": at("2024-06-14"), "known_at": at("2024-06-20"), "started_at": at("2024-06-01"),
     "ended_at": at("2024-06-14"), "plan": "month", "price": 2.5},
]  # fmt: skip
PRODUCTS = [
    {"product_id": "milk", "occurred_at": at("2023-01-01"), "category": "dairy"},
    {
        "product_id": "pen",
        "occurred_at": at("2023-01-01"),
        "category": "office",
        "brand": "B",
        "price": 6.0,
        "margin_rate": 0.3,
        "launched_at": at("2024-06-01"),
    },
    {
        "product_id": "pen",
        "occurred_at": at("2024-06-14"),
        "category": "desk",
        "brand": "B",
        "price": 7.0,
        "margin_rate": 0.3,
        "launched_at": at("2024-06-01"),
    },
    {"product_id": "tape", "occurred_at": at("2023-01-01")},
]

EXPECTED: dict[str, tuple[str, dict[str, Any]]] = {
    "purchases": ("a", {
        "days_since_order_365d": 3, "days_since_first_order_365d": 197, "orders_7d": 1, "orders_14d": 1, "orders_30d": 1,
        "orders_60d": 2, "orders_90d": 2, "orders_180d": 2, "orders_365d": 3,
        "amount_7d": 11, "amount_14d": 11, "amount_30d": 11, "amount_60d": 13, "amount_90d": 13, "amount_180d": 13, "amount_365d": 23,
        "margin_365d": 5.5,
        "orders_30d_over_prior": 0.5, "amount_30d_over_prior": 10, "orders_90d_over_prior": 2 - 90 / 275, "amount_90d_over_prior": 13 - 10
        * 90 / 275,
        # o4 is 3 days old, o3 is 45, o2 is 197: the weights between 0 and 7, 30 and 60, 180 and 365 days.
        "fading_orders_14d": 0.845 + 0.118, "fading_orders_45d": 0.948 + 0.504 + 0.021, "fading_orders_120d": 0.980 + 0.772 + 0.217,
        "fading_amount_14d": 11 * 0.845 + 2 * 0.118, "fading_amount_45d": 11 * 0.948 + 2 * 0.504 + 10 * 0.021,
        "fading_amount_120d": 11 * 0.980 + 2 * 0.772 + 10 * 0.217,
    }),
    # Days of o2, o3 and o4: 10, 2, and 15 with what became known two days later.
    "days": ("a", {
        "order_days_365d": 3, "observed_days_365d": 197, "span_days_365d": 194, "days_since_second_newest_day_365d": 45,
        "days_since_third_newest_day_365d": 197, "days_since_fifth_newest_day_365d": nan, "mean_age_over_oldest_365d": (3 + 45 + 197) / 3 / 197,
        "repeat_amount_365d": 18, "newest_day_amount_365d": 16, "largest_day_amount_365d": 16, "median_day_amount_365d": 10,
    }),
    # The gap before o2 began more than a year ago, so only 152 and 42 days count.
    "gaps": ("a", {
        "gaps_365d": 2, "mean_gap_days_365d": 97, "spread_gap_days_365d": 110 / sqrt(2), "longest_gap_days_365d": 152,
        "recency_over_mean_gap": 3 / 97, "recency_over_longest_gap": 3 / 152,
        "overdue_days": 3 - 97,
    }),
    "baskets": ("a", {
        "amount_per_order_365d": 28 / 3, "amount_per_order_90d": 9, "amount_per_order_90d_over_365d": 27 / 28,
        "lines_per_order_365d": 5 / 3, "units_per_order_365d": 8 / 3,
        "discount_share_365d": 6.5 / 34.5, "discount_share_90d": 5.5 / 23.5, "returned_lines_365d": 1, "returned_amount_90d": 5,
        "return_share_365d": 5 / 28,
        "online_share_365d": 1 / 3, "store_share_365d": 2 / 3, "weekend_share_365d": 1 / 3, "morning_share_365d": 2 / 3,
        "evening_share_365d": 1 / 3,
        "mean_hour_365d": 13,
    }),
    "breadth": ("a", {
        "products_30d": 2, "products_90d": 3, "products_365d": 3, "categories_30d": 1, "categories_90d": 2, "categories_365d": 2,
    }),
    "activity": ("a", {
        "days_since_visit_365d": 0, "days_since_view_365d": 5, "days_since_cart_365d": 14, "visits_7d": 1, "visits_30d": 2, "visits_90d": 3,
        "visits_30d_over_prior": 1.5, "app_opens_30d": 1, "views_30d": 1, "views_90d": 2, "searches_90d": 1, "carts_30d": 1, "carts_90d":
        2, "wishes_90d": 1,
    }),
    # One of three complaints is closed, once by its own time and once by an event; one will be closed only after the moment.
    "voice": ("a", {
        "days_since_complaint_365d": 5, "complaints_30d": 1, "complaints_90d": 2, "complaints_365d": 3, "open_complaints_365d": 2,
        "days_since_support_call_365d": 14, "support_calls_30d": 1, "support_calls_365d": 2,
        "ratings_365d": 2, "rating_mean_365d": 3, "rating_mean_90d": 4, "surveys_365d": 2, "survey_score_mean_365d": 9, "surprise_mean_365d": 2,
        "referrals_365d": 1, "points_earned_90d": 10, "points_earned_365d": 30, "points_spent_365d": 5,
    }),
    "contacts": ("a", {
        "days_since_contact_365d": 5, "contacts_7d": 1, "contacts_30d": 1, "contacts_90d": 2, "contacts_365d": 3, "contact_cost_90d": 0.52,
        "contact_cost_365d": 0.54, "email_contacts_90d": 1, "email_contacts_365d": 2, "sms_contacts_90d": 0, "sms_contacts_365d": 0,
        "push_contacts_90d": 0,
        "push_contacts_365d": 0, "mail_contacts_90d": 1, "mail_contacts_365d": 1, "call_center_contacts_90d": 0, "call_center_contacts_365d": 0,
        "days_since_response_365d": 4, "opened_30d": 1, "opened_90d": 1, "clicked_30d": 1, "clicked_90d": 1, "accepted_30d": 0, "accepted_90d": 1,
        "accepted_365d": 1, "rejected_365d": 1, "unsubscribed_365d": 1, "complained_365d": 1, "open_rate_365d": 2 / 23, "accept_rate_365d": 2 / 23,
        "accept_rate_90d": 2 / 22, "email_response_rate_365d": 2 / 22, "sms_response_rate_365d": 1 / 20, "push_response_rate_365d": 1 / 20,
        "mail_response_rate_365d": 2 / 21, "call_center_response_rate_365d": 1 / 20,
    }),
    # The third version is known only after the moment.
    "profile": ("a", {
        "tenure_days_365": 365, "relation": "general", "relation_level": "basic", "acquisition_channel": "search", "acquisition_cost": 14.0,
        "preferred_channel": "email", "region": "south", "country": "DE", "age_band": "30-44", "income_band": "3 middle",
        "household_size": 3, "children": 1,
        "home_ownership": "Renter", "lifestyle": "sport", "profile_grade": "A", "loyalty_tier": "gold",
    }),
    "contracts": ("a", {
        "contracts_running": 2, "contract_days_1825": 365, "days_to_agreed_end": 366, "contract_price": 17.5, "contract_period_days": 30,
        "contract_plan": "month", "renews_itself": 1, "notice_days": 14, "exit_fee": 5.0,
    }),
    # Bought by a in December and in June, by b in May, and once by somebody unknown.
    "product_sales": ("pen", {
        "days_since_sale_365d": 1, "days_since_first_sale_365d": 197, "buyers_7d": 1, "buyers_28d": 2, "buyers_90d": 2, "buyers_365d": 2,
        "units_28d": 5,
        "amount_28d": 24, "sales_28d_over_prior": 3, "repeat_share_365d": 1 / 3, "price_paid_90d": 24 / 5, "margin_share_365d": 7 / 30,
    }),
    "product_profile": ("pen", {"category": "desk", "brand": "B", "list_price": 7.0, "margin_rate": 0.3, "age_days_365": 14}),
}  # fmt: skip


@pytest.fixture
def counted(tiny):
    return tiny.fill(
        transactions=TRANSACTIONS,
        events=EVENTS,
        contacts=CONTACTS,
        outcomes=OUTCOMES,
        customers=CUSTOMERS,
        products=PRODUCTS,
        subscriptions=SUBSCRIPTIONS,
    )


def test_every_view_is_counted_here():
    assert set(EXPECTED) == {view.name for view in catalog.views()}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_view_says_what_was_counted_by_hand(name, counted):
    entity, expected = EXPECTED[name]
    said = counted.say(name, MOMENT).loc[(entity, MOMENT)].to_dict()
    assert list(said) == list(expected)
    for column, value in expected.items():
        assert said[column] == (value if isinstance(value, str) else pytest.approx(value, rel=1e-12, nan_ok=True)), column


def test_of_whom_nothing_happened_counts_are_zero_and_the_rest_is_null(counted):
    frames = [frame for frame in counted.all(MOMENT).values() if "nobody" in frame.index.get_level_values(0)]
    said = {column: value for frame in frames for column, value in frame.loc["nobody"].iloc[0].items()}
    zero = {name for name, value in said.items() if not pd.isna(value) and value == 0}
    smoothed = {name for name in said if "_rate_" in name}
    assert {said[name] for name in smoothed} == {0.05}
    assert all(pd.isna(said[name]) for name in set(said) - zero - smoothed)
    assert {
        "orders_365d",
        "amount_365d",
        "visits_90d",
        "open_complaints_365d",
        "contacts_365d",
        "accepted_365d",
        "products_365d",
        "amount_30d_over_prior",
    } <= zero
    assert {"days_since_order_365d", "mean_gap_days_365d", "return_share_365d", "rating_mean_365d", "weekend_share_365d"} <= set(said) - zero


def test_an_order_whose_lines_become_known_at_different_times_is_one_order(tiny):
    parts = [line("o", "milk", "2024-06-01", 1), line("o", "pen", "2024-06-01", 2, known_at=at("2024-06-05")), line("o", "tape", "2024-06-02", 3)]
    tiny.fill(transactions=parts)
    early, late = at("2024-06-03"), at("2024-06-06")
    said = tiny.say("purchases", early, late)
    assert said["orders_365d"].tolist() == [1, 1]
    assert said["amount_365d"].tolist() == [4.0, 6.0]


def test_a_day_holds_what_was_known_of_it_and_orders_of_one_day_are_one(tiny):
    lines = [
        line("o1", "milk", "2024-06-01 09:00", 1),
        line("o2", "milk", "2024-06-01 18:00", 2),
        line("o3", "milk", "2024-06-01 12:00", 4, known_at=at("2024-06-05")),
        line("o4", "pen", "2024-06-03", 8, known_at=at("2024-06-08")),
        line("r1", "pen", "2024-06-04", -1, kind="return"),
    ]
    said = tiny.fill(transactions=lines).say("days", at("2024-06-01 12:00"), at("2024-06-02"), at("2024-06-06"), at("2024-06-09"))
    assert said["order_days_365d"].tolist() == [1, 1, 1, 2]
    assert said["largest_day_amount_365d"].tolist() == [1, 3, 7, 8]
    assert said["repeat_amount_365d"].tolist() == [0, 0, 0, 8]
    assert said["span_days_365d"].tolist() == [0, 0, 0, 2]


def test_a_day_that_began_before_the_window_does_not_count(tiny):
    tiny.fill(transactions=[line("o1", "milk", "2023-06-16 20:00", 1), line("o2", "milk", "2023-06-17 20:00", 2)])
    said = tiny.say("days", at("2024-06-15"), MOMENT)  # their windows begin at 2023-06-16 00:00 and 13:30
    assert said["order_days_365d"].tolist() == [2, 1]
    assert said["repeat_amount_365d"].tolist() == [2, 0]


def test_the_category_of_a_purchase_is_the_one_known_then(tiny):
    products = [
        {"product_id": "milk", "occurred_at": at("2024-01-01"), "category": "dairy"},
        {"product_id": "milk", "occurred_at": at("2024-03-01"), "category": "drinks"},
    ]
    tiny.fill(products=products, transactions=[line("o1", "milk", "2024-02-01", 1), line("o2", "milk", "2024-04-01", 1)])
    assert tiny.say("breadth", at("2024-05-01"))["categories_365d"].tolist() == [2]
