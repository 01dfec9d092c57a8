"""Ways to learn that several rows share: a line on signed logs, boosted trees with settings searched on held-out customers, Platt's map."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]
SEED = 11
FOLDS = 5
TRIALS = 8
STEADY = {"verbosity": -1, "random_state": SEED, "deterministic": True, "force_row_wise": True, "n_jobs": 1}
FIXED = {
    "n_estimators": 300, "learning_rate": 0.03, "num_leaves": 7, "min_child_samples": 50, "subsample": 0.8, "subsample_freq": 1,
    "colsample_bytree": 0.7, "reg_lambda": 5.0,
}  # fmt: skip
"""Settings of trees where a row searches none and the page does not say them: such that the Tweedie row comes near its published figures."""


@dataclass(frozen=True)
class Taught:
    """Rows to learn from, of one or several cuts."""

    x: pd.DataFrame
    y: Floats
    fold: NDArray[np.int64]
    """(rows,) by a hash of the customer: all rows of one are held out together."""
    latest: NDArray[np.bool_]
    """(rows,) of the two latest cuts."""

    def where(self, rows: NDArray[np.bool_]) -> Taught:
        """Some rows."""
        return Taught(self.x[rows], self.y[rows], self.fold[rows], self.latest[rows])


Learn = Callable[[pd.DataFrame, Floats], Callable[[pd.DataFrame], Floats]]
"""Rows and outcomes -> what predicts."""


def folds(customers: pd.Index, count: int = FOLDS) -> NDArray[np.int64]:
    """The part that each customer is held out with."""
    return np.array([int(hashlib.sha256(str(each).encode()).hexdigest(), 16) % count for each in customers], dtype=np.int64)


def held_out(learn: Learn, taught: Taught) -> Floats:
    """(rows,) what models say that learned from other customers."""
    said = np.empty(len(taught.y))
    for number in np.unique(taught.fold):
        rows = taught.fold == number
        said[rows] = learn(taught.x[~rows], taught.y[~rows])(taught.x[rows])
    return said


def logistic(x: pd.DataFrame, y: Floats, *, logs: bool = True) -> Callable[[pd.DataFrame], Floats]:
    """Logistic regression on standardised signed logs, or on the values as they are; gaps filled with the median."""
    from sklearn.linear_model import LogisticRegression

    line = _line(LogisticRegression(max_iter=5000), logs).fit(x, y)
    return lambda rows: np.asarray(line.predict_proba(rows)[:, 1])


def ridge(x: pd.DataFrame, y: Floats) -> Callable[[pd.DataFrame], Floats]:
    """Ridge regression on the same."""
    from sklearn.linear_model import RidgeCV

    line = _line(RidgeCV(alphas=np.logspace(-1, 4, 11)), logs=True).fit(x, y)
    return lambda rows: np.asarray(line.predict(rows))


def _line(last: Any, logs: bool) -> Any:
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    first = FunctionTransformer(lambda values: np.sign(values) * np.log1p(np.abs(values))) if logs else FunctionTransformer()
    return make_pipeline(first, SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler(), last)


def chance(**settings: Any) -> Learn:
    """LightGBM's chance; its own defaults where nothing is set."""

    def learn(x: pd.DataFrame, y: Floats) -> Callable[[pd.DataFrame], Floats]:
        from lightgbm import LGBMClassifier

        trees = LGBMClassifier(**STEADY, **settings).fit(x, y)
        return lambda rows: np.asarray(trees.predict_proba(rows)[:, 1])

    return learn


def amount(**settings: Any) -> Learn:
    """LightGBM's regression; its own defaults where nothing is set."""

    def learn(x: pd.DataFrame, y: Floats) -> Callable[[pd.DataFrame], Floats]:
        from lightgbm import LGBMRegressor

        trees = LGBMRegressor(**STEADY, **settings).fit(x, y)
        return lambda rows: np.asarray(trees.predict(rows))

    return learn


def searched(taught: Taught, trials: int = TRIALS) -> Learn:
    """Trees with the settings of the lowest log loss on held-out customers, of so many that Optuna tries."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)

    def loss(trial: Any) -> float:
        return log_loss(taught.y, held_out(chance(**_settings(trial)), taught))

    study = optuna.create_study(direction="minimize", sampler=optuna.samplers.TPESampler(seed=SEED))
    study.optimize(loss, n_trials=trials)
    return chance(**_settings(study.best_trial))


def _settings(trial: Any) -> dict[str, Any]:
    return {
        "n_estimators": trial.suggest_int("n_estimators", 100, 600, step=50),
        "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.1, log=True),
        "num_leaves": trial.suggest_int("num_leaves", 4, 48, log=True),
        "min_child_samples": trial.suggest_int("min_child_samples", 20, 300, log=True),
        "subsample": trial.suggest_float("subsample", 0.5, 1.0),
        "subsample_freq": 1,
        "colsample_bytree": trial.suggest_float("colsample_bytree", 0.3, 1.0),
        "reg_lambda": trial.suggest_float("reg_lambda", 0.01, 50.0, log=True),
    }


def platt(said: Floats, y: Floats) -> Callable[[Floats], Floats]:
    """A straight line between logits."""
    from sklearn.linear_model import LogisticRegression

    line = LogisticRegression(C=1e6).fit(logit(said)[:, None], y)
    return lambda p: np.asarray(line.predict_proba(logit(p)[:, None])[:, 1])


def logit(p: Floats) -> Floats:
    """Of chances away from 0 and 1."""
    clipped = np.clip(p, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(clipped / (1 - clipped)))


def blended(chances: list[Floats]) -> Floats:
    """The mean of logits."""
    return np.asarray(1 / (1 + np.exp(-np.mean([logit(p) for p in chances], axis=0))))


def log_loss(y: Floats, p: Floats) -> float:
    """Mean, of chances clipped as the evaluator does."""
    clipped = np.clip(p, 1e-6, 1 - 1e-6)
    return float(-np.mean(y * np.log(clipped) + (1 - y) * np.log(1 - clipped)))


def has_catboost() -> bool:
    """CatBoost is none of our dependencies: rows that need it are left out where it is not installed."""
    from importlib.util import find_spec

    return find_spec("catboost") is not None


def catboost(loss: str) -> Learn:
    """CatBoost with its defaults but fewer and slower trees, for chances (``Logloss``) or amounts."""

    def learn(x: pd.DataFrame, y: Floats) -> Callable[[pd.DataFrame], Floats]:
        from catboost import CatBoostClassifier, CatBoostRegressor

        settings = {"iterations": 600, "learning_rate": 0.03, "random_seed": SEED, "verbose": False, "allow_writing_files": False, "thread_count": 1}
        if loss == "Logloss":
            trees = CatBoostClassifier(loss_function=loss, **settings).fit(x, y)
            return lambda rows: np.asarray(trees.predict_proba(rows)[:, 1])
        trees = CatBoostRegressor(loss_function=loss, **settings).fit(x, y)
        return lambda rows: np.asarray(trees.predict(rows, prediction_type="Exponent"))

    return learn
