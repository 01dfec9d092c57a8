"""Whom to contact with what, within a budget of money, seats and stock: solved over everybody by prices, with a proof of how good it is. Pure.

At a price for money, for each kind of seat and for each offer of which there are only so many, everybody can be decided on their own: the
action with the most gain after what it uses. Any prices give an upper bound on what any list can gain (Lagrangian duality; the bound equals the
optimum of the linear program); the prices with the lowest bound are looked for, first on a sample, then on everybody. Prices then serve a call
that comes in later, too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from serving.decisions.descent import descend
from serving.decisions.figures import Floats
from serving.decisions.means import NOTHING, Choices, Means
from serving.decisions.repair import fill, fit

SAMPLE = 20_000
"""Customers of the first, coarse search."""
WITHIN = 2e-4
"""Share of the bound at which the search for prices stops."""


TIED = 5e-4
"""Share of the bound beyond which a choice is looked at as one among customers who are alike."""
GOLDEN = (5**0.5 - 1) / 2
Mixture = tuple[tuple[float, Floats], ...]
"""Weights and prices."""
_NO_MIXTURE: Mixture = ()


@dataclass(frozen=True)
class Solved:
    """Everybody's action, within the limits."""

    choice: Choices
    """(customers,) place of the action; -1 is none."""
    value: float
    """What the choices gain."""
    bound: float
    """What no choice within the limits can exceed."""
    prices: Floats
    """(1 + units,) of money and of each unit."""
    used: Floats
    """(1 + units,)"""
    evaluations: int

    @property
    def gap(self) -> float:
        """Share of the bound that is not reached, at most."""
        return max(0.0, 1.0 - self.value / self.bound) if self.bound > 0 else 0.0


def solve(means: Means) -> Solved:
    """The best choice that the limits allow. Equal gains fall to the earlier action and the earlier customer; equal input gives an equal answer.

    Where many customers are alike and a limit divides them, they are spread evenly over their order.
    """
    limits = means.limits
    live = _live(means)
    case = means if len(live) == len(means) else means.take(live)
    prices, evaluations = np.zeros(len(limits)), 1
    choice, bound, used = case.choose(prices)
    unit, short, mixture = bound / np.maximum(used, 1e-12), np.zeros(len(limits), dtype=bool), _NO_MIXTURE
    while np.any((used > limits) & ~short):
        # Only what is short has a price; what becomes short where something else is dear joins.
        short |= used > limits
        prices, mixture, count = _search(case, np.flatnonzero(short), prices, unit)
        choice, total, used = case.choose(prices)
        bound, evaluations = total + float(prices[short] @ limits[short]), evaluations + count + 1
    if short.any():
        choice = fill(case, fit(case, choice, prices), prices)
        if _value(case, choice) < (1 - TIED) * bound and len(mixture) > 1:
            # Many customers are alike: at the prices alone all would do the same, where the best is that some do and some do not.
            other = fill(case, fit(case, _mixed(case, mixture), prices), prices)
            choice = other if _value(case, other) > _value(case, choice) else choice
    everybody = np.full(len(means), NOTHING, dtype=np.int16)
    everybody[live] = choice
    rows, value = np.flatnonzero(choice >= 0), _value(case, choice)
    return Solved(everybody, value, max(bound, value), prices, case.used(rows, choice), evaluations)


def _value(case: Means, choice: Choices) -> float:
    rows = np.flatnonzero(choice >= 0)
    return float(case.gain[rows, choice[rows]].sum(dtype=np.float64))


def _mixed(case: Means, mixture: Mixture) -> Choices:
    """Each customer's choice at one of several prices, in the shares of the mixture, evenly spread over the customers."""
    ends = np.cumsum([weight for weight, _ in mixture])
    # Multiples of the golden ratio, without their whole part: any run of customers has its fair part of every share.
    turn = np.searchsorted(ends[:-1], np.arange(len(case)) * GOLDEN % 1.0, side="right")
    result = np.full(len(case), NOTHING, dtype=np.int16)
    for place, (_, prices) in enumerate(mixture):
        mine = turn == place
        result[mine] = case.choose(prices)[0][mine]
    return result


def _live(means: Means) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Customers with something to gain."""
    if not means.gain.shape[1]:
        return np.zeros(0, dtype=np.intp)
    return np.concatenate([np.flatnonzero(means.gain[block].max(axis=1) > 0) + block.start for block in means.blocks()] or [np.zeros(0, np.intp)])


def _search(case: Means, bound_by: np.ndarray[tuple[int], np.dtype[np.intp]], start: Floats, unit: Floats) -> tuple[Floats, Mixture, int]:
    """The prices with the lowest bound: on a sample of every so-many-th customer, then, from there, on everybody.

    Args:
        case: the choice.
        bound_by: resources that are short; the others cost nothing.
        start: prices to begin with.
        unit: what a unit of each resource brings on average where nothing costs anything.
    """
    most = _highest(case)[bound_by]
    unit = np.minimum(unit[bound_by], most) + 1e-300
    point, evaluations = start[bound_by], 0
    step = -(-len(case) // SAMPLE)
    for every, within in ((step, 10 * WITHIN), (1, WITHIN)) if step > 1 else ((1, WITHIN),):
        part = case if every == 1 else case.take(np.arange(0, len(case), every), case.limits * (-(-len(case) // every) / len(case)))

        def oracle(at: Floats, part: Means = part) -> tuple[float, Floats]:
            prices = np.zeros(len(part.limits))
            prices[bound_by] = at
            _, total, takes = part.choose(prices)
            return total + float(at @ part.limits[bound_by]), part.limits[bound_by] - takes[bound_by]

        found = descend(oracle, point, unit, most, within=within)
        point, evaluations = found.point, evaluations + found.evaluations * (every == 1)
        unit = np.maximum(point / 20, unit / 1000)

    def whole(at: Floats) -> Floats:
        prices = np.zeros(len(case.limits))
        prices[bound_by] = at
        return prices

    return whole(point), tuple((weight, whole(at)) for weight, at in found.mixture), evaluations


def _highest(case: Means) -> Floats:
    """Prices above which nobody takes anything of a resource."""
    gain = max(float(case.gain[block].max()) for block in case.blocks())
    positive = case.cost[case.cost > 0]
    least = float(positive.min()) if positive.size else 1.0
    return np.concatenate([[gain / least], np.full(len(case.limits) - 1, gain)])
