"""What a proposal is expected to be worth, as far as the evidence goes, and its priority.

Priority = expected incremental margin x context weight x lever - cost - price of contact. Where an effect was estimated (evidence A to C) the
margin is what the treatment adds against no contact; where none was (D) it is propensity times margin, nothing incremental is claimed, and
the answer says so. Weight and lever move what comes in, never what is paid.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import lru_cache
from operator import attrgetter, itemgetter
from typing import Protocol

import msgspec

from serving.decisions.eligibility import Passed
from serving.decisions.facts import LENSES, Ask, Basis, Customer, Effect, Estimate, Evidence, Goal, Lens, Liking, Offer, Shop, looked_at
from serving.decisions.policy import Policy, Prior

PURPOSE: dict[str, str] = {"cross_sell": "new", "repeat": "repeat", "retention": "repeat"}
"""The ranked list of a customer that each lens reads."""


_ITEM = attrgetter("item")


@lru_cache
def purposes(goal: Goal) -> tuple[str, ...]:
    """The ranked lists of a customer that a goal reads."""
    return tuple(dict.fromkeys(PURPOSE[lens] for lens in looked_at(goal)))


class SeatPrices(Protocol):
    """What contacts take away from others, as a list solved for it, and the terms by which it reckoned."""

    @property
    def contact_cost(self) -> Mapping[str, float]:
        """By channel; of a channel that is not there the shop knows."""
        ...

    @property
    def margin_rate(self) -> float | None:
        """Margin as a share of money; None is what the shop says."""
        ...

    @property
    def saved_share(self) -> float | None:
        """Share of a loss that an accepted offer keeps; None is what the house says."""
        ...

    def of(self, offer: Offer, channel: str, cost: float, /) -> float:
        """Of one contact with an offer on a channel that costs so much money."""
        ...

    def set_aside(self, offer: Offer, /) -> str | None:
        """The channel on which a list has the customer contacted with an offer."""
        ...


class Worth(msgspec.Struct, frozen=True, gc=False):
    """One proposal, priced."""

    passed: Passed
    p: Estimate
    """Probability of acceptance."""
    item: str | None
    """The covered item that carries the proposal."""
    liking: Liking | None
    """The item's place in the customer's own list, where it has one."""
    margin: float | None
    """Expected margin before anything is paid: incremental where there is an effect, else p x margin; None where no margin is known."""
    effect: Effect | None
    basis: Basis | None
    """Where the margin comes from."""
    weight: float
    """Of the lens in this context."""
    lever: float
    cost: float
    """Expected cost of use: p x cost."""
    contact: float
    """Price of contact: the channel, the seat, and what the contacts of late add."""
    channel: str
    """The channel where it is worth most, and whose price that is."""
    is_listed: bool
    """Whether a list has the customer contacted so: it stands first, and its seat is paid for."""
    gain: float | None
    """Expected money after everything is paid; None where no margin is known."""
    priority: float
    """What is compared; where there is no money, the probability."""

    def on(self, channel: str, contact: float) -> Worth:
        """The same on another channel that brings the same, at the price of a contact there."""
        gain, priority = _brings(self.margin, self.p.value, self.weight, self.lever, self.cost, contact)
        return msgspec.structs.replace(self, channel=channel, contact=contact, gain=gain, priority=priority)

    @property
    def evidence(self) -> Evidence:
        """How the margin is known to be incremental."""
        return "D" if self.effect is None else self.effect.evidence


class Pricing(msgspec.Struct, frozen=True):
    """What every proposal of one decision is priced with, looked up once."""

    ask: Ask
    shop: Shop
    policy: Policy
    lenses: Mapping[Lens, tuple[float, Mapping[str, Liking]]]
    """Weight of each lens in this context, and what the ranked list that it reads says of items; nothing where nothing personal may be used."""
    stake: tuple[float | None, Basis | None]
    channels: Mapping[str, float]
    """Price of a contact on each channel in question, but for what its seat takes from others."""
    prices: SeatPrices | None
    cheapest: dict[tuple[str, ...], tuple[float, str]]
    """Price and name of the cheapest of some channels, where seats and stock have no price; filled as it is asked for."""
    effects: Mapping[str, Effect]
    """What is known of what treatments change."""

    @classmethod
    def of(cls, ask: Ask, customer: Customer | None, shop: Shop, policy: Policy, prices: SeatPrices | None = None) -> Pricing:
        """Look everything up."""
        listed = {} if customer is None else customer.likings
        likings = {purpose: dict(zip(map(_ITEM, each), each, strict=True)) for purpose, each in listed.items()}
        held = None if ask.is_inbound else prices
        stake, contact = _stake(customer, shop, policy, held), _contact(ask, customer, shop, policy, held)
        weights = dict.fromkeys(LENSES, 1.0) if ask.goal != "best" else policy.intents.get(ask.intent or "", policy.weights)
        lenses = {lens: (weights.get(lens, 0.0), likings.get(PURPOSE[lens], {})) for lens in LENSES}
        return cls(ask, shop, policy, lenses, stake, contact, held, {}, {} if customer is None else customer.effects)

    def worth(self, passed: Passed) -> Worth:
        """Price one proposal, on the channel where it is worth most."""
        return self.worths((passed,))[0]

    def worths(self, passed: Sequence[Passed]) -> list[Worth]:
        """The same of many."""
        shop, things, cheapest, levers = self.shop, self.shop.items, self.cheapest, self.policy.levers
        seats, effects = self.prices if self.ask.goal == "retention" else None, self.effects
        lens: Lens | None = None
        found: list[Worth] = []
        for one in passed:
            if one.lens != lens:
                lens = one.lens
                weight, likings = self.lenses[lens]
                stake = self.stake if lens == "retention" else None
            offer, items, channels = one.offer, one.items, one.channels
            item = items[0] if len(items) == 1 else self._best(likings, items)
            liking = None if item is None else likings.get(item)
            p = self._unlisted(offer, item) if liking is None else liking.p
            value = p.value
            if stake is not None:
                assumed, basis = stake
            elif offer.is_item:
                # It has no discount and declares nothing.
                thing = things[items[0]]
                assumed = thing.margin
                basis = None if assumed is None else thing.margin_basis
            else:
                assumed, basis = _margin(offer, item, shop)
            margin = None if assumed is None else value * assumed
            cost, lever, effect, is_listed = value * offer.cost, offer.lever, None, False
            if levers:
                lever *= levers.get(offer.offer_id, levers.get(offer.kind, 1.0))
            if seats is not None:
                listed = seats.set_aside(offer)
                if listed is not None and listed in channels and self._contact(offer, listed, cost, is_listed=False) < math.inf:
                    channels, is_listed = (listed,), True
            if not effects or offer.is_item:
                contact, channel = cheapest.get(channels) or self._cheapest(offer, channels, cost, is_listed=is_listed)
            else:
                channel, contact, margin, effect, basis = self._tried(
                    offer, channels, cost, (margin, basis), (value, weight, lever), is_listed=is_listed
                )
            gain, priority = _brings(margin, value, weight, lever, cost, contact)
            found.append(Worth(one, p, item, liking, margin, effect, basis, weight, lever, cost, contact, channel, is_listed, gain, priority))
        return found

    def _tried(
        self,
        offer: Offer,
        channels: tuple[str, ...],
        cost: float,
        known: tuple[float | None, Basis | None],
        by: tuple[float, float, float],
        *,
        is_listed: bool,
    ) -> tuple[str, float, float | None, Effect | None, Basis | None]:
        """Channel, price of a contact, margin, effect and basis on the channel where it is worth most; of equals the one asked for first.

        Args:
            offer: what is proposed.
            channels: where it may be.
            cost: expected cost of use.
            known: margin and its basis where no effect is known.
            by: probability, weight and lever.
            is_listed: whether a list has paid for the seat.
        """
        tried = []
        for each in channels:
            effect = self._effect(offer, each)
            brought, basis = known if effect is None else (effect.gain.value, self.shop.margin_basis)
            price = self._contact(offer, each, cost, is_listed=is_listed)
            # Where there is no money the cheaper contact is better.
            net = -price if brought is None else _brings(brought, *by, cost, price)[1]
            tried.append((net, (each, price, brought, effect, basis)))
        return max(tried, key=itemgetter(0))[1]

    def _cheapest(self, offer: Offer, channels: tuple[str, ...], cost: float, *, is_listed: bool) -> tuple[float, str]:
        """The channel on which a contact costs least, where every channel brings the same; of equals the one asked for first."""
        best, cheapest = self._contact(offer, channels[0], cost, is_listed=is_listed), channels[0]
        for channel in channels[1:]:
            contact = self._contact(offer, channel, cost, is_listed=is_listed)
            if contact < best:
                best, cheapest = contact, channel
        if self.prices is None:
            self.cheapest[channels] = best, cheapest
        return best, cheapest

    def _best(self, likings: Mapping[str, Liking], items: Sequence[str]) -> str | None:
        """The covered item that is likeliest to be bought, of equals the one that the offer names first; None where it covers none."""
        things = self.shop.items
        return max(items, key=lambda item: things[item].share if (liking := likings.get(item)) is None else liking.p.value) if items else None

    def _unlisted(self, offer: Offer, item: str | None) -> Estimate:
        """Probability that a proposal is taken up that no list of the customer has: the item's share of all, else the offer kind's rate."""
        if item is not None:
            share = self.shop.items[item].share
            return Estimate(share, share, share)
        return rate(*self.shop.accepted.get(offer.kind, (0, 0)), self.policy.accept_prior)

    def _effect(self, offer: Offer, channel: str) -> Effect | None:
        """What was estimated of the nearest treatment; an estimate without evidence is none."""
        found = next((self.effects[name] for name in treatments(offer, channel) if name in self.effects), None)
        return None if found is None or found.evidence == "D" else found

    def _contact(self, offer: Offer, channel: str, cost: float, *, is_listed: bool) -> float:
        """Price of a contact, with seat and stock as a list solved for them."""
        paid = self.channels[channel]
        if self.prices is None or is_listed:
            return paid
        return paid + self.prices.of(offer, channel, _channel_cost(self.shop, channel, self.prices) + cost)


def _brings(margin: float | None, p: float, weight: float, lever: float, cost: float, contact: float) -> tuple[float | None, float]:
    """Gain and priority of a proposal; without money the probability is compared."""
    if margin is None:
        return None, p * weight * lever
    return margin - cost - contact, margin * weight * lever - cost - contact


def treatments(offer: Offer, channel: str) -> tuple[str, ...]:
    """What an effect of an offer on a channel may be called, the nearest first: offer and channel, kind and channel, offer, kind, channel."""
    return f"{offer.offer_id}/{channel}", f"{offer.kind}/{channel}", offer.offer_id, offer.kind, channel


def expected_loss(churn: float | None, clv: float | None) -> float | None:
    """Money at stake: risk times predicted value; a negative value is nothing to lose."""
    if churn is None or clv is None or not (math.isfinite(churn) and math.isfinite(clv)):
        return None
    return churn * max(clv, 0.0)


def rate(accepted: int, contacts: int, prior: Prior) -> Estimate:
    """Acceptance rate shrunk to the prior, with the interval of a beta distribution by its normal approximation, cut to 0..1."""
    alpha = accepted + prior.rate * prior.weight
    total = max(contacts, accepted) + prior.weight
    value = alpha / total
    half = 1.96 * math.sqrt(value * (1 - value) / (total + 1))
    return Estimate(value, max(0.0, value - half), min(1.0, value + half))


def wilson(hits: float, n: float) -> Estimate:
    """A share with its Wilson interval of 95 %; nothing counted says nothing."""
    if n <= 0:
        return Estimate(0.0, 0.0, 1.0)
    z = 1.96
    p = hits / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return Estimate(p, max(0.0, min(middle - half, p)), min(1.0, max(middle + half, p)))


def _margin(offer: Offer, item: str | None, shop: Shop) -> tuple[float | None, Basis | None]:
    """Margin of an offer, carried by an item, when it is taken up, before its cost."""
    if offer.margin is not None:
        return offer.margin, "declared"
    thing = None if item is None else shop.items[item]
    if thing is None or thing.margin is None:
        return None, None
    discount = offer.discount_amount or 0.0
    if offer.discount_rate is not None and thing.price is not None:
        discount += offer.discount_rate * thing.price
    return thing.margin - discount, thing.margin_basis


def _stake(customer: Customer | None, shop: Shop, policy: Policy, prices: SeatPrices | None) -> tuple[float | None, Basis | None]:
    """Margin that an accepted proposal is assumed to keep: a declared share of the expected loss, at the shop's margin rate."""
    loss = None if customer is None else expected_loss(customer.scores.churn, customer.scores.clv)
    share = policy.saved_share if prices is None or prices.saved_share is None else prices.saved_share
    rate = shop.margin_rate if prices is None or prices.margin_rate is None else prices.margin_rate
    return (None, None) if loss is None or rate is None else (loss * rate * share, "assumed")


def _contact(ask: Ask, customer: Customer | None, shop: Shop, policy: Policy, prices: SeatPrices | None) -> dict[str, float]:
    """What a contact on each channel costs, the contacts of late included. Who turns to us takes a seat of ours and is not contacted."""
    if ask.is_inbound:
        return dict.fromkeys(ask.channels, policy.seat_price)
    more = policy.seat_price if prices is None else 0.0
    if customer is not None and policy.fatigue_price:
        since = ask.at - timedelta(days=policy.fatigue_days)
        more += policy.fatigue_price * sum(1 for each in customer.contacts if each.at > since)
    return {channel: _channel_cost(shop, channel, prices) + more for channel in ask.channels}


def _channel_cost(shop: Shop, channel: str, prices: SeatPrices | None) -> float:
    if prices is not None and channel in prices.contact_cost:
        return prices.contact_cost[channel]
    return shop.contact_cost.get(channel, shop.contact_cost.get("*", 0.0))


__all__ = [
    "PURPOSE",
    "Pricing",
    "SeatPrices",
    "Worth",
    "expected_loss",
    "purposes",
    "rate",
    "treatments",
    "wilson",
]
