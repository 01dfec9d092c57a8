"""The effects of all treatments as they were learned: one score and one line for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from retain.errors import IntegrityError
from retain.files import write_json
from training.contracts import Floats
from training.effects import GRADES, Grade
from training.models import stored
from training.models.one_hot import Spread
from training.models.uplift.estimate import Line, Z
from training.models.uplift.scores import Score

_FILE = "uplift.json"
_MOST = 500
"""Treatments that a model may know."""


@dataclass(frozen=True)
class Treatment:
    """What was learned of one treatment."""

    name: str
    cost: float
    """Mean cost of a contact."""
    grade: Grade
    rung: str
    """How customers are ranked; ``none`` at grade D."""
    score: Score
    line: Line

    @property
    def average(self) -> tuple[float, float, float]:
        """The average effect with its 95 % interval."""
        level, reach = self.line.level, Z * self.line.level_error
        return level, level - reach, level + reach

    def estimate(self, x: Floats) -> tuple[Floats, Floats, Floats]:
        """Value, low and high for rows whose categories are spread; NaN at grade D."""
        if self.grade == "D":
            nothing = np.full(len(x), np.nan)
            return nothing, nothing, nothing
        return self.line(self.score.predict(x))


@dataclass(frozen=True)
class FittedUplift:
    """See ``training.effects.Estimating``."""

    spread: Spread
    learned: tuple[Treatment, ...]
    outcome: str
    unit: str

    @property
    def columns(self) -> tuple[str, ...]:
        """Features before categories are spread."""
        return self.spread.columns

    @property
    def treatments(self) -> tuple[str, ...]:
        """Names of the treatments."""
        return tuple(each.name for each in self.learned)

    @property
    def grades(self) -> tuple[Grade, ...]:
        """Grade of each."""
        return tuple(each.grade for each in self.learned)

    @property
    def costs(self) -> tuple[float, ...]:
        """Mean cost of a contact by each."""
        return tuple(each.cost for each in self.learned)

    def estimate(self, x: Floats) -> tuple[Floats, Floats, Floats]:
        """(rows, columns) -> value, low, high, each (rows, treatments)."""
        wide = self.spread(stored.checked(x, self.columns))
        parts = [each.estimate(wide) for each in self.learned]
        value, low, high = (np.column_stack([part[side] for part in parts]) for side in range(3))
        return value, low, high

    def predict(self, x: Floats) -> Floats:
        """(rows,) the largest effect that is claimed."""
        return np.asarray(np.nanmax(self.estimate(x)[0], axis=1)) if len(x) else np.empty(0)

    def save(self, folder: Path) -> None:
        """Write ``uplift.json`` and each treatment's models into a folder of its own."""
        said = []
        for number, each in enumerate(self.learned):
            place = folder / f"treatment{number}"
            place.mkdir()
            facts = {"name": each.name, "cost": each.cost, "grade": each.grade, "rung": each.rung, "line": asdict(each.line)}
            said.append({**facts, "terms": each.score.save(place)})
        write_json(folder / _FILE, {**self.spread.to_json(), "treatments": said, "outcome": self.outcome, "unit": self.unit})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote, checked."""
        found = stored.values(folder / _FILE)
        treatments, outcome, unit = found.get("treatments"), found.get("outcome"), found.get("unit")
        if not isinstance(treatments, list) or not 0 < len(treatments) <= _MOST or not isinstance(outcome, str) or not isinstance(unit, str):
            raise IntegrityError(f"{_FILE}: treatments, outcome and unit are expected; train the model again")
        learned = tuple(_treatment(each, folder / f"treatment{number}") for number, each in enumerate(treatments))
        if all(each.grade == "D" for each in learned):
            raise IntegrityError(f"{_FILE}: no treatment has an effect; train the model again")
        return cls(Spread.from_json(found, _FILE), learned, outcome, unit)


def _treatment(said: Any, folder: Path) -> Treatment:
    if not isinstance(said, Mapping) or said.get("grade") not in GRADES or not isinstance(said.get("line"), Mapping):
        raise IntegrityError(f"{_FILE}: {folder.name} has no grade or line; train the model again")
    names = ("centre", "level", "slope")
    line = Line(
        *(stored.number(said["line"], name) for name in names), *(stored.number(said["line"], f"{name}_error", least=0.0) for name in names[1:])
    )
    return Treatment(
        str(said.get("name")), stored.number(said, "cost"), said["grade"], str(said.get("rung")), Score.load(folder, said.get("terms")), line
    )
