"""Cross-fitting: the evaluators' folds, and nobody predicted by a model that saw them."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from retain.errors import DataError
from training import metrics
from training.contracts import Floats, Frame
from training.crossfit import Folds, best, crossfit, given, hashed
from training.models.constant import Prevalence
from training.models.logistic import Logistic

LOG_LOSS = (metrics.log_loss, "lower")


def _frame(rows: int = 200, seed: int = 1) -> Frame:
    """The number of the row, and a feature that tells something of the outcome."""
    rng = np.random.default_rng(seed)
    y = (np.arange(rows) % 3 == 0).astype(float)
    x = np.column_stack([np.arange(rows, dtype=float), y + rng.normal(0, 1, rows)])
    ids = np.array([f"c{k:03d}" for k in range(rows)], dtype=object)
    return Frame(ids, np.full(rows, np.datetime64("2020-01-01", "us")), ("row", "hint"), x, y, 30)


@dataclass(frozen=True)
class _Recalled:
    """Says the outcome of rows that it has seen, and one half of others."""

    seen: dict[float, float]
    columns: tuple[str, ...] = ("row",)

    def predict(self, x: Floats) -> Floats:
        return np.array([self.seen.get(float(row), 0.5) for row in x[:, 0]])

    def save(self, folder: Path) -> None:
        raise NotImplementedError


class _Recalling:
    def fit(self, frame: Frame) -> _Recalled:
        return _Recalled(dict(zip(frame.x[:, frame.columns.index("row")].tolist(), frame.y.tolist(), strict=True)))


def test_nobody_is_predicted_by_a_model_that_saw_them() -> None:
    frame = _frame()
    found = crossfit(frame, {"recalling": _Recalling()}, hashed(frame.customer_id, frame.y, "x", repeats=2), LOG_LOSS)
    assert found.predicted.shape == (2, 200)
    assert (found.predicted == 0.5).all()


def test_the_recipe_is_chosen_inside_the_other_folds() -> None:
    frame = _frame()
    models = {"prevalence": Prevalence(), "recalling": _Recalling(), "logistic": Logistic(columns=("hint",))}
    folds = hashed(frame.customer_id, frame.y, "x", repeats=2)
    found = crossfit(frame, models, folds, LOG_LOSS)
    assert found.chosen == ("logistic",) * 10
    # What the tested rows came to changes nothing of what is said about them.
    asked = np.flatnonzero(folds.of[0] == 2)
    turned = replace(frame, y=np.where(np.isin(np.arange(200), asked), 1 - frame.y, frame.y))
    assert np.array_equal(crossfit(turned, models, folds, LOG_LOSS).predicted[0, asked], found.predicted[0, asked])


def test_the_order_of_recipes_decides_between_equals() -> None:
    assert best(_frame(), {"a": Prevalence(), "b": Prevalence()}, LOG_LOSS)[0] == "a"


def test_rows_without_an_outcome_are_predicted_and_never_learned_from() -> None:
    frame = _frame()
    gone = replace(frame, y=np.where(np.arange(200) < 20, np.nan, frame.y))
    folds = hashed(gone.customer_id, gone.y, "x", repeats=1)
    assert np.bincount(folds.of[0, :20]).tolist() == [4] * 5
    found = crossfit(gone, {"prevalence": Prevalence(weight=0)}, folds, LOG_LOSS).predicted[0]
    rest = (folds.of[0] != folds.of[0, 0]) & ~np.isnan(gone.y)
    assert found[0] == pytest.approx(gone.y[rest].mean())


def test_folds_are_the_evaluators(shared: Path) -> None:
    spec = importlib.util.spec_from_file_location("models_eval", shared / "references" / "models_eval.py")
    assert spec is not None
    assert spec.loader is not None
    evaluator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(evaluator)
    frame = _frame()
    ours = hashed(frame.customer_id, frame.y, "telco_churn")
    theirs = [evaluator.hash_folds(frame.customer_id, frame.y, 5, f"telco_churn:{repeat}") for repeat in range(5)]
    assert np.array_equal(ours.of, np.array(theirs))


def test_given_folds_are_matched_by_customer() -> None:
    customers = np.array(["a", "b", "c"], dtype=object)
    table = pd.DataFrame({"customer_id": ["c", "a", "b"] * 2, "repeat": [0, 0, 0, 1, 1, 1], "fold": [7, 3, 7, 3, 3, 7]})
    found = given(table, customers)
    assert isinstance(found, Folds)
    assert (found.of.tolist(), found.count) == ([[0, 1, 1], [0, 1, 0]], 2)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"customer_id": ["a", "b", "c"]}, "the column fold is missing"),
        ({"customer_id": ["a", "b"], "fold": [0, 1]}, "repetition 0 has 2 rows of 2 known customers, the source has 3"),
        ({"customer_id": ["a", "b", "b"], "fold": [0, 1, 1]}, "each customer is needed exactly once"),
        ({"customer_id": ["a", "b", "d"], "fold": [0, 1, 1]}, "3 rows of 2 known customers"),
        ({"customer_id": ["a", "b", "c"], "fold": [1, 1, 1]}, "at least two"),
        ({"customer_id": ["a", "b", "c"] * 2, "repeat": [0] * 3 + [1] * 3, "fold": [0, 1, 2, 0, 1, 1]}, "needs the same folds"),
    ],
)
def test_folds_that_cannot_be_used_are_named(table: dict[str, list[object]], words: str) -> None:
    with pytest.raises(DataError, match=words):
        given(pd.DataFrame(table), np.array(["a", "b", "c"], dtype=object))
