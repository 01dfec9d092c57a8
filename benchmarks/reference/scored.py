"""The rows of risk and of value: each a column of predictions for the population of the cut."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from benchmarks.reference import described, learners, processes
from benchmarks.reference.learners import FIXED, Floats, Learn, Taught
from benchmarks.reference.protocol import DAY, Moment, lessons
from training.models.purchase_process.pareto import ParetoNbdProcess

Row = tuple[str, Floats]
TWEEDIE = {"objective": "tweedie", "tweedie_variance_power": 1.5, **FIXED}


@dataclass(frozen=True)
class Shop:
    """A window's moment to answer for, and the closed ones to learn from."""

    test: Moment
    has_stable: bool
    """Whether the reference gives rows of look-back-stable features for it."""

    @cached_property
    def closed(self) -> list[Moment]:
        """The newest first."""
        return lessons(self.test)

    @cached_property
    def newest(self) -> Taught:
        """Recency, orders, money, tenure at the latest closed cut alone; what is to be learned is put in by ``taught``."""
        return self._taught(described.rfm, self.closed[:1])

    @cached_property
    def rich(self) -> Taught:
        """Rich features at every closed cut."""
        return self._taught(described.rich, self.closed)

    @cached_property
    def stable(self) -> Taught:
        """Stable features at every closed cut."""
        return self._taught(described.stable, self.closed)

    @cached_property
    def outcomes(self) -> list[pd.DataFrame]:
        """Of the closed windows."""
        return [moment.outcome() for moment in self.closed]

    def y(self, taught: Taught, outcome: str) -> Taught:
        """The same rows with an outcome to learn."""
        whole = np.concatenate([each[outcome].to_numpy(float) for each in self.outcomes])
        return Taught(taught.x, whole[: len(taught.x)], taught.fold, taught.latest)

    def _taught(self, features: Callable[[Moment], pd.DataFrame], moments: list[Moment]) -> Taught:
        found = [features(moment) for moment in moments]
        latest = np.concatenate([np.full(len(x), number < 2) for number, x in enumerate(found)])
        x = pd.concat(found)
        return Taught(x, np.zeros(len(x)), learners.folds(x.index), latest)


def churn(shop: Shop) -> Iterator[Row]:
    """Chance of no purchase in the horizon."""
    rfm, newest = described.rfm(shop.test), shop.y(shop.newest, "churn")
    yield "recency_rule", learners.logistic(newest.x[["recency"]], newest.y)(rfm[["recency"]])
    yield "frequency_rule", learners.logistic(newest.x[["orders"]], newest.y)(rfm[["orders"]])
    yield "rfm_logistic", learners.logistic(newest.x, newest.y)(rfm)
    yield "bgnbd_p0", processes.outlook(shop.test).p_none.to_numpy(float)
    yield "lgbm_tutorial", learners.chance()(newest.x, newest.y)(rfm)
    taught, asked = shop.y(shop.rich, "churn"), described.rich(shop.test)
    line = _calibrated(learners.logistic, taught, asked)[1]
    plain, trees = _calibrated(learners.searched(taught), taught, asked)
    yield "logistic_rich", line
    yield "lgbm_rich_tuned", trees
    yield "lgbm_rich_tuned_uncal", plain
    if shop.has_stable:
        steady = shop.y(shop.stable, "churn")
        yield "lgbm_stable", _calibrated(learners.searched(steady), steady, described.stable(shop.test))[1]
    if learners.has_catboost():
        other = _calibrated(learners.catboost("Logloss"), taught, asked)[1]
        yield "catboost_rich", other
        yield "blend_gbm_lr", learners.blended([trees, other, line])


def _calibrated(learn: Learn, taught: Taught, asked: pd.DataFrame) -> tuple[Floats, Floats]:
    """What is said, before and after a map from what held-out customers of the two latest cuts did."""
    said = learners.held_out(learn, taught)[taught.latest]
    plain = learn(taught.x, taught.y)(asked)
    return plain, learners.platt(said, taught.y[taught.latest])(plain)


def value(shop: Shop) -> Iterator[Row]:
    """Net money in the horizon."""
    test = shop.test
    rows = test.before()
    recent = rows[rows.ts >= test.at - test.horizon_days * DAY]
    yield "last_period", recent.groupby("customer_id").value.sum().reindex(test.population(), fill_value=0.0).to_numpy(float)
    yield "bgnbd_gg", processes.outlook(test).p_money.to_numpy(float)
    yield "paretonbd_gg", processes.outlook(test, ParetoNbdProcess).p_money.to_numpy(float)
    newest = shop.y(shop.newest, "spend")
    yield "lgbm_l2_tutorial", learners.amount()(newest.x, newest.y)(described.rfm(test))
    taught, asked = shop.y(shop.rich, "spend"), described.rich(test)
    # Neither loss takes less than nothing: a customer who returns more than is bought counts as one who spends nothing.
    kept = Taught(taught.x, np.maximum(taught.y, 0.0), taught.fold, taught.latest)
    tweedie = learners.amount(**TWEEDIE)(kept.x, kept.y)(asked)
    yield "lgbm_tweedie_rich", tweedie
    buys = learners.chance(**FIXED)(kept.x, (kept.y > 0).astype(float))(asked)
    spent = kept.where(kept.y > 0)
    gamma = buys * learners.amount(objective="gamma", **FIXED)(spent.x, spent.y)(asked)
    yield "two_stage", gamma
    ziln = buys * _lognormal(learners.amount(**FIXED), spent, asked)
    yield "ziln_like", ziln
    yield "two_stage_ridge_log", buys * _lognormal(learners.ridge, spent, asked)
    if learners.has_catboost():
        other = learners.catboost("Tweedie:variance_power=1.5")(kept.x, kept.y)(asked)
        yield "catboost_tweedie_rich", other
        yield "blend", np.mean([tweedie, other, gamma, ziln], axis=0)


def _lognormal(learn: Learn, spent: Taught, asked: pd.DataFrame) -> Floats:
    """exp(mu + s^2 / 2): the mean of logs by ``learn``, their spread as it is on held-out customers."""
    logs = Taught(spent.x, np.log(spent.y), spent.fold, spent.latest)
    spread = float(np.mean((logs.y - learners.held_out(learn, logs)) ** 2))
    return np.asarray(np.exp(learn(logs.x, logs.y)(asked) + spread / 2))
