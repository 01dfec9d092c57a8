"""What customers do, day by day: they turn away, come round or leave, order, visit, complain, and are contacted by campaigns.

Every customer is active, fading or gone. The state moves once a day before anything else happens; ``oracle`` repeats the same rules
on probabilities, so a change here is a change there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from retain.simulate.draws import Flags, Floats, Integers
from retain.simulate.market import OFFER_KIND, Wave, seasons
from retain.simulate.people import EVERYTHING, RHYTHMS, People, allows

ACTIVE, FADING, GONE, NOT_YET = 0, 1, 2, 3
ACTIVITY = np.array([1.0, 0.3, 0.0, 0.0])
"""Factor on the order rate by state."""
START_ACTIVE, START_FADING = 0.80, 0.07
"""Shares of the states among those who were customers before the data begin."""
LEAVE = 1 / 45
"""Chance per day that a fading customer is gone."""
LEAVE_AT_ONCE = 1 / 5000
"""Chance per day that an active customer is gone without fading: moved away, involuntary."""
RETURN = 1 / 1500
"""Chance per day that one who was gone is active again."""
FAILURE_HEARD = 0.45
"""Share of those who begin to fade that complain on that day."""
FAILURE_MENDED = 0.6
"""Share of these complaints that are put right; it doubles the chance of recovery."""
FRESH_DAYS = 7
"""Days for which an offer works, from the day after the contact."""
FIRST_ORDER = 0.85
"""Share of new customers who order on the day they join."""
TARGETED = (0.8, 0.3)
"""Probability of being drawn by a targeted wave: bought within 30 days, did not."""
PLAIN = 0.7
AUDIENCE = 0.45
"""Share of the reachable that a wave considers at all."""

STILL_HERE = 100_000

_LOGS = ("orders", "visits", "complaints", "calls", "referrals", "surveys", "contacts", "unsubscribed")
_VISITS = np.array([1.0, 0.45, 0.02, 0.0])
_COMPLAINS = np.array([0.0006, 0.006, 0.0, 0.0])
_CALLS = np.array([0.0009, 0.004, 0.0, 0.0])
_REFERS = np.array([0.0005, 0.0, 0.0, 0.0])
_ANSWERS = np.array([0.0022, 0.0018, 0.0, 0.0])


@dataclass(frozen=True)
class Log:
    """Things that happened: to whom (position in the block) and on which day."""

    who: Integers
    day: Integers
    detail: Integers
    """What else is known, by kind of log."""


@dataclass(frozen=True)
class Standing:
    """Where each customer stands when the clock stops."""

    state: NDArray[np.int8]
    care: Floats
    """Factor on recovery: 2 when the failure behind this fading was mended."""
    boost: Floats
    """Factor on the order rate until ``fresh_until``."""
    rescue: Floats
    fresh_until: Integers


@dataclass(frozen=True)
class Life:
    """Everything that a block of customers did, horizon after the clock included (there, only orders)."""

    orders: Log
    """detail: position of the contact that was fresh, -1 if none."""
    order_state: NDArray[np.int8]
    visits: Log
    complaints: Log
    """detail: 1 if it was put right."""
    calls: Log
    referrals: Log
    surveys: Log
    """detail: the state of the customer."""
    contacts: Log
    """detail: 1 if the customer was drawn as a control."""
    probability: Floats
    """Probability with which each contact's arm was drawn."""
    contact_state: NDArray[np.int8]
    unsubscribed: Log
    """detail: position of the contact."""
    mask: Integers
    """Consent mask after each entry of ``unsubscribed``."""
    standing: Standing
    end_day: Integers
    """Day on which the customer left as far as simulated; STILL_HERE for those who have not."""
    is_involuntary: Flags


class _Book:
    """A log that grows by a day at a time."""

    def __init__(self) -> None:
        self.rows = 0
        self._parts: list[tuple[Integers, int, Integers]] = []

    def add(self, who: NDArray[np.intp], day: int, detail: ArrayLike = 0) -> None:
        if len(who):
            self._parts.append((who, day, np.broadcast_to(np.asarray(detail, dtype=np.int64), len(who))))
            self.rows += len(who)

    def log(self) -> Log:
        days = np.repeat([day for _, day, _ in self._parts], [len(who) for who, _, _ in self._parts])
        return Log(_joined([who for who, _, _ in self._parts], np.int64), days.astype(np.int64), _joined([part[2] for part in self._parts], np.int64))


class _Block:
    """The state of a block of customers while its days go by."""

    def __init__(self, who: People, first: int) -> None:
        count = len(who.number)
        start = who.draws.named("start").uniform()
        self.who = who
        self.state = np.where(
            who.is_legacy, np.where(start < START_ACTIVE, ACTIVE, np.where(start < START_ACTIVE + START_FADING, FADING, GONE)), NOT_YET
        ).astype(np.int8)
        self.end = np.where(self.state == GONE, np.minimum(first - 1, who.join_day + 30), STILL_HERE)
        self.is_involuntary = np.zeros(count, dtype=bool)
        self.care, self.boost, self.rescue = np.ones(count), np.ones(count), np.ones(count)
        self.fresh_until = np.full(count, first, dtype=np.int64)
        self.last_order = np.full(count, -STILL_HERE)
        self.contact = np.full(count, -1)
        self.consent = who.consent.copy()
        self.books = {name: _Book() for name in _LOGS}
        self.order_state: list[NDArray[np.int8]] = []
        self.contact_state: list[NDArray[np.int8]] = []
        self.probability: list[Floats] = []
        self.masks: list[Integers] = []
        self._rate = who.order_rate * RHYTHMS[who.rhythm].T
        self._visits = np.minimum(0.004 + 0.45 * who.order_rate, 0.5)
        self._grumbles = np.exp(-0.4 * who.pleasure)
        self._praises = np.exp(0.4 * who.pleasure)
        self._first_order = who.draws.named("first order").chance(FIRST_ORDER)
        self._draws = {name: who.draws.named(name) for name in ("moves", "wants", "does", "wave")}

    def move(self, day: int) -> None:
        """Turn away, come round, leave, return, join; some complain on the day they begin to turn away."""
        state, who = self.state, self.who
        u = self._draws["moves"].at(day).uniform()
        active, fading = state == ACTIVE, state == FADING
        begins = active & (u < who.fade)
        vanishes = active & (u > 1 - LEAVE_AT_ONCE)
        leaves = fading & (u < LEAVE)
        mends = fading & (u > 1 - who.recover * self.care * np.where(day < self.fresh_until, self.rescue, 1.0))
        returns = (state == GONE) & (u < RETURN)
        # Below a threshold a uniform number is uniform again: the same draw says whether we heard why, and whether it was mended.
        heard = np.flatnonzero(begins & (u < who.fade * FAILURE_HEARD))
        is_mended = u[heard] < who.fade[heard] * FAILURE_HEARD * FAILURE_MENDED
        self.care[begins] = 1.0
        self.care[heard[is_mended]] = 2.0
        state[begins] = FADING
        state[leaves | vanishes] = GONE
        state[mends | returns | (who.join_day == day)] = ACTIVE
        self.end[leaves | vanishes] = day
        self.end[returns] = STILL_HERE
        self.is_involuntary[vanishes], self.is_involuntary[leaves] = True, False
        if day < 0:
            self.books["complaints"].add(heard, day, is_mended)

    def send(self, wave: Wave) -> None:
        """Draw arms among those who may be reached, and let the offer work on the treated."""
        who, lot = self.who, self._draws["wave"].at(wave.day)
        reachable = (self.state != NOT_YET) & ~who.do_not_contact & allows(self.consent, wave.channel)
        pool = np.flatnonzero(reachable & lot.named("audience").chance(AUDIENCE))
        has_bought = wave.day - self.last_order[pool] <= 30
        share = np.where(has_bought, *TARGETED) if wave.is_targeted else np.full(len(pool), PLAIN)
        treated = lot.named("arm").take(pool).chance(share)
        position = self.books["contacts"].rows + np.arange(len(pool))
        self.books["contacts"].add(pool, wave.day, ~treated)
        self.probability.append(np.where(treated, share, 1 - share))
        self.contact_state.append(self.state[pool])
        reached, kind = pool[treated], OFFER_KIND[wave.offer]
        self.boost[reached] = np.exp(who.effect[reached, kind])
        self.rescue[reached] = who.rescue[reached, kind]
        self.fresh_until[reached] = wave.day + 1 + FRESH_DAYS
        self.contact[reached] = position[treated]
        annoyance = 0.004 * self._grumbles[pool] * np.where(self.state[pool] == ACTIVE, 1, 4)
        quits = treated & lot.named("quits").take(pool).chance(annoyance)
        self.consent[pool[quits]] &= ~((1 << wave.channel) | EVERYTHING)
        self.books["unsubscribed"].add(pool[quits], wave.day, position[quits])
        self.masks.append(self.consent[pool[quits]])

    def order(self, day: int, demand: float, weekday: int) -> None:
        """Buy, or not."""
        is_fresh = day < self.fresh_until
        rate = self._rate[weekday] * ACTIVITY[self.state] * (demand * np.where(is_fresh, self.boost, 1.0))
        starts = (self.who.join_day == day) & self._first_order
        buys = np.flatnonzero((self._draws["wants"].at(day).uniform() < -np.expm1(-rate)) | starts)
        self.books["orders"].add(buys, day, np.where(is_fresh[buys], self.contact[buys], -1))
        self.order_state.append(self.state[buys])
        self.last_order[buys] = day

    def act(self, day: int) -> None:
        """Visit, complain, call, refer or answer a survey: at most one of them a day, besides buying."""
        v = self._draws["does"].at(day).uniform()
        for name, chance in (
            ("visits", self._visits * _VISITS[self.state]),
            ("complaints", self._grumbles * _COMPLAINS[self.state]),
            ("calls", _CALLS[self.state]),
            ("referrals", self._praises * _REFERS[self.state]),
            ("surveys", _ANSWERS[self.state]),
        ):
            found = np.flatnonzero((v >= 0) & (v < chance))
            self.books[name].add(found, day, self.state[found] if name == "surveys" else 0)
            v = v - chance

    def standing(self) -> Standing:
        """Where everybody stands now."""
        return Standing(self.state.copy(), self.care.copy(), self.boost.copy(), self.rescue.copy(), self.fresh_until.copy())


def live(who: People, waves: Mapping[int, Wave], first: int, horizon: int, clock: date) -> Life:
    """Simulate days ``first`` to before ``horizon``; from day 0 on nobody is contacted."""
    demand, weekday, _ = seasons(first, horizon, clock)
    block = _Block(who, first)
    for day in range(first, 0):
        block.move(day)
        block.order(day, demand[day - first], weekday[day - first])
        block.act(day)
        if day in waves:
            block.send(waves[day])
    standing = block.standing()
    for day in range(horizon):
        block.move(day)
        block.order(day, demand[day - first], weekday[day - first])
    return Life(
        **{name: book.log() for name, book in block.books.items()},
        order_state=_joined(block.order_state, np.int8),
        probability=_joined(block.probability, np.float64),
        contact_state=_joined(block.contact_state, np.int8),
        mask=_joined(block.masks, np.int64),
        standing=standing,
        end_day=block.end,
        is_involuntary=block.is_involuntary,
    )


def _joined(parts: Sequence[NDArray[Any]], kind: DTypeLike) -> NDArray[Any]:
    return np.concatenate([np.zeros(0, dtype=kind), *parts]).astype(kind)
