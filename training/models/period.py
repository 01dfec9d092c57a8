"""The next period will be like the last: what a customer spent in the window before, scaled to the length of the horizon."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict

from retain.errors import RefusedError
from retain.files import write_json
from training.contracts import Floats, Frame
from training.models import margins, stored


@dataclass(frozen=True)
class FittedLastPeriod:
    """One column times a number."""

    column: str
    scale: float

    @property
    def columns(self) -> tuple[str, ...]:
        """The money of one window."""
        return (self.column,)

    def predict(self, x: Floats) -> Floats:
        """Money of the window, scaled; nothing where nothing is known."""
        return np.nan_to_num(stored.checked(x, self.columns)[:, 0], nan=0.0) * self.scale

    def save(self, folder: Path) -> None:
        """Write ``period.json``."""
        write_json(folder / "period.json", {"column": self.column, "scale": self.scale})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read ``period.json``."""
        found = stored.values(folder / "period.json")
        return cls(stored.names({"column": [found.get("column")]}, "column")[0], stored.number(found, "scale", least=0))


class LastPeriod(BaseModel):
    """Money of the window whose length is nearest to the horizon, times horizon over window."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: str = "purchases__amount"
    """Columns named ``<family>_<days>d`` hold the money of the last so many days."""

    def fit(self, frame: Frame) -> FittedLastPeriod:
        """Choose the window; nothing is learned from outcomes. Where margin is asked for, money counts by its share of margin.

        Raises:
            RefusedError: the frame has no column of the family, or margin is asked for and none is known.
        """
        found = {name: int(match[1]) for name in frame.columns if (match := re.fullmatch(re.escape(self.family) + r"_(\d+)d", name))}
        if not found:
            raise RefusedError(f"last period: the frame has no column {self.family}_<days>d; name the columns of money with `family`")
        name = min(found, key=lambda each: (abs(np.log(found[each] / frame.horizon_days)), found[each]))
        return FittedLastPeriod(name, frame.horizon_days / found[name] * margins.share(frame))
