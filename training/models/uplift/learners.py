"""Learners of effects over any regression: S, T, X (Künzel et al., 2019), R (Nie and Wager, 2021), DR (Kennedy, 2023), the transformed
outcome (Athey and Imbens, 2016), and the orders that people use instead: by response, by risk.

One mechanism: what all of them need (outcomes of the treated and of the controls, as said by models that did not see the customer) is
learned once per regression, and each learner is then a few lines. ``y`` is the outcome, ``t`` whether treated, ``e`` the chance of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from training.contracts import Fitted, Floats, Frame, Model, score
from training.models.lightgbm import LightGBM
from training.models.linear import Linear
from training.models.logistic import Logistic
from training.models.rows import folds
from training.models.uplift.contacts import Comparison
from training.models.uplift.scores import Score, Term, with_treatment

Regression = Literal["linear", "trees"]
NUISANCE_FOLDS = 2
"""Parts of the customers for outcomes as said by models of others."""


@dataclass(frozen=True)
class Base:
    """How outcomes and effects are regressed, with the settings that the house uses elsewhere."""

    chance: Model
    amount: Model
    effect: Model
    crossed: bool
    """Whether the S-learner needs the products of treatment and features: trees find them, lines do not."""


BASES: Mapping[Regression, Base] = {
    "linear": Base(Logistic(c=0.1), Linear(), Linear(), crossed=True),
    "trees": Base(LightGBM(), LightGBM(objective="tweedie", num_leaves=8, trees=200), LightGBM(objective="regression"), crossed=False),
}


@dataclass(frozen=True)
class Nuisance:
    """What learners share on some rows: outcome models, and what those of other customers say of each row."""

    rows: Comparison
    base: Base
    learned: dict[str, Score] = field(default_factory=dict)
    """Scores by learner, as far as they were asked for."""

    @property
    def t(self) -> Floats:
        """(rows,) one where treated."""
        return self.rows.treated.astype(np.float64)

    @property
    def outcome(self) -> Model:
        """Regression of the outcome."""
        is_chance = bool(np.isin(self.rows.frame.y, (0.0, 1.0)).all())
        return self.base.chance if is_chance else self.base.amount

    @cached_property
    def if_treated(self) -> Fitted:
        """Outcome when treated, learned from all who were."""
        return self._learn(self.rows, treated=True)

    @cached_property
    def if_not(self) -> Fitted:
        """Outcome when left alone."""
        return self._learn(self.rows, treated=False)

    @cached_property
    def held_out(self) -> tuple[Floats, Floats]:
        """(rows,) outcome when left alone and when treated, each by models that did not see the customer."""
        fold = folds(self.rows.frame, NUISANCE_FOLDS, "nuisance:")
        answers = np.zeros((2, len(self.rows)))
        for k in range(NUISANCE_FOLDS):
            others, asked = self.rows.take(np.flatnonzero(fold != k)), np.flatnonzero(fold == k)
            for side in (0, 1):
                if len(asked):
                    answers[side, asked] = score(self._learn(others, treated=bool(side)), self.rows.frame.take(asked))
        return answers[0], answers[1]

    @cached_property
    def pseudo(self) -> Floats:
        """(rows,) doubly robust outcome: its mean is the average effect where outcomes or chances are right."""
        low, high = self.held_out
        t, e, y = self.t, self.rows.trial.chance, self.rows.frame.y
        return np.asarray(high - low + t * (y - high) / e - (1 - t) * (y - low) / (1 - e))

    def _learn(self, rows: Comparison, *, treated: bool) -> Fitted:
        return self.outcome.fit(rows.frame.take(np.flatnonzero(rows.treated == treated)))

    def regress(self, y: Floats, among: NDArray[np.bool_] | None = None, weight: Floats | None = None) -> Fitted:
        """Learn an effect from a number per row."""
        frame = replace(self.rows.frame, y=y, weight=weight)
        return self.base.effect.fit(frame if among is None else frame.take(np.flatnonzero(among)))


def s_learner(shared: Nuisance) -> Score:
    """One model of the outcome that also knows who was treated, asked twice."""
    frame: Frame = with_treatment(shared.rows.frame, shared.t, crossed=shared.base.crossed)
    fitted = shared.outcome.fit(frame)
    return Score((Term(1.0, fitted, "treated"), Term(-1.0, fitted, "untreated")))


def t_learner(shared: Nuisance) -> Score:
    """Two models of the outcome and their difference."""
    return Score((Term(1.0, shared.if_treated), Term(-1.0, shared.if_not)))


def x_learner(shared: Nuisance) -> Score:
    """What each outcome exceeds the other arm's model by, regressed in each arm; the two answers weighted by the share of the other arm."""
    rows, y = shared.rows, shared.rows.frame.y
    exceeds = np.where(rows.treated, y - score(shared.if_not, rows.frame), score(shared.if_treated, rows.frame) - y)
    share = float(rows.trial.chance.mean())
    return Score((Term(1 - share, shared.regress(exceeds, rows.treated)), Term(share, shared.regress(exceeds, ~rows.treated))))


def dr_learner(shared: Nuisance) -> Score:
    """A regression of the doubly robust outcome."""
    return Score((Term(1.0, shared.regress(shared.pseudo)),))


def r_learner(shared: Nuisance) -> Score:
    """What the outcome exceeds its expectation by, over what the treatment does, regressed with the square of the latter as weight."""
    low, high = shared.held_out
    e = shared.rows.trial.chance
    surprise = shared.t - e
    return Score((Term(1.0, shared.regress((shared.rows.frame.y - e * high - (1 - e) * low) / surprise, weight=surprise**2)),))


def transformed(shared: Nuisance) -> Score:
    """A regression of y (t - e) / (e (1 - e)), whose mean is the effect."""
    e = shared.rows.trial.chance
    return Score((Term(1.0, shared.regress(shared.rows.frame.y * (shared.t - e) / (e * (1 - e)))),))


def response(shared: Nuisance) -> Score:
    """The outcome when treated: right where the effect grows with the outcome, and estimated from one model instead of two."""
    return Score((Term(1.0, shared.if_treated),))


def risk(shared: Nuisance) -> Score:
    """The lowest outcome when left alone first."""
    return Score((Term(-1.0, shared.if_not),))


def average(shared: Nuisance) -> Score:  # noqa: ARG001 - nothing is learned of anybody
    """The same effect for everybody."""
    return Score()


LEARNERS: Mapping[str, Callable[[Nuisance], Score]] = {
    "s": s_learner,
    "t": t_learner,
    "x": x_learner,
    "dr": dr_learner,
    "r": r_learner,
    "transformed": transformed,
    "response": response,
    "risk": risk,
    "average": average,
}
MEAN = ("s", "t", "x", "dr", "r")
"""What the rung ``mean`` is the mean of."""


def learn(shared: Nuisance, name: str) -> Score:
    """The score of a learner, or the mean of several; each is learned once."""
    if name not in shared.learned:
        shared.learned[name] = Score.mean(learn(shared, each) for each in MEAN) if name == "mean" else LEARNERS[name](shared)
    return shared.learned[name]
