"""What may be proposed at all: a funnel in fixed order. The first rule that objects decides; what it objects to can never be proposed.

consent -> eligibility -> applicability -> suitability -> suppression -> fatigue. Every unknown that a rule depends on counts against the
proposal: consent, age, region, credit and limits fail closed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from serving.decisions import credit
from serving.decisions.facts import Ask, Customer, Item, Lens, Offer, Shop, Withheld
from serving.decisions.policy import Policy
from serving.decisions.standing import EVERYTHING, Standing, grants, may_contact, may_profile, standing

CONTROL = "control"
"""The stage at which the no-contact group is held back."""


@dataclass(frozen=True, slots=True)
class Passed:
    """A proposal that the whole funnel let through, as one lens looks at it."""

    offer: Offer
    lens: Lens
    channels: tuple[str, ...]
    """Channels on which it may be proposed, never empty."""
    items: tuple[str, ...]
    """The covered items that count for this lens."""


@dataclass(slots=True)
class _Case:
    """One proposal under examination; stages narrow ``channels`` and ``items``."""

    offer: Offer
    lens: Lens
    channels: Sequence[str]
    items: Sequence[str]


def passing(
    ask: Ask, customer: Customer | None, proposals: Sequence[tuple[Offer, Lens]], shop: Shop, policy: Policy, *, is_personal: bool
) -> tuple[list[Passed], list[Withheld]]:
    """Split proposals into those that may be made, and those withheld with stage and rule.

    Where the choice must not be personal, what was bought, the cause and the lifecycle stage are not looked at; consent, law and limits always are.
    """
    objection = for_everything(ask, customer)
    if objection is not None:
        return [], [objection]
    known = standing(ask, customer, shop, policy, is_personal=is_personal)
    passed: list[Passed] = []
    withheld: list[Withheld] = []
    for offer, lens in proposals:
        case = _Case(offer, lens, ask.channels, offer.items)
        for stage, examine in _FUNNEL:
            rule = examine(known, case)
            if rule is not None:
                withheld.append(Withheld(offer.offer_id, stage, rule))
                break
        else:
            passed.append(Passed(offer, lens, tuple(case.channels), tuple(case.items)))
    return passed, withheld


def for_everything(ask: Ask, customer: Customer | None) -> Withheld | None:
    """What rules out every offer at once."""
    if customer is None:
        return None if ask.is_inbound else Withheld(EVERYTHING, "consent", "unknown_customer_no_consent")
    if customer.is_minor:
        return Withheld(EVERYTHING, "consent", "minor")
    if customer.do_not_contact:
        return Withheld(EVERYTHING, "suppression", "do_not_contact")
    if not any(may_contact(customer, channel, purpose) for channel in ask.channels for purpose in ("marketing", "retention")):
        return Withheld(EVERYTHING, "consent", "no_consent")
    return None


def _consent(known: Standing, case: _Case) -> str | None:
    if case.offer.offer_id in known.ask.exclude:
        return "excluded_by_caller"
    case.channels = known.retention if case.lens == "retention" else known.marketing
    return None if case.channels else f"no_consent_{'retention' if case.lens == 'retention' else 'marketing'}"


def _eligibility(known: Standing, case: _Case) -> str | None:
    offer, at = case.offer, known.ask.at
    if offer.valid_from is not None and at < offer.valid_from:
        return "not_yet_valid"
    if offer.valid_to is not None and at >= offer.valid_to:
        return "expired"
    if offer.stock is not None and offer.stock <= 0:
        return "out_of_stock"
    if offer.channels is not None:
        case.channels = [channel for channel in case.channels if channel in offer.channels]
        if not case.channels:
            return "channel"
    return _items_for_sale(known, case) or _law(known, case) or _person(known, case)


def _items_for_sale(known: Standing, case: _Case) -> str | None:
    """Keep the covered items that are for sale now; object when an offer covers items and none is."""
    if not case.items:
        return None
    at, items = known.ask.at, known.shop.items
    found = [items[item] for item in case.items if item in items]
    if len(found) == len(case.items) == 1 and _is_plain(found[0]):
        return None
    marketed = [item for item in found if (item.launched_at is None or item.launched_at <= at) and (item.retired_at is None or at < item.retired_at)]
    if not marketed:
        return "not_on_sale"
    wares = [item for item in marketed if item.is_offerable]
    if not wares:
        return "no_ware"
    stocked = [item for item in wares if item.stock is None or item.stock > 0]
    if not stocked:
        return "out_of_stock"
    of_age = [item for item in stocked if _is_old_enough(known, item.minimum_age)]
    case.items = [item.item_id for item in of_age]
    return None if of_age else "minimum_age"


def _is_plain(item: Item) -> bool:
    """Whether nothing limits its sale, as is so of most."""
    return item.is_offerable and item.launched_at is None and item.retired_at is None and item.stock is None and not item.minimum_age


def _law(known: Standing, case: _Case) -> str | None:
    """Declared laws of where the customer lives, and the price that only one person would be asked."""
    offer, customer = case.offer, known.customer
    region, country = (None, None) if customer is None else (customer.region, customer.country)
    for law in known.policy.laws:
        if law.covers(offer.kind, region, country):
            case.channels = [channel for channel in case.channels if law.channels and channel not in law.channels]
            if not case.channels:
                return law.name
    if offer.audience is not None and customer is not None and not offer.is_individual_price and customer.customer_id in offer.audience:
        has_own_price = offer.discount_rate is not None or offer.discount_amount is not None or offer.kind in ("discount", "coupon")
        return "individual_price_not_declared" if has_own_price else None
    return None


def _person(known: Standing, case: _Case) -> str | None:
    offer, customer = case.offer, known.customer
    if not _is_old_enough(known, offer.minimum_age):
        return "minimum_age"
    if offer.regions is not None and (customer is None or not {customer.region, customer.country} & set(offer.regions)):
        return "region"
    if offer.audience is not None and (customer is None or not {customer.customer_id, customer.relation} & set(offer.audience)):
        return "audience"
    return credit.objection(offer, _price(known.shop, case.items), customer) if offer.needs_credit else None


def _price(shop: Shop, items: Sequence[str]) -> float | None:
    """The dearest of the covered items, for whichever of them is chosen."""
    return max((price for item in items if (price := shop.items[item].price) is not None), default=None)


def _is_old_enough(known: Standing, minimum: int | None) -> bool:
    """Of age for certain: an unknown year of birth is not, and the birthday of this year is taken as still to come."""
    if not minimum:
        return True
    born = None if known.customer is None else known.customer.birth_year
    return born is not None and known.ask.at.year - born - 1 >= minimum


def _applicability(known: Standing, case: _Case) -> str | None:
    customer = known.customer
    if customer is None:
        return None
    if case.offer.is_once and case.offer.offer_id in customer.accepted:
        return "once_is_enough"
    if case.offer.goal not in ("any", case.lens):
        return "other_goal"
    if not known.is_personal:
        return None
    stages = known.policy.lifecycle.get(case.lens)
    if stages is not None and customer.scores.stage not in stages:
        return "lifecycle_stage"
    if case.items and case.lens != "retention":
        wants_new = case.lens == "cross_sell"
        case.items = [item for item in case.items if (item not in customer.owned) is wants_new]
        if not case.items:
            return "already_bought" if wants_new else "never_bought"
    return None


def _suitability(known: Standing, case: _Case) -> str | None:
    for rule in known.unsuitable:
        if not rule.only_named and case.lens in rule.lenses and (not rule.kinds or case.offer.kind in rule.kinds):
            return rule.name
    if case.lens == "retention" and known.kinds is not None and case.offer.kind not in known.kinds and known.customer is not None:
        return f"cause_{known.customer.cause}"
    if case.items:
        items = [known.shop.items[item] for item in case.items]
        suited = [item for item in items if item.suitability is None or _suits(known, item, case.lens)]
        case.items = [item.item_id for item in suited]
        if not suited:
            return items[0].suitability
    return None


def _suits(known: Standing, item: Item, lens: Lens) -> bool:
    """Whether the rule that a product names lets it through. One that nobody declared does not, and one that nobody may ask does not."""
    rule = next((each for each in known.policy.suitability if each.name == item.suitability), None)
    return rule is not None and known.is_personal and (rule not in known.unsuitable or lens not in rule.lenses)


def _suppression(known: Standing, case: _Case) -> str | None:
    if known.has_open_complaint and case.offer.kind not in known.policy.complaint_kinds:
        return "open_complaint"
    if known.quiet:
        case.channels = [channel for channel in case.channels if channel not in known.quiet]
        if not case.channels:
            return "quiet_hours"
    return None


def _fatigue(known: Standing, case: _Case) -> str | None:
    if known.limit is not None:
        return known.limit
    if case.offer.offer_id in known.repeated:
        return f"same_offer_{known.policy.same_offer_limit.rule}"
    if known.limits:
        free = [channel for channel in case.channels if channel not in known.limits]
        if not free:
            return known.limits[case.channels[-1]]
        case.channels = free
    return None


_FUNNEL: tuple[tuple[str, Callable[[Standing, _Case], str | None]], ...] = (
    ("consent", _consent),
    ("eligibility", _eligibility),
    ("applicability", _applicability),
    ("suitability", _suitability),
    ("suppression", _suppression),
    ("fatigue", _fatigue),
)
STAGES = tuple(stage for stage, _ in _FUNNEL)

__all__ = ["CONTROL", "EVERYTHING", "STAGES", "Passed", "for_everything", "grants", "may_contact", "may_profile", "passing"]
