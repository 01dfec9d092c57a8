"""A churn model whose chances are set right on rows that it did not learn from, if that pays.

The map is none, Platt's or isotonic, chosen by log loss on held-out rows; a richer map must win by more than its standard error.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from retain.config import build
from retain.errors import IntegrityError
from retain.files import write_json
from training.contracts import Fitted, Floats, Frame, Integers
from training.models import stored
from training.models.explained import contributions, line, logit
from training.models.held_out import FOLDS, predictions
from training.models.logistic import sigmoid
from training.models.rows import canonical, folds

Method = Literal["none", "platt", "isotonic"]
_CLIP = 1e-6
_LEAST_ISOTONIC = 10_000
"""Held-out rows below which steps would follow noise."""


@dataclass(frozen=True)
class Map:
    """From a chance to a better one: a line on the logit, or steps joined by lines."""

    method: Method
    x: Floats
    """Platt: (slope, shift). Isotonic: the points, rising."""
    y: Floats
    """Isotonic: their chances, never falling."""

    def __call__(self, p: Floats) -> Floats:
        """Each chance on its own."""
        if self.method == "none":
            return p
        if self.method == "platt":
            return sigmoid(self.x[0] * logit(p) + self.x[1])
        return np.interp(p, self.x, self.y)


NONE = Map("none", np.empty(0), np.empty(0))


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
        """Those of the model inside; Platt's line is applied to them, steps keep their order."""
        parts = contributions(self.inner, x)
        return line(parts, float(self.map.x[0]), float(self.map.x[1])) if self.map.method == "platt" else parts

    def save(self, folder: Path) -> None:
        """Write ``calibrated.json`` and the model inside."""
        write_json(folder / "calibrated.json", {"method": self.map.method, "x": self.map.x.tolist(), "y": self.map.y.tolist()})
        stored.write(self.inner, folder / "inner")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        found = stored.values(folder / "calibrated.json")
        method = found.get("method")
        if method not in ("none", "platt", "isotonic"):
            raise IntegrityError(f"calibrated.json: method {method!r} is unknown; train the model again")
        x = stored.numbers(found, "x", count=2 if method == "platt" else None)
        y = stored.numbers(found, "y", count=len(x) if method == "isotonic" else 0)
        if method == "isotonic" and not (len(x) and (np.diff(x) > 0).all() and (np.diff(y) >= 0).all() and y[0] >= 0 and y[-1] <= 1):
            raise IntegrityError("calibrated.json: the steps do not rise from 0 to 1; train the model again")
        return cls(stored.read(folder / "inner"), Map(method, x, y))


class Calibrated(BaseModel):
    """Wrap a model in the map that pays."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    inner: dict[str, Any]
    """The model inside, as ``use: module:Class``."""
    method: Literal["auto", "none", "platt", "isotonic"] = "auto"
    """``auto`` chooses by log loss; the others are taken as they are."""
    later_cutoffs: int = Field(default=3, ge=1)
    """Cutoffs needed before the newest window to choose across time; with fewer, the choice is made across customers."""

    def fit(self, frame: Frame) -> FittedCalibrated:
        """Predict held-out rows, choose and learn the map on them, then learn on all rows."""
        ordered = canonical(frame)
        model = build(self.inner, "calibrated")
        fitted = model.fit(ordered)
        held = predictions(model, ordered, self.later_cutoffs) if len(ordered) and self.method != "none" else None
        if held is None:
            return FittedCalibrated(fitted, NONE)
        late = ordered.take(held.rows)
        if len(np.unique(late.y)) < 2:
            return FittedCalibrated(fitted, NONE)
        method = choose(held.predicted, late.y, folds(late, FOLDS)) if self.method == "auto" else self.method
        return FittedCalibrated(fitted, learn(method, held.predicted, late.y))


def choose(p: Floats, y: Floats, fold: Integers) -> Method:
    """The map that pays on customers that it was not learned from: each step up must gain more than one standard error."""
    best: Method = "none"
    losses = _losses(p, y)
    richer: tuple[Method, ...] = ("platt", "isotonic") if len(p) >= _LEAST_ISOTONIC else ("platt",)
    for method in richer:
        mapped = np.empty(len(p))
        for k in range(FOLDS):
            other, own = fold != k, fold == k
            mapped[own] = (learn(method, p[other], y[other]) if len(np.unique(y[other])) > 1 else NONE)(p[own])
        found = _losses(mapped, y)
        gain = losses - found
        if gain.mean() > gain.std(ddof=1) / np.sqrt(len(gain)):
            best, losses = method, found
    return best


def learn(method: Method, p: Floats, y: Floats) -> Map:
    """A map from chances and what came."""
    if method == "none":
        return NONE
    if method == "platt":
        from sklearn.linear_model import LogisticRegression

        line = LogisticRegression(C=1e6, tol=1e-8, max_iter=1000).fit(logit(p)[:, None], y)
        # A falling line would turn the order round: then only the level is learned.
        slope = float(line.coef_[0, 0])
        return Map("platt", np.array([slope, float(line.intercept_[0])]), np.empty(0)) if slope > 0 else NONE
    from sklearn.isotonic import IsotonicRegression

    steps = IsotonicRegression(y_min=1 / (len(y) + 2), y_max=1 - 1 / (len(y) + 2), out_of_bounds="clip").fit(p, y)
    x, first = np.unique(steps.X_thresholds_, return_index=True)
    return Map("isotonic", x.astype(np.float64), np.maximum.accumulate(steps.y_thresholds_[first].astype(np.float64)))


def _losses(p: Floats, y: Floats) -> Floats:
    clipped = np.clip(p, _CLIP, 1 - _CLIP)
    return np.asarray(-(y * np.log(clipped) + (1 - y) * np.log1p(-clipped)))
