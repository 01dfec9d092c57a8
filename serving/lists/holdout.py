"""Who is held out of a campaign: drawn by hash before anything is exported, a fixed share of every stratum. Pure.

A customer's draw depends on the campaign's name and the customer alone. Everybody who may be on the list is drawn, before it is known who will be:
of every stratum (value band, risk) those with the lowest draws are held out. So another budget has the same control group. While the campaign runs
nobody changes sides: another list of its name draws only those whom no list before it could have held.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.decisions.figures import Floats

RISK_PARTS = 3
"""Risk is cut into so many equal parts."""


def draw(salt: str, customers: Sequence[str]) -> Floats:
    """A number from 0 to 1 for each customer, the same for the same salt."""
    return np.array([int.from_bytes(sha256(f"{salt}\n{each}".encode("utf-8", "surrogatepass")).digest()[:7], "big") / 2.0**56 for each in customers])


def strata(band: NDArray[Any], risk: Floats) -> NDArray[np.int64]:
    """The stratum of each customer: value band, then risk by equal parts."""
    if not len(risk):
        return np.zeros(0, dtype=np.int64)
    ends = np.quantile(risk, np.arange(1, RISK_PARTS) / RISK_PARTS)
    return np.asarray((band.astype(np.int64) + 1) * RISK_PARTS + np.searchsorted(ends, risk, side="left"), dtype=np.int64)


def held_out(drawn: Floats, stratum: NDArray[np.int64], share: float) -> NDArray[np.bool_]:
    """Whether each customer is held out: of every stratum the share with the lowest draws.

    What rounding leaves over is carried into the next stratum, so that strata of a few customers are not all spared.

    >>> held_out(np.array([0.9, 0.1, 0.5, 0.2]), np.array([0, 0, 1, 1]), 0.5).tolist()
    [False, True, False, True]
    """
    result = np.zeros(len(drawn), dtype=bool)
    order = np.lexsort((np.arange(len(drawn)), drawn, stratum))
    starts = np.flatnonzero(np.diff(stratum[order], prepend=-1, append=np.iinfo(np.int64).max))
    done = 0
    for start, stop in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        due = int(np.floor(share * stop + 0.5)) - done
        result[order[start : start + due]] = True
        done += due
    return result


def arms(
    campaign: str,
    customers: Sequence[str],
    stratum: NDArray[np.int64],
    share: float,
    is_spared: NDArray[np.bool_],
    drawn: Mapping[str, tuple[bool, float]],
) -> tuple[NDArray[np.bool_], Floats]:
    """(customers,) whether each is held out, and the chance of not being so: as drawn before where the campaign runs already, else drawn now.

    Args:
        campaign: its name.
        customers: everybody who may be on the list.
        stratum: of each.
        share: of those to be held out.
        is_spared: who is not drawn: contacted for certain, and compared with nobody.
        drawn: by customer, who stands in a group already: whether held out, and the chance of not being so.
    """
    is_held, chance = np.zeros(len(customers), dtype=bool), np.full(len(customers), 1.0 - share)
    known = np.array([each in drawn for each in customers], dtype=bool)
    for place in np.flatnonzero(known).tolist():
        is_held[place], chance[place] = drawn[customers[place]]
    chance[is_spared & ~known] = 1.0
    new = np.flatnonzero(~known & ~is_spared)
    is_held[new] = held_out(draw(campaign, [customers[place] for place in new.tolist()]), stratum[new], share)
    return is_held, chance


def affordable(worth: Floats, cost: Floats, takes: NDArray[np.bool_], is_held: NDArray[np.bool_], limits: Floats) -> NDArray[np.bool_]:
    """Whether each customer stays, so that those who are contacted are within the limits.

    Who is worth least goes first, contacted or held out alike: both groups are cut at the same place and stay comparable.

    Args:
        worth: what orders the customers; of equals the earlier one stays.
        cost: money each contact takes.
        takes: (units, customers) whether each contact takes one unit of what is counted: seats, and offers of which there are only so many.
        is_held: who is held out and takes nothing.
        limits: (1 + units,) the money there is, then the units.
    """
    order = np.argsort(-worth, kind="stable")
    stays = np.ones(len(worth), dtype=bool)
    for takers, most in zip(takes, limits[1:].tolist(), strict=True):
        mine = order[takers[order]]
        stays[mine[np.cumsum(~is_held[mine]) > most]] = False
    left = order[stays[order]]
    over = np.cumsum(np.where(is_held[left], 0.0, cost[left])) > limits[0] * (1 + 1e-9)
    stays[left[over]] = False
    return stays
