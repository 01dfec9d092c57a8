"""A score that a learner of effects comes to: a weighted sum of fitted models, each asked as the customer is, as if treated, or as if not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from retain.errors import IntegrityError
from training.contracts import Fitted, Floats, Frame
from training.models import stored

View = Literal["plain", "treated", "untreated"]
VIEWS: tuple[View, ...] = ("plain", "treated", "untreated")
TREATED = "treated"
"""The column of a model that also learned from who was treated."""
_MOST = 64


@dataclass(frozen=True)
class Term:
    """A fitted model and how much it counts."""

    weight: float
    fitted: Fitted
    view: View = "plain"


@dataclass(frozen=True)
class Score:
    """The sum of the terms."""

    terms: tuple[Term, ...] = ()

    def predict(self, x: Floats) -> Floats:
        """(rows,) zero where there is no term."""
        total = np.zeros(len(x))
        for term in self.terms:
            total += term.weight * term.fitted.predict(seen(x, term.view, len(term.fitted.columns)))
        return total

    @classmethod
    def mean(cls, scores: Iterable[Score]) -> Score:
        """The mean of several; a model that several share is asked once."""
        each = list(scores)
        found: dict[tuple[int, View], Term] = {}
        for term in (term for one in each for term in one.terms):
            key = (id(term.fitted), term.view)
            weight = term.weight / len(each) + (found[key].weight if key in found else 0.0)
            found[key] = Term(weight, term.fitted, term.view)
        return cls(tuple(term for term in found.values() if term.weight))

    def save(self, folder: Path) -> list[dict[str, Any]]:
        """Write each model into a folder of its own, and say what the sum is made of."""
        for number, term in enumerate(self.terms):
            stored.write(term.fitted, folder / f"term{number}")
        return [{"weight": term.weight, "view": term.view} for term in self.terms]

    @classmethod
    def load(cls, folder: Path, said: Any) -> Self:
        """Read what ``save`` wrote."""
        if not isinstance(said, list) or len(said) > _MOST or not all(isinstance(each, dict) and each.get("view") in VIEWS for each in said):
            raise IntegrityError(f"{folder.name}: the terms of a score are not known; train the model again")
        return cls(
            tuple(Term(stored.number(each, "weight"), stored.read(folder / f"term{number}"), each["view"]) for number, each in enumerate(said))
        )


def seen(x: Floats, view: View, width: int) -> Floats:
    """What a model of ``width`` columns is shown: the features; with the treatment; or with the treatment and its product with each feature."""
    if view == "plain":
        return x
    is_treated = view == "treated"
    mark = np.full((len(x), 1), float(is_treated))
    product = x if is_treated else np.zeros_like(x)
    return np.ascontiguousarray(np.hstack([x, mark, product] if width > x.shape[1] + 1 else [x, mark]))


def with_treatment(frame: Frame, treated: Floats, *, crossed: bool) -> Frame:
    """The frame with a column that says who was treated and, where ``crossed``, its product with each feature."""
    columns, parts = [*frame.columns, TREATED], [frame.x, treated[:, None]]
    if crossed:
        columns += [f"{TREATED} x {name}" for name in frame.columns]
        parts.append(np.where(treated[:, None] > 0, frame.x, 0.0))
    return Frame(frame.customer_id, frame.cutoff, tuple(columns), np.hstack(parts), frame.y, frame.horizon_days)
