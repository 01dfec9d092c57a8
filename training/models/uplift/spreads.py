"""Effects from logs in which most choices are sure: what the outcome exceeds that of no contact by, in spreads of the outcome.

Where a policy has decided, few customers are left whose treatment was a matter of chance, and whatever weighs rows by the inverse of it is
too unsure to tell customers apart. If everything that the policy looked at is known, regressions do: of the outcome when left alone on all
controls, and of what the treated exceed it by on what is known of them (the half of the X-learner that rests on the treated; Künzel et al., 2019).
Money varies as the root of the money expected, so effects are regressed in that spread, where equal rows say equally much. Chances that were
written down only say how much a control counts, so that those who are seldom left alone are heard: right answers need right regressions, and so a
log of another kind than randomised is evidence C here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from retain.files import write_json
from training.contracts import Fitted, Floats, Frame
from training.effects import Grade
from training.models import stored
from training.models.held_out import owners
from training.models.linear import Linear
from training.models.lines import Lines
from training.models.one_hot import Spread
from training.models.uplift.contacts import Contacts, arms, logged
from training.models.uplift.estimate import Line, error
from training.models.uplift.fitted import FittedUplift, Treatment
from training.models.uplift.ladder import Average, every
from training.models.uplift.scores import Score, Term

RUNG = "spreads"
_FLOOR = 0.05
"""Outcome expected of a customer, at least, in mean outcomes."""


@dataclass(frozen=True)
class Alone:
    """The outcome of those who are left alone."""

    regression: Fitted
    level: float
    """Its mean."""

    @classmethod
    def learn(cls, controls: Frame, stands_for: Floats) -> Self:
        """Learn twice: the second time rows count by the inverse of what the first expected, because they vary by it.

        Args:
            controls: Those who were left alone.
            stands_for: (rows,) how many customers like it each is.
        """
        level = max(float(controls.y.mean()), 1e-9)
        first = Lines().fit(replace(controls, weight=stands_for)).predict(controls.x)
        return cls(Lines().fit(replace(controls, weight=stands_for / np.maximum(first / level, 2 * _FLOOR))), level)

    def expected(self, x: Floats) -> Floats:
        """(rows,) never negative."""
        return np.maximum(self.regression.predict(x), 0.0)

    def spread(self, x: Floats) -> Floats:
        """(rows,) root of what is expected, never near zero."""
        return np.sqrt(np.maximum(self.expected(x), _FLOOR * self.level))


@dataclass(frozen=True)
class FittedSpreads:
    """What a contact adds = spread of the outcome when left alone x a line of what is known."""

    alone: Alone
    part: Fitted

    @property
    def columns(self) -> tuple[str, ...]:
        """Features of both regressions."""
        return self.part.columns

    def predict(self, x: Floats) -> Floats:
        """(rows,) the effect."""
        return np.asarray(self.alone.spread(x) * self.part.predict(x))

    def save(self, folder: Path) -> None:
        """Write ``spreads.json`` and the two regressions."""
        write_json(folder / "spreads.json", {"level": self.alone.level})
        stored.write(self.alone.regression, folder / "alone")
        stored.write(self.part, folder / "part")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote, checked."""
        level = stored.number(stored.values(folder / "spreads.json"), "level", least=0.0)
        return cls(Alone(stored.read(folder / "alone"), level), stored.read(folder / "part"))


class Spreads(BaseModel):
    """Learn every treatment so; one with few contacts or few controls has the average effect for everybody."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ridge: float = Field(default=1000.0, gt=0)
    """Contacts that the belief in one common part weighs."""
    least: int = Field(default=50, ge=2)
    """Contacts, and controls, from which customers are told apart."""
    most: float = Field(default=10.0, ge=1)
    """Customers that one control stands for, at most."""

    def fit(self, contacts: Contacts) -> FittedUplift:
        """Learn the effects of every treatment.

        Raises:
            RefusedError: no treatment has a control group.
        """
        known: dict[bytes, Alone] = {}

        def learn(ordered: Contacts, place: int, spread: Spread) -> Treatment:
            chosen = ordered.take(ordered.of(place))
            treated = chosen.arm == place
            if min(int(treated.sum()), int((~treated).sum())) < self.least:
                return Average().treatment(ordered, place, spread)
            sent, controls = (spread.wide(chosen.frame.take(np.flatnonzero(rows))) for rows in (treated, ~treated))
            # Treatments of the same campaigns share their controls.
            campaigns = np.unique(chosen.campaign).tobytes()
            if campaigns not in known:
                chance = chosen.probability[~treated]
                # Where nothing was written down each stands for one.
                known[campaigns] = Alone.learn(controls, 1 / np.clip(np.nan_to_num(chance, nan=1.0), 1 / self.most, 1.0))
            fitted, line = self._of(sent, controls, known[campaigns])
            grade: Grade = "A" if logged(chosen, treated, arms(ordered, chosen))[1] == "A" else "C"
            return Treatment(ordered.treatments[place], ordered.costs[place], grade, RUNG, Score((Term(1.0, fitted),)), line)

        return every(contacts, learn)

    def _of(self, sent: Frame, controls: Frame, alone: Alone) -> tuple[FittedSpreads, Line]:
        """The effect of one treatment, and how sure it is."""
        exceeds = sent.y - alone.expected(sent.x)
        fitted = FittedSpreads(alone, Linear(ridge=self.ridge).fit(replace(sent, y=exceeds / alone.spread(sent.x))))
        score, owner = fitted.predict(sent.x), owners(sent)
        centre = float(score.mean())
        away, left = score - centre, exceeds - score
        level = np.hypot(error(left, owner) / len(sent), error(controls.y - alone.expected(controls.x), owners(controls)) / len(controls))
        spread = float((away**2).sum())
        slope = error(away * left, owner) / spread if spread > 1e-12 * max(1.0, centre**2) * len(sent) else 0.0
        # The score is in units of the outcome as it is: it stands for itself.
        return fitted, Line(centre, centre, 1.0, float(level), slope)
