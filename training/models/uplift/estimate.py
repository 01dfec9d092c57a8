"""What a score is worth: the average effect, and how far the effect rises with the score, each drawn towards nothing as far as it is unsure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.contracts import Floats, Integers

Z = 1.959963984540054
"""Standard errors of a 95 % interval."""


@dataclass(frozen=True)
class Line:
    """effect = level + slope x (score - centre), and how sure level and slope are."""

    centre: float
    level: float
    slope: float
    level_error: float
    slope_error: float

    def __call__(self, score: Floats) -> tuple[Floats, Floats, Floats]:
        """Value, low and high of the mean effect among customers with a score. The interval is as wide as without shrinkage."""
        away = score - self.centre
        value = self.level + self.slope * away
        reach = Z * np.sqrt(self.level_error**2 + (self.slope_error * away) ** 2)
        return value, value - reach, value + reach


def line(pseudo: Floats, score: Floats, owner: Integers, prior: float) -> Line:
    """Fit level and slope to a doubly robust outcome per row.

    The level is drawn towards zero as if effects had been found before with the spread ``prior`` around none. The slope is drawn towards
    zero (everybody the average) by James and Stein's factor 1 - error^2 / slope^2, and never below: an order that runs the wrong way is
    no order.

    Args:
        pseudo: (rows,) its mean given anything known before is the effect.
        score: (rows,) by models that did not learn from the row.
        owner: (rows,) number of the customer; rows of one customer are not independent.
        prior: Spread of average effects, in the unit of the outcome.
    """
    centre = float(score.mean())
    mean, away = float(pseudo.mean()), score - centre
    level_error = error(pseudo - mean, owner) / len(pseudo)
    level = mean * prior**2 / (prior**2 + level_error**2) if prior > 0 else 0.0
    spread = float((away**2).sum())
    if spread <= 1e-12 * max(1.0, centre**2) * len(score):
        return Line(centre, level, 0.0, level_error, 0.0)
    slope = float((away * pseudo).sum()) / spread
    slope_error = error(away * (pseudo - mean - slope * away), owner) / spread
    kept = max(0.0, 1 - (slope_error / slope) ** 2) if slope > 0 else 0.0
    return Line(centre, level, slope * kept, level_error, slope_error)


def error(parts: Floats, owner: Integers) -> float:
    """Standard error of a sum of parts that are independent between customers, not within."""
    return float(np.sqrt((np.bincount(owner, parts) ** 2).sum()))
