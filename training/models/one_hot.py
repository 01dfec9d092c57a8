"""Categories as columns of their own, for models to which a code is a quantity: the code of a region is no more and no less than another.

Which columns hold codes is said by the frame; the outcome is not looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from retain.config import build
from retain.errors import IntegrityError
from retain.files import write_json
from training.contracts import Fitted, Floats, Frame, Model
from training.models import held_out, stored
from training.models.explained import contributions
from training.models.rows import canonical

_NONE = "none"
"""The category of those of whom nothing is known."""


@dataclass(frozen=True)
class Spread:
    """How columns are spread: what each inner column is made of."""

    columns: tuple[str, ...]
    """The outer columns."""
    codes: Mapping[str, tuple[float, ...]]
    """Outer column -> the codes with a column of their own; NaN stands for nothing known. The others share the zeros."""

    @property
    def names(self) -> tuple[str, ...]:
        """The inner columns."""
        return tuple(name for name, _, _ in self._parts())

    @property
    def sources(self) -> tuple[int, ...]:
        """(inner columns,) position of the outer column that each is made of."""
        return tuple(position for _, position, _ in self._parts())

    def __call__(self, x: Floats) -> Floats:
        """(rows, outer columns) -> (rows, inner columns)."""
        parts = self._parts()
        result = np.empty((len(x), len(parts)))
        for place, (_, position, code) in enumerate(parts):
            column = x[:, position]
            result[:, place] = column if code is None else np.isnan(column) if np.isnan(code) else column == code
        return result

    @classmethod
    def learn(cls, frame: Frame, least_rows: int, most: int) -> Self:
        """Find the categories of the frame's categorical columns, see ``OneHot``."""
        return cls(frame.columns, {name: _frequent(frame, name, least_rows, most) for name in frame.columns if name in frame.categorical})

    def wide(self, frame: Frame) -> Frame:
        """The frame with the inner columns."""
        return replace(frame, columns=self.names, x=self(frame.x), categorical=frozenset())

    def to_json(self) -> dict[str, Any]:
        """Plain values for a file."""
        codes = {name: [None if np.isnan(code) else code for code in each] for name, each in self.codes.items()}
        return {"columns": list(self.columns), "codes": codes}

    @classmethod
    def from_json(cls, found: Mapping[str, Any], place: str) -> Self:
        """The inverse of ``to_json``.

        Raises:
            IntegrityError: the codes do not fit the columns.
        """
        columns, codes = stored.names(found, "columns"), found.get("codes")
        if not isinstance(codes, dict) or not all(name in columns and _are_codes(each) for name, each in codes.items()):
            raise IntegrityError(f"{place}: the codes do not fit the columns; train the model again")
        return cls(columns, {name: tuple(np.nan if code is None else float(code) for code in each) for name, each in codes.items()})

    def _parts(self) -> list[tuple[str, int, float | None]]:
        """(inner name, outer position, code; None where the column is handed on)."""
        parts: list[tuple[str, int, float | None]] = []
        for position, name in enumerate(self.columns):
            if name in self.codes:
                parts += [(f"{name}={_NONE if np.isnan(code) else int(code)}", position, code) for code in self.codes[name]]
            else:
                parts.append((name, position, None))
        return parts


@dataclass(frozen=True)
class FittedOneHot:
    """Another model behind the spread columns."""

    spread: Spread
    inner: Fitted

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns before they are spread."""
        return self.spread.columns

    def predict(self, x: Floats) -> Floats:
        """What the model inside says of the spread row."""
        return self.inner.predict(self._inner(x))

    def contributions(self, x: Floats) -> Floats | None:
        """What a column adds is what its categories add together."""
        parts = contributions(self.inner, self._inner(x))
        if parts is None:
            return None
        source = dict(zip(self.spread.names, self.spread.sources, strict=True))
        result = np.zeros((len(x), len(self.columns) + 1))
        for place, name in enumerate(self.inner.columns):
            result[:, source[name]] += parts[:, place]
        result[:, -1] += parts[:, -1]
        return result

    def _inner(self, x: Floats) -> Floats:
        place = {name: position for position, name in enumerate(self.spread.names)}
        wide = self.spread(stored.checked(x, self.columns))
        return np.ascontiguousarray(wide[:, [place[name] for name in self.inner.columns]])

    def save(self, folder: Path) -> None:
        """Write ``one_hot.json`` and the model inside."""
        write_json(folder / "one_hot.json", self.spread.to_json())
        stored.write(self.inner, folder / "inner")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        spread = Spread.from_json(stored.values(folder / "one_hot.json"), "one_hot.json")
        inner = stored.read(folder / "inner")
        if not set(inner.columns) <= set(spread.names):
            raise IntegrityError("one_hot.json: the model inside knows other columns; train the model again")
        return cls(spread, inner)


class OneHot(BaseModel):
    """Give each category of the frame's categorical columns a column, then learn the model inside."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    inner: dict[str, Any]
    """The model inside, as ``use: module:Class``."""
    least_rows: int = Field(default=20, ge=1)
    """Rows that a category needs for a column of its own; the rarer ones, and those never seen, share the zeros."""
    most: int = Field(default=50, ge=1)
    """Categories of a column with columns of their own: the most frequent."""

    def fit(self, frame: Frame) -> FittedOneHot:
        """Find the categories, spread them and learn."""
        ordered = canonical(frame)
        spread = Spread.learn(ordered, self.least_rows, self.most)
        return FittedOneHot(spread, build(self.inner, "one hot").fit(spread.wide(ordered)))

    def settle(self, frame: Frame) -> Model:
        """See ``Settles``: the model inside chooses its settings on all rows, each fold then finds its own categories."""
        inner: Model = build(self.inner, "one hot")
        return _Settled(self, held_out.settled(inner, Spread.learn(frame, self.least_rows, self.most).wide(frame)))


@dataclass(frozen=True)
class _Settled:
    """The spread, and a model inside whose settings are chosen."""

    outer: OneHot
    inner: Model

    def fit(self, frame: Frame) -> FittedOneHot:
        """Find the categories, spread them and learn."""
        ordered = canonical(frame)
        spread = Spread.learn(ordered, self.outer.least_rows, self.outer.most)
        return FittedOneHot(spread, self.inner.fit(spread.wide(ordered)))


def _frequent(frame: Frame, name: str, least_rows: int, most: int) -> tuple[float, ...]:
    """The codes with enough rows, rising, nothing known last."""
    values, counts = np.unique(frame.x[:, frame.columns.index(name)], return_counts=True)
    enough = sorted((-count, value) for value, count in zip(values.tolist(), counts.tolist(), strict=True) if count >= least_rows)
    return tuple(sorted((value for _, value in enough[:most]), key=lambda value: (np.isnan(value), value)))


def _are_codes(values: Any) -> bool:
    """Whether a list of a file holds distinct codes; null stands for nothing known."""
    if not isinstance(values, list) or len(set(map(repr, values))) != len(values):
        return False
    return all(value is None or (isinstance(value, int | float) and not isinstance(value, bool) and value == int(value)) for value in values)
