"""A value model whose total is set right on customers that it did not learn from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from retain.config import build
from retain.files import write_json
from training.contracts import Fitted, Floats, Frame
from training.models import stored
from training.models.explained import contributions, line
from training.models.held_out import across_customers
from training.models.rows import canonical


@dataclass(frozen=True)
class FittedLevelled:
    """The answers of another model times one factor."""

    inner: Fitted
    factor: float

    @property
    def columns(self) -> tuple[str, ...]:
        """Those of the model inside."""
        return self.inner.columns

    def predict(self, x: Floats) -> Floats:
        """The answer of the model inside, times the factor."""
        return self.inner.predict(x) * self.factor

    def contributions(self, x: Floats) -> Floats | None:
        """Those of the model inside; the factor belongs to no feature."""
        return line(contributions(self.inner, x), shift=float(np.log(self.factor))) if self.factor > 0 else None

    def save(self, folder: Path) -> None:
        """Write ``levelled.json`` and the model inside."""
        write_json(folder / "levelled.json", {"factor": self.factor})
        stored.write(self.inner, folder / "inner")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        return cls(stored.read(folder / "inner"), stored.number(stored.values(folder / "levelled.json"), "factor", least=0))


class Levelled(BaseModel):
    """Multiply by what the total of held-out customers was, over all cutoffs, over what it was predicted to be.

    The factor gives back what clipping negative outcomes at zero and shrinking towards the mean did to the total. It is taken over all
    cutoffs and not on the newest window: the level of one window is a season and misleads the next one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    inner: dict[str, Any]
    """The model inside, as ``use: module:Class``."""
    widest: float = Field(default=1.25, ge=1)
    """The factor stays between 1 / widest and widest: a larger gap is a fault, not a level."""

    def fit(self, frame: Frame) -> FittedLevelled:
        """Learn on other rows, compare totals on the held-out ones, then learn on all."""
        ordered = canonical(frame)
        model = build(self.inner, "levelled")
        fitted = model.fit(ordered)
        held = across_customers(model, ordered, np.arange(len(ordered))) if len(ordered) else None
        if held is None:
            return FittedLevelled(fitted, 1.0)
        actual, predicted = float(ordered.y[held.rows].sum()), float(held.predicted.sum())
        factor = actual / predicted if actual > 0 and predicted > 0 else 1.0
        return FittedLevelled(fitted, float(np.clip(factor, 1 / self.widest, self.widest)))
