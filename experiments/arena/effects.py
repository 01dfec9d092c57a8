"""What contacts change, learned from all that was logged: what money exceeds that of no contact by, and a short ladder for each offer.

Offers are given by what is known of a customer and by chance, and by nothing else, so what is left of the money after that of no contact
is the effect, wherever the regressions are right about those who were seldom left alone. Errors grow with the money expected, so rows count
by its inverse. The plain rung is that of the ranking by response: an offer adds the same part to everybody's money. The rich one lets the
effect depend on all that is known, and is taken where it foresees customers that it did not learn from better.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.contracts import Floats, Integers

_RIDGE = 100.0
"""Rows that the ridge weighs."""
_LEAST = 50
"""Contacts from which an effect is claimed at all."""
_ENOUGH = 200
"""Contacts from which the rich rung is tried."""
_FLOOR = 0.1
"""Money expected of a customer, at least, in means."""
_FOLDS = 2


@dataclass(frozen=True)
class Regression:
    """A weighted ridge regression on standardised columns."""

    centre: Floats
    spread: Floats
    weight: Floats
    bias: float

    @classmethod
    def fit(cls, x: Floats, y: Floats, counts: Floats) -> Regression:
        """Rows count as ``counts`` says, on average once."""
        share = counts / counts.mean()
        bias, centre, spread = float(np.average(y, weights=share)), np.average(x, axis=0, weights=share), np.maximum(x.std(axis=0), 1e-9)
        design = (x - centre) / spread
        weighted = (design * share[:, None]).T
        weight = np.linalg.solve(weighted @ design + _RIDGE * np.eye(x.shape[1]), weighted @ (y - bias))
        return cls(centre, spread, np.asarray(weight), bias)

    def __call__(self, x: Floats) -> Floats:
        """(rows,) what is expected."""
        return np.asarray(self.bias + (x - self.centre) / self.spread @ self.weight)


@dataclass(frozen=True)
class Plain:
    """Money when left alone."""

    regression: Regression
    level: float

    @classmethod
    def fit(cls, x: Floats, y: Floats) -> Plain:
        """Learned twice: the second time rows count by the inverse of the money that the first expected."""
        level = max(float(y.mean()), 1e-9)
        first = cls(Regression.fit(both(x), y, np.ones(len(y))), level)
        return cls(Regression.fit(both(x), y, 1 / first.scale(x)), level)

    def __call__(self, x: Floats) -> Floats:
        """(rows,) expected money."""
        return self.regression(both(x))

    def scale(self, x: Floats) -> Floats:
        """(rows,) the same in means, never near zero."""
        return np.maximum(self(x) / self.level, _FLOOR)


@dataclass(frozen=True)
class Effect:
    """Of one offer. Without a regression it is a part of the money that comes anyway."""

    part: float
    rich: Regression | None = None

    def __call__(self, x: Floats, scale: Floats) -> Floats:
        """(rows,) money that a contact adds."""
        return self.part * scale if self.rich is None else self.rich(_rich(x, scale))


@dataclass(frozen=True)
class Effects:
    """Of all offers; None of one that was hardly tried."""

    plain: Plain
    offers: tuple[Effect | None, ...]

    @property
    def rungs(self) -> tuple[str, ...]:
        """How each offer's effect is told."""
        return tuple("none" if each is None else "response" if each.rich is None else "learner" for each in self.offers)

    def __call__(self, x: Floats) -> Floats:
        """(customers, offers) money that a contact adds, ``-inf`` where nothing is claimed."""
        scale = self.plain.scale(x)
        return np.column_stack([np.full(len(x), -np.inf) if each is None else each(x, scale) for each in self.offers])


def learn(x: Floats, money: Floats, choice: NDArray[np.int16], customer: Integers, offers: int) -> Effects:
    """Effects of all offers from rows of all months; a row of -1 is one that was left alone."""
    alone = choice < 0
    plain = Plain.fit(x[alone], money[alone])
    scale, excess = plain.scale(x), money - plain(x)
    found = []
    for place in range(offers):
        rows = np.flatnonzero(choice == place)
        found.append(_climb(x[rows], excess[rows], scale[rows], customer[rows]) if len(rows) >= _LEAST else None)
    return Effects(plain, tuple(found))


def _climb(x: Floats, excess: Floats, scale: Floats, customer: Integers) -> Effect:
    held, next_up = _fit(x, excess, scale, is_rich=False), _fit(x, excess, scale, is_rich=True)
    if len(x) < _ENOUGH:
        return held
    better = 0.0
    for fold in range(_FOLDS):
        own = customer % _FOLDS == fold
        errors = []
        for is_rich in (False, True):
            fitted = _fit(x[~own], excess[~own], scale[~own], is_rich=is_rich)
            errors.append((excess[own] - fitted(x[own], scale[own])) ** 2 / scale[own])
        better += float((errors[0] - errors[1]).sum())
    return next_up if better > 0 else held


def _fit(x: Floats, excess: Floats, scale: Floats, *, is_rich: bool) -> Effect:
    part = float(excess.sum() / scale.sum())
    return Effect(part, Regression.fit(_rich(x, scale), excess, 1 / scale) if is_rich else None)


def _rich(x: Floats, scale: Floats) -> Floats:
    return np.column_stack([_bent(x), scale])


def both(x: Floats) -> Floats:
    """Signed logs, and the columns as they are: money of next month is money of the last ones, not their log."""
    return np.column_stack([_bent(x), x])


def _bent(x: Floats) -> Floats:
    return np.asarray(np.sign(x) * np.log1p(np.abs(x)))
