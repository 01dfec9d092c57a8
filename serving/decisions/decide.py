"""One decision: proposals through the funnel, priced, put in order, with reasons and with everything that was withheld. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from serving.decisions import reasons
from serving.decisions.eligibility import EVERYTHING, STAGES, may_profile, passing
from serving.decisions.facts import LENSES, Ask, Customer, Lens, Offer, Shop, Withheld
from serving.decisions.policy import Policy
from serving.decisions.scoring import PURPOSE, Worth, worth

Source = Literal["fresh", "materialised", "previous_model", "popularity", "none"]
"""The rung of the ladder that answered."""
OVER_BUDGET = "over_budget"
"""The code of an answer whose caller's time was up before scoring."""


@dataclass(frozen=True)
class Offered:
    """One proposal of an answer."""

    worth: Worth
    reasons: tuple[reasons.Reason, ...]


@dataclass(frozen=True)
class Decision:
    """What to propose, what not, and how sure we are."""

    offers: tuple[Offered, ...]
    withheld: tuple[Withheld, ...]
    source: Source
    degraded: tuple[str, ...]
    is_personal: bool
    candidates: tuple[Worth, ...] = ()
    """Everything that was priced, chosen or not."""


def decide(
    ask: Ask,
    customer: Customer | None,
    shop: Shop,
    policy: Policy,
    *,
    source: Source = "fresh",
    degraded: Iterable[str] = (),
    is_over: Callable[[], bool] = lambda: False,
) -> Decision:
    """Decide for one customer; None is a customer that nobody knows.

    Args:
        ask: the question.
        customer: what the rules may know of the customer.
        shop: offers and items; one snapshot for the whole decision.
        policy: the rules of the house.
        source: the best rung that rows and models allow.
        degraded: what was already missing.
        is_over: whether the caller's time is up; asked before scoring, after which popularity decides.
    """
    codes = list(degraded)
    is_personal = customer is not None and ask.personalised and may_profile(customer, policy)
    if customer is None:
        codes.append("unknown_customer")
    elif not is_personal:
        codes.append("not_personalised")
    elif not customer.owned:
        codes.append("no_history")
    person = customer if is_personal else None
    passed, withheld = passing(ask, customer, _proposals(ask, person, shop), shop, policy, is_personal=is_personal)
    if passed and is_over():
        codes.append(OVER_BUDGET)
        person = None
    priced = [worth(one, ask, person, shop, policy) for one in passed]
    chosen, more = _arbitrate(priced, ask)
    if person is None or not person.likings.get("all"):
        source = "popularity"
    owned = {} if person is None else {item: (one.orders, one.last_days) for item, one in person.owned.items()}
    scores = None if person is None else person.scores
    why = [] if person is None else reasons.of_risk(person, shop.moment, shop.currency, ask.language)
    offered = tuple(Offered(one, tuple(reasons.of_offer(one, shop, owned, scores, why, ask.language))) for one in chosen)
    return Decision(offered, _unique([*withheld, *more], offered), source if offered else "none", tuple(codes), is_personal, tuple(priced))


@lru_cache(maxsize=65_536)
def item_offer(item_id: str, name: str, kind: str) -> Offer:
    """An item standing for itself as a proposal, as ``product:ID`` or ``category:ID``."""
    return Offer(f"{kind}:{item_id}", name, kind, items=(item_id,))


def _proposals(ask: Ask, person: Customer | None, shop: Shop) -> list[tuple[Offer, Lens]]:
    """Every offer, and the items that stand for themselves, under each lens of the goal."""
    lenses: tuple[Lens, ...] = LENSES if ask.goal == "best" else (ask.goal,)
    if person is None and ask.goal == "best":
        lenses = ("cross_sell",)
    proposals: list[tuple[Offer, Lens]] = []
    for lens in lenses:
        # Under ``best`` an offer is looked at as what it is for; under a named goal the others are withheld, and said to be.
        proposals.extend((offer, lens) for offer in shop.offers if ask.goal != "best" or person is None or offer.goal in ("any", lens))
        listed = () if person is None else tuple(one.item for one in person.likings.get(PURPOSE[lens], ()))
        for item in listed or shop.popular:
            if item in shop.items:
                proposals.append((item_offer(item, shop.items[item].name, shop.item_kind), lens))
    return proposals


def _arbitrate(priced: list[Worth], ask: Ask) -> tuple[list[Worth], list[Withheld]]:
    """The best few, one per offer and per item; equal priorities fall to the smaller offer id."""
    order = sorted(priced, key=lambda one: (-one.priority, one.passed.offer.offer_id, LENSES.index(one.passed.lens)))
    chosen: list[Worth] = []
    withheld: list[Withheld] = []
    items: set[str] = set()
    offers: set[str] = set()
    for one in order:
        offer_id = one.passed.offer.offer_id
        if offer_id in offers:
            continue
        if one.priority <= 0 or (one.gain is not None and one.gain <= 0):
            withheld.append(Withheld(offer_id, "arbitration", "no_expected_gain"))
        elif one.item is not None and one.item in items:
            withheld.append(Withheld(offer_id, "arbitration", "same_item_offered"))
        elif len(chosen) < ask.max_offers:
            chosen.append(one)
            offers.add(offer_id)
            if one.item is not None:
                items.add(one.item)
    return chosen, withheld


def _unique(withheld: list[Withheld], offered: tuple[Offered, ...]) -> tuple[Withheld, ...]:
    """Each offer once, with the objection furthest down the funnel; what another lens let through is not withheld."""
    shown = {one.worth.passed.offer.offer_id for one in offered}
    seen: dict[str, Withheld] = {}
    for one in withheld:
        if one.offer_id not in shown and (one.offer_id not in seen or _depth(one) > _depth(seen[one.offer_id])):
            seen[one.offer_id] = one
    return (seen[EVERYTHING],) if EVERYTHING in seen else tuple(seen.values())


def _depth(withheld: Withheld) -> int:
    return STAGES.index(withheld.stage) if withheld.stage in STAGES else len(STAGES)


__all__ = ["OVER_BUDGET", "Decision", "Offered", "Source", "decide", "item_offer"]
