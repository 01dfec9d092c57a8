"""What can be done to keep a customer: an offer on a channel, what a contact costs there, and whose seat it takes. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from serving.decisions.facts import Offer
from serving.decisions.figures import Floats
from serving.decisions.means import Means

TALK = Offer("contact", "A contact without an offer", "information", goal="retention")
"""What a house can do that has no offer to keep customers."""


@dataclass(frozen=True)
class Action:
    """One offer on one channel."""

    offer: Offer
    channel: str
    contact_cost: float


def actions(offers: Sequence[Offer], channels: Sequence[str], costs: Mapping[str, float]) -> tuple[Action, ...]:
    """Every offer that is for keeping customers on every channel that it may use, by offer id, then by channel in the given order.

    A house without such an offer can still talk to a customer.
    """
    keeping = sorted((each for each in offers if each.goal in ("retention", "any")), key=lambda each: each.offer_id) or [TALK]
    return tuple(
        Action(offer, channel, costs[channel]) for offer in keeping for channel in channels if offer.channels is None or channel in offer.channels
    )


def stocked(what: Sequence[Action]) -> dict[str, float]:
    """Offers of which there are only so many, and how many."""
    return {each.offer.offer_id: max(0.0, float(np.floor(each.offer.stock))) for each in what if each.offer.stock is not None}


def means(gain: Floats, cost: Floats, what: Sequence[Action], seats: Mapping[str, float], budget: float | None) -> Means:
    """The choice that a list makes: money, then seats by channel, then offers of which there are only so many, both in the order of their names.

    Whoever is promised an offer takes one of its stock, used or not: what is promised has to be there.

    Args:
        gain: (customers, actions) expected money after costs.
        cost: (customers, actions) expected money from the budget.
        what: the actions.
        seats: by channel, where seats are short.
        budget: money; None is no limit.
    """
    stock = stocked(what)
    takes = [[each.channel == channel for each in what] for channel in sorted(seats)]
    takes += [[each.offer.offer_id == offer for each in what] for offer in sorted(stock)]
    limits = [np.inf if budget is None else budget, *(float(seats[each]) for each in sorted(seats)), *(stock[each] for each in sorted(stock))]
    return Means(gain, cost, np.array(takes, dtype=bool).reshape(len(takes), len(what)), np.array(limits))
