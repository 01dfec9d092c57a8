"""Predictions for customers without a later window: each customer's by a model that learned from others only.

Everything that is chosen is chosen inside the rows that a model may learn from: which recipe, its blend, its calibration.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from retain.errors import DataError, RefusedError
from training.contracts import Fitted, Floats, Frame, Integers, Model, score
from training.guards import sound
from training.metrics import Direction, Metric
from training.models import held_out
from training.models.rows import canonical

FOLDS = 5
REPEATS = 5


@dataclass(frozen=True)
class Folds:
    """Which part each customer falls into, in each repetition."""

    of: Integers
    """(repeats, customers), row-aligned with a frame; every fold from 0 to ``count`` - 1 is there."""
    count: int


@dataclass(frozen=True)
class CrossFitted:
    """What models that did not see a customer say of it."""

    predicted: Floats
    """(repeats, customers)."""
    chosen: tuple[str, ...]
    """Per repetition and fold, in that order: the recipe that was best inside the other folds."""


def hashed(customers: NDArray[np.object_], strata: Floats, name: str, repeats: int = REPEATS, count: int = FOLDS) -> Folds:
    """Folds by rank of sha256(``name:repeat:customer``) inside each class of ``strata``, in turn: no library and no order of rows decides.

    >>> hashed(np.array(["a", "b", "c", "d"], dtype=object), np.array([0.0, 0.0, 1.0, 1.0]), "shop", repeats=1, count=2).of.tolist()
    [[1, 0, 1, 0]]
    """
    of = np.empty((repeats, len(customers)), dtype=np.int64)
    # Who counts for neither class is spread as a class of its own.
    classes = np.where(np.isnan(strata), -1.0, strata)
    for repeat in range(repeats):
        hashes = np.array([hashlib.sha256(f"{name}:{repeat}:{customer}".encode()).hexdigest() for customer in customers])
        for each in np.unique(classes):
            rows = np.flatnonzero(classes == each)
            of[repeat, rows[np.argsort(hashes[rows], kind="stable")]] = np.arange(len(rows)) % count
    return Folds(of, count)


def given(table: pd.DataFrame, customers: NDArray[np.object_]) -> Folds:
    """Folds that somebody else drew: a table of ``customer_id``, ``fold`` and, where there are several repetitions, ``repeat``.

    Raises:
        DataError: a column is missing, or a repetition does not hold each of ``customers`` once.
    """
    missing = [name for name in ("customer_id", "fold") if name not in table]
    if missing:
        raise DataError(f"folds: the column {missing[0]} is missing; customer_id, fold and, with repetitions, repeat are needed", field=missing[0])
    place = pd.Index(customers.astype(str))
    rows: list[Integers] = []
    for repeat, part in table.groupby("repeat") if "repeat" in table else [(0, table)]:
        where = place.get_indexer(part["customer_id"].astype(str))
        if len(part) != len(place) or (where < 0).any() or len(np.unique(where)) != len(place):
            raise DataError(
                f"folds: repetition {repeat} has {len(part)} rows of {int((where >= 0).sum())} known customers, the source has {len(place)}; "
                "each customer is needed exactly once",
                field="customer_id",
            )
        rows.append(part["fold"].to_numpy(dtype=np.int64)[np.argsort(where)])
    drawn, numbered = np.unique(np.array(rows), return_inverse=True)
    if len(drawn) < 2 or any(len(np.unique(row)) != len(drawn) for row in rows):
        raise DataError("folds: every repetition needs the same folds, at least two", field="fold")
    return Folds(numbered.reshape(len(rows), len(place)).astype(np.int64), len(drawn))


def crossfit(
    frame: Frame,
    models: Mapping[str, Model],
    folds: Folds,
    metric: tuple[Metric, Direction | None],
    show: Callable[[Iterable[tuple[int, int]], int], Iterable[tuple[int, int]]] = lambda items, _: items,
) -> CrossFitted:
    """Predict each fold by the recipe that is best by ``metric`` inside the other folds, learned on the other folds.

    Rows without an outcome are predicted and never learned from.

    Args:
        frame: One row per customer.
        models: Name to recipe; among equals the first wins.
        folds: Row-aligned with ``frame``.
        metric: What chooses, and which value of it is better.
        show: Passes the pairs of repetition and fold through, their number beside them, and may tell how far they are.
    """
    predicted = np.empty(folds.of.shape)
    chosen: list[str] = []
    pairs = [(repeat, k) for repeat in range(len(folds.of)) for k in range(folds.count)]
    for repeat, k in show(pairs, len(pairs)):
        asked, others = np.flatnonzero(folds.of[repeat] == k), np.flatnonzero(folds.of[repeat] != k)
        seen = sound(frame.take(others), f"cross-fitting, fold {k} of repetition {repeat}").frame
        name, fitted = best(seen, models, metric)
        predicted[repeat, asked] = score(fitted, frame.take(asked))
        chosen.append(name)
    return CrossFitted(predicted, tuple(chosen))


def best(frame: Frame, models: Mapping[str, Model], metric: tuple[Metric, Direction | None]) -> tuple[str, Fitted]:
    """The recipe that says most of customers that it has not learned from: its name, and what it learned from all rows.

    Raises:
        RefusedError: the frame holds too few customers to hold any out.
    """
    if len(models) == 1:
        return next((name, model.fit(frame)) for name, model in models.items())
    measure, direction = metric
    sign = -1.0 if direction == "lower" else 1.0
    ordered = canonical(frame)
    worth: dict[str, tuple[float, Fitted]] = {}
    for name, model in models.items():
        learned = held_out.learn(model, ordered)
        if learned.held_out is None:
            raise RefusedError(f"{len(frame)} customers are too few to hold any out; give more of them, or name one model")
        worth[name] = sign * measure(ordered.y, learned.held_out), learned.fitted
    name = max(worth, key=lambda each: worth[each][0])
    return name, worth[name][1]
