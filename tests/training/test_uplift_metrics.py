"""Qini, AUUC and their relatives against plain loops, known truths and each other."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.uplift import check
from training.contracts import Floats
from training.intervals import draws
from training.uplift_metrics import GRID, Trialled, curves, effect_error, effects, groups, policy_gain, qini


def _trial(rows: int = 3000, seed: int = 4, chance: float = 0.5) -> tuple[Trialled, Floats]:
    random = np.random.default_rng(seed)
    treated, effect = random.random(rows) < chance, random.uniform(0.0, 0.4, rows)
    y = (random.random(rows) < 0.1 + treated * effect).astype(np.float64)
    return Trialled(y, treated, np.full(rows, chance)), effect


def test_curves_equal_a_loop_over_customers() -> None:
    assert max(check().values()) < 1e-12


def test_a_known_order_has_the_qini_that_follows_from_the_truth() -> None:
    trial, effect = _trial(rows=60_000)
    # Uniform effects from 0 to 0.4, best first: u(f) = 0.4 f - 0.2 f^2, whose area lies 1/30 above the chord.
    assert qini(trial, effect) == pytest.approx(0.2 - 0.2 / 3 - 0.1, abs=0.004)
    assert qini(trial, -effect) == pytest.approx(-qini(trial, effect), abs=0.004)


def test_one_score_for_all_has_no_qini() -> None:
    trial, _ = _trial()
    drawn = np.random.default_rng(3).poisson(1.0, (50, len(trial.y))).astype(float)
    assert qini(trial, np.zeros(len(trial.y))) == 0
    assert not curves(trial, np.zeros(len(trial.y)), drawn).measures()["qini"].any(), "not what rounding leaves of it"


def test_draws_of_one_each_are_the_point_values() -> None:
    trial, effect = _trial(500)
    plain, drawn = curves(trial, effect), curves(trial, effect, np.ones((2, 500)))
    assert np.array_equal(np.repeat(plain.qini, 2, axis=0), drawn.qini)
    assert plain.gain[0, -1] == plain.measures()["average_effect"][0]
    assert np.allclose(plain.measures()["gain30"], plain.effect[:, 29] * GRID[29])


def test_one_chance_for_all_changes_nothing_whatever_it_is() -> None:
    trial, effect = _trial(chance=0.7)
    other = Trialled(trial.y, trial.treated, np.full(len(trial.y), 0.5))
    assert np.allclose(curves(trial, effect).qini, curves(other, effect).qini)


def test_unequal_chances_are_set_right() -> None:
    random = np.random.default_rng(3)
    strong = random.random(40_000) < 0.5
    chance = np.where(strong, 0.8, 0.2)
    treated = random.random(40_000) < chance
    y = (random.random(40_000) < np.where(strong, 0.4, 0.1) + 0.1 * treated).astype(np.float64)
    honest = curves(Trialled(y, treated, chance), strong.astype(float)).measures()["average_effect"][0]
    naive = y[treated].mean() - y[~treated].mean()
    assert honest == pytest.approx(0.1, abs=0.015)
    assert naive > 0.2


def test_predicted_effects_are_held_against_observed_ones() -> None:
    trial, effect = _trial(20_000)
    member, once = groups(effect), np.ones((1, 20_000))
    assert np.allclose(effects(trial, member, once)[0], (member.T @ effect) / member.sum(axis=0), atol=0.06)
    assert effect_error(trial, member, effect, once)[0] < 0.03
    assert effect_error(trial, member, effect + 0.2, once)[0] == pytest.approx(0.2, abs=0.03)


def _error(trial: Trialled, said: Floats, owner: NDArray[np.intp]) -> tuple[float, float, float]:
    member = groups(said)
    value = effect_error(trial, member, said, np.ones((1, len(said))), owner)[0]
    sample = np.concatenate([effect_error(trial, member, said, weights, owner) for weights in draws(owner.astype(str), 200, 7)])
    low, high = np.quantile(sample, [0.025, 0.975])
    return float(value), float(low), float(high)


@pytest.mark.parametrize("rows_each", [1, 4])
def test_the_error_of_effects_lies_in_its_interval_and_holds_the_truth(rows_each: int) -> None:
    """Also where little is seen, and where customers have several rows that are all alike: noise is no error."""
    held = []
    for seed in range(12):
        few, effect = _trial(900, seed=seed)
        owner = np.repeat(np.arange(900), rows_each)
        many, known = few.take(owner), effect[owner]
        for wrong in (0.0, 0.25):
            value, low, high = _error(many, known + wrong, owner)
            assert low <= value <= high
            held.append(low <= wrong <= high)
    assert np.mean(held) > 0.85


def test_an_error_of_chance_alone_is_none() -> None:
    values = [_error(*(trial, effect, np.arange(900)))[0] for trial, effect in (_trial(900, seed=seed) for seed in range(12))]
    assert np.median(values) < 0.04, "the plain distance is about 0.06 here"


def test_groups_without_controls_say_nothing_of_the_error() -> None:
    trial, effect = _trial(900)
    alone = Trialled(trial.y, np.ones(900, dtype=bool), trial.chance)
    assert effect_error(alone, groups(effect), effect, np.ones((1, 900)))[0] == 0


def test_the_gain_of_a_policy_is_its_effect_less_its_cost() -> None:
    trial, effect = _trial(20_000)
    chosen = effect > 0.2
    gain = policy_gain(trial, chosen, 0.05, np.ones((1, 20_000)))[0]
    assert gain == pytest.approx(0.5 * (0.3 - 0.05), abs=0.02)


def test_the_interval_of_a_permuted_outcome_holds_zero() -> None:
    trial, effect = _trial()
    lost = Trialled(np.random.default_rng(8).permutation(trial.y), trial.treated, trial.chance)
    names = [str(place) for place in range(len(trial.y))]
    sample = np.concatenate([curves(lost, effect, weights).measures()["qini"] for weights in draws(names, 200, 7)])
    low, high = np.quantile(sample, [0.025, 0.975])
    assert low < 0 < high
