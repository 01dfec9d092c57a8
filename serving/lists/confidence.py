"""Intervals that hold however often one looks: asymptotic confidence sequences for the mean of what comes in one after the other. Pure.

Howard, Ramdas, McAuliffe and Sekhon (2021, "Time-uniform, nonparametric, nonasymptotic confidence sequences") for the idea and the mixture
boundary; Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas (2021, "Time-uniform central limit theory and asymptotic confidence sequences") for means
of what has a finite variance. After t observations with mean m and standard deviation s the interval is

    m +- s sqrt( 2 (t rho^2 + 1) / (t^2 rho^2)  log( sqrt(t rho^2 + 1) / alpha ) )

and with a chance of 1 - alpha all intervals, at every t from some hundred on, hold the true mean. rho sets where the interval is narrowest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from serving.decisions.figures import Floats

ALPHA = 0.05
BURN_IN = 100
"""Customers before which nothing is claimed: the theory is one of many observations."""


@dataclass(frozen=True)
class Running:
    """An estimate and its interval after each observation."""

    value: Floats
    low: Floats
    high: Floats


def rho(tightest: float, alpha: float = ALPHA) -> float:
    """The setting that makes the interval narrowest after so many observations."""
    return math.sqrt((-2 * math.log(alpha) + math.log(-2 * math.log(alpha) + 1)) / max(tightest, 1.0))


def radius(count: ArrayLike, deviation: ArrayLike, tightest: float, alpha: float = ALPHA) -> Floats:
    """Half the width of the interval."""
    t, square = np.asarray(count, dtype=np.float64), rho(tightest, alpha) ** 2
    inside = 2 * (t * square + 1) / (t**2 * square) * np.log(np.sqrt(t * square + 1) / alpha)
    return np.asarray(np.asarray(deviation, dtype=np.float64) * np.sqrt(inside))


def factor(count: int, alpha: float = ALPHA) -> float:
    """How many standard errors half the width is, where it is narrowest; 1.96 is that of an interval for one look.

    >>> round(factor(1000), 2)
    3.04
    """
    return float(radius(count, 1.0, count, alpha)) * math.sqrt(count)


def running(values: Floats, tightest: float, alpha: float = ALPHA) -> Running:
    """The mean of the values so far, with its interval; infinitely wide before ``BURN_IN``."""
    t = np.arange(1, len(values) + 1, dtype=np.float64)
    mean = np.cumsum(values) / t
    spread = np.sqrt(np.maximum(np.cumsum(values**2) / t - mean**2, 0.0) * t / np.maximum(t - 1, 1.0))
    half = np.where(t < BURN_IN, np.inf, radius(t, spread, tightest, alpha))
    return Running(mean, mean - half, mean + half)


def contrast(outcome: Floats, is_contacted: NDArray[np.bool_], chance: Floats) -> Floats:
    """One unbiased value of the effect per customer, in the order in which they came in.

    Outcome over the chance of the group that was drawn, with the mean of those before taken off first: what is taken off was fixed before
    the customer was drawn, so nothing is biased, and the variance is that between customers and no longer that of the level.

    Args:
        outcome: of each customer.
        is_contacted: the group drawn.
        chance: of being contacted, as drawn; strictly between 0 and 1.
    """
    before = _mean_before(outcome)
    sign = np.where(is_contacted, 1.0 / chance, -1.0 / (1.0 - chance))
    return np.asarray((outcome - before) * sign)


def _mean_before(outcome: Floats) -> Floats:
    """Mean of all outcomes before each; zero before the first."""
    return np.concatenate([[0.0], np.cumsum(outcome)[:-1] / np.arange(1, len(outcome))]) if len(outcome) else outcome
