"""Metrics against the reference evaluator, scikit-learn, hand counts and what must always hold."""

from __future__ import annotations

import doctest
import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from training import drift, metrics
from training.intervals import bootstrap, draws, paired

CHURN = {"auc": "auc", "pr_auc": "pr_auc", "log_loss": "log_loss", "brier": "brier", "ece": "ece10", "lift": "lift10", "mean_predicted": "mean_p"}
VALUE = {
    "mae": "mae",
    "rmse": "rmse",
    "spearman": "spearman",
    "gini_norm": "gini_norm",
    "bias": "bias_pct",
    "decile_wape": "decile_wape",
    "top10": "top10",
    "top20": "top20",
    "mean_actual": "mean_actual",
}


@pytest.fixture(scope="module")
def evaluator(shared: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("models_eval", shared / "references" / "models_eval.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def chances(rows: int = 1500, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    p = np.round(random.random(rows), 2)
    return (random.random(rows) < p).astype(float), p


def amounts(rows: int = 1500, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    y = np.where(random.random(rows) < 0.4, 0.0, random.gamma(1.5, 60, rows) - 15)
    return y, np.round(np.maximum(y + random.normal(0, 60, rows), 0), 0)


@pytest.mark.parametrize("ours", CHURN)
def test_chances_agree_with_the_evaluator(ours: str, evaluator: ModuleType) -> None:
    y, p = chances()
    random = np.random.default_rng(1)
    weights = random.integers(0, 4, (5, len(y))).astype(float)
    theirs = evaluator.Churn(y, p)
    assert getattr(metrics, ours)(y, p) == pytest.approx(theirs(np.ones(len(y)))[CHURN[ours]], rel=1e-12, abs=2e-6 if ours == "mean_predicted" else 0)
    if ours != "mean_predicted":
        assert np.allclose(getattr(metrics, ours)(y, p, weights), [theirs(w)[CHURN[ours]] for w in weights], rtol=1e-12)


@pytest.mark.parametrize("ours", VALUE)
def test_amounts_agree_with_the_evaluator(ours: str, evaluator: ModuleType) -> None:
    y, p = amounts()
    weights = np.random.default_rng(1).integers(0, 4, (5, len(y))).astype(float)
    theirs = evaluator.Clv(y, p)
    assert getattr(metrics, ours)(y, p) == pytest.approx(theirs(np.ones(len(y)))[VALUE[ours]], rel=1e-12)
    assert np.allclose(getattr(metrics, ours)(y, p, weights), [theirs(w)[VALUE[ours]] for w in weights], rtol=1e-12)


def test_intervals_agree_with_the_evaluator(evaluator: ModuleType) -> None:
    y, p = chances(400)
    _, theirs = evaluator.run([evaluator.Churn(y, p)], len(y), None, 600)
    low, high = np.nanquantile(theirs["auc"], [0.025, 0.975])
    ids = [f"{k:04d}" for k in range(len(y))]
    ours = bootstrap(metrics.auc, (y, p), ids, seed=evaluator.SEED, reps=600)
    assert ours.low == pytest.approx(low, abs=0.1 * (high - low)), "other draws of the same customers"
    assert ours.high == pytest.approx(high, abs=0.1 * (high - low))


def test_chances_agree_with_scikit_learn() -> None:
    from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

    y, p = chances(seed=4)
    p = np.clip(p, 0.01, 0.99)
    assert metrics.auc(y, p) == pytest.approx(roc_auc_score(y, p))
    assert metrics.pr_auc(y, p) == pytest.approx(average_precision_score(y, p))
    assert metrics.log_loss(y, p) == pytest.approx(log_loss(y, p))
    assert metrics.brier(y, p) == pytest.approx(brier_score_loss(y, p))


def test_the_examples_of_the_docstrings_hold() -> None:
    for module in (metrics, drift):
        found = doctest.testmod(module)
        assert found.attempted >= 1
        assert found.failed == 0
    assert doctest.testmod(metrics).attempted >= 17


@settings(max_examples=60, deadline=None)
@given(
    arrays(int, 30, elements=st.integers(1, 999)).map(lambda values: values / 1000),
    st.lists(st.booleans(), min_size=30, max_size=30).filter(lambda values: 0 < sum(values) < 30),
)
def test_ranks_decide_auc_and_order_of_rows_nothing(p: np.ndarray, outcome: list[bool]) -> None:
    y = np.array(outcome, dtype=float)
    turn = np.random.default_rng(0).permutation(30)
    assert metrics.auc(y, p) == pytest.approx(1 - metrics.auc(1 - y, p))
    assert metrics.auc(y, p) == pytest.approx(metrics.auc(y, p * 3 + 1))
    for metric in (metrics.auc, metrics.pr_auc, metrics.log_loss, metrics.brier, metrics.ece, metrics.lift):
        assert metric(y, p) == pytest.approx(metric(y[turn], p[turn]))


@settings(max_examples=60, deadline=None)
@given(arrays(float, 25, elements=st.floats(0, 1000)).filter(lambda y: np.ptp(y) > 1 and len(np.unique(y)) > 3))
def test_the_truth_is_the_best_prediction_of_value(y: np.ndarray) -> None:
    assert metrics.gini_norm(y, y) == pytest.approx(1)
    assert metrics.spearman(y, y) == pytest.approx(1)
    assert metrics.bias(y, y) == pytest.approx(0, abs=1e-9)
    assert metrics.gini_norm(y, -y) <= 0
    assert metrics.gini_norm(y, np.ones(len(y))) == pytest.approx(0, abs=1e-9)


def test_a_weight_of_two_is_the_row_twice() -> None:
    y, p = chances(50, seed=2)
    weights = np.ones((1, 50))
    weights[0, :10] = 2
    for name in ("auc", "pr_auc", "log_loss", "brier"):
        metric = getattr(metrics, name)
        assert metric(y, p, weights)[0] == pytest.approx(metric(np.r_[y, y[:10]], np.r_[p, p[:10]]))


@pytest.mark.parametrize(("y", "p"), [([], []), ([0, 1], [0.5]), ([0, np.nan], [0.5, 0.5]), ([0, 1], [0.5, np.inf])])
def test_rows_that_cannot_be_measured_are_refused(y: list[float], p: list[float]) -> None:
    with pytest.raises(ValueError, match="log_loss"):
        metrics.log_loss(y, p)


def test_all_rows_of_a_customer_are_drawn_together() -> None:
    customers = np.array(["b", "a", "b", "c"])
    blocks = list(draws(customers, 40, seed=1))
    weights = np.concatenate(blocks)
    assert weights.shape == (40, 4)
    assert np.array_equal(weights[:, 0], weights[:, 2])


def test_a_draw_holds_a_customer_as_often_wherever_it_is_looked_for() -> None:
    here, there = np.array(["a", "b", "c", "d"]), np.array(["z", "c", "a"])
    one, other = (np.concatenate(list(draws(customers, 60, seed=1))) for customers in (here, there))
    assert np.array_equal(one[:, [2, 0]], other[:, [1, 2]])
    assert not np.array_equal(np.concatenate(list(draws(here, 60, seed=2))), one)


def test_a_customer_is_drawn_once_on_average() -> None:
    weights = np.concatenate(list(draws(np.arange(400).astype(str), 300, seed=3)))
    assert weights.mean() == pytest.approx(1, abs=0.01)
    assert weights.var() == pytest.approx(1, abs=0.03)
    assert (weights == 0).mean() == pytest.approx(np.exp(-1), abs=0.01)
    assert np.corrcoef(weights[:, 0], weights[:, 1])[0, 1] == pytest.approx(0, abs=0.15)


def test_blocks_change_no_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    customers = np.arange(30).astype(str)
    whole = np.concatenate(list(draws(customers, 20, seed=1)))
    monkeypatch.setattr("training.intervals._CELLS", 90)
    assert np.array_equal(np.concatenate(list(draws(customers, 20, seed=1))), whole)


def test_a_paired_difference_is_narrower_than_two_intervals() -> None:
    y, p = chances(800, seed=3)
    other = np.clip(p + np.random.default_rng(0).normal(0, 0.02, len(p)), 0, 1)
    ids = np.arange(len(y)).astype(str)
    a, b = (bootstrap(metrics.brier, (y, each), ids, seed=1, reps=200) for each in (p, other))
    difference = paired(metrics.brier, (y, p), (y, other), ids, seed=1, reps=200)
    assert difference.value == pytest.approx(a.value - b.value)
    assert difference.high - difference.low < 0.5 * (a.high - a.low)
    none, worse = (paired(metrics.brier, (y, p), (y, each), ids, seed=1, reps=50) for each in (p, 1 - p))
    assert (none.low, none.high) == (0, 0)
    assert worse.high < 0


def test_another_seed_is_another_interval_and_the_same_seed_the_same() -> None:
    y, p = chances(300)
    ids = np.arange(len(y)).astype(str)
    one, again, other = (bootstrap(metrics.auc, (y, p), ids, seed=seed, reps=50) for seed in (1, 1, 2))
    assert one == again
    assert one.value == other.value
    assert one.low != other.low


def test_psi_is_calm_for_the_same_and_loud_for_a_shift() -> None:
    random = np.random.default_rng(0)
    base = random.normal(0, 1, 3000)
    assert drift.psi(base, random.normal(0, 1, 3000)) < 0.05
    assert drift.psi(base, random.normal(1, 1, 3000)) > 0.25
    missing = np.where(random.random(3000) < 0.3, np.nan, base)
    assert drift.psi(base, missing) > 0.25
    with pytest.raises(ValueError, match="both are needed"):
        drift.psi([], [1.0])
