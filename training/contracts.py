"""What a frame, a task, a model and a fitted model are: protocols and plain values, no behaviour.

A task is a question: rows, outcome, success. A model is hyperparameters and how to learn with them. What was learned is another
class, so that nobody can predict before fitting.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from features.interactions import Interactions
from retain.errors import DataError

Purpose = Literal["all", "new", "repeat"]
PURPOSES: tuple[Purpose, ...] = ("all", "new", "repeat")
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Frame:
    """Customers at cutoffs, what was known of them, and what they did in the horizon after. Row-aligned."""

    customer_id: NDArray[np.object_]
    """(rows,) ids as strings."""
    cutoff: NDArray[np.datetime64]
    """(rows,) datetime64[us], naive UTC."""
    columns: tuple[str, ...]
    """Names of the features in ``x``, as ``view__column``."""
    x: Floats
    """(rows, columns); NaN where nothing is known; categories are codes of the frame's encoder."""
    y: Floats
    """(rows,) the outcome; NaN where the window is not closed."""
    horizon_days: int
    categorical: frozenset[str] = frozenset()
    """Columns whose numbers are codes of categories: equal or not, never more or less."""
    share: float = 1.0
    """Share of the rows with closed windows that were read: those of customers chosen by a hash, where there are very many."""
    measure: Literal["spend", "margin"] = "spend"
    """What amounts in ``y`` are: money received, or the margin of it. Models that read no outcome need to be told."""
    asked_at: np.datetime64 | None = None
    """The moment that a model of these rows will be asked about; the window after it has a season. None where nothing is said of it."""
    weight: Floats | None = None
    """(rows,) how much each counts in learning, by models that regress effects (linear, LightGBM); None: all the same."""

    def __post_init__(self) -> None:
        rows = len(self.customer_id)
        if not (len(self.cutoff) == rows == len(self.y) and self.x.shape == (rows, len(self.columns))):
            raise ValueError(
                f"frame: {rows} customers, {len(self.cutoff)} cutoffs, x {self.x.shape}, {len(self.columns)} columns, {len(self.y)} outcomes"
            )

    def __len__(self) -> int:
        return len(self.customer_id)

    @cached_property
    def digest(self) -> str:
        """A hash of everything that a model can learn from: frames of equal rows in equal order have equal ones."""
        said = (self.columns, self.horizon_days, sorted(self.categorical), self.measure, str(self.asked_at))
        digest = hashlib.sha256(repr(said).encode())
        digest.update("\n".join(self.customer_id.astype(str)).encode())
        for array in (self.cutoff, self.x, self.y, *([] if self.weight is None else [self.weight])):
            digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        return digest.hexdigest()

    def at(self, cutoffs: tuple[datetime, ...]) -> Frame:
        """The rows of some cutoffs, in the order they stand."""
        wanted = np.array([np.datetime64(cutoff.replace(tzinfo=None), "us") for cutoff in cutoffs], dtype="datetime64[us]")
        return self.take(np.flatnonzero(np.isin(self.cutoff, wanted)))

    def take(self, rows: NDArray[np.intp]) -> Frame:
        """Some rows, in the given order."""
        weight = None if self.weight is None else self.weight[rows]
        return replace(self, customer_id=self.customer_id[rows], cutoff=self.cutoff[rows], x=self.x[rows], y=self.y[rows], weight=weight)

    def between(self, start: int, stop: int) -> Frame:
        """The rows from one position to another, not copied."""
        rows = slice(start, stop)
        weight = None if self.weight is None else self.weight[rows]
        return replace(self, customer_id=self.customer_id[rows], cutoff=self.cutoff[rows], x=self.x[rows], y=self.y[rows], weight=weight)

    def before(self, moment: datetime) -> Frame:
        """The same rows, to learn from for a moment to come."""
        return replace(self, asked_at=np.datetime64(moment.replace(tzinfo=None), "us"))

    def at_newest(self) -> Frame:
        """The rows of the newest cutoff."""
        return self.take(np.flatnonzero(self.cutoff == self.cutoff.max()))

    def known(self) -> Frame:
        """The rows whose outcome is known and counts."""
        return self.take(np.flatnonzero(~np.isnan(self.y)))

    def select(self, columns: tuple[str, ...]) -> Frame:
        """The same rows with these columns in this order.

        Raises:
            DataError: a column is not in the frame; matching is by name, never by position.
        """
        place = {name: position for position, name in enumerate(self.columns)}
        missing = [name for name in columns if name not in place]
        if columns == self.columns and self.x.flags.c_contiguous:
            return self
        if missing:
            raise DataError(f"the frame lacks the column {missing[0]}, which the model needs; build the features that the model's card names")
        x = np.ascontiguousarray(self.x[:, [place[name] for name in columns]])
        return replace(self, columns=columns, x=x, categorical=self.categorical & set(columns))


@runtime_checkable
class Fitted(Protocol):
    """A model that has learned; the only thing that can predict."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names and order of the columns that ``predict`` expects."""

    def predict(self, x: Floats) -> Floats:
        """(rows, columns) -> (rows,): one row alone and the same row in a batch give the same answer."""

    def save(self, folder: Path) -> None:
        """Write native files and JSON into an existing folder; no pickle."""


@runtime_checkable
class Explaining(Protocol):
    """A fitted model that says what each feature adds to its score before the link: the logit of a chance, the log of an amount.

    Trees give SHAP values, a line its exact terms. A model that holds others passes theirs on, with the functions of
    ``training.models.explained``: a weighted mean of logits is ``weighted``; a shift of the score goes to the last column; a slope
    multiplies all columns; a map that only rises (isotonic, a power) hands them on unchanged, because it keeps their signs and order.
    """

    def contributions(self, x: Floats) -> Floats | None:
        """(rows, columns + 1), in the order of ``columns``; the last column is what belongs to no feature. None where no model inside can say.

        Of two rows the one with the larger sum has the larger score, or an equal one.
        """


_BLOCK = 20_000
"""Rows that a model is asked about at once."""
PROMISED = (0.8, 0.95)
"""Shares of customers whose outcome lies within the intervals of a model that gives some."""


@runtime_checkable
class Bounding(Protocol):
    """A fitted model that says between which amounts a customer's will lie."""

    def bounds(self, x: Floats) -> Floats | None:
        """(rows, 4): low and high of the 80 % interval, low and high of the 95 % one; the prediction lies within both. None where no model
        inside can say.
        """


@runtime_checkable
class Lasting(Protocol):
    """A fitted model that can be asked about any horizon, not only that of its frame."""

    def over(self, horizon_days: int) -> Fitted:
        """The same model, answering for another horizon."""


def score(fitted: Fitted, frame: Frame) -> Floats:
    """Predictions for the rows of a frame, its columns matched to the model's by name; in blocks, so that memory does not grow with them."""
    blocks = (frame.between(start, start + _BLOCK).select(fitted.columns).x for start in range(0, max(len(frame), 1), _BLOCK))
    return np.concatenate([fitted.predict(x) for x in blocks])


def bounds(fitted: Fitted, frame: Frame) -> Floats | None:
    """(rows, 4) the intervals of a model for the rows of a frame, see ``Bounding``; None where it gives none."""
    return fitted.bounds(frame.select(fitted.columns).x) if isinstance(fitted, Bounding) else None


class Model(Protocol):
    """Hyperparameters, and how to learn with them. A frozen pydantic object; equal frames and seed give an equal model."""

    def fit(self, frame: Frame) -> Fitted:
        """Learn from a frame; the frame is not changed."""


@dataclass(frozen=True)
class Ranking:
    """Ranked lists, one row per asked customer."""

    items: NDArray[np.int32]
    """(customers, k) positions in the catalogue, best first; -1 where a list is shorter than k."""
    scores: Floats
    """(customers, k) scores, falling; NaN where ``items`` is -1."""


@runtime_checkable
class FittedRanker(Protocol):
    """A recommender that has learned. It ranks for whatever history it is handed."""

    @property
    def items(self) -> NDArray[np.object_]:
        """The catalogue it learned: item ids by position."""

    def rank(self, history: Interactions, customers: Integers, k: int, purpose: Purpose) -> Ranking:
        """Best ``k`` items for customers (positions in ``history``): any, never bought before, or bought before.

        ``history.items`` equals ``items``. Equal scores fall to the smaller item position. A short list is a valid answer.
        """

    def save(self, folder: Path) -> None:
        """Write native files and JSON into an existing folder; no pickle."""


class Ranker(Protocol):
    """A recommender's hyperparameters, and how to learn with them."""

    def fit(self, history: Interactions) -> FittedRanker:
        """Learn from everything bought before the moment of ``history``."""
