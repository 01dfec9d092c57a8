"""Who was contacted, who was left alone, with which chance, and on which grade of evidence that stands."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from training.contracts import Floats, Frame, Integers, score
from training.effects import Grade
from training.models.logistic import Logistic
from training.models.rows import FOLDS, folds
from training.uplift_metrics import Trialled

CONTROL = -1
"""The arm of those who were left alone."""
CLIP = 0.05
"""Estimated chances stay this far from 0 and 1: who was almost sure to be treated has nobody to be compared with."""
_MISMATCH = 4.0
"""Standard errors by which the treated may differ from what the logged chances say; beyond, the log is not believed."""


@dataclass(frozen=True)
class Contacts:
    """One row per contact or control, of campaigns whose outcome windows have closed."""

    frame: Frame
    """What was known of the customer before, and the outcome."""
    arm: Integers
    """(rows,) position in ``treatments``, or ``CONTROL``."""
    campaign: Integers
    """(rows,) number of the campaign; controls stand for the treatments of their own campaign only."""
    probability: Floats
    """(rows,) chance with which the arm that the row is in was drawn; NaN where none was logged."""
    treatments: tuple[str, ...]
    costs: tuple[float, ...]
    """Mean cost of a contact, by treatment."""
    outcome: str
    unit: str
    is_reported: NDArray[np.bool_]
    """(rows,) whether a contact is there because somebody said that it was made: drawn is one thing, made another."""

    def __len__(self) -> int:
        return len(self.frame)

    def take(self, rows: NDArray[np.intp]) -> Contacts:
        """Some rows; the treatments stay."""
        parts = {name: getattr(self, name)[rows] for name in ("arm", "campaign", "probability", "is_reported")}
        return replace(self, frame=self.frame.take(rows), **parts)

    def of(self, treatment: int) -> NDArray[np.intp]:
        """Rows of a treatment and of the controls of its campaigns."""
        treated = self.arm == treatment
        return np.flatnonzero(treated | ((self.arm == CONTROL) & np.isin(self.campaign, np.unique(self.campaign[treated]))))


@dataclass(frozen=True)
class Comparison:
    """One treatment against its controls."""

    frame: Frame
    trial: Trialled
    grade: Grade

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def treated(self) -> NDArray[np.bool_]:
        """(rows,) who was."""
        return self.trial.treated

    def take(self, rows: NDArray[np.intp]) -> Comparison:
        """Some rows."""
        return Comparison(self.frame.take(rows), self.trial.take(rows), self.grade)


def compare(contacts: Contacts, treatment: int) -> Comparison | None:
    """A treatment and its controls with the chance of each, or None where there is no control: then the grade is D."""
    chosen = contacts.take(contacts.of(treatment))
    treated = chosen.arm == treatment
    if treated.all() or not treated.any():
        return None
    chance, grade = logged(chosen, treated, arms(contacts, chosen))
    if grade == "C":
        chance = estimated(chosen.frame, treated)
    return Comparison(chosen.frame, Trialled(chosen.frame.y, treated, chance), grade)


def arms(contacts: Contacts, chosen: Contacts) -> dict[int, int]:
    """By campaign of the chosen rows: how many arms it has among all contacts, that of the controls included."""
    return {int(each): len(np.unique(contacts.arm[contacts.campaign == each])) for each in np.unique(chosen.campaign)}


def logged(chosen: Contacts, treated: NDArray[np.bool_], arms: dict[int, int]) -> tuple[Floats, Grade]:
    """The chance of being treated rather than a control, as the log has it, and the grade that it allows.

    A: within each campaign one chance for all. B: chances differ, and each is known because treated and controls are the only two arms; or the
    contacts are those that somebody said were made.
    C: not logged, not strictly between 0 and 1, of more arms than two with chances that differ, or contradicted by who was in fact treated.
    """
    own, chance = chosen.probability, np.full(len(chosen), np.nan)
    if not ((own > 0) & (own < 1)).all():
        return chance, "C"
    grade: Grade = "B" if chosen.is_reported.any() else "A"
    for campaign in np.unique(chosen.campaign):
        rows = chosen.campaign == campaign
        ours, theirs = own[rows & treated], own[rows & ~treated]
        if not len(ours) or not len(theirs):
            chance[rows] = ours.mean() if len(ours) else 1 - theirs.mean()
        elif np.ptp(ours) < 1e-9 and np.ptp(theirs) < 1e-9:
            chance[rows] = ours[0] / (ours[0] + theirs[0])
        elif arms[int(campaign)] == 2:
            chance[rows] = np.where(treated[rows], own[rows], 1 - own[rows])
            grade = "B"
        else:
            return chance, "C"
    off = abs(float((treated - chance).sum())) / float(np.sqrt((chance * (1 - chance)).sum()))
    return (chance, "C") if off > _MISMATCH else (chance, grade)


def estimated(frame: Frame, treated: NDArray[np.bool_]) -> Floats:
    """Chances by a logistic regression that learned from other customers, clipped."""
    asked, chance = replace(frame, y=treated.astype(np.float64)), np.full(len(frame), treated.mean())
    fold = folds(frame, FOLDS, "chance:")
    for k in range(FOLDS):
        others, own = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        if len(own) and len(others):
            chance[own] = score(Logistic(c=0.1).fit(asked.take(others)), asked.take(own))
    return np.asarray(np.clip(chance, CLIP, 1 - CLIP), dtype=np.float64)
