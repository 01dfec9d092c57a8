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
from serving.decisions.budget import Prices, at_prices, solve
from serving.decisions.means import NOTHING, Means
from serving.lists import prices


def linear_program(means: Means) -> float:
    """The optimum of the linear program, by HiGHS."""
    customers, actions = means.gain.shape
    allowed = np.isfinite(means.gain)
    use = [
        np.broadcast_to(means.cost, means.gain.shape),
        *(np.broadcast_to(means.kind == kind, means.gain.shape) for kind in range(len(means.limits) - 1)),
    ]
    bound = np.flatnonzero(np.isfinite(means.limits))
    each = sparse.kron(sparse.eye(customers), np.ones((1, actions)))
    left = sparse.vstack([each, *(sparse.csr_matrix(use[place].ravel().astype(float)) for place in bound)]).tocsr()
    right = np.concatenate([np.ones(customers), means.limits[bound]])
    ends = [(0.0, float(each)) for each in allowed.ravel()]
    return -float(linprog(-np.where(allowed, means.gain, 0.0).ravel(), A_ub=left, b_ub=right, bounds=ends, method="highs").fun)


def shop(customers: int, seed: int, seats: tuple[float, ...] = (60.0,), budget: float = 900.0) -> Means:
    """Some customers whom calls, letters and e-mails move differently."""
    random = np.random.default_rng(seed)
    worth = random.lognormal(2.5, 1.0, (customers, 1))
    effect = random.normal([0.3, 0.2, 0.05, 0.1], 0.15, (customers, 4))
    cost = np.array([3.0, 1.5, 0.01, 2.0])
    gain = worth * effect - cost
    gain[random.random(gain.shape) < 0.2] = -np.inf
    return Means(gain, cost, np.array([0, -1, -1, len(seats) - 1]), np.array([budget, *seats]))


@pytest.mark.parametrize("means", [shop(1500, 1), shop(1500, 2, (40.0, 80.0)), shop(1000, 3, budget=np.inf), shop(1000, 4, (np.inf,), 300.0)])
def test_a_list_is_within_one_percent_of_the_linear_program_and_its_bound_is_one(means: Means) -> None:
    solved, optimum = solve(means), linear_program(means)
    assert solved.value >= 0.99 * optimum
    assert optimum * (1 - 1e-9) <= solved.bound <= optimum * 1.001
    assert np.all(solved.used <= means.limits * (1 + 1e-8))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 60), st.booleans(), st.sampled_from([0.0, 3.0, 20.0, np.inf]), st.sampled_from([0.0, 1.0, 7.0, np.inf]))
def test_no_limit_is_ever_exceeded_and_nobody_gets_what_is_barred(seed: int, customers: int, is_even: bool, budget: float, seats: float) -> None:
    random = np.random.default_rng(seed)
    gain = np.round(random.normal(1, 3, (customers, 3))) if is_even else random.normal(1, 3, (customers, 3))
    gain[random.random(gain.shape) < 0.3] = -np.inf
    means = Means(gain, random.gamma(2, 1, (customers, 3)), np.array([0, 0, -1]), np.array([budget, seats]))
    for choice in (solve(means).choice, at_prices(means, np.array([0.5, 0.5]))):
        rows = np.flatnonzero(choice != NOTHING)
        assert np.all(gain[rows, choice[rows]] > 0)
        assert np.all(means.used(rows, choice) <= means.limits * (1 + 1e-8))


def test_equal_customers_fall_to_the_earlier_and_equal_actions_to_the_first() -> None:
    means = Means(np.full((10, 2), 5.0), np.array([1.0, 1.0]), np.array([0, 0]), np.array([np.inf, 3.0]))
    assert solve(means).choice.tolist() == [0, 0, 0, -1, -1, -1, -1, -1, -1, -1]


def test_customers_who_are_all_alike_are_told_apart_only_by_what_there_is() -> None:
    random = np.random.default_rng(0)
    gain = np.tile(np.round(random.gamma(2, 2, 8), 2), (2000, 1))
    gain[random.random(gain.shape) < 0.3] = -np.inf
    means = Means(gain, np.round(random.gamma(2, 1, 8), 2), np.array([0, -1, 0, 1, 1, -1, -1, 1]), np.array([900.0, 80.0, 50.0]))
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


@pytest.mark.parametrize(("customers", "actions"), [(0, 3), (5, 0)])
def test_nobody_and_nothing_make_an_empty_list(customers: int, actions: int) -> None:
    means = Means(np.ones((customers, actions)), np.ones(actions), np.full(actions, -1), np.array([1.0]))
    solved = solve(means)
    assert solved.choice.tolist() == [NOTHING] * customers
    assert (solved.value, solved.bound) == (0.0, 0.0)


def test_customers_who_come_one_by_one_are_decided_by_prices_nearly_as_well() -> None:
    made = solve(shop(6000, 7, (240.0,), 3600.0)).prices
    later = shop(6000, 8, (240.0,), 3600.0)
    choice = at_prices(later, made)
    rows = np.flatnonzero(choice >= 0)
    assert later.gain[rows, choice[rows]].sum() >= 0.98 * solve(later).bound


def test_the_sample_comes_first_where_customers_are_many_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    means = shop(3000, 9)
    whole = solve(means)
    monkeypatch.setattr("serving.decisions.budget.SAMPLE", 300)
    assert solve(means).value == pytest.approx(whole.value, rel=2e-3)


def test_arrays_that_do_not_belong_together_are_refused() -> None:
    parts: dict[str, Any] = {"gain": np.ones((2, 2)), "cost": np.ones(2), "kind": np.array([0, -1]), "limits": np.array([1.0, 1.0])}
    for change in ({"cost": np.ones(3)}, {"cost": -np.ones(2)}, {"limits": np.array([np.nan, 1.0])}):
        with pytest.raises(ValueError, match="belong together|below zero"):
            Means(**{**parts, **change})


def test_a_seat_taken_by_a_call_costs_its_price_and_the_money_it_takes() -> None:
    price = Prices(0.5, {"call_center": 4.0})
    assert price.of("call_center", 3.0) == 5.5
    assert price.of("email", 0.0) == 0.0


def test_prices_come_back_as_they_were_written_while_they_hold(tmp_path: Path) -> None:
    workspace, made = Workspace.at(tmp_path), datetime(2026, 1, 1, tzinfo=UTC)
    assert prices.load(workspace, made) is None
    written = Prices(0.5, {"call_center": 4.0}, "spring", made, made + timedelta(days=7), "r1", {"churn": "c1", "uplift": None})
    prices.save(workspace, written)
    assert prices.load(workspace, made + timedelta(days=6)) == written
    assert prices.load(workspace, made + timedelta(days=7)) is None
    (workspace.lists / prices.FILE).write_text("{")
    with pytest.raises(DataError, match=r"prices\.json"):
        prices.load(workspace, made)
