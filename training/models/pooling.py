"""How much each of several models counts: weights that make their pooled answer fit outcomes which none of them learned from.

Weights are not negative and, of chances, sum to one. They are pulled towards equal ones as a few customers' worth of evidence would pull,
because what separates good models is smaller than the noise of a small shop, and an average of good models is seldom worse than any.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from training.contracts import Floats
from training.models.explained import logit
from training.models.logistic import sigmoid

_PRIOR_CUSTOMERS = 5.0
"""Customers whose evidence the pull towards equal weights is worth."""
_POWER = 1.5
"""Of the Tweedie deviance by which amounts are judged: between counts and pure scale, as spend with many zeros is."""
_STEPS = 500
_CLIP = 1e-6


def of_chances(answers: Floats, y: Floats, customers: int) -> Floats:
    """(models,) weights of logits, by log loss.

    Args:
        answers: (rows, models) chances that each model gave to rows it did not learn from.
        y: (rows,) 1 or 0.
        customers: How many different customers the rows are of.
    """
    logits = logit(answers)

    def loss(weights: Floats) -> tuple[float, Floats]:
        p = np.clip(sigmoid(logits @ weights), _CLIP, 1 - _CLIP)
        return float(-np.mean(y * np.log(p) + (1 - y) * np.log1p(-p))), logits.T @ (p - y) / len(y)

    return _descend(loss, answers.shape[1], _PRIOR_CUSTOMERS / max(customers, 1))


def of_amounts(answers: Floats, y: Floats, customers: int) -> Floats:
    """(models,) weights of amounts, by Tweedie deviance as a share of that of equal weights.

    Args:
        answers: (rows, models) amounts that each model gave to rows it did not learn from, each model's total set right.
        y: (rows,) amounts; what is below zero counts as zero.
        customers: How many different customers the rows are of.
    """
    least = max(float(answers.mean()), 1e-12) * 1e-4
    actual = np.maximum(y, 0.0)

    def raw(weights: Floats) -> tuple[float, Floats]:
        mu = np.maximum(answers @ weights, least)
        value = actual * mu ** (1 - _POWER) / (_POWER - 1) + mu ** (2 - _POWER) / (2 - _POWER)
        slope = mu ** (1 - _POWER) - actual * mu**-_POWER
        return float(value.mean()), answers.T @ slope / len(actual)

    equal = np.full(answers.shape[1], 1 / answers.shape[1])
    unit = max(raw(equal)[0], 1e-12)

    def loss(weights: Floats) -> tuple[float, Floats]:
        value, slope = raw(weights)
        return value / unit, slope / unit

    return _descend(loss, answers.shape[1], _PRIOR_CUSTOMERS / max(customers, 1))


def _descend(loss: Callable[[Floats], tuple[float, Floats]], count: int, pull: float) -> Floats:
    """The least of ``loss`` plus the pull on the simplex, by exponentiated gradient steps that only ever go down."""
    equal = np.full(count, 1 / count)

    def whole(weights: Floats) -> tuple[float, Floats]:
        value, slope = loss(weights)
        return value + pull * count * float(((weights - equal) ** 2).sum()), slope + 2 * pull * count * (weights - equal)

    weights, rate = equal, 1.0
    value, slope = whole(weights)
    for _ in range(_STEPS):
        moved = weights * np.exp(-rate * (slope - slope.min()))
        moved /= moved.sum()
        found, next_slope = whole(moved)
        if found < value:
            if value - found < 1e-10:
                break
            weights, value, slope, rate = moved, found, next_slope, rate * 1.3
        else:
            rate /= 2
            if rate < 1e-6:
                break
    return np.asarray(weights, dtype=np.float64)
