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
    process = processes.outlook(shop.test)
    none = process.p_none.to_numpy(float)
    yield "bgnbd_p0", none
    yield "bgnbd_1-alive", 1 - process.p_alive.to_numpy(float)
    yield "paretonbd_p0", processes.outlook(shop.test, ParetoNbdProcess).p_none.to_numpy(float)
    yield "lgbm_tutorial", learners.chance()(newest.x, newest.y)(rfm)
    taught, asked = shop.y(shop.rich, "churn"), described.rich(shop.test)
    line = _calibrated(learners.logistic, taught, asked)
    searched = _calibrated(learners.searched(taught), taught, asked)
    yield "logistic_rich", line.mapped
    yield "lgbm_rich_tuned", searched.mapped
    yield "lgbm_rich_tuned_uncal", searched.plain
    blend = None
    if learners.has_catboost():
        other = _calibrated(learners.catboost("Logloss"), taught, asked)
        blend = learners.blended([searched.mapped, other.mapped, line.mapped])
        yield "catboost_rich", other.mapped
        yield "blend_gbm_lr", blend
        yield "blend_gbm_lr_bgnbd", learners.blended([searched.mapped, other.mapped, line.mapped, none])
        yield "stack", _stacked([searched, other, line], taught.y[taught.latest])
    if shop.has_stable:
        steady, asked = shop.y(shop.stable, "churn"), described.stable(shop.test)
        trees, plain_line = _calibrated(learners.searched(steady), steady, asked), _calibrated(learners.logistic, steady, asked)
        both = learners.blended([trees.mapped, plain_line.mapped])
        yield "lgbm_stable", trees.mapped
        yield "logistic_stable", plain_line.mapped
        yield "blend_stable", both
        if blend is not None:
            yield "blend_rich_stable", learners.blended([blend, both])


@dataclass(frozen=True)
class Calibrated:
    """What a learner says of those asked about, before and after a map from what held-out customers of the two latest cuts did."""

    held_out: Floats
    """Of those customers, by models that learned from others."""
    plain: Floats
    mapped: Floats


def _calibrated(learn: Learn, taught: Taught, asked: pd.DataFrame) -> Calibrated:
    said = learners.held_out(learn, taught)[taught.latest]
    plain = learn(taught.x, taught.y)(asked)
    return Calibrated(said, plain, learners.platt(said, taught.y[taught.latest])(plain))


def _stacked(members: list[Calibrated], y: Floats) -> Floats:
    """A logistic regression on what each says of held-out customers, as logits."""
    logits = (
        np.column_stack([learners.logit(said) for said in parts]) for parts in zip(*((each.held_out, each.plain) for each in members), strict=True)
    )
    held_out, asked = (pd.DataFrame(each) for each in logits)
    return learners.logistic(held_out, y, logs=False)(asked)


def value(shop: Shop) -> Iterator[Row]:
    """Net money in the horizon."""
    test = shop.test
    rows = test.before()
    newest, spent_then = shop.closed[0], shop.outcomes[0].spend.to_numpy(float)
    last, then = _last_period(test), _last_period(newest)
    scaled = last * spent_then.sum() / then.sum()
    days = (test.at - test.ledger.ts.min().floor("D")) / DAY
    yield "mean", np.full(len(last), spent_then.mean())
    yield "last_period", last
    yield "last_period_scaled", scaled
    yield "spend_rate", _spent(rows, test) * test.horizon_days / days
    process = processes.outlook(test).p_money.to_numpy(float)
    yield "bgnbd_gg", process
    yield "paretonbd_gg", processes.outlook(test, ParetoNbdProcess).p_money.to_numpy(float)
    simple = shop.y(shop.newest, "spend")
    yield "lgbm_l2_tutorial", learners.amount()(simple.x, simple.y)(described.rfm(test))
    taught, asked = shop.y(shop.rich, "spend"), described.rich(test)
    # Neither loss takes less than nothing: a customer who returns more than is bought counts as one who spends nothing.
    kept = Taught(taught.x, np.maximum(taught.y, 0.0), taught.fold, taught.latest)
    yield "lgbm_l2_rich", learners.amount(**FIXED)(taught.x, taught.y)(asked)
    yield "lgbm_mae_rich", learners.amount(objective="regression_l1", **FIXED)(taught.x, taught.y)(asked)
    tweedie = learners.amount(**TWEEDIE)(kept.x, kept.y)(asked)
    yield "lgbm_tweedie_rich", tweedie
    buys = learners.chance(**FIXED)(kept.x, (kept.y > 0).astype(float))(asked)
    spent = kept.where(kept.y > 0)
    gamma = buys * learners.amount(objective="gamma", **FIXED)(spent.x, spent.y)(asked)
    yield "two_stage", gamma
    ziln = buys * _lognormal(learners.amount(**FIXED), spent, asked)
    yield "ziln_like", ziln
    yield "two_stage_ridge_log", buys * _lognormal(learners.ridge, spent, asked)
    steady = None
    if shop.has_stable:
        low = shop.y(shop.stable, "spend")
        steady = learners.amount(**TWEEDIE)(low.x, np.maximum(low.y, 0.0))(described.stable(test))
        yield "lgbm_tweedie_stable", steady
    if learners.has_catboost():
        other = learners.catboost("Tweedie:variance_power=1.5")(kept.x, kept.y)(asked)
        blend = np.mean([tweedie, other, gamma, ziln], axis=0)
        yield "catboost_tweedie_rich", other
        yield "blend", blend
        yield "blend_with_last_period", 0.7 * blend + 0.3 * scaled
        yield "blend_bgnbd", (blend + process) / 2
        if steady is not None:
            yield "blend_rich_stable", (blend + steady) / 2


def _last_period(moment: Moment) -> Floats:
    """Money of the horizon's length before the cut."""
    rows = moment.before()
    return _spent(rows[rows.ts >= moment.at - moment.horizon_days * DAY], moment)


def _spent(rows: pd.DataFrame, moment: Moment) -> Floats:
    return rows.groupby("customer_id").value.sum().reindex(moment.population(), fill_value=0.0).to_numpy(float)


def _lognormal(learn: Learn, spent: Taught, asked: pd.DataFrame) -> Floats:
    """exp(mu + s^2 / 2): the mean of logs by ``learn``, their spread as it is on held-out customers."""
    logs = Taught(spent.x, np.log(spent.y), spent.fold, spent.latest)
    spread = float(np.mean((logs.y - learners.held_out(learn, logs)) ** 2))
    return np.asarray(np.exp(learn(logs.x, logs.y)(asked) + spread / 2))
