"""What a decision is made from: plain values about the ask, the customer, the shop and what may be proposed."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Hashable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cached_property, lru_cache
from itertools import chain, groupby
from operator import attrgetter
from typing import Any, Literal, NamedTuple

import msgspec

Goal = Literal["cross_sell", "repeat", "retention", "best"]
Lens = Literal["cross_sell", "repeat", "retention"]
"""The way one proposal is looked at; ``best`` looks at each in all three."""
LENSES: tuple[Lens, ...] = ("cross_sell", "repeat", "retention")


def looked_at(goal: Goal) -> tuple[Lens, ...]:
    """The lenses under which a goal looks at proposals."""
    return LENSES if goal == "best" else (goal,)


Language = Literal["en", "zh"]
Basis = Literal["observed", "declared", "assumed"]
"""Where a margin comes from: the shop's own lines, the offer or product itself, or a constant that the source declares."""


class Estimate(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float

    def times(self, factor: float) -> Estimate:
        """The same, scaled by a number that is not negative."""
        return Estimate(self.value * factor, self.low * factor, self.high * factor)

    @property
    def triple(self) -> tuple[float, float, float]:
        """Value, low, high."""
        return self.value, self.low, self.high


Evidence = Literal["A", "B", "C", "D"]
"""A randomised, B logged probabilities, C adjusted observational, D none."""


class Effect(NamedTuple):
    """What a treatment is expected to change for one customer against no contact, within the horizon."""

    gain: Estimate
    """Margin that would not have come otherwise."""
    evidence: Evidence


class Contact(msgspec.Struct, frozen=True, gc=False):
    """Something that was shown or sent to a customer."""

    at: datetime
    channel: str | None
    offer_id: str | None


class Habits(msgspec.Struct, frozen=True):
    """How a customer buys, at the moment of the rows; None where nothing is known."""

    recency_days: float | None = None
    tenure_days: float | None = None
    usual_gap_days: float | None = None
    pause_days: float | None = None
    spend: float | None = None
    spend_before: float | None = None
    orders: float | None = None
    orders_before: float | None = None
    returned_share: float | None = None
    """Returned money as a share of money spent in a year."""
    period_days: int = 90
    """Length of the periods of spend and orders."""


HABITS = tuple(name for name in Habits.__struct_fields__ if name != "period_days")
"""The figures of ``Habits``, in the order in which the serving rows hold them."""


WORDS = ("relation", "region", "country", "time_zone", "relation_level", "preferred_channel")
"""What the serving rows hold of a customer as words."""


class Sign(msgspec.Struct, frozen=True):
    """One sign that a customer may leave: a row of ``serving.decisions.signals`` with the customer's own figures."""

    code: str
    weight: float
    """What its family adds to the logit of the risk, or its strength where no model says so."""
    figures: tuple[tuple[str, float], ...]
    """Name in the sentence -> value, rounded as it is written."""
    as_of: datetime | None = None
    """Day of the figures, where they are older than the rows."""


class Liking(msgspec.Struct, frozen=True, gc=False):
    """An item in one of the ranked lists of a customer."""

    item: str
    rank: int
    """From 1."""
    p: Estimate
    """Probability that the customer buys it within the horizon."""


class Owned(msgspec.Struct, frozen=True, gc=False):
    """An item that a customer has bought."""

    orders: int
    last_days: int


class Scores(msgspec.Struct, frozen=True):
    """What the models say of a customer."""

    churn: float | None = None
    """Probability of no purchase within the horizon."""
    clv: float | None = None
    """Predicted money within the horizon."""
    band: str = "inactive"
    stage: str = "potential"


class Customer(msgspec.Struct, frozen=True):
    """What the rules of the house may know of a customer."""

    customer_id: str
    consents: frozenset[str] = frozenset()
    do_not_contact: bool = False
    refuses_profiling: bool = False
    is_minor: bool = False
    is_vulnerable: bool = False
    """In a group that chance and pressure spare."""
    is_credit_blocked: bool = False
    credit_limit: float | None = None
    relation: str | None = None
    region: str | None = None
    country: str | None = None
    birth_year: int | None = None
    time_zone: str | None = None
    relation_level: str | None = None
    """How much contact is earned: basic, reactive, accountable, proactive, partner."""
    preferred_channel: str | None = None
    complaint_at: datetime | None = None
    """When the open complaint was made, where one is open."""
    unsubscribed: frozenset[str] = frozenset()
    """Channels that the customer left; ``*`` is every channel."""
    contacts: tuple[Contact, ...] = ()
    accepted: frozenset[str] = frozenset()
    """Offers taken before."""
    held_out: Mapping[str, str] = msgspec.field(default_factory=dict)
    """By offer: the running campaign that holds the customer out of it, to compare with."""
    owned: Mapping[str, Owned] = msgspec.field(default_factory=dict)
    habits: Habits = Habits()
    signs: tuple[Sign, ...] = ()
    """Why the customer may leave, strongest first."""
    cause: str | None = None
    """Likely cause of leaving, where one is recorded or a rule holds."""
    scores: Scores = Scores()
    likings: Mapping[str, tuple[Liking, ...]] = msgspec.field(default_factory=dict)
    """By purpose: ``all``, ``new``, ``repeat``."""
    effects: Mapping[str, Effect] = msgspec.field(default_factory=dict)
    """By treatment: an offer, or a kind of offers."""


class Item(msgspec.Struct, frozen=True):
    """A product or a category: what recommendation ranks."""

    item_id: str
    name: str
    share: float = 0.0
    """Share of active customers who bought it in the last horizon."""
    price: float | None = None
    """Money of one order of it."""
    margin: float | None = None
    """Margin of one order of it; None where nothing is known or declared."""
    margin_basis: Basis | None = None
    minimum_age: int | None = None
    stock: float | None = None
    launched_at: datetime | None = None
    retired_at: datetime | None = None
    is_offerable: bool = True
    """False of what is sold and is no ware to propose, as vouchers and adjustments are; the source declares it."""
    suitability: str | None = None
    """The rule of ``configs/decisions.yaml`` that says for whom it is unsuitable."""


class Terms(NamedTuple):
    """What the rules look at of an offer besides its id, the items it covers and what was made of it before."""

    kind: str
    goal: str
    valid_from: datetime | None
    valid_to: datetime | None
    channels: tuple[str, ...] | None
    regions: tuple[str, ...] | None
    audience: tuple[str, ...] | None
    minimum_age: int | None
    is_out: bool
    """Whether a stock is declared and used up."""
    has_own_price: bool
    is_individual_price: bool
    is_for_all: bool
    """Whether it is for every age, region and audience."""
    is_unasked: bool
    """Whether neither credit nor an earlier use of it stands in its way."""

    def closed(self, at: datetime) -> str | None:
        """Why it is made to nobody at a moment; None where it may be."""
        if self.valid_from is not None and at < self.valid_from:
            return "not_yet_valid"
        if self.valid_to is not None and at >= self.valid_to:
            return "expired"
        return "out_of_stock" if self.is_out else None

    def among(self, channels: Sequence[str]) -> Sequence[str]:
        """Those of some channels on which it may be made."""
        return channels if self.channels is None else [channel for channel in channels if channel in self.channels]


_shared = lru_cache(maxsize=65_536)(lambda terms: terms)
"""The one object of equal terms, so that what was said of them is found again by identity."""


class Offer(msgspec.Struct, frozen=True, dict=True):
    """What may be proposed: a row of the offers table, or an item standing for itself."""

    offer_id: str
    name: str
    kind: str
    goal: str = "any"
    items: tuple[str, ...] = ()
    """Items covered; empty where the offer covers none in particular."""
    discount_rate: float | None = None
    discount_amount: float | None = None
    cost: float = 0.0
    """Cost when it is used."""
    margin: float | None = None
    """Margin when it is used, before cost, where the offer itself says so."""
    valid_from: datetime | None = None
    valid_to: datetime | None = None
    channels: tuple[str, ...] | None = None
    regions: tuple[str, ...] | None = None
    audience: tuple[str, ...] | None = None
    minimum_age: int | None = None
    stock: float | None = None
    is_once: bool = False
    needs_credit: bool = False
    is_individual_price: bool = False
    """Declares that its price is one person's own."""
    lever: float = 1.0
    outcome_days: int | None = None
    text: str | None = None
    is_item: bool = False
    """An item standing for itself: no offer of the table, so no effect of offers of its kind is its own."""

    @cached_property
    def terms(self) -> Terms:
        """What the rules look at, one object for all offers that are alike in it."""
        has_own_price = self.discount_rate is not None or self.discount_amount is not None or self.kind in ("discount", "coupon")
        is_out = self.stock is not None and self.stock <= 0
        shared: Terms = _shared(
            Terms(
                self.kind,
                self.goal,
                self.valid_from,
                self.valid_to,
                self.channels,
                self.regions,
                self.audience,
                self.minimum_age,
                is_out,
                has_own_price,
                self.is_individual_price,
                not self.minimum_age and self.regions is None and self.audience is None,
                not self.needs_credit and not self.is_once,
            )
        )
        return shared


class Alike(NamedTuple):
    """Offers that follow each other and have the same terms: what the rules say of those is said of all of them."""

    terms: Terms
    offers: Sequence[Offer]
    offer_ids: Sequence[str]
    """Of the offers, in their order."""
    items: Sequence[str]
    """Everything that the offers cover."""
    is_plain: bool
    """Nothing limits the sale of what they cover, from the shop's moment on. False: each of them covers something whose sale may be limited."""


_OFFER_ID = attrgetter("offer_id")


class Alone(dict[str, Offer]):
    """Items standing for themselves as proposals, as ``product:ID`` or ``category:ID``: made when they are first asked for."""

    def __init__(self, items: Mapping[str, Item], plain: frozenset[str], kind: str) -> None:
        super().__init__()
        self._items, self._plain, self._kind = items, plain, kind

    def __missing__(self, item: str) -> Offer:
        """An item of the shop that nobody asked for yet."""
        made = self[item] = Offer(f"{self._kind}:{item}", self._items[item].name, self._kind, items=(item,), is_item=True)
        return made

    def of(self, items: Sequence[str]) -> tuple[Alike, ...]:
        """Those of some items that are in the shop, in their order; they have the same terms. What is not plain stands alone."""
        there = list(filter(self._items.__contains__, items))
        offers = list(map(self.__getitem__, there))
        offer_ids, groups, start = list(map(_OFFER_ID, offers)), list[Alike](), 0
        limited = [place for place, item in enumerate(there) if item not in self._plain]
        for place in (*limited, len(there)):
            if start < place:
                groups.append(Alike(offers[start].terms, offers[start:place], offer_ids[start:place], there[start:place], True))
            if place < len(there):
                groups.append(Alike(offers[place].terms, (offers[place],), (offer_ids[place],), (there[place],), False))
            start = place + 1
        return tuple(groups)


REMEMBERED = 50_000
"""So many terms are remembered of, over all keys: some 10 MB."""


class Shop(msgspec.Struct, frozen=True, dict=True):
    """What is the same for every customer: one snapshot of offers, items and prices of contact."""

    moment: datetime
    """Everything here, and in the rows, was known before it."""
    items: Mapping[str, Item]
    popular: tuple[str, ...]
    """Items by the number of customers who bought them lately, best first."""
    offers: tuple[Offer, ...]
    horizon_days: int
    item_kind: str = "product"
    currency: str = ""
    local_zone: str = "UTC"
    contact_cost: Mapping[str, float] = msgspec.field(default_factory=dict)
    """By channel; ``*`` is every other channel."""
    accepted: Mapping[str, tuple[int, int]] = msgspec.field(default_factory=dict)
    """By offer kind: how often it was accepted, of how many contacts."""
    margin_rate: float | None = None
    """Margin as a share of money spent, over all."""
    margin_basis: Basis | None = None
    assumed: tuple[str, ...] = ()
    """What the source assumes, in words."""
    synthetic: bool = False

    @cached_property
    def alone(self) -> Alone:
        """Each item standing for itself."""
        return Alone(self.items, self.plain, self.item_kind)

    @cached_property
    def alone_popular(self) -> tuple[Alike, ...]:
        """What is popular, each item standing for itself: proposed to whoever has no list, and the same for all of them."""
        return self.alone.of(self.popular)

    @cached_property
    def plain(self) -> frozenset[str]:
        """Items whose sale nothing limits, to nobody and at no time from the shop's moment on, as is so of most."""
        return frozenset(name for name, item in self.items.items() if self._is_plain(item))

    @cached_property
    def offered(self) -> tuple[Alike, ...]:
        """All offers."""
        return self.alike(self.offers)

    def alike(self, offers: Iterable[Offer]) -> tuple[Alike, ...]:
        """Offers in their order, those that follow each other and are alike together."""

        def key(one: Offer) -> tuple[Terms, bool]:
            return one.terms, self.plain.issuperset(one.items)

        groups = [(*said, tuple(group)) for said, group in groupby(offers, key)]
        return tuple(
            Alike(terms, group, tuple(one.offer_id for one in group), tuple(chain(*(one.items for one in group))), is_plain)
            for terms, is_plain, group in groups
        )

    def span(self, at: datetime) -> int:
        """Number of the time within which no offer begins or ends, of a moment."""
        return bisect_right(self._borders, at)

    def remembered(self, rules: object, key: Hashable) -> dict[int, Any]:
        """What was worked out of terms by the same rules under the same key, by id of the terms; who fills it in keeps the terms with it.

        Bounded: full, it begins anew.
        """
        kept = self._remembered
        if kept[0] is not rules:
            # Taken as a whole: another thread may be asking by other rules.
            kept = self.__dict__["_remembered"] = rules, {}
        by_key = kept[1]
        found = by_key.get(key)
        if found is None:
            if len(by_key) > REMEMBERED // (len(self.offered) + 1):
                by_key.clear()
            found = by_key[key] = {}
        return found

    @cached_property
    def _remembered(self) -> tuple[object, dict[Hashable, dict[int, Any]]]:
        return None, {}

    @cached_property
    def _borders(self) -> list[datetime]:
        """Moments at which an offer begins or ends."""
        return sorted({at for terms, *_ in self.offered for at in (terms.valid_from, terms.valid_to) if at is not None})

    @cached_property
    def offers_for(self) -> Mapping[Lens, tuple[Alike, ...]]:
        """The offers that are made under each lens."""
        return {lens: self.alike(offer for offer in self.offers if offer.goal in ("any", lens)) for lens in LENSES}

    def _is_plain(self, item: Item) -> bool:
        is_there = (item.launched_at is None or item.launched_at <= self.moment) and item.retired_at is None
        is_stocked = item.stock is None or item.stock > 0
        return item.is_offerable and is_there and is_stocked and not item.minimum_age and item.suitability is None


class Ask(msgspec.Struct, frozen=True):
    """One question, checked and in the clock of the workspace."""

    goal: Goal
    at: datetime
    channels: tuple[str, ...]
    """Channels that come into question; one where the caller named it."""
    is_inbound: bool = False
    """The customer turned to us, so nobody is contacted."""
    personalised: bool = True
    intent: str | None = None
    max_offers: int = 3
    exclude: frozenset[str] = frozenset()
    language: Language = "en"
    explain: bool = True
    """Whether the answer says why."""
    chance: str | None = None
    """What chance is drawn from: the decision's id. None: nothing is left to chance."""


class Reason(msgspec.Struct, frozen=True):
    """Why, as a code and in words; answered as it stands here."""

    code: str
    text: str


class Withheld(msgspec.Struct, frozen=True, gc=False):
    """What was not proposed, at which stage of the funnel, by which rule; answered as it stands here. ``*`` stands for every offer."""

    offer_id: str
    stage: str
    rule: str
