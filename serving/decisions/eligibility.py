"""What may be proposed at all: a funnel in fixed order. The first rule that objects decides; what it objects to can never be proposed.

consent -> eligibility -> applicability -> suitability -> suppression -> fatigue. Every unknown that a rule depends on counts against the
proposal: consent, age, region and limits fail closed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from zoneinfo import ZoneInfo

from serving.decisions.facts import Ask, Customer, Lens, Offer, Shop, Withheld
from serving.decisions.policy import Limit, Policy

EVERYTHING = "*"


@dataclass(frozen=True)
class Passed:
    """A proposal that the whole funnel let through, as one lens looks at it."""

    offer: Offer
    lens: Lens
    channels: tuple[str, ...]
    """Channels on which it may be proposed, never empty."""
    items: tuple[str, ...]
    """The covered items that count for this lens."""


@dataclass(frozen=True)
class _Case:
    """One proposal under examination; stages narrow ``channels`` and ``items``."""

    ask: Ask
    customer: Customer | None
    offer: Offer
    lens: Lens
    shop: Shop
    policy: Policy
    is_personal: bool
    channels: list[str]
    items: list[str]


def grants(consents: frozenset[str], channel: str, purpose: str) -> bool:
    """Whether consents as ``channel:purpose`` allow this one; ``*`` stands for any."""
    return not consents.isdisjoint((f"{channel}:{purpose}", f"*:{purpose}", f"{channel}:*", "*:*"))


def may_contact(customer: Customer, channel: str, purpose: str) -> bool:
    """Consent to a channel and purpose that was not withdrawn since."""
    return grants(customer.consents, channel, purpose) and customer.unsubscribed.isdisjoint((channel, EVERYTHING))


def may_profile(customer: Customer, policy: Policy) -> bool:
    """Whether personal facts may choose among offers."""
    if customer.refuses_profiling or customer.is_minor:
        return False
    return policy.profiling == "opt_out" or any(grants(customer.consents, channel, "profiling") for channel in ("*", *_channels(customer)))


def passing(
    ask: Ask, customer: Customer | None, proposals: Sequence[tuple[Offer, Lens]], shop: Shop, policy: Policy, *, is_personal: bool
) -> tuple[list[Passed], list[Withheld]]:
    """Split proposals into those that may be made, and those withheld with stage and rule.

    Where the choice must not be personal, what was bought and the lifecycle stage are not looked at; consent, law and limits always are.
    """
    objection = _for_everything(ask, customer)
    if objection is not None:
        return [], [objection]
    passed: list[Passed] = []
    withheld: list[Withheld] = []
    for offer, lens in proposals:
        case = _Case(ask, customer, offer, lens, shop, policy, is_personal, list(ask.channels), list(offer.items))
        for stage, examine in _FUNNEL:
            rule = examine(case)
            if rule is not None:
                withheld.append(Withheld(offer.offer_id, stage, rule))
                break
        else:
            passed.append(Passed(offer, lens, tuple(case.channels), tuple(case.items)))
    return passed, withheld


def _for_everything(ask: Ask, customer: Customer | None) -> Withheld | None:
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


def _consent(case: _Case) -> str | None:
    if case.offer.offer_id in case.ask.exclude:
        return "excluded_by_caller"
    if case.customer is None:
        return None
    purpose = "retention" if case.lens == "retention" else "marketing"
    case.channels[:] = [channel for channel in case.channels if may_contact(case.customer, channel, purpose)]
    return None if case.channels else f"no_consent_{purpose}"


def _eligibility(case: _Case) -> str | None:
    offer, at = case.offer, case.ask.at
    if offer.valid_from is not None and at < offer.valid_from:
        return "not_yet_valid"
    if offer.valid_to is not None and at >= offer.valid_to:
        return "expired"
    if offer.stock is not None and offer.stock <= 0:
        return "out_of_stock"
    if offer.channels is not None:
        case.channels[:] = [channel for channel in case.channels if channel in offer.channels]
        if not case.channels:
            return "channel"
    rule = _items_for_sale(case)
    return _person(case) if rule is None else rule


def _items_for_sale(case: _Case) -> str | None:
    """Keep the covered items that are for sale now; object when an offer covers items and none is."""
    if not case.items:
        return None
    known = [case.shop.items[item] for item in case.items if item in case.shop.items]
    marketed = [
        item
        for item in known
        if (item.launched_at is None or item.launched_at <= case.ask.at) and (item.retired_at is None or case.ask.at < item.retired_at)
    ]
    if not marketed:
        return "not_on_sale"
    stocked = [item for item in marketed if item.stock is None or item.stock > 0]
    if not stocked:
        return "out_of_stock"
    of_age = [item for item in stocked if _is_old_enough(case, item.minimum_age)]
    case.items[:] = [item.item_id for item in of_age]
    return None if of_age else "minimum_age"


def _person(case: _Case) -> str | None:
    offer, customer = case.offer, case.customer
    if not _is_old_enough(case, offer.minimum_age):
        return "minimum_age"
    if offer.regions is not None and (customer is None or not {customer.region, customer.country} & set(offer.regions)):
        return "region"
    if offer.audience is not None and (customer is None or not {customer.customer_id, customer.relation} & set(offer.audience)):
        return "audience"
    if offer.needs_credit and (customer is None or customer.is_credit_blocked):
        return "credit"
    return None


def _is_old_enough(case: _Case, minimum: int | None) -> bool:
    """Of age for certain: an unknown year of birth is not, and the birthday of this year is taken as still to come."""
    if not minimum:
        return True
    born = None if case.customer is None else case.customer.birth_year
    return born is not None and case.ask.at.year - born - 1 >= minimum


def _applicability(case: _Case) -> str | None:
    customer = case.customer
    if customer is None:
        return None
    if case.offer.is_once and case.offer.offer_id in customer.accepted:
        return "once_is_enough"
    if case.offer.goal not in ("any", case.lens):
        return "other_goal"
    if not case.is_personal:
        return None
    stages = case.policy.lifecycle.get(case.lens)
    if stages is not None and customer.scores.stage not in stages:
        return "lifecycle_stage"
    if case.items and case.lens != "retention":
        wants_new = case.lens == "cross_sell"
        case.items[:] = [item for item in case.items if (item not in customer.owned) is wants_new]
        if not case.items:
            return "already_bought" if wants_new else "never_bought"
    return None


def _suitability(case: _Case) -> str | None:
    if case.customer is None or not case.is_personal:
        return None
    for rule in case.policy.suitability:
        if case.lens in rule.lenses and (not rule.kinds or case.offer.kind in rule.kinds) and rule.holds(case.customer):
            return rule.name
    return None


def _suppression(case: _Case) -> str | None:
    customer = case.customer
    if customer is not None and customer.complaint_at is not None and case.offer.kind not in case.policy.complaint_kinds:
        age = case.ask.at - customer.complaint_at
        if age <= timedelta(days=case.policy.complaint_days):
            return "open_complaint"
    if not case.ask.is_inbound:
        zone = ZoneInfo((customer.time_zone if customer is not None else None) or case.shop.local_zone)
        quiet = case.policy.quiet_hours
        if quiet.cover(case.ask.at.astimezone(zone).hour):
            case.channels[:] = [channel for channel in case.channels if channel not in quiet.channels]
            if not case.channels:
                return "quiet_hours"
    return None


def _fatigue(case: _Case) -> str | None:
    customer = case.customer
    if customer is None or not customer.contacts:
        return None
    for limit in case.policy.total_limits:
        if _is_reached(case, limit):
            return limit.rule
    if _is_reached(case, case.policy.same_offer_limit, offer_id=case.offer.offer_id):
        return f"same_offer_{case.policy.same_offer_limit.rule}"
    rule = None
    for channel in list(case.channels):
        for limit in case.policy.channel_limits.get(channel, ()):
            if _is_reached(case, limit, channel=channel):
                case.channels.remove(channel)
                rule = f"{channel}_{limit.rule}"
                break
    return None if case.channels else rule


def _is_reached(case: _Case, limit: Limit, channel: str | None = None, offer_id: str | None = None) -> bool:
    """Whether contacts of the window already use the limit up. A contact without a channel counts on every channel."""
    since = case.ask.at - timedelta(days=limit.days)
    contacts = () if case.customer is None else case.customer.contacts
    counted = sum(
        1
        for contact in contacts
        if since < contact.at <= case.ask.at
        and (channel is None or contact.channel in (None, channel))
        and (offer_id is None or contact.offer_id == offer_id)
    )
    return counted >= limit.most


def _channels(customer: Customer) -> list[str]:
    return [consent.partition(":")[0] for consent in customer.consents]


_FUNNEL: tuple[tuple[str, Callable[[_Case], str | None]], ...] = (
    ("consent", _consent),
    ("eligibility", _eligibility),
    ("applicability", _applicability),
    ("suitability", _suitability),
    ("suppression", _suppression),
    ("fatigue", _fatigue),
)
STAGES = tuple(stage for stage, _ in _FUNNEL)
