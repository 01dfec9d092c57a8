"""A churn model whose chances are set right on rows that it did not learn from, if that pays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict

from retain.config import build
from retain.files import write_json
from training.contracts import Fitted, Floats, Frame
from training.models import held_out, stored
from training.models.explained import contributions, line
from training.models.held_out import Learned
from training.models.maps import NONE, Map, Method, choose, levelled
from training.models.maps import learn as learn_map
from training.models.rows import FOLDS, canonical, folds
from training.models.seasons import anniversaries, is_unseen

_FILE = "calibrated.json"


@dataclass(frozen=True)
class FittedCalibrated:
    """Another model and a map behind it."""

    inner: Fitted
    map: Map

    @property
    def columns(self) -> tuple[str, ...]:
        """Those of the model inside."""
        return self.inner.columns

    def predict(self, x: Floats) -> Floats:
        """The chance of the model inside, mapped."""
        return self.map(self.inner.predict(x))

    def contributions(self, x: Floats) -> Floats | None:
        """Those of the model inside; a line is applied to them, other maps keep their order."""
        return line(contributions(self.inner, x), *self.map.line)

    def save(self, folder: Path) -> None:
        """Write ``calibrated.json`` and the model inside."""
        write_json(folder / _FILE, self.map.to_json())
        stored.write(self.inner, folder / "inner")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        return cls(stored.read(folder / "inner"), Map.from_json(stored.values(folder / _FILE), _FILE))


class Calibrated(BaseModel):
    """Wrap a model in the map that pays."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    inner: dict[str, Any]
    """The model inside, as ``use: module:Class``."""
    method: Method | Literal["auto"] = "auto"
    """``auto`` chooses by log loss; the others are taken as they are."""
    level: Literal["newest", "all"] = "newest"
    """The window whose mean the chances shall have: the newest closed one (of the same season in earlier years, where there is one), or all
    of them alike."""

    def fit(self, frame: Frame) -> FittedCalibrated:
        """Ask about held-out rows, choose and learn the map on them, and learn on all rows."""
        found = self.learn(canonical(frame)).fitted
        assert isinstance(found, FittedCalibrated)  # noqa: S101 - for the type checker
        return found

    def learn(self, frame: Frame) -> Learned:
        """See ``HoldsOut``."""
        inner = held_out.learn(build(self.inner, "calibrated"), frame)
        if inner.held_out is None or len(np.unique(frame.y)) < 2:
            return Learned(FittedCalibrated(inner.fitted, NONE), inner.held_out)
        found = calibration(inner.held_out, frame, self.method, self.level)
        return Learned(FittedCalibrated(inner.fitted, found), found(inner.held_out))


def calibration(said: Floats, frame: Frame, method: Method | Literal["auto"], level: Literal["newest", "all"]) -> Map:
    """The map for a model that gave ``said`` (rows,) to the rows of a frame without having learned from their customers."""
    chosen = choose(said, frame.y, folds(frame, FOLDS), held_out.owners(frame)) if method == "auto" else method
    found = learn_map(chosen, said, frame.y)
    if level == "all":
        return found
    same_season = anniversaries(frame)
    late = same_season if len(same_season) else held_out.newest(frame)
    # Of a season that was never seen the newest window says half: how the population ages, but not what the season does.
    return levelled(found, said[late], frame.y[late], trust=0.5 if is_unseen(frame) else 1.0)
