"""What each action is expected to gain with each customer, in money: by estimated effects where there are any, else by propensity x value.

Whether an action may be taken is asked of the funnel that decides calls, and what it is worth of the pricing that decides calls: nothing here
has rules of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from retain.errors import RefusedError
from serving.decisions.actions import Action
from serving.decisions.eligibility import Passed, may_profile, passing
from serving.decisions.facts import Ask, Customer, Shop
from serving.decisions.figures import Floats
from serving.decisions.policy import Policy, QuietHours
from serving.decisions.scoring import Pricing, Worth
from serving.decisions.standing import is_complaining

GRADES = "ABCD"


@dataclass(frozen=True)
class Persuasion:
    """Money by customer and action."""

    gain: Floats
    """(customers, actions) expected margin after costs; ``-inf`` where the funnel withholds it, or the effect is below zero for certain."""
    priority: Floats
    """(customers, actions) what is compared, as a call compares it: the gain, where what comes in is moved by the offer's lever."""
    low: Floats
    high: Floats
    """Ends of the 95 % interval of the gain."""
    cost: Floats
    """(customers, actions) what it takes from the budget: the contact, and the offer as often as it is expected to be used."""
    effect_high: Floats
    """(customers, actions) upper end of the effect before costs; NaN where none is estimated."""
    grade: NDArray[np.int8]
    """(customers, actions) place of the evidence in ``GRADES``."""
    keeps: Floats
    """(customers, actions) chance that the contact brings a purchase that would not have come, as estimated or assumed; NaN where nobody says."""
    is_spared: NDArray[np.bool_]
    """(customers,) whose complaint is open: what puts it right is held back from nobody."""
    withheld: dict[int, str]
    """By customer with no action left: the rule that withheld the most."""


def persuasion(
    customers: Sequence[Customer], ask: Ask, what: Sequence[Action], shop: Shop, policy: Policy, is_of_purchases: bool = False
) -> Persuasion:
    """Price every action for every customer.

    Args:
        customers: those who may be on the list, with scores and effects.
        ask: goal, moment and channels of the list.
        what: the actions.
        shop: offers, costs, margin.
        policy: rules of the house. Quiet hours are the sender's to keep: a list is not sent the moment it is made. What a seat takes from
            others is found by the list itself.
        is_of_purchases: whether the effects are of purchases.

    Raises:
        RefusedError: no margin is known, so nothing can be told in money.
    """
    rules = policy.model_copy(update={"quiet_hours": QuietHours(channels=()), "seat_price": 0.0})
    size = (len(customers), len(what))
    found = Persuasion(
        gain=np.full(size, -np.inf),
        priority=np.full(size, -np.inf),
        low=np.full(size, -np.inf),
        high=np.full(size, -np.inf),
        cost=np.zeros(size),
        effect_high=np.full(size, np.nan),
        grade=np.full(size, GRADES.index("D"), dtype=np.int8),
        keeps=np.full(size, np.nan),
        is_spared=np.array([is_complaining(each, ask, rules) for each in customers], dtype=bool),
        withheld={},
    )
    offers = shop.alike({each.offer.offer_id: each.offer for each in what}.values())
    places = {(each.offer.offer_id, each.channel): place for place, each in enumerate(what)}
    for row, customer in enumerate(customers):
        if not may_profile(customer, rules):
            found.withheld[row] = "refuses_profiling"
            continue
        passed, objections = passing(ask, customer, [("retention", offers)], shop, rules, is_personal=True)
        pricing = Pricing.of(ask, customer, shop, rules)
        for one in passed:
            for channel, priced in _by_channel(one, pricing):
                place = places.get((one.offer.offer_id, channel))
                if place is not None:
                    _price(found, row, place, priced, what[place].contact_cost, customer, shop, rules, is_of_purchases)
        if not (np.isfinite(found.gain[row]) | np.isfinite(found.effect_high[row])).any():
            found.withheld[row] = Counter(rule for named, _, rule in objections for _ in named).most_common(1)[0][0] if objections else "channel"
    return found


def joined(parts: Sequence[Persuasion]) -> Persuasion:
    """Blocks of customers as one."""
    starts = np.cumsum([0, *(len(part.gain) for part in parts)]).tolist()
    arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _ARRAYS}
    withheld = {start + row: rule for start, part in zip(starts, parts, strict=False) for row, rule in part.withheld.items()}
    return Persuasion(**arrays, withheld=withheld)


def _by_channel(one: Passed, pricing: Pricing) -> list[tuple[str, Worth]]:
    """What one proposal is worth on each channel; without effects only the price of the contact differs."""
    if pricing.effects:
        return [(channel, pricing.worth(structs.replace(one, channels=(channel,)))) for channel in one.channels]
    priced = pricing.worth(one)
    return [(channel, priced.on(channel, pricing.channels[channel])) for channel in one.channels]


def _price(
    found: Persuasion, row: int, place: int, priced: Worth, contact: float, customer: Customer, shop: Shop, policy: Policy, is_of_purchases: bool
) -> None:
    """Write one cell."""
    if priced.gain is None or priced.margin is None:
        raise RefusedError(
            f"the margin of {priced.passed.offer.offer_id} is not known, so no list can be paid for; give --margin-rate", field="margin"
        )
    paid, effect = priced.margin - priced.gain, priced.effect
    if effect is None:
        ends = [priced.margin * end / priced.p.value if priced.p.value else priced.margin for end in (priced.p.low, priced.p.high)]
        found.keeps[row, place] = priced.p.value * policy.saved_share * (customer.scores.churn or 0.0)
    else:
        ends = [effect.gain.low, effect.gain.high]
        found.effect_high[row, place] = effect.gain.high
        worth = max(customer.scores.clv or 0.0, 0.0) * (shop.margin_rate or 0.0)
        if is_of_purchases and worth > 0:
            found.keeps[row, place] = effect.gain.value / worth
    found.grade[row, place] = GRADES.index(priced.evidence)
    found.cost[row, place] = contact + priced.cost
    # A sleeping dog is let lie, whatever the rest of the sum says.
    is_harm = effect is not None and effect.gain.high < 0
    moved = priced.margin * priced.weight * priced.lever
    for target, margin in ((found.gain, priced.margin), (found.priority, moved), (found.low, min(ends)), (found.high, max(ends))):
        target[row, place] = -np.inf if is_harm else margin - paid


_ARRAYS = ("gain", "priority", "low", "high", "cost", "effect_high", "grade", "keeps", "is_spared")
