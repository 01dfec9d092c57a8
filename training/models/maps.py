"""From chances to better ones: which map pays on customers it was not learned from, and the level of the newest window.

Maps are none, Platt's line on the logit, the beta map (Kull, Silva Filho and Flach 2017) and isotonic steps. A richer one must win by more
than its standard error over customers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Self, get_args

import numpy as np

from retain.errors import IntegrityError
from training.contracts import Floats, Integers
from training.models import stored
from training.models.explained import logit
from training.models.logistic import sigmoid
from training.models.rows import FOLDS

Method = Literal["none", "platt", "beta", "isotonic"]
_METHODS: tuple[Method, ...] = get_args(Method)
_CLIP = 1e-6
_LEAST_ISOTONIC = 10_000
"""Held-out customers below which steps would follow noise."""
_FURTHEST = 3.0
"""A level that is off by more, on the logit, is a fault and not a level."""


@dataclass(frozen=True)
class Map:
    """From a chance to a better one."""

    method: Method
    x: Floats
    """Platt: (slope, shift). Beta: (a, b, c). Isotonic: the points, rising."""
    y: Floats
    """Isotonic: their chances, never falling."""
    level: float = 0.0
    """Added to the logit last of all."""

    def __call__(self, p: Floats) -> Floats:
        """Each chance on its own."""
        mapped = self._shaped(p)
        return sigmoid(logit(mapped) + self.level) if self.level else mapped

    def _shaped(self, p: Floats) -> Floats:
        if self.method == "none":
            return p
        if self.method == "platt":
            return sigmoid(self.x[0] * logit(p) + self.x[1])
        if self.method == "beta":
            clipped = np.clip(p, _CLIP, 1 - _CLIP)
            return sigmoid(self.x[0] * np.log(clipped) - self.x[1] * np.log1p(-clipped) + self.x[2])
        return np.interp(p, self.x, self.y)

    @property
    def line(self) -> tuple[float, float]:
        """Slope and shift on the logit; of a map that is no line, those of its level alone."""
        return (float(self.x[0]), float(self.x[1]) + self.level) if self.method == "platt" else (1.0, self.level)

    def to_json(self) -> dict[str, Any]:
        """Plain values for a file."""
        return {"method": self.method, "x": self.x.tolist(), "y": self.y.tolist(), "level": self.level}

    @classmethod
    def from_json(cls, found: Mapping[str, Any], place: str) -> Self:
        """The inverse.

        Raises:
            IntegrityError: no map of ours.
        """
        method = next((known for known in _METHODS if known == found.get("method")), None)
        if method is None:
            raise IntegrityError(f"{place}: method {found.get('method')!r} is unknown; train the model again")
        x = stored.numbers(found, "x", count={"none": 0, "platt": 2, "beta": 3}.get(method))
        y = stored.numbers(found, "y", count=len(x) if method == "isotonic" else 0)
        if method == "isotonic" and not (len(x) and (np.diff(x) > 0).all() and (np.diff(y) >= 0).all() and y[0] >= 0 and y[-1] <= 1):
            raise IntegrityError(f"{place}: the steps do not rise from 0 to 1; train the model again")
        if method in ("platt", "beta") and (x[:-1] < 0).any():
            raise IntegrityError(f"{place}: the {method} map falls; train the model again")
        return cls(method, x, y, stored.number(found, "level", least=-_FURTHEST, most=_FURTHEST))


NONE = Map("none", np.empty(0), np.empty(0))


def choose(p: Floats, y: Floats, fold: Integers, customers: Integers | None = None) -> Method:
    """The map that pays on customers that it was not learned from: each step up must gain more than one standard error.

    Args:
        p: (rows,) chances of rows that the model did not learn from.
        y: (rows,) what came.
        fold: (rows,) whole numbers below ``FOLDS``; all rows of a customer lie in one.
        customers: (rows,) a number per customer: the rows of one customer err together; every row on its own where not given.
    """
    owner = np.arange(len(p)) if customers is None else customers
    count = np.bincount(owner)
    best: Method = "none"
    losses = _losses(p, y)
    richer: tuple[Method, ...] = ("platt", "beta", "isotonic") if (count > 0).sum() >= _LEAST_ISOTONIC else ("platt", "beta")
    for method in richer:
        mapped = np.empty(len(p))
        for k in range(FOLDS):
            other, own = fold != k, fold == k
            mapped[own] = (learn(method, p[other], y[other]) if len(np.unique(y[other])) > 1 else NONE)(p[own])
        found = _losses(mapped, y)
        gain = np.bincount(owner, losses - found)[count > 0]
        if gain.sum() > gain.std(ddof=1) * np.sqrt(len(gain)):
            best, losses = method, found
    return best


def learn(method: Method, p: Floats, y: Floats) -> Map:
    """A map from chances and what came."""
    if method == "none":
        return NONE
    if method == "isotonic":
        from sklearn.isotonic import IsotonicRegression

        steps = IsotonicRegression(y_min=1 / (len(y) + 2), y_max=1 - 1 / (len(y) + 2), out_of_bounds="clip").fit(p, y)
        x, first = np.unique(steps.X_thresholds_, return_index=True)
        return Map("isotonic", x.astype(np.float64), np.maximum.accumulate(steps.y_thresholds_[first].astype(np.float64)))
    clipped = np.clip(p, _CLIP, 1 - _CLIP)
    terms = logit(p)[:, None] if method == "platt" else np.column_stack([np.log(clipped), -np.log1p(-clipped)])
    slopes, shift = _line(terms, y)
    # A falling map would turn the order round: then it is left out.
    return Map(method, np.array([*slopes, shift]), np.empty(0)) if (slopes > 0).all() else NONE


def levelled(found: Map, p: Floats, y: Floats, trust: float = 1.0) -> Map:
    """The map with its level moved so that these chances have the mean of what came, as far as the rows can tell.

    A population ages, and a season comes: of all closed windows the newest one says best what the level is now. The move is shrunk by its
    own error: what a handful of rows says is hardly believed.

    Args:
        found: A map.
        p: (rows,) chances of rows of the newest window, which the model did not learn from, before the map.
        y: (rows,) what came.
        trust: Share of the move that is made.
    """
    share = float(np.mean(y)) if len(y) else 0.0
    if not 0 < share < 1:
        return found
    scores = logit(found(p))
    low, high = -_FURTHEST, _FURTHEST
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if sigmoid(scores + middle).mean() < share else (low, middle)
    move = (low + high) / 2
    spread = sigmoid(scores + move)
    error = 1 / max(float((spread * (1 - spread)).sum()), 1e-12)
    return replace(found, level=found.level + trust * move * move**2 / (move**2 + error)) if move else found


def _line(terms: Floats, y: Floats) -> tuple[Floats, float]:
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=1e6, tol=1e-8, max_iter=1000).fit(terms, y)
    return np.asarray(fitted.coef_[0], dtype=np.float64), float(fitted.intercept_[0])


def _losses(p: Floats, y: Floats) -> Floats:
    clipped = np.clip(p, _CLIP, 1 - _CLIP)
    return np.asarray(-(y * np.log(clipped) + (1 - y) * np.log1p(-clipped)))
