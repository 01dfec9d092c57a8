"""Risk, value, orders and the next date of one customer never contradict one another."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving import scored
from serving.answers import Answers
from serving.decisions.outlook import MOST_DAYS, outlook
from serving.schemas import ScoresRequest

CHANCE = st.floats(0, 1)
MONEY = st.floats(-100, 1e6)
USUAL = st.one_of(st.floats(0.01, 1e4), st.just(float("nan")))


@settings(deadline=None)
@given(CHANCE, MONEY, USUAL, st.integers(1, 365))
def test_the_figures_of_one_customer_agree(none: float, money: float, usual: float, horizon: int) -> None:
    found = outlook(np.array([none]), np.array([money]), np.array([usual]), horizon)
    orders, days = float(found.orders[0]), float(found.next_days[0])
    assert orders >= 1 - none
    if none == 1:
        assert orders == 0
        assert np.isnan(days)
    if orders > 0:
        assert found.per_order[0] * orders == pytest.approx(max(money, 0.0))
    if np.isfinite(days):
        assert 0 < days <= MOST_DAYS
        assert (days <= horizon) == (none <= 0.5) or none == pytest.approx(0.5)
    else:
        assert none > 0.5 ** (horizon / MOST_DAYS) - 1e-9


def test_a_likelier_leaver_is_expected_later() -> None:
    found = outlook(np.array([0.1, 0.5, 0.9]), np.full(3, 50.0), np.full(3, 20.0), 28)
    assert found.next_days.tolist() == pytest.approx([8.43, 28.0, 184.2], abs=0.05)
    assert found.orders.tolist() == [2.5, 2.5, 2.5]


def test_the_list_and_the_scores_show_them(make: Callable[..., Answers]) -> None:
    answers = make()
    (ann, gus) = scored.scores(answers, ScoresRequest(["ann", "gus"])).scores
    assert ann.expected_orders is not None
    assert ann.expected_orders == pytest.approx(0.8)
    assert ann.next_purchase_at == answers.rows.card.moment + timedelta(days=28 * np.log(0.5) / np.log(0.2))
    assert (gus.expected_orders, gus.next_purchase_at) == (None, None)
    listed = {row.customer_id: row for row in answers.churn_list(10).rows}
    assert (listed["ann"].expected_orders, listed["ann"].next_purchase_at) == (ann.expected_orders, ann.next_purchase_at)
    assert listed["bob"].next_purchase_at is not None
