"""The truth: what will happen to each customer after the clock, computed from the rules of ``behaviour`` and not from what was drawn.

It knows the hidden state of each customer on the clock and that nobody is contacted afterwards, except by the one offer it is asked about.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from retain.simulate.behaviour import (
    ACTIVE,
    ACTIVITY,
    FADING,
    FAILURE_HEARD,
    FAILURE_MENDED,
    FIRST_ORDER,
    FRESH_DAYS,
    GONE,
    LEAVE,
    LEAVE_AT_ONCE,
    RETURN,
    START_ACTIVE,
    START_FADING,
    Standing,
)
from retain.simulate.draws import Floats
from retain.simulate.market import seasons
from retain.simulate.people import RHYTHMS, People

_MEAN_CARE = 1 + FAILURE_HEARD * FAILURE_MENDED
"""Mean factor on recovery of those who begin to fade."""


@dataclass(frozen=True)
class Future:
    """What to expect of each customer in a horizon."""

    no_order: Floats
    """Probability of no order at all: true churn."""
    orders: Floats
    """Expected orders."""
    gone: Floats
    """Probability of being gone at the end."""
    accepts: Floats
    """Probability that the offer asked about is used; zero without one."""


def future(who: People, standing: Standing, horizon: int, clock: date, kind: int | None = None) -> Future:
    """Follow the probabilities of each state over the horizon; ``kind`` is an offer that reaches everybody on the clock."""
    count = len(who.number)
    if kind is None:
        boost, rescue, fresh_until = standing.boost, standing.rescue, standing.fresh_until
        accepts = np.zeros(count)
    else:
        boost, rescue, fresh_until = np.exp(who.effect[:, kind]), who.rescue[:, kind], np.full(count, FRESH_DAYS)
        accepts = who.accepts[:, kind]
    demand, weekday, _ = seasons(0, horizon, clock)
    rate = who.order_rate * RHYTHMS[who.rhythm].T
    # Rows: active, fading since before the clock (their care is known), fading since, gone. One matrix for everybody, one for those
    # who have not ordered yet, one for those who have not used the offer yet.
    start = np.stack([standing.state == ACTIVE, standing.state == FADING, np.zeros(count, dtype=bool), standing.state == GONE]).astype(float)
    everybody, quiet, untouched = start, start, start
    orders = np.zeros(count)
    for day in range(horizon):
        is_fresh = day < fresh_until
        recover = who.recover * np.where(is_fresh, rescue, 1.0)
        known, since = np.minimum(recover * standing.care, 1 - LEAVE), np.minimum(recover * _MEAN_CARE, 1 - LEAVE)
        everybody, quiet = (_moved(state, who.fade, known, since) for state in (everybody, quiet))
        here = rate[weekday[day]] * demand[day] * np.where(is_fresh, boost, 1.0)
        active, fading = -np.expm1(-here * ACTIVITY[ACTIVE]), -np.expm1(-here * ACTIVITY[FADING])
        buys = np.stack([active, fading, fading, np.zeros(count)])
        orders += (everybody * buys).sum(axis=0)
        quiet = quiet * (1 - buys)
        if kind is not None and day < FRESH_DAYS:
            untouched = _moved(untouched, who.fade, known, since) * (1 - buys * accepts)
    return Future(quiet.sum(axis=0), orders, everybody[3], 1 - untouched.sum(axis=0))


def past_orders(who: People, first: int, clock: date) -> Floats:
    """Expected orders from day ``first`` to the clock, without the effect of campaigns."""
    count = len(who.number)
    demand, weekday, _ = seasons(first, 0, clock)
    rate = who.order_rate * RHYTHMS[who.rhythm].T
    state = np.stack([who.is_legacy * share for share in (START_ACTIVE, 0.0, START_FADING, 1 - START_ACTIVE - START_FADING)])
    since = np.minimum(who.recover * _MEAN_CARE, 1 - LEAVE)
    orders = np.zeros(count)
    for day in range(first, 0):
        state = _moved(state, who.fade, since, since)
        joins = who.join_day == day
        state[ACTIVE] += joins
        here = rate[weekday[day - first]] * demand[day - first]
        buys = -np.expm1(-here * ACTIVITY[ACTIVE]) * state[ACTIVE] - np.expm1(-here * ACTIVITY[FADING]) * (state[1] + state[2])
        orders += np.where(joins, np.maximum(buys, FIRST_ORDER), buys)
    return orders


def _moved(state: NDArray[np.float64], fade: Floats, known: Floats, since: Floats) -> NDArray[np.float64]:
    """One day's move of the probabilities of each state."""
    active, before, after, gone = state
    return np.stack(
        [
            active * (1 - fade - LEAVE_AT_ONCE) + before * known + after * since + gone * RETURN,
            before * (1 - known - LEAVE),
            after * (1 - since - LEAVE) + active * fade,
            gone * (1 - RETURN) + (before + after) * LEAVE + active * LEAVE_AT_ONCE,
        ]
    )
