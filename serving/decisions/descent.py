"""The lowest point of a convex function of a few prices, from values and slopes: cutting planes inside a box that grows and shrinks. Pure.

Cutting planes after Kelley (1960), kept near the best point so far after Marsten, Hogan and Blankenship (1975, "The boxstep method").
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from serving.decisions.figures import Floats

Oracle = Callable[[Floats], tuple[float, Floats]]
"""Point -> value and a slope (subgradient) there."""
MOST = 80
"""Most evaluations."""


@dataclass(frozen=True)
class Lowest:
    """Where a descent ended."""

    point: Floats
    value: float
    evaluations: int
    mixture: tuple[tuple[float, Floats], ...]
    """Points whose slopes, weighed so, cancel out but for what the lower ends hold: weights that sum to one, and points (Dantzig and Wolfe, 1960)."""


def descend(oracle: Oracle, start: Floats, unit: Floats, most: Floats, *, within: float) -> Lowest:
    """Go down from a point until no more than a share ``within`` of the value can be gained.

    Args:
        oracle: the function.
        start: where to begin.
        unit: what a step of size one is in each direction.
        most: upper ends; the lower ends are zero.
        within: the share of the value that may be left.
    """
    value, slope = oracle(start)
    best, lowest, box = start, value, 1.0
    cuts = [(value, slope, start)]
    weights = np.ones(1)
    for count in range(1, MOST):
        low, high = np.maximum(best - box * unit, 0.0), np.minimum(best + box * unit, most)
        point, model, weights = _master(cuts, low, high)
        promised = lowest - model
        if promised <= within * abs(lowest):
            # As good as it gets in this box; the end only where the box is not in the way.
            if (np.all((point > low) | (low <= 0)) and np.all((point < high) | (high >= most))) or box > 1e6:
                return Lowest(best, lowest, count, _mixture(cuts, weights))
            box *= 8
            continue
        value, slope = oracle(point)
        cuts.append((value, slope, point))
        if lowest - value >= 0.1 * promised:
            best, lowest, box = point, value, box * 2
        else:
            if value < lowest:
                best, lowest = point, value
            box = max(box / 2, 1e-9)
    return Lowest(best, lowest, MOST, _mixture(cuts[: len(weights)], weights))


def _mixture(cuts: list[tuple[float, Floats, Floats]], weights: Floats) -> tuple[tuple[float, Floats], ...]:
    return tuple((float(weight), point) for weight, (_, _, point) in zip(weights, cuts, strict=True) if weight > 1e-9)


def _master(cuts: list[tuple[float, Floats, Floats]], low: Floats, high: Floats) -> tuple[Floats, float, Floats]:
    """The lowest point of the highest cut inside a box, its height, and how much each cut holds it up."""
    from scipy.optimize import linprog

    size = len(low)
    scale = max(abs(cuts[0][0]), 1e-300)
    span = np.where(high > low, high - low, 1.0)
    slopes = np.array([slope for _, slope, _ in cuts])
    bases = np.array([value + float(slope @ (low - point)) for value, slope, point in cuts])
    left = np.column_stack([slopes * span / scale, -np.ones(len(cuts))])
    solved = linprog(
        np.append(np.zeros(size), 1.0),
        A_ub=left,
        b_ub=-bases / scale,
        bounds=[*((0.0, 1.0 if b > a else 0.0) for a, b in zip(low, high, strict=True)), (None, None)],
        method="highs",
    )
    if solved.x is None:
        return low, float("-inf"), np.eye(1, len(cuts))[0]
    weights = np.maximum(-np.asarray(solved.ineqlin.marginals, dtype=np.float64), 0.0)
    return low + span * np.asarray(solved.x[:size], dtype=np.float64), float(solved.x[size]) * scale, weights / weights.sum()
