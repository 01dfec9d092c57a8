"""The same answer for everybody: the share of churners, or the mean value. What every other model must beat."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from retain.files import write_json
from training.contracts import Floats, Frame
from training.models import stored


@dataclass(frozen=True)
class FittedConstant:
    """One number."""

    value: float

    @property
    def columns(self) -> tuple[str, ...]:
        """It looks at none."""
        return ()

    def predict(self, x: Floats) -> Floats:
        """The number, once per row."""
        return np.full(len(stored.checked(x, ())), self.value)

    def save(self, folder: Path) -> None:
        """Write ``constant.json``."""
        write_json(folder / "constant.json", {"value": self.value})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read ``constant.json``."""
        return cls(stored.number(stored.values(folder / "constant.json"), "value"))


class Prevalence(BaseModel):
    """The share of churners, drawn towards ``prior`` as by ``weight`` further rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prior: float = Field(default=0.5, ge=0, le=1)
    weight: float = Field(default=1.0, ge=0)

    def fit(self, frame: Frame) -> FittedConstant:
        """Count."""
        rows = len(frame) + self.weight
        return FittedConstant(float((frame.y.sum() + self.prior * self.weight) / rows) if rows else self.prior)


class Mean(BaseModel):
    """The mean value."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def fit(self, frame: Frame) -> FittedConstant:
        """Sum exactly, whatever the order of rows, and divide."""
        return FittedConstant(float(np.sort(frame.y).sum() / len(frame)) if len(frame) else 0.0)
