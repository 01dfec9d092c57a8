"""Where history is short, predictions are lengthened by the curve of returns; checked on shops whose curve is known."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

from training import horizons
from training.horizons import growth, half_power, half_share


def test_the_examples_of_the_docstrings_hold() -> None:
    found = doctest.testmod(horizons, extraglobs={"np": np})
    assert (found.attempted, found.failed) == (4, 0)


def test_customers_who_never_leave_return_in_a_straight_line() -> None:
    random = np.random.default_rng(0)
    rate = random.gamma(1.0, 0.02, 20_000)
    half = (random.random(20_000) < np.exp(-rate * 45)).astype(float)
    k = half_power(np.exp(-rate * 90), half)
    assert k == pytest.approx(0.5, abs=0.02)
    assert np.mean(np.exp(-rate * 90) ** growth(k, 0.5, 3.0)) == pytest.approx(np.exp(-rate * 270).mean(), abs=0.02)


def test_customers_who_leave_flatten_the_curve() -> None:
    random = np.random.default_rng(1)
    rate, life = random.gamma(1.0, 0.02, 20_000), random.exponential(60, 20_000)

    def silent(days: float) -> np.ndarray:
        return np.exp(-rate * np.minimum(life, days))

    half = (random.random(20_000) < silent(45)).astype(float)
    chance = np.exp(-rate * 60 * (1 - np.exp(-90 / 60)))
    found = np.mean(chance ** growth(half_power(chance, half), 0.5, 3.0))
    straight = np.mean(chance**3.0)
    truth = silent(270).mean()
    assert abs(found - truth) < 0.7 * abs(straight - truth)


def test_longer_is_never_less_and_never_more_than_in_proportion() -> None:
    for share in np.linspace(0.01, 1.2, 40):
        for wanted in (1.0, 1.5, 4.0):
            assert 1.0 - 1e-9 <= growth(float(share), 0.5, wanted) <= wanted + 1e-9


def test_money_that_never_came_has_no_curve() -> None:
    assert half_share(np.zeros(3), np.zeros(3)) == 0.5
    assert half_share(np.array([10.0, -20.0]), np.array([1.0, 1.0])) == 0.5
