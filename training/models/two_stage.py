"""Value in two stages: the chance to spend anything, times the mean of those who spend."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict

from retain.config import build
from training.contracts import Fitted, Floats, Frame
from training.models import stored
from training.models.rows import canonical


@dataclass(frozen=True)
class FittedTwoStage:
    """A model of the chance to spend nothing, and one of the amount of who spends."""

    none: Fitted
    amount: Fitted

    @property
    def columns(self) -> tuple[str, ...]:
        """Those of the chance, then what the amount needs besides."""
        return tuple(dict.fromkeys((*self.none.columns, *self.amount.columns)))

    def predict(self, x: Floats) -> Floats:
        """(1 - chance of nothing) times the amount."""
        values, place = stored.checked(x, self.columns), {name: position for position, name in enumerate(self.columns)}
        none, amount = (part.predict(np.ascontiguousarray(values[:, [place[name] for name in part.columns]])) for part in (self.none, self.amount))
        return np.asarray((1.0 - none) * amount)

    def save(self, folder: Path) -> None:
        """Write both models into folders of their own."""
        stored.write(self.none, folder / "none")
        stored.write(self.amount, folder / "amount")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        return cls(stored.read(folder / "none"), stored.read(folder / "amount"))


class TwoStage(BaseModel):
    """Learn both on the same customers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    none: dict[str, Any]
    """A model of the chance of nothing, as ``use: module:Class``."""
    amount: dict[str, Any]
    """A model of the amount; it learns from those alone who spent."""

    def fit(self, frame: Frame) -> FittedTwoStage:
        """Learn."""
        ordered = canonical(frame)
        spent = np.flatnonzero(ordered.y > 0)
        nothing = replace(ordered, y=(ordered.y <= 0).astype(np.float64))
        return FittedTwoStage(build(self.none, "chance of nothing").fit(nothing), build(self.amount, "amount").fit(ordered.take(spent)))
