"""From the choices that prices suggest to choices that can be paid for: the excess is given back where it costs least, the rest is used. Pure."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.decisions.figures import Floats
from serving.decisions.means import NOTHING, Choices, Means

Places = NDArray[np.intp]
_ROUNDS = 40
_FILLS = 3
_SLACK = 1e-9
"""Of a limit, what adding up costs in another order may be off by."""


def fit(means: Means, choice: Choices, at: Floats) -> Choices:
    """Choices within every limit, as near as possible to ``choice`` at the prices ``at``; equal losses fall on the dearer, then the later."""
    result = choice.copy()
    for resource in [*range(1, len(means.limits)), 0]:
        for _ in range(_ROUNDS):
            rows = np.flatnonzero(result >= 0)
            over = means.used(rows, result)[resource] - _allowed(means.limits)[resource]
            if over <= 0:
                break
            _give_back(means, result, at, resource, over)
        else:
            _drop(means, result, resource)
    return result


def fill(means: Means, choice: Choices, at: Floats) -> Choices:
    """Use what is left: the best changes first, at the prices ``at``, each only where it gains money and fits."""
    result = choice.copy()
    for _ in range(_FILLS):
        if not _fill_once(means, result, at):
            break
    return result


def _allowed(limits: Floats) -> Floats:
    return limits * (1 + _SLACK)


def _give_back(means: Means, choice: Choices, at: Floats, resource: int, over: float) -> None:
    """Let those change, or go without, who lose least for what they free."""
    rows = np.flatnonzero(choice >= 0)
    if resource:
        rows = rows[means.takes[resource - 1, choice[rows]]]
    mine = choice[rows].astype(np.int64)
    # Units were given back before: one that falls free for the sake of money stays empty, so it is worth nothing.
    net = means.net(at if resource else np.concatenate([at[:1], np.zeros(len(at) - 1)]), rows)
    current = net[np.arange(len(rows)), mine].astype(np.float64)
    paid = means.paid(rows, mine)
    most = int(np.ceil(over)) if resource else 4 * int(np.ceil(over / max(float(paid.mean()), 1e-12))) + 16
    # Nobody changes to what takes a unit of which that many more are not left: what is within its limit stays there.
    left = means.limits[1:] - means.used(np.flatnonzero(choice >= 0), choice)[1:]
    allowed = means.within(left < most)[mine]
    if resource:
        allowed &= ~means.takes[resource - 1]
        freed = np.ones(len(rows))
    else:
        allowed &= (means.cost[None, :] if means.cost.ndim == 1 else means.cost[rows]) < paid[:, None]
        freed = paid
    best, top = _best(net, allowed)
    other = np.where(top > 0, best, NOTHING)
    if not resource:
        freed = paid - np.where(other >= 0, means.paid(rows, np.maximum(other, 0)), 0.0)
    loss = current - np.maximum(top, 0.0)
    useful = np.flatnonzero(freed > 0)
    # Of equal losses the dearer goes first, then the later.
    order = useful[np.lexsort((-rows[useful], -paid[useful], loss[useful] / freed[useful]))]
    gone = np.cumsum(freed[order])
    count = min(int(np.searchsorted(gone, over, side="left")) + 1, most)
    chosen = order[:count]
    choice[rows[chosen]] = other[chosen]


def _drop(means: Means, choice: Choices, resource: int) -> None:
    """Where changing does not end: the least worth go without."""
    rows = np.flatnonzero(choice >= 0)
    mine = choice[rows].astype(np.int64)
    use = means.paid(rows, mine) if resource == 0 else means.takes[resource - 1, mine].astype(np.float64)
    gain = means.gain[rows, mine].astype(np.float64)
    users = np.flatnonzero(use > 0)
    order = users[np.lexsort((rows[users], -gain[users] / use[users]))]
    choice[rows[order[np.cumsum(use[order]) > _allowed(means.limits)[resource]]]] = NOTHING


def _fill_once(means: Means, choice: Choices, at: Floats) -> bool:
    taken = np.flatnonzero(choice >= 0)
    left = means.limits - means.used(taken, choice)
    is_open = np.asarray(~means.takes[left[1:] < 1].any(axis=0))
    found: list[tuple[Places, Places, Floats]] = []
    for block in means.blocks():
        rows = np.arange(block.start, block.stop)
        mine = choice[block].astype(np.int64)
        has = mine >= 0
        place = np.maximum(mine, 0)
        gain, net = means.gain[block], means.net(at, block)
        here = np.arange(len(rows))
        now = np.where(has, gain[here, place], 0.0)
        paid = np.where(has, means.paid(rows, place), 0.0)
        cost = means.cost[None, :] if means.cost.ndim == 1 else means.cost[block]
        best, top = _best(net, is_open[None, :] & (gain > now[:, None]) & (cost - paid[:, None] <= left[0]))
        score = top - np.where(has, net[here, place], 0.0)
        some = np.flatnonzero(np.isfinite(score))
        found.append((rows[some], best[some], score[some].astype(np.float64)))
    if not found:
        return False
    rows, best = (np.concatenate([part[place] for part in found]) for place in (0, 1))
    score = np.concatenate([part[2] for part in found])
    old = choice[rows].astype(np.int64)
    more = means.paid(rows, best) - np.where(old >= 0, means.paid(rows, np.maximum(old, 0)), 0.0)
    order = np.lexsort((rows, more, -score))
    rows, best, old, more = rows[order], best[order], old[order], more[order]
    least, money, units = float(more.min(initial=np.inf)), float(left[0]), left[1:].tolist()
    exchanged = _exchanges(means)
    has_changed = False
    for row, action, before, cost_more in zip(rows.tolist(), best.tolist(), old.tolist(), more.tolist(), strict=True):
        comes, goes = exchanged(before, action)
        if cost_more > money or any(units[each] < 1 for each in comes):
            if money < least:
                break
            continue
        choice[row] = action
        has_changed = True
        money -= cost_more
        for each in comes:
            units[each] -= 1
        for each in goes:
            units[each] += 1
    return has_changed


def _exchanges(means: Means) -> Callable[[int, int], tuple[list[int], list[int]]]:
    """Units that come into use and units that fall free where one action takes the place of another."""

    @cache
    def exchanged(before: int, action: int) -> tuple[list[int], list[int]]:
        comes = means.takes[:, action]
        goes = means.takes[:, before] if before >= 0 else np.zeros_like(comes)
        return np.flatnonzero(comes & ~goes).tolist(), np.flatnonzero(goes & ~comes).tolist()

    return exchanged


def _best(net: NDArray[np.floating[Any]], allowed: NDArray[np.bool_]) -> tuple[Places, Floats]:
    """(rows,) the best allowed action and its net gain; ``-inf`` where none is allowed."""
    masked = np.where(allowed, net, -np.inf)
    best = masked.argmax(axis=1)
    return best, masked[np.arange(len(masked)), best].astype(np.float64)
