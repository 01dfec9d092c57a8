"""Golden answers: a few inputs with what the model said when it was packaged, so that a loaded copy can test itself."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.interactions import Interactions
from training.contracts import PURPOSES, Fitted, FittedRanker, Floats

ROWS = 16
"""Golden rows, and golden customers of a ranker."""
LENGTH = 10
"""Length of a golden list."""
TOLERANCE = 1e-9
"""Relative; another machine's BLAS may differ in the last bits."""


def of_scorer(fitted: Fitted, x: Floats) -> dict[str, Any]:
    """The first rows of ``x`` and their predictions, as JSON values (null for NaN)."""
    rows = np.ascontiguousarray(x[:ROWS], dtype=np.float64)
    values = [[None if np.isnan(value) else float(value) for value in row] for row in rows]
    return {"x": values, "predictions": [float(value) for value in fitted.predict(rows)]}


def holds_for_scorer(fitted: Fitted, golden: dict[str, Any]) -> bool:
    """Whether the model still says what it said."""
    return _close(fitted.predict(golden_rows(golden, len(fitted.columns))), np.array(golden["predictions"], dtype=np.float64))


def golden_rows(golden: dict[str, Any], columns: int) -> Floats:
    """The rows that a scorer was asked about."""
    x = np.array([[np.nan if value is None else value for value in row] for row in golden["x"]], dtype=np.float64)
    return x.reshape(len(golden["x"]), columns)


def of_ranker(fitted: FittedRanker, history: Interactions) -> dict[str, Any]:
    """The histories of the first customers, nameless, and the lists they were given."""
    few = nameless(history)
    everyone = np.arange(len(few.customers), dtype=np.int64)
    lists = {}
    for purpose in PURPOSES:
        ranking = fitted.rank(few, everyone, LENGTH, purpose)
        scores = [[None if np.isnan(score) else float(score) for score in row] for row in ranking.scores]
        lists[purpose] = {"items": ranking.items.tolist(), "scores": scores}
    return {
        "moment": few.moment.astimezone(UTC).isoformat(),
        "customers": len(few.customers),
        "customer": few.customer.tolist(),
        "item": few.item.tolist(),
        "order": few.order.tolist(),
        "at": few.at.astype("datetime64[us]").astype(np.int64).tolist(),
        "price": [None if np.isnan(price) else float(price) for price in few.price],
        "lists": lists,
    }


def holds_for_ranker(fitted: FittedRanker, golden: dict[str, Any]) -> bool:
    """Whether the ranker still gives the same lists; items of equal score may change places."""
    history = golden_history(golden, fitted.items)
    everyone = np.arange(golden["customers"], dtype=np.int64)
    for purpose in PURPOSES:
        said = golden["lists"][purpose]
        ranking = fitted.rank(history, everyone, LENGTH, purpose)
        scores = np.array([[np.nan if score is None else score for score in row] for row in said["scores"]], dtype=np.float64)
        items = np.array(said["items"], dtype=np.int32)
        if ranking.items.shape != items.shape or not _close(ranking.scores, scores.reshape(items.shape)):
            return False
        moved = ranking.items != items
        if bool((moved & ~_tied(scores)).any()):
            return False
    return True


def golden_history(golden: dict[str, Any], items: NDArray[np.object_]) -> Interactions:
    """The histories that a ranker was asked about, on its catalogue."""
    return Interactions(
        moment=datetime.fromisoformat(golden["moment"]),
        customers=_names(golden["customers"]),
        items=items,
        customer=np.array(golden["customer"], dtype=np.int32),
        item=np.array(golden["item"], dtype=np.int32),
        order=np.array(golden["order"], dtype=np.int64),
        at=np.array(golden["at"], dtype=np.int64).astype("datetime64[us]"),
        price=np.array([np.nan if price is None else price for price in golden["price"]], dtype=np.float64),
    )


def nameless(history: Interactions, customers: int = ROWS) -> Interactions:
    """The rows of the first customers, under names that identify nobody."""
    count = min(customers, len(history.customers))
    rows = np.flatnonzero(history.customer < count)
    _, order = np.unique(history.order[rows], return_inverse=True)
    return replace(
        history,
        customers=_names(count),
        customer=history.customer[rows],
        item=history.item[rows],
        order=order.astype(np.int64),
        at=history.at[rows],
        price=history.price[rows],
    )


def _names(count: int) -> NDArray[np.object_]:
    return np.array([f"golden-{position:04d}" for position in range(count)], dtype=object)


def _close(a: Floats, b: Floats) -> bool:
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=TOLERANCE, atol=1e-12, equal_nan=True))


def _tied(scores: Floats) -> NDArray[np.bool_]:
    """Where a score equals a neighbour's, or stands last, so that the next item of equal score is unseen."""
    close = np.isclose(scores[:, 1:], scores[:, :-1], rtol=TOLERANCE, atol=1e-12)
    tied = np.zeros(scores.shape, dtype=bool)
    tied[:, 1:] |= close
    tied[:, :-1] |= close
    tied[:, -1:] = True
    return tied
