"""A season of the arena: each month a policy sees what a shop would know, chooses within budget and seats, and the customers live on.

A policy is any object with a ``name`` and ``play(month) -> Played``; see ``experiments/arena/example.py``. The first month is the same randomised
test for everybody: nothing has been tried yet.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from experiments.arena import life
from experiments.arena.life import Choice, Happened, Standing, Town
from experiments.arena.worlds import Offer, World
from training.contracts import Floats, Integers

COLUMNS = (
    *("income", "household", "age", "tenure", "is_member", "has_pass", "from_coupon_site"),
    *("months_since_order", "orders_1", "orders_3", "orders_mean", "money_3", "money_mean", "contacts_recent", "complaints_3"),
)
"""What is known of a customer at the beginning of a month."""
NO_CONTACT = -1
_TRIED = 0.1
"""Share of the customers that the first month tries an offer on, at most."""


@dataclass(frozen=True)
class Played:
    """What a policy does in a month."""

    choice: Choice
    """(customers,) place of the offer; -1 is no contact."""
    chance: Floats
    """(customers,) probability with which that was drawn; NaN where nothing was left to chance."""


@dataclass(frozen=True)
class Logged:
    """A month that is over, as far as it is known by now."""

    x: Floats
    """(customers, columns) what was known before."""
    played: Played
    money: Floats
    """(customers,) margin known by now, after discounts and returns; contacts are not paid for in it."""
    first: Floats
    """The same as it was known when the month ended."""
    left: NDArray[np.bool_]
    """Who closed the account in it."""


@dataclass(frozen=True)
class Month:
    """What a shop knows when it decides."""

    number: int
    """From 0."""
    x: Floats
    """(customers, columns), see ``COLUMNS``."""
    may_contact: NDArray[np.bool_]
    offers: tuple[Offer, ...]
    """Names, costs, seats and discounts are to be read; what an offer truly brings is not the policy's to know."""
    budget: float
    seats: Floats
    """(offers,) contacts that can be made, ``inf`` where there is no limit."""
    history: tuple[Logged, ...]
    rng: np.random.Generator

    @property
    def costs(self) -> Floats:
        """(offers,) money per contact."""
        return np.array([offer.cost for offer in self.offers])

    def shares(self) -> Floats:
        """(offers,) of those who may be contacted, that a test over everybody can pay for: each offer an equal part of the budget."""
        count = max(int(self.may_contact.sum()), 1)
        paid = self.budget / (len(self.offers) * np.maximum(self.costs, 1e-9) * count)
        return np.minimum(np.minimum(paid, self.seats / count), _TRIED)

    def test(self) -> Played:
        """The randomised test: exact numbers of each offer, drawn by lot, everybody with the same chance."""
        reachable = self.rng.permutation(np.flatnonzero(self.may_contact))
        counts = np.floor(self.shares() * len(reachable)).astype(np.int64)
        choice, chance = nothing(len(self.x)), np.full(len(self.x), np.nan)
        arms = np.full(len(reachable), NO_CONTACT, dtype=np.int16)
        arms[: counts.sum()] = np.repeat(np.arange(len(counts), dtype=np.int16), counts)
        choice[reachable] = arms
        chance[reachable] = np.append(counts, len(reachable) - counts.sum())[arms] / max(len(reachable), 1)
        return Played(choice, chance)

    def fill(self, order: Integers, offer: Choice) -> Played:
        """Down an order of customers, each with their offer, until seats and budget are used up."""
        asked = order[self.may_contact[order] & (offer[order] >= 0)]
        taken = offer[asked]
        fits = np.ones(len(asked), dtype=bool)
        for place, limit in enumerate(self.seats):
            fits[np.flatnonzero(taken == place)[int(min(limit, len(asked))) :]] = False
        asked, taken = asked[fits], taken[fits]
        paid = int(np.searchsorted(np.cumsum(self.costs[taken]), self.budget + 1e-9, side="right"))
        choice = nothing(len(self.x))
        choice[asked[:paid]] = taken[:paid]
        return Played(choice, np.full(len(self.x), np.nan))


class Player(Protocol):
    """A policy. Each season is played by a new one, so it may remember."""

    @property
    def name(self) -> str:
        """What it is called in tables."""

    def play(self, month: Month) -> Played:
        """Choose for everybody; only those who may be contacted, within budget and seats."""


@dataclass(frozen=True)
class Season:
    """What came of it, by month: all are truths, given what happened to each customer."""

    profit: Floats
    """Expected money of all customers, after contacts."""
    contacts: Floats
    refused: Floats
    left: Floats
    fatigue: Floats
    """Contacts remembered by the mean customer."""
    returned: Floats
    """Share of orders that came back."""


class Nobody:
    """No contacts at all: what every policy is measured from."""

    name = "nobody"

    def play(self, month: Month) -> Played:
        """Nothing."""
        return Played(nothing(len(month.x)), np.full(len(month.x), np.nan))


def nothing(customers: int) -> Choice:
    """No contact with anybody."""
    return np.full(customers, NO_CONTACT, dtype=np.int16)


def season(town: Town, make: Callable[[], Player], months: int) -> Season:
    """Let a policy play."""
    player, now = make(), life.start(town)
    book = _Book(town)
    rows: list[tuple[float, ...]] = []
    for number in range(-life.WARM, months):
        month = book.month(now, number)
        if number < 0 or isinstance(player, Nobody):
            played = Played(nothing(len(town)), np.full(len(town), np.nan))
        else:
            played = player.play(month) if number else month.test()
            check(player.name, month, played)
        now, happened = life.live(town, now, played.choice)
        book.write(month.x, played, happened)
        if number >= 0:
            contacts = float((played.choice >= 0).sum())
            counts = (contacts, float(happened.refused.sum()), float(happened.left.sum()))
            rows.append((float(happened.profit.sum()), *counts, float(now.fatigue.mean()), happened.returned))
    return Season(*(np.array(column) for column in zip(*rows, strict=True)))


def check(name: str, month: Month, played: Played) -> None:
    """Hold a policy to the rules.

    Raises:
        ValueError: it contacts who may not be contacted, or spends what it does not have.
    """
    used = np.bincount(played.choice[played.choice >= 0], minlength=len(month.offers))
    if (played.choice[~month.may_contact] >= 0).any():
        raise ValueError(f"{name}: month {month.number}: a customer was contacted who may not be")
    if float(used @ month.costs) > month.budget + 1e-6 or (used > month.seats + 1e-9).any():
        raise ValueError(f"{name}: month {month.number}: {used.tolist()} contacts cost more than {month.budget:g}, or take more seats than there are")


class _Book:
    """What the shop writes down, and reads its facts of customers from."""

    def __init__(self, town: Town) -> None:
        self._town, self._logged, self._happened = town, list[Logged](), list[Happened]()
        who = town.who
        plain = (who.income, who.household, 2026 - who.birth_year, np.minimum(-who.join_day / life.DAYS, 60), who.is_member, who.has_pass)
        self._fixed = np.column_stack([*plain, who.source == 5]).astype(np.float64)

    def write(self, x: Floats, played: Played, happened: Happened) -> None:
        """A month is over: what was late of the one before is known now."""
        world: World = self._town.world
        if self._logged:
            self._logged[-1] = replace(self._logged[-1], money=self._happened[-1].money)
        late = np.where(played.choice >= 0, max(world.late, world.late_contacted), world.late)
        first = happened.money * (1 - late)
        self._logged.append(Logged(x, played, first, first, happened.left))
        self._happened.append(happened)

    def month(self, now: Standing, number: int) -> Month:
        """What is known at its beginning."""
        n, world = len(self._town), self._town.world
        seats = np.array([np.inf if offer.seats is None else np.floor(offer.seats * n) for offer in world.offers])
        rng = np.random.default_rng([self._town.seed, now.month, 99])
        played = tuple(self._logged[life.WARM :])
        return Month(number, self._known(n), now.may_contact, world.offers, world.budget * n, seats, played, rng)

    def _known(self, n: int) -> Floats:
        if not self._happened:
            return np.column_stack([self._fixed, np.zeros((n, len(COLUMNS) - self._fixed.shape[1]))])
        orders = np.stack([each.orders for each in self._happened], axis=1)
        money = np.stack([each.money for each in self._logged], axis=1)
        contacts = np.stack([each.played.choice >= 0 for each in self._logged], axis=1)
        ages = np.arange(orders.shape[1])[::-1]
        since = np.where(orders > 0, ages, orders.shape[1]).min(axis=1)
        complaints = np.stack([each.complained for each in self._happened[-3:]], axis=1).sum(axis=1)
        parts = (since, orders[:, -1], orders[:, -3:].sum(axis=1), orders.mean(axis=1), money[:, -3:].sum(axis=1), money.mean(axis=1))
        return np.column_stack([self._fixed, *parts, contacts @ 0.5**ages, complaints]).astype(np.float64)
