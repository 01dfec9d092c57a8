"""Amounts by their logs: a model of log(amount), and the factor that gives back the mean (smearing, Duan 1983)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict

from retain.config import build
from retain.files import write_json
from training.contracts import Fitted, Floats, Frame
from training.models import held_out, stored
from training.models.explained import contributions, line
from training.models.rows import canonical

_FILE = "logged.json"
_HIGHEST = 50.0
"""exp of more is no amount of money."""


@dataclass(frozen=True)
class FittedLogged:
    """A model of the log, and the factor."""

    inner: Fitted
    factor: float

    @property
    def columns(self) -> tuple[str, ...]:
        """Those of the model inside."""
        return self.inner.columns

    def predict(self, x: Floats) -> Floats:
        """The mean amount."""
        return np.asarray(self.factor * np.exp(np.minimum(self.inner.predict(x), _HIGHEST)))

    def contributions(self, x: Floats) -> Floats | None:
        """Those of the model of the log."""
        return line(contributions(self.inner, x), shift=float(np.log(self.factor)))

    def save(self, folder: Path) -> None:
        """Write ``logged.json`` and the model inside."""
        write_json(folder / _FILE, {"factor": self.factor})
        stored.write(self.inner, folder / "inner")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        return cls(stored.read(folder / "inner"), stored.number(stored.values(folder / _FILE), "factor", least=1e-9))


class Logged(BaseModel):
    """Learn the log of amounts above zero; rows without are left out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    inner: dict[str, Any]
    """The model of the log, as ``use: module:Class``."""
    widest: float = 20.0
    """The factor stays between 1 and this: more is a tail that the rows cannot know."""

    def fit(self, frame: Frame) -> FittedLogged:
        """Learn the log on all rows, the factor on customers held out."""
        ordered = canonical(frame)
        spent = ordered.take(np.flatnonzero(ordered.y > 0))
        logs = replace(spent, y=np.log(spent.y))
        learned = held_out.learn(build(self.inner, "logged"), logs)
        if learned.held_out is None:
            return FittedLogged(learned.fitted, 1.0)
        total = float(np.exp(np.minimum(learned.held_out, _HIGHEST)).sum())
        return FittedLogged(learned.fitted, float(np.clip(float(spent.y.sum()) / total, 1.0, self.widest)))
