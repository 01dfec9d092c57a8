"""What a model says of rows that it did not learn from: each row is asked of a model that learned from other customers.

Other customers at the same cutoffs say whether the shape is right. All cutoffs are asked, because the level of one window is a season.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Protocol, runtime_checkable

import numpy as np

from training.contracts import Fitted, Floats, Frame, Integers, Model, score
from training.models.once import asked_of
from training.models.parallel import together
from training.models.rows import Rows, asked_apart


@dataclass(frozen=True)
class Learned:
    """A model that learned from all rows, and what models of other customers say of each row."""

    fitted: Fitted
    held_out: Floats | None
    """(rows,) in the order of the frame; None where there are too few customers to hold any out."""


@runtime_checkable
class HoldsOut(Protocol):
    """A model that holds rows out for its own ends, and can hand on what was said of them."""

    def learn(self, frame: Frame) -> Learned:
        """Learn from a frame in canonical order."""


@runtime_checkable
class Settles(Protocol):
    """A model that chooses some of its settings on earlier windows of what it learns from."""

    def settle(self, frame: Frame) -> Model:
        """The model with its settings chosen, on a frame in canonical order: chosen once for all folds of it."""


def settled(model: Model, frame: Frame) -> Model:
    """A model whose settings are chosen, where it leaves any open."""
    return model.settle(frame) if isinstance(model, Settles) else model


def learn(model: Model, frame: Frame) -> Learned:
    """Learn from all rows of a frame in canonical order, and from all but each fold of customers."""
    return asked_of(model, frame, "learn", lambda: _learn(model, frame))


def fit(model: Model, frame: Frame) -> Fitted:
    """Learn from all rows of a frame in canonical order; once, whoever asks."""
    return asked_of(model, frame, "fit", lambda: model.fit(frame))


def _learn(model: Model, frame: Frame) -> Learned:
    if isinstance(model, HoldsOut):
        return model.learn(frame)
    chosen = settled(model, frame)
    asked = [rows for rows in asked_apart(frame) if len(rows)]
    if any(len(rows) == len(frame) for rows in asked):
        return Learned(chosen.fit(frame), None)

    whole, *others = together([partial(_whole, model, chosen, frame), *(partial(_without, chosen, frame, rows) for rows in asked)])
    predicted = np.empty(len(frame))
    for rows, other in zip(asked, others, strict=True):
        predicted[rows] = score(other, frame.take(rows))
    return Learned(whole, predicted)


def _whole(model: Model, chosen: Model, frame: Frame) -> Fitted:
    return asked_of(model, frame, "fit", lambda: chosen.fit(frame))


def _without(model: Model, frame: Frame, rows: Rows) -> Fitted:
    return model.fit(frame.take(np.setdiff1d(np.arange(len(frame)), rows)))


def forward(model: Model, frame: Frame) -> Floats | None:
    """(rows of the newest cutoff,) what a model says that learned from the windows which had closed by then; None where none had.

    Whether what holds at one time holds at a later one is not seen across customers: features that grow with history fail here.
    """
    return asked_of(model, frame, "forward", lambda: _forward(model, frame))


def _forward(model: Model, frame: Frame) -> Floats | None:
    early = closed_before_newest(frame)
    return score(model.fit(frame.take(early)), frame.take(newest(frame))) if len(early) else None


def closed_before_newest(frame: Frame) -> Rows:
    """Rows whose windows closed before the newest cutoff."""
    return closed_before(frame, frame.cutoff.max()) if len(frame) else np.empty(0, dtype=np.intp)


def closed_before(frame: Frame, moment: np.datetime64) -> Rows:
    """Rows whose windows closed before a moment, with two hours of slack: a day with a clock change has 23 or 25."""
    return np.flatnonzero(frame.cutoff <= moment - np.timedelta64(frame.horizon_days * 24 - 2, "h"))


def owners(frame: Frame) -> Integers:
    """(rows,) a number per customer, from zero."""
    return np.unique(frame.customer_id.astype(str), return_inverse=True)[1].astype(np.int64)


def newest(frame: Frame) -> Rows:
    """Rows of the newest cutoff."""
    return np.flatnonzero(frame.cutoff == frame.cutoff.max()) if len(frame) else np.empty(0, dtype=np.intp)
