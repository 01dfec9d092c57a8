"""What each action is expected to gain with each customer, in money: by estimated effects where there are any, else by propensity x value.

Whether an action may be taken at all is asked of the funnel that decides calls; so is its worth where no effect is known. Nothing here has
rules of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from retain.errors import RefusedError
from serving.decisions.actions import Action
from serving.decisions.eligibility import may_profile, passing
from serving.decisions.facts import Ask, Customer, Shop
from serving.decisions.figures import Floats
from serving.decisions.policy import Policy, QuietHours
from serving.decisions.scoring import Evidence, worth
from training.effects import Effects

PRICED = ("margin", "spend", "purchase")
"""Outcomes of effects that can be told in money."""


@dataclass(frozen=True)
class Persuasion:
    """Money by customer and action."""

    gain: Floats
    """(customers, actions) expected margin after costs; ``-inf`` where the funnel withholds it."""
    low: Floats
    high: Floats
    """Ends of its 95 % interval."""
    cost: Floats
    """(customers, actions) what it takes from the budget: the contact, and the offer as often as it is expected to be used."""
    effect_high: Floats
    """(customers, actions) upper end of the effect itself, in money; NaN where none is estimated."""
    grades: tuple[Evidence, ...]
    """(actions,) evidence of each."""
    withheld: dict[int, str]
    """By customer with no action left: the rule that withheld the last."""
    assumed_effect: Floats
    """(customers, actions) chance that the contact keeps somebody who would have left, as assumed or estimated; NaN where not told as a chance."""


def persuasion(
    customers: Sequence[Customer], ask: Ask, what: Sequence[Action], shop: Shop, policy: Policy, effects: Effects | None = None
) -> Persuasion:
    """Price every action for every customer.

    Args:
        customers: those who may be on the list, with scores.
        ask: goal, moment and channels of the list.
        what: the actions.
        shop: offers, costs, margin.
        policy: rules of the house. Quiet hours are the sender's to keep: a list is not sent the moment it is made.
        effects: of these customers, in their order.

    Raises:
        RefusedError: no margin is known, so nothing can be told in money.
    """
    rules = policy.model_copy(update={"quiet_hours": QuietHours(channels=())})
    size = (len(customers), len(what))
    gain, low, high, cost, chance = np.full(size, -np.inf), np.full(size, -np.inf), np.full(size, -np.inf), np.zeros(size), np.full(size, np.nan)
    offers = list({each.offer.offer_id: each.offer for each in what}.values())
    places = {(each.offer.offer_id, each.channel): place for place, each in enumerate(what)}
    withheld: dict[int, str] = {}
    for row, customer in enumerate(customers):
        if not may_profile(customer, rules):
            withheld[row] = "refuses_profiling"
            continue
        passed, objections = passing(ask, customer, [(offer, "retention") for offer in offers], shop, rules, is_personal=True)
        for one in passed:
            # Effects come in below, channel by channel.
            priced = worth(one, ask, replace(customer, effects={}) if customer.effects else customer, shop, rules)
            if priced.gain is None:
                raise RefusedError(f"the margin of {one.offer.offer_id} is not known, so no list can be paid for; give --margin-rate", field="margin")
            value = priced.gain + priced.channel_cost
            ends = [value if priced.p.value == 0 else value * end / priced.p.value for end in (priced.p.low, priced.p.high)]
            for channel in one.channels:
                place = places.get((one.offer.offer_id, channel))
                if place is None:
                    continue
                contact = what[place].contact_cost
                gain[row, place], low[row, place], high[row, place] = value - contact, min(ends) - contact, max(ends) - contact
                cost[row, place] = contact + priced.p.value * one.offer.cost
                chance[row, place] = priced.p.value * policy.saved_share * (customer.scores.churn or 0.0)
        if not np.isfinite(gain[row]).any():
            withheld[row] = Counter(each.rule for each in objections).most_common(1)[0][0] if objections else "channel"
    none: Evidence = "D"
    found = Persuasion(gain, low, high, cost, np.full(size, np.nan), (none,) * len(what), withheld, chance)
    return found if effects is None else _with_effects(found, customers, what, shop, effects)


def joined(parts: Sequence[Persuasion]) -> Persuasion:
    """Blocks of customers as one; the grades are those of the first."""
    starts = np.cumsum([0, *(len(part.gain) for part in parts)]).tolist()
    arrays = {
        name: np.concatenate([getattr(part, name) for part in parts]) for name in ("gain", "low", "high", "cost", "effect_high", "assumed_effect")
    }
    withheld = {start + row: rule for start, part in zip(starts, parts, strict=False) for row, rule in part.withheld.items()}
    return Persuasion(**arrays, grades=parts[0].grades, withheld=withheld)


def priced_by(effects: Effects) -> bool:
    """Whether effects can be told in money."""
    return effects.outcome in PRICED


def _with_effects(found: Persuasion, customers: Sequence[Customer], what: Sequence[Action], shop: Shop, effects: Effects) -> Persuasion:
    """The same with what was estimated in place of what was assumed, action by action."""
    factor = _money(effects.outcome, np.array([each.scores.clv or 0.0 for each in customers]), shop.margin_rate)
    gain, low, high, chance, top = (each.copy() for each in (found.gain, found.low, found.high, found.assumed_effect, found.effect_high))
    grades: list[Evidence] = list(found.grades)
    for place, action in enumerate(what):
        name = next((each for each in action.names if each in effects.treatments), None)
        if name is None:
            continue
        value, below, above, grade = effects.of(name)
        if grade == "D":
            continue
        allowed = np.isfinite(found.gain[:, place]) & np.isfinite(value)
        for target, source in ((gain, value), (low, below), (high, above)):
            target[:, place] = np.where(allowed, source * factor - found.cost[:, place], target[:, place])
        top[:, place] = np.where(allowed, above * factor, np.nan)
        chance[:, place] = value if effects.outcome == "purchase" else np.nan
        # A sleeping dog is let lie, whatever the rest of the sum says.
        gain[above < 0, place] = -np.inf
        grades[place] = grade
    return replace(found, gain=gain, low=low, high=high, assumed_effect=chance, effect_high=top, grades=tuple(grades))


def _money(outcome: str, value: Floats, margin_rate: float | None) -> Floats:
    """(customers,) money of one unit of an effect: a purchase that would not have come is worth the customer's predicted margin."""
    if outcome == "margin":
        return np.ones(len(value))
    if margin_rate is None:
        raise RefusedError("the margin rate is not known, so effects cannot be told in money; give --margin-rate", field="margin")
    return np.full(len(value), margin_rate) if outcome == "spend" else np.maximum(value, 0.0) * margin_rate
