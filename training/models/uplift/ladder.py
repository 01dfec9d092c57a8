"""The ladder: of several ways to rank customers for a treatment, the plainest that no richer one is shown to beat.

Rungs are climbed from the plain to the rich. Each is judged on customers that it did not learn from, by the Qini coefficient; the next is
taken only if the interval of its paired difference from the one held so far lies above zero. So a learner of effects replaces a ranking by
response only where the data of this treatment show that it finds more, and where they show nothing everybody has the average effect.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

from retain.errors import RefusedError
from training.contracts import Floats, Integers
from training.intervals import draws
from training.models.held_out import owners
from training.models.one_hot import Spread
from training.models.rows import folds
from training.models.uplift.contacts import Comparison, Contacts, compare
from training.models.uplift.estimate import Line, line
from training.models.uplift.fitted import FittedUplift, Treatment
from training.models.uplift.learners import BASES, LEARNERS, Nuisance, Regression, learn
from training.models.uplift.scores import Score
from training.uplift_metrics import curves

LEAST: dict[Regression, tuple[int, int]] = {"linear": (200, 20), "trees": (1000, 100)}
"""Rows, and outcomes other than zero, that each arm needs for a rung above ``average``."""


@dataclass(frozen=True)
class Rung:
    """A learner and the regression under it."""

    learner: str
    regression: Regression

    @classmethod
    def named(cls, name: str) -> Rung:
        """``average``, or ``<learner>_<regression>``.

        Raises:
            ValueError: there is no such learner or regression.
        """
        learner, _, regression = name.partition("_")
        if learner not in {*LEARNERS, "mean"} or regression not in {*BASES, ""} or (not regression and learner != "average"):
            known = ", ".join([*LEARNERS, "mean"])
            raise ValueError(f"{name!r} is no rung; write average, or one of {known} with one of {', '.join(BASES)}, such as t_linear")
        return cls(learner, "trees" if regression == "trees" else "linear")

    def stands_on(self, rows: Comparison) -> bool:
        """Whether there are enough rows for it."""
        if self.learner == "average":
            return True
        least_rows, least_outcomes = LEAST[self.regression]
        return all(int(arm.sum()) >= least_rows and int((rows.frame.y[arm] != 0).sum()) >= least_outcomes for arm in (rows.treated, ~rows.treated))


class Ladder(BaseModel):
    """Climb the rungs for each treatment, then say what the score held is worth in units of the outcome."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rungs: tuple[str, ...] = Field(default=("average", "response_linear", "mean_linear", "mean_trees"), min_length=1)
    """From the plain to the rich; with one nothing is chosen."""
    folds: int = Field(default=3, ge=2, le=20)
    """Parts of the customers for scores by models that did not see them."""
    draws: int = Field(default=200, ge=50)
    """Of the bootstrap behind a step."""
    prior: float = Field(default=1.0, gt=0)
    """Spread of average effects around none, in mean outcomes of the controls: an offer seldom more than doubles what comes anyway."""
    worth: Literal["learned", "as ranked"] = "learned"
    """``as ranked`` gives the score as it is around the average effect: for orders that are only shown beside others."""
    seed: int = 7

    @field_validator("rungs")
    @classmethod
    def _are_known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            Rung.named(name)
        return value

    def fit(self, contacts: Contacts) -> FittedUplift:
        """Learn the effects of every treatment.

        Raises:
            RefusedError: no treatment has a control group.
        """
        return every(contacts, self.treatment)

    def treatment(self, contacts: Contacts, place: int, spread: Spread) -> Treatment:
        """Learn the effect of one treatment.

        Args:
            contacts: In canonical order, as ``every`` brings them.
            place: Of the treatment.
            spread: How categories become columns.
        """
        name, cost = contacts.treatments[place], contacts.costs[place]
        raw = compare(contacts, place)
        if raw is None:
            return Treatment(name, cost, "D", "none", Score(), Line(0.0, 0.0, 0.0, 0.0, 0.0))
        rows = Comparison(spread.wide(raw.frame), raw.trial, raw.grade)
        usable = [rung for rung in self.rungs if Rung.named(rung).stands_on(rows)] or ["average"]
        said = held_out(rows, usable, folds(rows.frame, self.folds, "ladder:"))
        kept = climb(rows, said, self.draws, self.seed)[-1]
        whole = Nuisances(rows)
        score = whole.learn(kept)
        fitted = self._line(rows, said[kept], whole)
        # The rows' own mean score is the centre of the model that learned from all of them.
        centre = float(score.predict(rows.frame.x).mean())
        return Treatment(name, cost, rows.grade, kept, score, Line(centre, fitted.level, fitted.slope, fitted.level_error, fitted.slope_error))

    def _line(self, rows: Comparison, said: Floats, shared: Nuisances) -> Line:
        control = rows.frame.y[~rows.treated]
        owner = owners(rows.frame)
        # With a handful of rows no model of the outcome is better than none.
        pseudo = shared.of("linear").pseudo if Rung.named("t_linear").stands_on(rows) else plain_pseudo(rows)
        found = line(pseudo, said, owner, self.prior * abs(float(control.mean())) or 1.0)
        return found if self.worth == "learned" else Line(found.centre, found.level, 1.0, found.level_error, 0.0)


def every(contacts: Contacts, learn: Callable[[Contacts, int, Spread], Treatment]) -> FittedUplift:
    """Learn each treatment from contacts in canonical order.

    Raises:
        RefusedError: no treatment has a control group.
    """
    ordered = contacts.take(np.lexsort((contacts.arm, contacts.frame.customer_id.astype(str), contacts.campaign, contacts.frame.cutoff)))
    spread = Spread.learn(ordered.frame, 20, 50)
    found = tuple(learn(ordered, place, spread) for place in range(len(ordered.treatments)))
    if all(each.grade == "D" for each in found):
        raise RefusedError(
            f"uplift: none of the treatments {', '.join(contacts.treatments)} has controls, so nothing can be known of what they change; keep "
            "a control group in the next campaign"
        )
    return FittedUplift(spread, found, contacts.outcome, contacts.unit)


class Average(Ladder):
    """The average effect for everybody: who is treated is decided by value and cost alone."""

    rungs: tuple[str, ...] = ("average",)


class Response(Ladder):
    """Customers with the highest outcome when treated first."""

    rungs: tuple[str, ...] = ("response_linear",)


class Risk(Ladder):
    """Customers with the lowest outcome when left alone first: shown beside the others, and no simple choice, because it can do harm."""

    rungs: tuple[str, ...] = ("risk_linear",)
    worth: Literal["learned", "as ranked"] = "as ranked"


class Learners(Ladder):
    """The mean of the learners over lines, whether or not it is better than anything plainer."""

    rungs: tuple[str, ...] = ("mean_linear",)


class Nuisances:
    """What learners share, by regression, learned when first asked for."""

    def __init__(self, rows: Comparison) -> None:
        self._rows = rows
        self._found: dict[Regression, Nuisance] = {}

    def of(self, regression: Regression) -> Nuisance:
        """What the learners over a regression share."""
        if regression not in self._found:
            self._found[regression] = Nuisance(self._rows, BASES[regression])
        return self._found[regression]

    def learn(self, name: str) -> Score:
        """The score of a rung."""
        rung = Rung.named(name)
        return learn(self.of(rung.regression), rung.learner)


def held_out(rows: Comparison, rungs: Sequence[str], fold: Integers) -> dict[str, Floats]:
    """Rung to (rows,) scores by models of the customers of other folds.

    Each fold is set to the same mean: the level of a fold is learned from the others, so it is low where the fold is high, and an order
    across folds would run against the truth.
    """
    said = {name: np.zeros(len(rows)) for name in rungs}
    for k in np.unique(fold):
        others, asked = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        shared, x = Nuisances(rows.take(others)), rows.frame.x[asked]
        for name in rungs:
            score = shared.learn(name)
            answer = score.predict(x) if score.terms else np.zeros(len(asked))
            said[name][asked] = answer - answer.mean()
    return said


def climb(rows: Comparison, said: dict[str, Floats], count: int, seed: int) -> list[str]:
    """The rungs that were held one after the other; the last one stands."""
    names = list(said)
    if len(names) == 1:
        return names
    found: dict[str, list[Floats]] = {name: [] for name in names}
    for weights in draws(rows.frame.customer_id, count, seed):
        for name in names:
            found[name].append(curves(rows.trial, said[name], weights).measures()["qini"])
    samples = {name: np.concatenate(each) for name, each in found.items()}
    held = names[:1]
    for name in names[1:]:
        low = float(np.quantile(samples[name] - samples[held[-1]], 0.025))
        if low > 0:
            held.append(name)
    return held


def plain_pseudo(rows: Comparison) -> Floats:
    """(rows,) the doubly robust outcome with the arms' means as models."""
    e, y, t = rows.trial.chance, rows.frame.y, rows.treated
    inverse = rows.trial.inverse
    high = float(np.average(y[t], weights=inverse[t]))
    low = float(np.average(y[~t], weights=inverse[~t]))
    return np.asarray(high - low + np.where(t, (y - high) / e, -(y - low) / (1 - e)))
