"""How customers of the arena live for a month: the same people as those of ``retain simulate``, month by month, under any contacts. Pure.

What a month is expected to earn is known exactly, given everybody's hidden state; states themselves are drawn, with the same numbers
whatever the contacts, so that policies differ by what they do and not by luck.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from experiments.arena.worlds import Trait, World
from retain.simulate.market import CHANNELS
from retain.simulate.people import EVERYTHING, People, people
from training.contracts import Floats, Integers

ACTIVE, FADING, GONE = 0, 1, 2
DAYS = 28
"""Days of a month here."""
WARM = 3
"""Months that everybody lives without a contact before the first that is played."""
_RATE = 0.03
"""Median orders per day."""
_SLOW = np.array([1.0, 0.35, 0.0])
"""Factor on orders by state."""
_GIVES_UP = 0.25
"""Chance per month that one who is turning away is gone."""
_KEEPS = 0.5
"""How much of a contact is still remembered a month later."""
_RETURNS, _RETURNS_TIRED, _RETURN_COSTS = 0.05, 0.005, 1.3
"""Share of orders that come back, how much each remembered contact adds to it, and what a return takes in margins of the order."""
_REFUSES, _REFUSES_TIRED = 0.004, 0.012
"""Chance that a contact ends in an unsubscription, and what each remembered contact adds."""
_FADES_TIRED = 0.02
"""How much likelier each remembered contact makes it to turn away."""
_RANDOM = {"state": 1, "leave": 2, "refuse": 3, "orders": 4, "complain": 5, "start": 6}

Choice = NDArray[np.int16]
"""Place of the offer by customer; -1 is no contact."""


@dataclass(frozen=True)
class Town:
    """What does not change: who the customers are, and how they answer."""

    world: World
    seed: int
    who: People
    base: Floats
    """Orders per month of an active customer."""
    margin: Floats
    """Money per order."""
    liking: Floats
    """(customers, offers) how much more than the mean customer each is moved: mean 1."""
    is_dog: NDArray[np.bool_]
    fades: Floats
    """Chance per month to turn away."""
    recovers: Floats
    traits: dict[Trait, Floats]

    def __len__(self) -> int:
        return len(self.base)

    def random(self, month: int, what: str) -> Floats:
        """(customers,) uniform numbers that belong to a month and a purpose."""
        return np.random.default_rng([self.seed, month, _RANDOM[what]]).random(len(self))


@dataclass(frozen=True)
class Standing:
    """What changes: where everybody stands at the beginning of a month."""

    month: int
    state: Integers
    fatigue: Floats
    """Contacts still remembered."""
    may_contact: NDArray[np.bool_]


@dataclass(frozen=True)
class Happened:
    """A month as it went."""

    profit: Floats
    """(customers,) expected, after contacts and discounts: the truth."""
    orders: Integers
    money: Floats
    """(customers,) margin as drawn, after discounts and returns, before the cost of contacts: what a shop could see."""
    complained: NDArray[np.bool_]
    left: NDArray[np.bool_]
    """Who closed the account."""
    refused: NDArray[np.bool_]
    """Who unsubscribed."""
    returned: float
    """Share of orders that came back, as expected."""


def town(world: World, customers: int, seed: int) -> Town:
    """The customers of a world."""
    who = people(seed, 0, customers, 730, _RATE)
    rng = np.random.default_rng([seed, 0, _RANDOM["start"]])
    plain: dict[Trait, Floats] = {
        "income": who.income.astype(float),
        "household": who.household.astype(float),
        "age": np.asarray(2026.0 - who.birth_year, dtype=np.float64),
        "tenure": np.minimum(-who.join_day / DAYS, 60.0),
        "is_member": who.is_member.astype(float),
        "has_pass": who.has_pass.astype(float),
        "from_coupon_site": (who.source == 5).astype(float),
    }
    traits: dict[Trait, Floats] = {name: (values - values.mean()) / max(float(values.std()), 1e-9) for name, values in plain.items()}
    pulls = []
    for offer in world.offers:
        hidden = rng.normal(size=customers)
        pull = sum((weight * (hidden if name == "hidden" else traits[name]) for name, weight in offer.likes.items()), np.zeros(customers))
        pulls.append(pull / max(float(pull.std()), 1e-9))
    base = np.minimum(who.order_rate * DAYS, 12.0)
    dull = np.argsort(np.argsort(traits["tenure"] - 1.2 * np.log(base) + 0.8 * rng.normal(size=customers))) / max(customers - 1, 1)
    return Town(
        world=world,
        seed=seed,
        who=who,
        base=base,
        margin=4.0 * who.basket_lines**0.5 * np.exp(0.4 * rng.normal(size=customers)),
        liking=1 + world.spread * np.stack(pulls, axis=1),
        is_dog=dull > 1 - world.dogs,
        fades=1 - (1 - who.fade) ** DAYS,
        recovers=1 - (1 - who.recover) ** DAYS,
        traits={**traits, **{name: plain[name] for name in plain}},
    )


def start(town: Town) -> Standing:
    """Everybody on the first day: some are turning away already, nobody is tired."""
    state = np.where(town.random(0, "start") < 0.15, FADING, ACTIVE).astype(np.int64)
    marketing = (1 << len(CHANNELS)) - 1
    may = ((town.who.consent & (marketing | EVERYTHING)) != 0) & ~town.who.do_not_contact
    return Standing(0, state, np.zeros(len(town)), may)


def added(town: Town, now: Standing) -> Floats:
    """(customers, offers) orders that each contact would add this month: the true effect."""
    world = town.world
    plain = rate(town, now)
    liking = town.liking
    if world.drift_at is not None and now.month - WARM >= world.drift_at:
        liking = np.roll(liking, 1, axis=1)
    lift = world.level * np.array([offer.lift for offer in world.offers])
    slow = np.stack([np.array([1.0, offer.fading, 0.0])[now.state] for offer in world.offers], axis=1)
    share = (plain / max(float(plain.mean()), 1e-9)) ** world.by_baseline
    return np.asarray(lift * liking * slow * (share * np.exp(-world.fatigue * now.fatigue))[:, None])


def rate(town: Town, now: Standing) -> Floats:
    """(customers,) orders expected without a contact."""
    return np.asarray(town.base * _SLOW[now.state] * (1 + 0.15 * np.sin(2 * np.pi * now.month / 13)))


def live(town: Town, now: Standing, choice: Choice) -> tuple[Standing, Happened]:
    """One month, with the contacts that a policy chose; contacts to those who may not be contacted are an error of the caller."""
    offers, rows = town.world.offers, np.arange(len(town))
    contacted = choice >= 0
    place = np.maximum(choice, 0)
    orders = np.maximum(rate(town, now) + np.where(contacted, added(town, now)[rows, place], 0.0), 0.0)
    discount = np.where(contacted, np.array([offer.discount for offer in offers])[place], 0.0)
    cost = np.where(contacted, np.array([offer.cost for offer in offers])[place], 0.0)
    fatigue = now.fatigue + contacted
    returns = np.minimum(_RETURNS + _RETURNS_TIRED * fatigue, 0.5)
    per_order = town.margin * (1 - discount - _RETURN_COSTS * returns)
    drawn = np.random.default_rng([town.seed, now.month, _RANDOM["orders"]]).poisson(orders)
    leaves = contacted & town.is_dog & (town.random(now.month, "leave") < town.world.dog_leaves) & (now.state != GONE)
    refuses = contacted & (town.random(now.month, "refuse") < _REFUSES + _REFUSES_TIRED * now.fatigue)
    happened = Happened(
        profit=orders * per_order - cost,
        orders=drawn,
        money=drawn * per_order,
        complained=(town.random(now.month, "complain") < np.array([0.01, 0.12, 0.0])[now.state] * (1 + 0.3 * fatigue)),
        left=leaves,
        refused=refuses,
        returned=float((orders * returns).sum() / max(float(orders.sum()), 1e-9)),
    )
    state = _moved(town, now, choice, fatigue)
    return replace(
        now,
        month=now.month + 1,
        state=np.where(leaves, GONE, state),
        fatigue=_KEEPS * fatigue,
        may_contact=now.may_contact & ~refuses & ~leaves,
    ), happened


def _moved(town: Town, now: Standing, choice: Choice, fatigue: Floats) -> Integers:
    """States a month later, before those leave who were reminded."""
    lot = town.random(now.month, "state")
    rescue = np.where(choice >= 0, np.array([offer.rescue for offer in town.world.offers])[np.maximum(choice, 0)], 0.0)
    fades = np.minimum(town.fades * (1 + _FADES_TIRED * fatigue), 0.9)
    back = 1 - (1 - town.recovers) * (1 - rescue)
    state = np.where((now.state == ACTIVE) & (lot < fades), FADING, now.state)
    # One number decides both ways out: whoever would have recovered alone recovers with help too.
    state = np.where((now.state == FADING) & (lot < back), ACTIVE, state)
    gone = (now.state == FADING) & (lot > 1 - _GIVES_UP) & (lot >= back)
    return np.asarray(np.where(gone, GONE, state), dtype=np.int64)
