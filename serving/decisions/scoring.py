"""What a proposal is expected to be worth, as far as the evidence goes.

Until effects are estimated nothing here is incremental: the figures are propensity times margin, evidence grade D, and said to be so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from serving.decisions.eligibility import Passed
from serving.decisions.facts import Ask, Basis, Customer, Estimate, Liking, Shop
from serving.decisions.policy import Policy, Prior

PURPOSE: dict[str, str] = {"cross_sell": "new", "repeat": "repeat", "retention": "repeat"}
"""The ranked list of a customer that each lens reads."""


@dataclass(frozen=True)
class Worth:
    """One proposal, priced."""

    passed: Passed
    p: Estimate
    """Probability of acceptance."""
    item: str | None
    """The covered item that carries the proposal."""
    liking: Liking | None
    """The item's place in the customer's own list, where it has one."""
    gain: float | None
    """Expected money: p x margin - costs; for retention p x what an acceptance is assumed to keep - costs. None where no margin is known."""
    basis: Basis | None
    """Where the margin comes from."""
    priority: float
    """What is compared: gain x lever x weight, or p where there is no money."""
    channel_cost: float


def worth(passed: Passed, ask: Ask, customer: Customer | None, shop: Shop, policy: Policy) -> Worth:
    """Price one proposal; ``customer`` is None where nothing personal may be used."""
    p, item, liking = _acceptance(passed, customer, shop, policy)
    margin, basis = _margin(passed, item, shop)
    if passed.lens == "retention":
        margin, basis = _stake(customer, shop, policy)
    contact = 0.0 if ask.is_inbound else min(_contact_cost(shop, channel) for channel in passed.channels)
    price = contact + policy.seat_price
    weight = 1.0 if ask.goal != "best" else policy.intents.get(ask.intent or "", policy.weights).get(passed.lens, 0.0)
    if margin is None:
        return Worth(passed, p, item, liking, None, None, p.value * passed.offer.lever * weight, price)
    value = p.value * (margin - passed.offer.cost)
    gain = value - price
    # The lever and the weight move what is gained, never what is paid.
    priority = value * passed.offer.lever * weight - price
    return Worth(passed, p, item, liking, gain, basis, priority, price)


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


def _acceptance(passed: Passed, customer: Customer | None, shop: Shop, policy: Policy) -> tuple[Estimate, str | None, Liking | None]:
    """Probability that the proposal is taken up: the best covered item's, else the offer kind's."""
    if not passed.items:
        accepted, contacts = shop.accepted.get(passed.offer.kind, (0, 0))
        return rate(accepted, contacts, policy.accept_prior), None, None
    likings = {} if customer is None else {one.item: one for one in customer.likings.get(PURPOSE[passed.lens], ())}
    chances = [(likings[item].p if item in likings else Estimate(*[shop.items[item].share] * 3), item) for item in passed.items]
    # The first of equals: max keeps the order in which the offer names its items.
    p, item = max(chances, key=lambda chance: chance[0].value)
    return p, item, likings.get(item)


def _margin(passed: Passed, item: str | None, shop: Shop) -> tuple[float | None, Basis | None]:
    """Margin of the proposal when it is taken up, before its cost."""
    offer = passed.offer
    if offer.margin is not None:
        return offer.margin, "declared"
    thing = None if item is None else shop.items[item]
    if thing is None or thing.margin is None:
        return None, None
    discount = offer.discount_amount or 0.0
    if offer.discount_rate is not None and thing.price is not None:
        discount += offer.discount_rate * thing.price
    return thing.margin - discount, thing.margin_basis


def _stake(customer: Customer | None, shop: Shop, policy: Policy) -> tuple[float | None, Basis | None]:
    """Margin that an accepted proposal is assumed to keep: a declared share of the expected loss, at the shop's margin rate."""
    loss = None if customer is None else expected_loss(customer.scores.churn, customer.scores.clv)
    if loss is None or shop.margin_rate is None:
        return None, None
    return loss * shop.margin_rate * policy.saved_share, "assumed"


def _contact_cost(shop: Shop, channel: str) -> float:
    return shop.contact_cost.get(channel, shop.contact_cost.get("*", 0.0))


Evidence = Literal["A", "B", "C", "D"]
"""A randomised, B logged probabilities, C adjusted observational, D none."""
EVIDENCE: Evidence = "D"
"""No effect is estimated yet, so no answer claims more."""
