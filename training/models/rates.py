"""Counts and money of a window per day that the customer was seen in it: the same meaning however long the history before a cutoff is.

A history shorter than a window makes its counts grow from cutoff to cutoff; divided by the days since the first purchase in it they do not.
A window shorter than that, told by the name of the column (``..._180d``), is divided by its own length at most.
Ratios belong to the model, so the features stay as they are and the rates are made here, alike in training and in serving.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from retain.errors import IntegrityError
from training.contracts import Floats
from training.models import stored


@dataclass(frozen=True)
class Rates:
    """Which columns are divided, by which, and how few days at least."""

    columns: tuple[str, ...]
    """What is divided."""
    by: str
    """Days observed."""
    least_days: float

    @classmethod
    def among(cls, present: tuple[str, ...], columns: tuple[str, ...], by: str, least_days: float) -> Self:
        """The rates that can be made of the columns that a frame has; none without the days."""
        return cls(tuple(name for name in columns if name in present) if by in present else (), by, least_days)

    def names(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        """The model's inner columns: those given, then the rates."""
        return (*columns, *(f"{name}_per_day" for name in self.columns))

    def places(self, columns: tuple[str, ...]) -> list[int]:
        """Where each divided column stands."""
        return [columns.index(name) for name in self.columns]

    def extend(self, x: Floats, columns: tuple[str, ...]) -> Floats:
        """(rows, columns) -> (rows, columns and rates)."""
        if not self.columns:
            return x
        seen = np.maximum(x[:, columns.index(self.by)], self.least_days)
        days = np.minimum(seen[:, None], [_window(name) for name in self.columns])
        return np.hstack([x, x[:, self.places(columns)] / days])

    def to_json(self) -> dict[str, Any]:
        """Plain values for a file."""
        return {"columns": list(self.columns), "by": self.by, "least_days": self.least_days}

    @classmethod
    def from_json(cls, found: Mapping[str, Any], columns: tuple[str, ...]) -> Self:
        """The inverse, for a model of ``columns``.

        Raises:
            IntegrityError: it names columns that the model does not have.
        """
        divided, by = stored.names(found, "columns"), found.get("by")
        if not isinstance(by, str) or not set(divided) <= set(columns) or (divided and by not in columns):
            raise IntegrityError("columns.json: the rates name columns that the model does not have; train the model again")
        return cls(divided, by, stored.number(found, "least_days", least=1))


def _window(name: str) -> float:
    """Days of the window that a column is named after; no end where it names none."""
    found = re.search(r"_(\d+)d$", name)
    return float(found[1]) if found else np.inf
