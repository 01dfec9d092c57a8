"""Lists under a budget: never more than there is, near the linear program, and prices that mean what they say."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.optimize import linprog

from retain.errors import DataError
from retain.workspace import Workspace
from serving.decisions.budget import solve
from serving.decisions.facts import Offer
from serving.decisions.means import NOTHING, Means, one_of
from serving.decisions.pacing import one_by_one, paced, plan, rest
from serving.decisions.prices import Own, Prices
from serving.lists import prices


def linear_program(means: Means) -> float:
    """The optimum of the linear program, by HiGHS."""
    customers, actions = means.gain.shape
    allowed = np.isfinite(means.gain)
    use = [
        np.broadcast_to(means.cost, means.gain.shape),
        *(np.broadcast_to(takes, means.gain.shape) for takes in means.takes),
    ]
    bound = np.flatnonzero(np.isfinite(means.limits))
    each = sparse.kron(sparse.eye(customers), np.ones((1, actions)))
    left = sparse.vstack([each, *(sparse.csr_matrix(use[place].ravel().astype(float)) for place in bound)]).tocsr()
    right = np.concatenate([np.ones(customers), means.limits[bound]])
    ends = [(0.0, float(each)) for each in allowed.ravel()]
    return -float(linprog(-np.where(allowed, means.gain, 0.0).ravel(), A_ub=left, b_ub=right, bounds=ends, method="highs").fun)


def worth(means: Means, choice: Any) -> float:
    rows = np.flatnonzero(choice >= 0)
    return float(means.gain[rows, choice[rows]].sum())


def shop(customers: int, seed: int, seats: tuple[float, ...] = (60.0,), budget: float = 900.0) -> Means:
    """Some customers whom calls, letters and e-mails move differently."""
    random = np.random.default_rng(seed)
    worth = random.lognormal(2.5, 1.0, (customers, 1))
    effect = random.normal([0.3, 0.2, 0.05, 0.1], 0.15, (customers, 4))
    cost = np.array([3.0, 1.5, 0.01, 2.0])
    gain = worth * effect - cost
    gain[random.random(gain.shape) < 0.2] = -np.inf
    return Means(gain, cost, one_of(np.array([0, -1, -1, len(seats) - 1]), len(seats)), np.array([budget, *seats]))


@pytest.mark.parametrize("means", [shop(1500, 1), shop(1500, 2, (40.0, 80.0)), shop(1000, 3, budget=np.inf), shop(1000, 4, (np.inf,), 300.0)])
def test_a_list_is_within_one_percent_of_the_linear_program_and_its_bound_is_one(means: Means) -> None:
    solved, optimum = solve(means), linear_program(means)
    assert solved.value >= 0.99 * optimum
    assert optimum * (1 - 1e-9) <= solved.bound <= optimum * 1.001
    assert np.all(solved.used <= means.limits * (1 + 1e-8))


def test_an_offer_of_which_there_are_few_is_given_where_it_brings_most_and_its_price_says_what_one_more_would_bring() -> None:
    means = shop(1500, 11)
    limits, takes = np.append(means.limits, 25.0), np.concatenate([means.takes, [[True, True, False, False]]])
    scarce = replace(means, takes=takes, limits=limits)
    solved, optimum = solve(scarce), linear_program(scarce)
    assert 0.99 * optimum <= solved.value <= optimum * (1 + 1e-9)
    assert solved.used[2] == 25.0
    more = linear_program(replace(scarce, limits=limits + np.array([0.0, 0.0, 5.0])))
    assert more - optimum == pytest.approx(5 * solved.prices[2], rel=0.1)


def test_what_nobody_would_use_up_is_not_looked_for_a_price_of() -> None:
    means = shop(1500, 12)
    many = np.concatenate([means.takes, np.eye(4, dtype=bool)])
    solved = solve(replace(means, takes=many, limits=np.append(means.limits, [1e6] * 4)))
    assert solved.prices[2:].tolist() == [0.0] * 4
    assert np.array_equal(solved.choice, solve(means).choice)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 60), st.booleans(), st.sampled_from([0.0, 3.0, 20.0, np.inf]), st.sampled_from([0.0, 1.0, 7.0, np.inf]))
def test_no_limit_is_ever_exceeded_and_nobody_gets_what_is_barred(seed: int, customers: int, is_even: bool, budget: float, seats: float) -> None:
    random = np.random.default_rng(seed)
    gain = np.round(random.normal(1, 3, (customers, 3))) if is_even else random.normal(1, 3, (customers, 3))
    gain[random.random(gain.shape) < 0.3] = -np.inf
    takes = np.array([[True, True, False], [False, True, True]])
    means = Means(gain, random.gamma(2, 1, (customers, 3)), takes, np.array([budget, seats, 4.0]))
    prices = np.array([0.5, 0.5, 0.0])
    for choice in (solve(means).choice, one_by_one(means, prices), one_by_one(means, prices, plan(means, prices))):
        rows = np.flatnonzero(choice != NOTHING)
        assert np.all(gain[rows, choice[rows]] > 0)
        assert np.all(means.used(rows, choice) <= means.limits * (1 + 1e-8))


@pytest.mark.fault("C32")
def test_equal_customers_fall_to_the_earlier_and_equal_actions_to_the_first() -> None:
    means = Means(np.full((10, 2), 5.0), np.array([1.0, 1.0]), one_of(np.array([0, 0]), 1), np.array([np.inf, 3.0]))
    assert solve(means).choice.tolist() == [0, 0, 0, -1, -1, -1, -1, -1, -1, -1]


def test_customers_who_are_all_alike_are_told_apart_only_by_what_there_is() -> None:
    random = np.random.default_rng(0)
    gain = np.tile(np.round(random.gamma(2, 2, 8), 2), (2000, 1))
    gain[random.random(gain.shape) < 0.3] = -np.inf
    means = Means(gain, np.round(random.gamma(2, 1, 8), 2), one_of(np.array([0, -1, 0, 1, 1, -1, -1, 1]), 2), np.array([900.0, 80.0, 50.0]))
    solved = solve(means)
    # At the prices alone everybody who is alike would do the same.
    assert solved.value >= 0.995 * linear_program(means)
    assert np.all(solved.used <= means.limits * (1 + 1e-8))


def test_one_more_seat_is_worth_what_its_price_says() -> None:
    means = shop(1500, 5)
    more = replace(means, limits=means.limits + np.array([0.0, 10.0]))
    assert linear_program(more) - linear_program(means) == pytest.approx(10 * solve(means).prices[1], rel=0.1)


def test_what_is_not_used_up_has_no_price_and_nothing_is_given_for_it() -> None:
    means = shop(200, 6, (500.0,), 10_000.0)
    solved = solve(means)
    assert solved.prices.tolist() == [0.0, 0.0]
    assert solved.value == pytest.approx(np.maximum(means.gain.max(axis=1), 0.0).sum())
    assert solved.gap == 0.0


@pytest.mark.fault("D7")
@pytest.mark.parametrize(("customers", "actions"), [(0, 3), (5, 0)])
def test_nobody_and_nothing_make_an_empty_list(customers: int, actions: int) -> None:
    means = Means(np.ones((customers, actions)), np.ones(actions), np.zeros((0, actions), dtype=bool), np.array([1.0]))
    solved = solve(means)
    assert solved.choice.tolist() == [NOTHING] * customers
    assert (solved.value, solved.bound) == (0.0, 0.0)


def test_customers_who_come_one_by_one_are_decided_by_prices_nearly_as_well() -> None:
    made = solve(shop(6000, 7, (240.0,), 3600.0)).prices
    later = shop(6000, 8, (240.0,), 3600.0)
    choice = one_by_one(later, made)
    rows = np.flatnonzero(choice >= 0)
    assert later.gain[rows, choice[rows]].sum() >= 0.97 * solve(later).bound


@pytest.mark.parametrize("seed", range(5))
def test_prices_that_follow_use_lose_next_to_nothing_on_customers_whom_no_list_knew(seed: int) -> None:
    base, later = shop(3000, 7, (120.0, 90.0), 1800.0), shop(3000, 20 + seed, (120.0, 90.0), 1800.0)
    made = solve(base).prices
    gained = [worth(later, one_by_one(later, made, each)) for each in (None, plan(base, made))]
    assert gained[1] >= 0.97 * solve(later).bound
    assert gained[1] > gained[0]


def test_prices_that_follow_use_find_what_is_left_for_the_few_who_come() -> None:
    base, few = shop(3000, 7, (120.0,), 1800.0), shop(1500, 31, (120.0,), 1800.0)
    made = solve(base).prices
    gained = [worth(few, one_by_one(few, made, each)) for each in (None, plan(base, made))]
    assert gained[1] >= 0.97 * solve(few).bound > gained[0]


def test_who_comes_first_moves_no_price_where_the_plan_meant_it_so() -> None:
    base = shop(3000, 7, (120.0,), 1800.0)
    solved = solve(base)
    order = np.argsort(-base.gain.max(axis=1), kind="stable")
    first = base.take(order)
    known = one_by_one(first, solved.prices, plan(base, solved.prices), solved.choice[order])
    assert worth(first, known) >= 0.995 * solved.value


def test_a_plan_that_is_followed_keeps_its_prices_and_use_beyond_it_raises_them() -> None:
    base = shop(3000, 7, (120.0,), 1800.0)
    made = solve(base).prices
    planned = plan(base, made)
    limits, half = base.limits, np.full(2, 0.5)
    assert paced(planned, 0.5 * limits, half) == pytest.approx(made, rel=0.02)
    assert np.all(paced(planned, 0.6 * limits, half) > made)
    assert np.all(paced(planned, 0.4 * limits, half) < made)
    assert np.all(np.abs(paced(planned, limits, half) - made) <= np.array(planned.reach) * (1 + 1e-9))
    assert rest(planned, 1500, 0.5 * np.array(planned.uses), 0.5) == pytest.approx(half)
    # Half of the time is over, and only a tenth of those came who might have: few more are to be expected.
    assert np.all(rest(planned, 150, 0.05 * np.array(planned.uses), 0.5) < 0.2)


def test_the_sample_comes_first_where_customers_are_many_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    means = shop(3000, 9)
    whole = solve(means)
    monkeypatch.setattr("serving.decisions.budget.SAMPLE", 300)
    assert solve(means).value == pytest.approx(whole.value, rel=2e-3)


def test_arrays_that_do_not_belong_together_are_refused() -> None:
    parts: dict[str, Any] = {"gain": np.ones((2, 2)), "cost": np.ones(2), "takes": one_of(np.array([0, -1]), 1), "limits": np.array([1.0, 1.0])}
    for change in ({"cost": np.ones(3)}, {"cost": -np.ones(2)}, {"limits": np.array([np.nan, 1.0])}):
        with pytest.raises(ValueError, match="belong together|below zero"):
            Means(**{**parts, **change})


def test_a_seat_taken_by_a_call_costs_its_price_and_the_money_it_takes() -> None:
    price = Prices(0.5, {"call_center": 4.0}, {"coffee": 1.0})
    coffee, coupon = (Offer(name, name, "coupon") for name in ("coffee", "coupon"))
    assert price.of(coupon, "call_center", 3.0) == 5.5
    assert price.of(coffee, "call_center", 3.0) == 6.5
    assert price.of(coupon, "email", 0.0) == 0.0
    assert price.to(Own(more=2.0)).of(coupon, "email", 0.0) == 2.0


def test_prices_come_back_as_they_were_written_while_they_hold(tmp_path: Path) -> None:
    workspace, made = Workspace.at(tmp_path), datetime(2026, 1, 1, tzinfo=UTC)
    assert prices.load(workspace, made) is None
    written = Prices(0.5, {"call_center": 4.0}, {"coffee": 1.0}, "spring", made, made + timedelta(days=7), "r1", {"churn": "c1", "uplift": None})
    prices.save(workspace, written, workspace.lists / "campaigns" / "spring" / "run")
    assert prices.load(workspace, made + timedelta(days=6)) == prices.Tariff(written)
    assert prices.load(workspace, made + timedelta(days=7)) is None
    (workspace.lists / prices.FILE).write_text("{")
    with pytest.raises(DataError, match=r"prices\.json"):
        prices.load(workspace, made)
