"""Who is chosen for what within the limits: contacted and held out alike; and who is treated otherwise than the prices alone would say. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from serving.decisions import budget
from serving.decisions.actions import Action, means
from serving.decisions.budget import Solved
from serving.decisions.figures import Floats
from serving.decisions.means import Means
from serving.decisions.prices import Own
from serving.lists import holdout
from serving.lists.persuasion import GRADES, Persuasion

STRETCHES = 3
WASTE = 0.005
"""Share of a limit that the draw of the control group may leave, or take too much, before it is solved again."""
EDGE = 1e-6
"""Money within which a gain after prices may be above zero to one who adds up in another order."""


@dataclass(frozen=True)
class Asked:
    """What the marketer asked for."""

    campaign: str
    budget: float | None = None
    """Money; None is no limit."""
    seats: Mapping[str, float] = field(default_factory=dict)
    """By channel: contacts that can be made."""
    channel_costs: Mapping[str, float] = field(default_factory=dict)
    """By channel: cost of one contact; what is not given is what the source says."""
    holdout: float = 0.1
    """Share of the chosen who are not contacted."""
    margin_rate: float | None = None
    """Where the source knows none, or another is meant."""
    saved_share: float | None = None
    """Share of a loss that an accepted offer is assumed to keep where no effect is known; None is what the house says."""
    valid_days: float = 7.0
    """How long seats and budget are meant for, and prices hold."""
    is_by_calls: bool = False
    """Whether the limits are spent by calls, one by one, instead of by sending the list."""
    without_holdout: str = ""
    """Why there is no control group, where there is none."""


@dataclass(frozen=True)
class Entry:
    """One customer who was chosen."""

    position: int
    action: int
    gain: float
    low: float
    high: float
    cost: float
    above_price: float
    """Gain after what it takes from others, at the prices of the list."""
    is_held_out: bool
    chance: float
    """Of not being held out."""
    stratum: int
    grade: str
    """Evidence: A, B, C or D."""


def solved(asked: Asked, what: Sequence[Action], found: Persuasion, is_held: NDArray[np.bool_]) -> tuple[Means, Solved]:
    """The choice whose contacts use the limits up: who is held out is chosen like all others and uses nothing, so the limits are stretched."""
    case = means(found.priority, found.cost, what, asked.seats, asked.budget)
    stretched = replace(case, limits=case.limits / (1.0 - float(is_held.mean()) if len(is_held) else 1.0))
    result = budget.solve(stretched)
    for _ in range(STRETCHES):
        rows = np.flatnonzero((result.choice >= 0) & ~is_held)
        used = case.used(rows, result.choice)
        is_bound = (result.prices > 0) & (used > 0)
        if not np.any(is_bound & (np.abs(used / np.maximum(case.limits, 1e-12) - 1) > WASTE)):
            break
        factor = np.where(is_bound, case.limits / np.maximum(used, 1e-12), 1.0)
        stretched = replace(case, limits=stretched.limits * np.clip(factor, 0.5, 2.0))
        result = budget.solve(stretched)
    return case, result


def cut(
    case: Means, found: Persuasion, solved: Solved, free: NDArray[np.intp], is_held: NDArray[np.bool_], chance: Floats, stratum: NDArray[np.int64]
) -> tuple[tuple[Entry, ...], NDArray[np.intp]]:
    """The chosen within the limits, contacted and held out alike, in order; and their places among the free.

    Args:
        case: what was solved, with the limits that hold.
        found: every action of everybody who is free.
        solved: the choice.
        free: (free,) position of each in the rows.
        is_held: (free,) who is held out.
        chance: (free,) of not being held out.
        stratum: (free,)
    """
    chosen = np.flatnonzero(solved.choice >= 0)
    action = solved.choice[chosen].astype(np.int64)
    above = (case.gain[chosen, action] - case.prices(solved.prices, chosen)[np.arange(len(chosen)), action]).astype(np.float64)
    stays = holdout.affordable(above, found.cost[chosen, action], case.takes[:, action], is_held[chosen], case.limits)
    kept = chosen[stays][np.lexsort((chosen[stays], -above[stays]))]
    worth = dict(zip(chosen.tolist(), above.tolist(), strict=True))
    entries = []
    for place in kept.tolist():
        taken = int(solved.choice[place])
        gain, low, high, cost = (float(each[place, taken]) for each in (found.gain, found.low, found.high, found.cost))
        entries.append(
            Entry(
                position=int(free[place]),
                action=taken,
                gain=gain,
                low=low,
                high=high,
                cost=cost,
                above_price=worth[place],
                is_held_out=bool(is_held[place]),
                chance=float(chance[place]),
                stratum=int(stratum[place]),
                grade=GRADES[found.grade[place, taken]],
            )
        )
    return tuple(entries), kept


def apart(case: Means, found: Persuasion, prices: Floats, is_contacted: NDArray[np.bool_]) -> dict[int, Own]:
    """Whom the list leaves out though the prices alone would not, by place among the free, and what makes a call say the same.

    Args:
        case: what was solved.
        found: every action of everybody who is free.
        prices: of the list.
        is_contacted: (free,) who has a place on the list.
    """
    result: dict[int, Own] = {}
    for block in case.blocks():
        paid = case.prices(prices, block)
        # A call makes what has both priority and gain left after the prices.
        left = np.minimum(found.priority[block] - paid, found.gain[block] - paid).max(axis=1, initial=-np.inf)
        for row in np.flatnonzero(~is_contacted[block] & (left > -EDGE)).tolist():
            result[row + block.start] = Own(more=float(left[row]) + 2 * EDGE)
    return result
