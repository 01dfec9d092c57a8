"""What the simulated shop sells and proposes: categories, products, offers and campaign waves. Days are counted from the clock: day -1 ended last."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property

import numpy as np

from retain.simulate.draws import Draws, Floats, Integers

TASTES = 4
"""Dimensions of taste: a category pleases a customer as far as their vectors point the same way."""
PER_CATEGORY = 25
"""Products of a category, where it is not said otherwise."""
EVERGREEN = 5
"""The most popular products of a category are sold on every day; the others come, and some go."""
DELIVERY = "DELIVERY"
GOODWILL = "GOODWILL"
DELIVERY_FEE = 3.90
DEPARTMENTS: dict[str, tuple[tuple[str, float, float], ...]] = {
    "Food": (("Bakery", 3.2, 0.45), ("Dairy", 2.4, 0.22), ("Fruit", 3.0, 0.30), ("Meat", 8.5, 0.24), ("Snacks", 2.8, 0.38), ("Frozen", 4.6, 0.27)),
    "Drinks": (("Coffee", 7.9, 0.35), ("Juice", 2.9, 0.28), ("Wine", 9.5, 0.33), ("Water", 1.6, 0.20)),
    "Home": (("Cleaning", 4.2, 0.36), ("Kitchen", 18.0, 0.42), ("Bedding", 35.0, 0.46), ("Lighting", 24.0, 0.41)),
    "Care": (("Skin", 11.0, 0.52), ("Hair", 6.5, 0.44), ("Baby", 12.0, 0.25), ("Pharmacy", 8.0, 0.31)),
    "Leisure": (("Garden", 21.0, 0.40), ("Sport", 29.0, 0.37), ("Toys", 17.0, 0.39), ("Books", 13.0, 0.30)),
    "Pets": (("Dog", 9.0, 0.29), ("Cat", 7.5, 0.29)),
}
CATEGORIES: tuple[tuple[str, str, float, float], ...] = tuple(
    (department, name, price, margin) for department, members in DEPARTMENTS.items() for name, price, margin in members
)
CATEGORY_NAMES = tuple(name for _, name, _, _ in CATEGORIES)
_SUMMER = {"Garden": 1.2, "Juice": 0.6, "Water": 0.7, "Fruit": 0.4, "Sport": 0.4}
_WINTER = {"Toys": 1.1, "Bedding": 0.4, "Lighting": 0.6, "Coffee": 0.3, "Books": 0.5}


@dataclass(frozen=True)
class Market:
    """Products by position; those of category ``c`` stand from ``c * per_category``, the most popular first."""

    price: Floats
    margin_rate: Floats
    unit_cost: Floats
    launch_day: Integers
    retire_day: Integers
    """The first day on which it is no longer sold; far away for most."""
    embedding: Floats
    """(categories, TASTES)."""
    appeal: Floats
    """(4, categories) log popularity of each category by quarter of the year."""
    return_rate: Floats
    """(categories,) share of lines that come back, before the customer's own habit."""

    @property
    def per_category(self) -> int:
        """Products of each category."""
        return len(self.price) // len(CATEGORIES)

    @property
    def category(self) -> Integers:
        """Category of each product."""
        return np.arange(len(self.price), dtype=np.int64) // self.per_category

    @cached_property
    def popularity(self) -> Floats:
        """(per_category,) weight of each rank of popularity within a category."""
        return 1 / np.arange(1, self.per_category + 1) ** 0.9

    @cached_property
    def product_ids(self) -> tuple[str, ...]:
        """Ids by position; what is not for sale stands last."""
        return (*(f"P{number:05d}" for number in range(len(self.price))), DELIVERY, GOODWILL)

    def pick(self, category: Integers, rank: Integers, day: Integers) -> Integers:
        """The product at a rank of popularity, or an evergreen one where that product is not sold on the day."""
        product = category * self.per_category + rank
        is_sold = (self.launch_day[product] <= day) & (day < self.retire_day[product])
        return np.where(is_sold, product, category * self.per_category + rank % EVERGREEN)

    def mean_prices(self, day: int) -> tuple[Floats, Floats]:
        """Expected price and margin at list price of a line by category, on a day."""
        share = self.popularity / self.popularity.sum()
        category = self.category
        rank = np.tile(np.arange(self.per_category), len(CATEGORIES))
        product = self.pick(category, rank, np.full(len(category), day)).reshape(len(CATEGORIES), self.per_category)
        return self.price[product] @ share, (self.price - self.unit_cost)[product] @ share


def market(seed: int, per_category: int = PER_CATEGORY) -> Market:
    """The shop's range under a seed; it does not depend on the customers."""
    count = len(CATEGORIES)
    products = Draws.seeded(seed, np.arange(count * per_category)).named("product")
    rank = np.tile(np.arange(per_category), count)
    base = np.repeat(np.array([price for _, _, price, _ in CATEGORIES]), per_category)
    price = np.maximum(np.round(base * np.exp(0.45 * products.named("price").normal() - 0.1), 1) - 0.01, 0.49)
    usual = np.repeat(np.array([margin for _, _, _, margin in CATEGORIES]), per_category)
    margin_rate = np.clip(np.round(usual + 0.06 * products.named("margin").normal(), 3), 0.05, 0.7)
    launched_late = (rank >= EVERGREEN) & products.named("is_new").chance(0.35)
    launch = np.where(launched_late, -1 - products.named("launch").below(600), -1200 - products.named("age").below(1500))
    retires = (rank >= EVERGREEN) & ~launched_late & products.named("retires").chance(0.12)
    retire = np.where(retires, -products.named("retire").below(500), 10_000)
    categories = Draws.seeded(seed, np.arange(count)).named("category")
    direction = np.stack([categories.named(f"taste {k}").normal() for k in range(TASTES)], axis=1)
    summer = np.array([_SUMMER.get(name, 0.0) for name in CATEGORY_NAMES])
    winter = np.array([_WINTER.get(name, 0.0) for name in CATEGORY_NAMES])
    liked = 0.5 * categories.named("appeal").normal() - 0.35 * np.log(np.array([price for _, _, price, _ in CATEGORIES]))
    appeal = np.stack([liked - 0.3 * summer, liked + 0.5 * summer, liked + summer, liked + winter])
    returned = np.array([0.09 if department in ("Home", "Leisure") else 0.02 for department, *_ in CATEGORIES])
    return Market(price, margin_rate, np.round(price * (1 - margin_rate), 2), launch, retire, direction, appeal, returned)


@dataclass(frozen=True)
class Offer:
    """One thing that may be proposed. Days are relative to the clock."""

    offer_id: str
    name: str
    kind: str
    goal: str
    channels: tuple[str, ...]
    cost: float
    margin: float
    from_day: int = -3000
    to_day: int = 120
    discount_rate: float | None = None
    discount_amount: float | None = None
    category: str | None = None
    stock: float | None = None
    is_once: bool = False
    minimum_age: int | None = None
    needs_credit: bool = False
    regions: tuple[str, ...] | None = None
    audience: tuple[str, ...] | None = None
    lever: float = 1.0
    text: str = ""


_ALL = ("email", "sms", "push", "mail", "call_center", "in_app", "web", "store")
_CHEAP = ("email", "push", "in_app", "web")
OFFERS: tuple[Offer, ...] = (
    Offer("O01", "10 % on your next basket", "discount", "repeat", _ALL, 2.5, 9.0, discount_rate=0.10, text="10 % on everything for a week."),
    Offer("O02", "20 % to welcome you back", "discount", "retention", _ALL, 5.0, 11.0, discount_rate=0.20, text="20 % on your next basket."),
    Offer("O03", "5 euros off", "coupon", "repeat", ("mail", "email", "store"), 5.0, 10.0, discount_amount=5.0, text="5 euros off from 25 euros."),
    Offer("O04", "Kitchen coupon", "coupon", "cross_sell", ("mail", "email"), 4.0, 12.0, discount_amount=6.0, category="Kitchen"),
    Offer("O05", "Coffee and bakery bundle", "bundle", "cross_sell", _CHEAP, 1.5, 6.0, discount_rate=0.15, category="Coffee"),
    Offer("O06", "Garden season", "product", "cross_sell", _CHEAP, 0.0, 8.5, category="Garden", text="New in the garden range."),
    Offer("O07", "Sport novelties", "product", "cross_sell", ("email", "push", "mail", "call_center"), 0.0, 9.5, category="Sport"),
    Offer("O08", "Wine tasting set", "product", "cross_sell", ("email", "mail"), 2.0, 11.0, category="Wine", minimum_age=18, stock=5_000),
    Offer("O09", "Personal adviser", "service", "retention", ("call_center", "store", "email"), 6.0, 14.0, is_once=True),
    Offer("O10", "Making it right", "repair", "retention", ("call_center", "email", "mail"), 8.0, 13.0, text="We are sorry; this is on us."),
    Offer("O11", "Double points month", "loyalty", "repeat", _ALL, 1.2, 5.5, text="Double points until the end of the month."),
    Offer("O12", "Delivery pass", "service", "repeat", ("email", "web", "in_app"), 3.0, 16.0, is_once=True, needs_credit=True),
    Offer("O13", "Magazine", "information", "any", ("email", "mail"), 0.1, 1.0, text="What is new, without an offer."),
    Offer("O14", "Autumn sale", "discount", "any", _ALL, 3.0, 9.0, from_day=-110, to_day=-30, discount_rate=0.15),
    Offer("O15", "New year sale", "discount", "any", _ALL, 3.0, 9.0, from_day=5, to_day=33, discount_rate=0.15),
    Offer("O16", "Lamp, last pieces", "product", "cross_sell", _CHEAP, 0.0, 10.0, category="Lighting", stock=0),
    Offer("O17", "Northern tour", "loyalty", "any", ("mail", "email"), 2.0, 5.0, to_day=60, regions=("north",), lever=1.2),
    Offer("O18", "Terms for firms", "service", "retention", ("call_center", "email"), 5.0, 40.0, audience=("enterprise",)),
)
OFFER_IDS = tuple(offer.offer_id for offer in OFFERS)
KINDS = tuple(dict.fromkeys(offer.kind for offer in OFFERS))
OFFER_KIND = np.array([KINDS.index(offer.kind) for offer in OFFERS])

CHANNELS = ("email", "sms", "push", "mail", "call_center")
"""Channels of campaigns, in the order of a customer's consent flags."""
CHANNEL_COST = np.array([0.02, 0.08, 0.01, 0.85, 3.20])


@dataclass(frozen=True)
class Wave:
    """One day on which a campaign goes out: to a random part of the reachable, with some held out as a control."""

    day: int
    campaign_id: str
    offer: int
    """Position in ``OFFERS``."""
    channel: int
    """Position in ``CHANNELS``."""
    is_targeted: bool
    """Whether those who bought lately are drawn more often than the others; else everybody at the same probability."""


_PLAN = (
    *("O01 email", "O11 push", "O03 mail", "O02 email", "O13 email", "O06 push", "O09 call_center", "O05 email", "O01 sms"),
    *("O07 mail", "O10 email", "O04 mail", "O02 call_center", "O11 sms", "O08 email", "O10 call_center", "O13 mail", "O12 email"),
)
"""Offers and channels of the waves, latest first, over and over."""


def waves(days: int) -> dict[int, Wave]:
    """Campaign waves by day: one each ten days, counted backwards from a week before the clock, so that a longer history changes none."""
    result = {}
    for number, day in enumerate(range(-7, -days, -10)):
        offer, channel = _PLAN[number % len(_PLAN)].split()
        result[day] = Wave(day, f"K{-day:05d}", OFFER_IDS.index(offer), CHANNELS.index(channel), number % 3 == 1)
    return result


def seasons(first: int, last: int, clock: date) -> tuple[Floats, Integers, Integers]:
    """Demand of each day from ``first`` to before ``last`` (mean near one), its weekday (Monday is 0) and its quarter of the year."""
    dates = [clock + timedelta(days=day) for day in range(first, last)]
    of_year = np.array([day.timetuple().tm_yday for day in dates])
    christmas = np.exp(-(((of_year - 350) / 12.0) ** 2))
    demand = 1.0 + 0.12 * np.cos(2 * np.pi * (of_year - 330) / 365.25) + 0.35 * christmas
    return demand, np.array([day.weekday() for day in dates]), np.array([(day.month - 1) // 3 for day in dates])
