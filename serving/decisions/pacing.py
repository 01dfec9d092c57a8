"""Prices that follow what has been used, where limits are spent by calls: what comes in is never quite what the prices were made on. Pure.

A list says what a plan uses at its prices, and how use answers when they change. What is left of a limit, over what is left of the plan, is what
the rest may use: the prices move to where it would, by one quadratic model of the lowest bound around the prices of the list (its slope is use, its
bend how use answers). Decisions that look at what was used lose far less than prices that stand still (Li and Ye, 2022, "Online linear
programming: dual convergence, new algorithms, and regret bounds").
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from serving.decisions.figures import Floats
from serving.decisions.means import NOTHING, Choices, Means

STEP = 0.15
"""Share of a price by which it is moved to see how use answers."""
SAMPLE = 100_000
"""Customers who are asked how they answer."""
LEAST, MOST = 0.7, 1.4
"""What is left is taken for at least, and at most, so many times what was planned: a few customers are no reason for a leap."""
REACH = 0.5
"""Share of its price at the list by which a price moves at most."""
FELT = 0.1
"""Of what its takers gain, the price at which a resource begins to be felt: what costs less can move as far as if it cost that."""
PRIOR = 0.1
"""Share of the time after which the customers who came tell as much of those to come as the plan does."""
_SWEEPS = 40
EVERY = 50
"""Customers after which ``one_by_one`` looks at what was used."""


@dataclass(frozen=True)
class Plan:
    """What a list means to use, and how use answers to prices. Resources are money, then units, as in ``Means``."""

    customers: int
    """Who may be contacted."""
    limits: tuple[float, ...]
    prices: tuple[float, ...]
    uses: tuple[float, ...]
    """What those who may be contacted use at the prices."""
    bend: tuple[tuple[float, ...], ...]
    """How much less of the first is used where the second costs one more."""
    reach: tuple[float, ...]
    """How far each price moves at most."""


def plan(means: Means, prices: Floats) -> Plan:
    """The plan of a choice that was solved: ``means`` are those whose contacts use the limits."""
    step = -(-len(means) // SAMPLE) or 1
    part = means if step == 1 else means.take(np.arange(0, len(means), step))
    scale = len(means) / max(len(part), 1)
    _, total, uses = part.choose(prices)
    size = np.maximum(prices, FELT * total / np.maximum(uses, 1.0))
    bend = np.zeros((len(prices), len(prices)))
    for place in np.flatnonzero(np.isfinite(means.limits) & (size > 0)).tolist():
        ends = np.array([prices, prices])
        ends[:, place] = max(prices[place] - STEP * size[place], 0.0), prices[place] + STEP * size[place]
        low, high = (part.choose(end)[2] for end in ends)
        bend[:, place] = (low - high) / (ends[1, place] - ends[0, place])
    values, vectors = np.linalg.eigh((bend + bend.T) / 2)
    bend = scale * (vectors * np.maximum(values, 0.0)) @ vectors.T
    return Plan(
        customers=len(means),
        limits=tuple(means.limits.tolist()),
        prices=tuple(prices.tolist()),
        uses=tuple((scale * uses).tolist()),
        bend=tuple(tuple(row) for row in bend.tolist()),
        reach=tuple((REACH * size).tolist()),
    )


def rest(plan: Plan, asked: int, meant: Floats, time: float) -> Floats:
    """(1 + units,) share of what the plan means to use that is still to come.

    Args:
        plan: of the list.
        asked: customers who have come.
        meant: (1 + units,) what the plan meant them to use; of whom it does not know, what it means a customer to use on average.
        time: share of the time that is over.
    """
    uses, few = np.array(plan.uses), 1.0 / max(plan.customers, 1)
    to_come = np.where(uses > 0, 1.0 - meant / np.maximum(uses, 1e-300), 1.0 - asked * few)
    # Whether all of them come is told by how many came so far; before anybody could, by the plan.
    rate = (asked * few + PRIOR) / (time + PRIOR)
    share = rate * (1.0 - time) / max(1.0 - asked * few, few)
    return np.asarray(np.maximum(to_come, few) * min(share, 1.0))


def paced(plan: Plan, used: Floats, rest: Floats) -> Floats:
    """(1 + units,) the prices of what is left.

    Args:
        plan: of the list.
        used: (1 + units,) so far.
        rest: (1 + units,) share of what the plan means to use that is still to come.
    """
    limits, start, uses, bend, reach = (np.array(each) for each in (plan.limits, plan.prices, plan.uses, plan.bend, plan.reach))
    is_short = np.isfinite(limits) & (limits > 0)
    left = np.divide(limits - used, limits * np.maximum(rest, 1e-12), out=np.ones(len(limits)), where=is_short)
    # Where a resource has a price, the list means to use it up: as long as that is so, the price is the list's to the last digit.
    meant = np.where(start > 0, limits, uses)
    gap = np.where(is_short, np.clip(left, LEAST, MOST) * np.where(is_short, limits, 0.0) - meant, 0.0)
    prices, least, most = start.copy(), np.maximum(start - reach, 0.0), start + reach
    for _ in range(_SWEEPS):
        before = prices.copy()
        for place in np.flatnonzero(is_short & (np.diag(bend) > 0)).tolist():
            slope = gap[place] + bend[place] @ (prices - start)
            prices[place] = min(max(prices[place] - slope / bend[place, place], least[place]), most[place])
        if np.allclose(prices, before, rtol=1e-6, atol=0.0):
            break
    return prices


def one_by_one(means: Means, prices: Floats, plan: Plan | None = None, listed: Choices | None = None) -> Choices:
    """Everybody in turn, by prices and what is left just then: how calls are decided that come one after the other.

    Args:
        means: those who come, in their order, evenly over the time of the plan; and the limits.
        prices: of a list.
        plan: where prices follow use; None lets them stand.
        listed: (customers,) what the plan meant each to have; None where it knows none of them.
    """
    choice = np.full(len(means), NOTHING, dtype=np.int16)
    if not means.gain.shape[1]:
        return choice
    used, meant = np.zeros(len(means.limits)), np.zeros(len(means.limits))
    for block in _stretches(len(means), EVERY if plan is not None else len(means)):
        if plan is not None:
            prices = paced(plan, used, rest(plan, block.start, meant, block.start / len(means)))
        rows = np.arange(block.start, block.stop)
        net = means.net(prices, rows)
        for row in (np.flatnonzero(net.max(axis=1) > 0) + block.start).tolist():
            open_ = np.where(means.fits(means.limits - used, row), net[row - block.start], -np.inf)
            action = int(open_.argmax())
            if open_[action] > 0:
                choice[row] = action
                used += means.used(np.array([row]), choice)
        if listed is not None:
            meant += means.used(np.flatnonzero(listed[block] >= 0) + block.start, listed)
        elif plan is not None:
            meant += np.array(plan.uses) * len(rows) / max(plan.customers, 1)
    return choice


def _stretches(count: int, size: int) -> Iterator[slice]:
    yield from (slice(start, min(start + size, count)) for start in range(0, count, max(size, 1)))


__all__ = ["Plan", "one_by_one", "paced", "plan", "rest"]
