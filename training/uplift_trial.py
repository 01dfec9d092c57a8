"""The trial of the task uplift: every contact is judged by a model that learned from other customers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from time import process_time
from typing import ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from retain.errors import RefusedError
from retain.workspace import Workspace
from training import uplift_frames, uplift_metrics
from training.card import Curve, Windows
from training.contracts import Floats, Frame, Integers
from training.effects import GRADES
from training.encoding import Encoder
from training.evidence import Evidence, of_draws
from training.golden import ROWS
from training.guards import prove, sound
from training.intervals import LEVEL, draws
from training.judgement import Cost, Judged, Learned
from training.metrics import Direction
from training.models.rows import FOLDS, folds
from training.models.uplift.contacts import Comparison, Contacts, compare
from training.models.uplift.fitted import FittedUplift
from training.reference import of_rows
from training.tasks.uplift import Uplift
from training.uplift_metrics import MEASURES, curves, effect_error, groups, of_treatment, policy_gain

_LEAST = 10
"""Rows of each arm from which it is looked at whether a feature tells who was treated."""
_BAND = 200
"""Draws behind the band of a curve."""
_OWN: dict[str, Direction | None] = {"effect_error": "lower", "policy_gain": "higher", "policy_over_all": "higher"}
_OF_EACH = ("qini", "policy_gain", "effect_error")
"""What is said of each treatment apart."""
_JUDGED = "Judged by cross-fitting: each contact by a model that learned from other customers, over the same campaigns."


class EffectModel(Protocol):
    """How to learn effects from contacts. A frozen pydantic object."""

    def fit(self, contacts: Contacts) -> FittedUplift:
        """Learn; the contacts are not changed."""


@dataclass(frozen=True)
class UpliftTrial:
    """Contacts with closed windows, and the customers of today."""

    task: Uplift
    contacts: Contacts
    newest: Frame
    encoder: Encoder
    now: datetime

    kind: ClassVar[Literal["scorer"]] = "scorer"
    item: ClassVar[Literal[""]] = ""
    calibration: ClassVar[None] = None

    @classmethod
    def open(cls, task: Uplift, workspace: Workspace) -> UpliftTrial:
        """Read contacts, features and outcomes.

        Raises:
            RefusedError: the data are too few, no treatment has controls, or a feature holds the outcome.
        """
        contacts, newest, encoder = uplift_frames.contacts(workspace, task)
        usable = sound(contacts.frame, "uplift").frame
        trial = cls(task, replace(contacts, frame=usable), newest, encoder, workspace.now())
        if not trial.pairs:
            raise RefusedError(
                f"uplift: none of the treatments {', '.join(contacts.treatments)} has controls, so nothing can be known of what they change; keep "
                "a control group in the next campaign"
            )
        return trial

    @property
    def name(self) -> str:
        """Name of the task."""
        return self.task.name

    @property
    def primary(self) -> str:
        """The metric that the gate compares: the mean Qini coefficient over treatments."""
        return self.task.primary

    @property
    def directions(self) -> dict[str, Direction | None]:
        """Which value of each metric is better; means over treatments first, then the figures of each."""
        better = {**MEASURES, **_OWN}
        return {**better, **{of_treatment(name, self.contacts.treatments[place]): better[name] for name in _OF_EACH for place in self.pairs}}

    @cached_property
    def pairs(self) -> dict[int, tuple[NDArray[np.intp], Comparison]]:
        """Treatments with controls: their rows among the contacts, and the comparison."""
        found = {place: (self.contacts.of(place), compare(self.contacts, place)) for place in range(len(self.contacts.treatments))}
        return {place: (rows, pair) for place, (rows, pair) in found.items() if pair is not None}

    @property
    def windows(self) -> Windows:
        """First and last contact."""
        first, last = (moment.astype("datetime64[us]").item().replace(tzinfo=UTC) for moment in (self._cutoff.min(), self._cutoff.max()))
        return Windows(train=(first,), test=(last,), final=(self.now,))

    @property
    def _cutoff(self) -> NDArray[np.datetime64]:
        return self.contacts.frame.cutoff

    @property
    def horizon_days(self) -> int:
        """Days after the contact."""
        return self.contacts.frame.horizon_days

    @property
    def test_rows(self) -> int:
        """Contacts judged."""
        return len(self.contacts)

    def guards(self) -> tuple[str, ...]:
        """What held, in words.

        Raises:
            RefusedError: a feature tells the outcome or who was treated, so it was written after the contact.
        """
        told = []
        for place, (_, pair) in self.pairs.items():
            name = self.contacts.treatments[place]
            if min(int(pair.treated.sum()), int((~pair.treated).sum())) >= _LEAST:
                sound(replace(pair.frame, y=pair.treated.astype(np.float64)), f"uplift, who was treated with {name}")
                told.append(name)
        return (prove(self.contacts.frame, self.name), f"treatment: no feature alone tells who was treated with {', '.join(told) or 'anything'}")

    def judge(self, model: EffectModel, seed: int) -> Judged:
        """Learn on all but each fold of customers, judge on the fold."""
        before = process_time()
        value = cross_fitted(self.contacts, model, folds(self.contacts.frame, FOLDS)).value
        spent = process_time() - before
        cost = Cost(fit_cpu_s=spent, rows_per_s=len(self.contacts) / max(spent, 1e-6), training_rows=len(self.contacts), features=self._width)
        return Judged(self.evidence(value, seed), self.curves(value, seed), self.windows, cost)

    @property
    def _width(self) -> int:
        return len(self.contacts.frame.columns)

    def evidence(self, value: Floats, seed: int) -> Evidence:
        """How good effects are: (rows, treatments) of models that did not see the customer."""
        pairs, money = self.pairs, self.task.outcome in ("spend", "margin")
        owner = np.unique(self.contacts.frame.customer_id.astype(str), return_inverse=True)[1]

        def measure(weights: Floats) -> dict[str, Floats]:
            by_treatment: dict[int, dict[str, Floats]] = {}
            for place, (rows, pair) in pairs.items():
                own, drawn = value[rows, place], weights[:, rows]
                price = self.contacts.costs[place] if money else 0.0
                found = curves(pair.trial, own, drawn).measures()
                found["effect_error"] = effect_error(pair.trial, groups(own), own, drawn, owner[rows])
                found["policy_gain"] = policy_gain(pair.trial, own > price, price, drawn)
                found["policy_over_all"] = found["policy_gain"] - (found["average_effect"] - price)
                by_treatment[place] = found
            means = {name: np.mean([each[name] for each in by_treatment.values()], axis=0) for name in (*MEASURES, *_OWN)}
            own_figures = {
                of_treatment(name, self.contacts.treatments[place]): each[name] for name in _OF_EACH for place, each in by_treatment.items()
            }
            return {**means, **own_figures}

        frame = self.contacts.frame
        return of_draws(frame.customer_id, [frame.cutoff, frame.y, self.contacts.arm], measure, seed)

    def curves(self, value: Floats, seed: int) -> dict[str, Curve]:
        """The mean Qini curve over treatments and predicted against observed effects by tenth, each with the ends of its band."""
        pairs = self.pairs
        stacked = np.concatenate([rows for rows, _ in pairs.values()])
        trial = uplift_metrics.joined([pair.trial for _, pair in pairs.values()])
        predicted = np.concatenate([value[rows, place] for place, (rows, _) in pairs.items()])
        member = groups(predicted)

        def drawn(weights: Floats) -> tuple[Floats, Floats]:
            each = [curves(pair.trial, value[rows, place], weights[:, rows]).qini for place, (rows, pair) in pairs.items()]
            return np.mean(each, axis=0), uplift_metrics.effects(trial, member, weights[:, stacked])

        once = drawn(np.ones((1, len(self.contacts))))
        many = [drawn(weights) for weights in draws(self.contacts.frame.customer_id, _BAND, seed)]
        mean = (member.T @ predicted) / member.sum(axis=0)
        return {
            **_band("qini", uplift_metrics.GRID, once[0][0], np.concatenate([each[0] for each in many])),
            **_band("calibration", mean, once[1][0], np.concatenate([each[1] for each in many]), member.sum(axis=0)),
        }

    def learn(self, model: EffectModel) -> Learned:
        """Learn from every contact."""
        fitted = model.fit(self.contacts)
        rows = self.newest if len(self.newest) else self.contacts.frame
        asked = rows.select(fitted.columns)
        return Learned(
            fitted, self.encoder, asked.x[:ROWS], len(self.contacts), fitted.predict(asked.x), of_rows(asked), _notes(fitted, self.contacts)
        )


@dataclass(frozen=True)
class CrossFitted:
    """Effects by models of other customers."""

    value: Floats
    """(rows, treatments)."""
    rungs: tuple[tuple[str, ...], ...]
    """Per fold, how each treatment's customers are ranked."""


def cross_fitted(contacts: Contacts, model: EffectModel, fold: Integers) -> CrossFitted:
    """Ask the customers of each fold of a model that learned from the others.

    The average effect of each treatment is the mean over folds: that of a fold is learned from the others, so it is low where the fold's own
    is high, and an order across folds would run against the truth.
    """
    count = len(contacts.treatments)
    value, levels, rungs = np.zeros((len(contacts), count)), [], []
    for k in np.unique(fold):
        others, asked = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        fitted = model.fit(contacts.take(others))
        level = np.array([each.line.level for each in fitted.learned])
        answer = fitted.estimate(contacts.frame.take(asked).select(fitted.columns).x)[0]
        value[asked] = np.nan_to_num(answer - level)
        levels.append(level)
        rungs.append(tuple(each.rung for each in fitted.learned))
    return CrossFitted(value + np.mean(levels, axis=0), tuple(rungs))


def _band(name: str, x: Floats, y: Floats, many: Floats, weight: Floats | None = None) -> dict[str, Curve]:
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(many, [tail, 1 - tail], axis=0)
    counted = () if weight is None else tuple(weight.tolist())
    across = tuple(x.tolist())
    return {
        name: Curve(x=across, y=tuple(y.tolist()), weight=counted),
        f"{name}_low": Curve(x=across, y=tuple(low.tolist())),
        f"{name}_high": Curve(x=across, y=tuple(high.tolist())),
    }


def _notes(fitted: FittedUplift, contacts: Contacts) -> tuple[str, ...]:
    """One sentence for each treatment: evidence, order, average effect."""
    notes = [_JUDGED]
    for place, each in enumerate(fitted.learned):
        count = int((contacts.arm == place).sum())
        if each.grade == "D":
            notes.append(f"{each.name}: grade D, {GRADES['D']} ({count} treated)")
            continue
        value, low, high = each.average
        effect = f"{value:.4g} [{low:.4g}, {high:.4g}]"
        how = "everybody the average" if each.rung == "average" or not each.line.slope else f"ranked by {each.rung}"
        notes.append(f"{each.name}: grade {each.grade}, {count} treated, average effect {effect} {fitted.unit} a contact, {how}")
    return tuple(notes)
