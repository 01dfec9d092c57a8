"""Who the simulated customers are: what a company may see of them, and the dispositions behind it that it never sees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retain.simulate.draws import Draws, Flags, Floats, Integers
from retain.simulate.market import CHANNELS, KINDS, TASTES

MARKETING = tuple(f"{channel}:marketing" for channel in CHANNELS)
CONSENTS = (*MARKETING, "web:marketing", "in_app:marketing", "*:service", "*:retention", "*:profiling", "*:*")
"""What a customer can grant, by bit of the consent mask; the first are those of the campaign channels."""
EVERYTHING = 1 << (len(CONSENTS) - 1)
"""The bit of *:*."""
_GRANTED = (0.62, 0.30, 0.28, 0.55, 0.24, 0.50, 0.35, 0.90, 0.55, 0.80, 0.0)

REGIONS = ("north", "south", "east", "west")
LIFESTYLES = ("family", "city", "garden", "active", "thrifty", "gourmet")
AGE_BANDS = ("00-17", "18-29", "30-44", "45-59", "60-74", "75+")
INCOME_BANDS = ("1 low", "2 modest", "3 middle", "4 good", "5 high")
SOURCES = ("search", "referral", "store", "partner", "social", "coupon_site")
_SOURCE_COST = np.array([14.0, 6.0, 3.0, 11.0, 17.0, 9.0])
_SOURCE_FADES = np.array([0.0, -0.45, -0.2, 0.1, 0.25, 0.6])
"""Coupon hunters leave sooner, referred customers later: logs of the factor on the hazard."""
TIERS = ("basic", "silver", "gold")

_KIND_EFFECT = {
    "discount": 0.40,
    "coupon": 0.32,
    "bundle": 0.20,
    "product": 0.14,
    "service": 0.10,
    "repair": 0.12,
    "loyalty": 0.16,
    "information": 0.0,
}
_KIND_LOADING = {  # on price sensitivity, on need of service, on curiosity
    "discount": (0.35, 0.0, 0.0),
    "coupon": (0.30, 0.0, 0.0),
    "bundle": (0.15, 0.0, 0.15),
    "product": (0.0, 0.0, 0.30),
    "service": (0.0, 0.25, 0.0),
    "repair": (0.0, 0.20, 0.0),
    "loyalty": (0.10, 0.05, 0.0),
    "information": (0.0, 0.05, 0.10),
}
_RESCUE = {"discount": 0.6, "coupon": 0.3, "bundle": 0.0, "product": 0.0, "service": 1.2, "repair": 2.2, "loyalty": 0.4, "information": 0.1}
"""How much more often a fading customer recovers while such an offer is fresh."""


@dataclass(frozen=True)
class People:
    """A block of customers; every array has one entry per customer. Days are relative to the clock."""

    number: Integers
    """Consecutive number; the id is made of it."""
    draws: Draws
    join_day: Integers
    is_legacy: Flags
    """Already a customer when the data begin."""
    order_rate: Floats
    """Orders per day of an active customer on a mean day."""
    basket_lines: Floats
    """Mean lines of an order."""
    fade: Floats
    """Chance per day that an active customer begins to turn away."""
    recover: Floats
    """Chance per day that one who turns away comes round."""
    pleasure: Floats
    """How easily they are pleased; mean zero, variance one."""
    taste: Floats
    """(customers, TASTES)."""
    habit: Floats
    """Share of lines that come from the personal repertoire; the others are discoveries."""
    thrift: Floats
    need_of_service: Floats
    effect: Floats
    """(customers, kinds) log of the factor on the order rate in the week after an offer of the kind."""
    rescue: Floats
    """(customers, kinds) factor on recovery in the week after an offer of the kind."""
    accepts: Floats
    """(customers, kinds) chance that an order in the week after an offer makes use of it."""
    rhythm: Integers
    """Weekday profile, see RHYTHMS."""
    channel_share: Floats
    """(customers, 4) cumulative shares of store, web, in_app and call_center among orders."""
    hour: Floats
    """Favourite local hour."""
    consent: NDArray[np.int64]
    """Mask over CONSENTS on the day of joining."""
    do_not_contact: Flags
    is_member: Flags
    """In the loyalty programme."""
    has_pass: Flags
    """Holds a delivery pass, a contract."""
    birth_year: Integers
    income: Integers
    household: Integers
    region: Integers
    source: Integers
    lifestyle: Integers


RHYTHMS = np.array(
    [
        [1.1, 1.0, 1.0, 1.05, 1.15, 1.0, 0.7],
        [0.5, 0.45, 0.5, 0.6, 1.1, 2.45, 1.4],
        [1.5, 0.4, 1.4, 0.4, 2.1, 0.7, 0.5],
    ]
)
"""Demand by weekday, Monday first; the mean of each row is one."""


def people(seed: int, first: int, count: int, days: int, order_rate: float) -> People:
    """Customers ``first`` to ``first + count``; ``order_rate`` is the median of orders per day."""
    number = np.arange(first, first + count)
    draws = Draws.seeded(seed, number).named("customer")
    legacy = draws.named("is_legacy").chance(0.5)
    join = np.where(legacy, -days - 1 - draws.named("tenure").below(1400), -1 - draws.named("join").below(days - 1))
    pleasure = draws.named("pleasure").normal()
    thrift, service, curiosity = (draws.named(name).normal() for name in ("thrift", "service", "curiosity"))
    irritable = np.maximum(draws.named("irritable").normal() - 0.3, 0.0)
    source = draws.named("source").choice([30, 14, 22, 12, 14, 8])
    income = draws.named("income").choice([14, 24, 30, 20, 12])
    household = 1 + draws.named("household").choice([36, 32, 14, 12, 6])
    lifestyle = draws.named("lifestyle").choice([26, 20, 12, 16, 16, 10])
    has_pass = draws.named("pass").chance(0.12)
    ages = draws.named("age").choice([1, 18, 30, 28, 17, 6])
    birth = 2025 - np.array([12, 18, 30, 45, 60, 75])[ages] - draws.named("year").below(np.array([5, 12, 15, 15, 15, 12])[ages])
    centre = np.stack([Draws.seeded(seed, np.arange(len(LIFESTYLES))).named(f"lifestyle {k}").normal() for k in range(TASTES)], axis=1)
    taste = 0.8 * centre[lifestyle] + 0.7 * np.stack([draws.named(f"taste {k}").normal() for k in range(TASTES)], axis=1)
    rate = order_rate * np.exp(0.85 * draws.named("rate").normal() + 0.10 * (income - 2) + 0.3 * has_pass)
    fade = np.exp(np.log(1 / 560) + 0.5 * draws.named("fade").normal() - 0.35 * pleasure + _SOURCE_FADES[source] - 0.5 * has_pass)
    sensitivity = np.stack([thrift, service, curiosity], axis=1)
    loading = np.array([_KIND_LOADING[kind] for kind in KINDS])
    liking = sensitivity @ loading.T
    effect = np.clip(np.array([_KIND_EFFECT[kind] for kind in KINDS]) + liking - 0.3 * irritable[:, None], -0.6, 1.2)
    rescue = 1 + np.array([_RESCUE[kind] for kind in KINDS]) * np.exp(0.3 * service)[:, None]
    member = draws.named("member").chance(0.65)
    shares = np.stack([draws.named(f"channel {k}").exponential(mean) for k, mean in enumerate((1.0, 0.9, 0.35, 0.12))], axis=1)
    return People(
        number=number,
        draws=draws,
        join_day=join,
        is_legacy=legacy,
        order_rate=np.minimum(rate, 0.6),
        basket_lines=np.minimum(1 + (1.5 + 0.35 * household) * np.exp(0.35 * draws.named("lines").normal()) * 0.85, 12.0),
        fade=np.clip(fade, 1e-5, 0.02),
        recover=np.clip(np.exp(0.3 * pleasure) / 80, 0.002, 0.04),
        pleasure=pleasure,
        taste=taste,
        habit=np.clip(0.55 - 0.12 * curiosity + 0.1 * draws.named("habit").normal(), 0.1, 0.9),
        thrift=thrift,
        need_of_service=service,
        effect=effect,
        rescue=rescue,
        accepts=1 / (1 + np.exp(0.9 - 2.5 * liking)),
        rhythm=draws.named("rhythm").choice([45, 35, 20]),
        channel_share=np.cumsum(shares / shares.sum(axis=1, keepdims=True), axis=1),
        hour=8.0 + 2.0 * draws.named("hour").choice([1, 3, 3, 2, 4, 3, 2]).astype(np.float64),
        consent=_consent(draws),
        do_not_contact=draws.named("do_not_contact").chance(0.02),
        is_member=member,
        has_pass=has_pass,
        birth_year=birth,
        income=income,
        household=household,
        region=draws.named("region").choice([22, 34, 18, 26]),
        source=source,
        lifestyle=lifestyle,
    )


def acquisition_cost(who: People) -> Floats:
    """What it cost to win each customer."""
    return np.round(_SOURCE_COST[who.source] * np.exp(0.4 * who.draws.named("acquisition").normal()), 2)


def _consent(draws: Draws) -> Integers:
    """Consent masks: most customers grant something on some channels, a few everything or nothing."""
    mask = np.zeros(len(draws.keys), dtype=np.int64)
    for bit, (name, share) in enumerate(zip(CONSENTS, _GRANTED, strict=True)):
        mask |= draws.named(f"consent {name}").chance(share).astype(np.int64) << bit
    kind = draws.named("consent").uniform()
    return np.where(kind < 0.05, 0, np.where(kind > 0.96, EVERYTHING, mask))


def allows(mask: Integers, channel: int) -> Flags:
    """Whether a consent mask lets marketing use a campaign channel."""
    allowed: Flags = (mask & ((1 << channel) | EVERYTHING)) != 0
    return allowed
