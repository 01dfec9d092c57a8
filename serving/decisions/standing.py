"""How a customer stands towards the rules at one moment: worked out once for a decision, asked for each proposal. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import msgspec

from serving.decisions.facts import Ask, Contact, Customer, Shop
from serving.decisions.policy import Limit, Policy, Suitability

EVERYTHING = "*"


class Standing(msgspec.Struct, frozen=True):
    """What the rules say of this customer now, whatever is proposed."""

    ask: Ask
    customer: Customer | None
    shop: Shop
    policy: Policy
    is_personal: bool
    marketing: tuple[str, ...]
    """Channels in question with consent for marketing; all of them for somebody unknown, whom nobody contacts."""
    retention: tuple[str, ...]
    has_open_complaint: bool
    quiet: frozenset[str]
    """Channels on which nobody is contacted at this hour."""
    unsuitable: tuple[Suitability, ...]
    """Rules of suitability that hold for the customer."""
    kinds: tuple[str, ...] | None
    """Kinds of offers that may keep the customer; None: any."""
    limit: str | None
    """The limit over all channels that is reached."""
    limits: dict[str, str]
    """Channels whose limit is reached, and which."""
    repeated: frozenset[str]
    """Offers that were proposed as often as one offer may be."""

    @property
    def named(self) -> frozenset[str]:
        """Offers that are looked at by their id: the caller's exceptions, what was proposed of late, what a campaign holds the customer out of."""
        held_out = None if self.customer is None else self.customer.held_out
        return self.ask.exclude.union(self.repeated, held_out or ()) if held_out or self.repeated else self.ask.exclude


def grants(consents: frozenset[str], channel: str, purpose: str) -> bool:
    """Whether consents as ``channel:purpose`` allow this one; ``*`` stands for any."""
    return not consents.isdisjoint(_granting(channel, purpose))


@lru_cache(maxsize=4096)
def _granting(channel: str, purpose: str) -> tuple[str, ...]:
    return f"{channel}:{purpose}", f"*:{purpose}", f"{channel}:*", "*:*"


def may_contact(customer: Customer, channel: str, purpose: str) -> bool:
    """Consent to a channel and purpose that was not withdrawn since."""
    return _is_open(customer.consents, customer.unsubscribed, channel, purpose)


def may_profile(customer: Customer, policy: Policy) -> bool:
    """Whether personal facts may choose among offers."""
    if customer.refuses_profiling or customer.is_minor:
        return False
    if policy.profiling == "opt_out":
        return True
    channels = ("*", *(consent.partition(":")[0] for consent in customer.consents))
    return any(grants(customer.consents, channel, "profiling") for channel in channels)


def is_complaining(customer: Customer, ask: Ask, policy: Policy) -> bool:
    """Whether a complaint is open that suppresses selling."""
    return customer.complaint_at is not None and ask.at - customer.complaint_at <= timedelta(days=policy.complaint_days)


def standing(ask: Ask, customer: Customer | None, shop: Shop, policy: Policy, *, is_personal: bool) -> Standing:
    """Work it out. Every unknown that a rule depends on counts against the customer's being contacted."""
    quiet = frozenset() if ask.is_inbound else _quiet(ask, customer, shop, policy)
    if customer is None:
        return Standing(ask, None, shop, policy, is_personal, ask.channels, ask.channels, False, quiet, (), None, None, {}, frozenset())
    # Also those after the moment asked about: a clock that was set back, or a caller who asks about yesterday, opens no limit.
    contacts = customer.contacts
    return Standing(
        ask=ask,
        customer=customer,
        shop=shop,
        policy=policy,
        is_personal=is_personal,
        marketing=consented(customer, ask.channels, "marketing"),
        retention=consented(customer, ask.channels, "retention"),
        has_open_complaint=is_complaining(customer, ask, policy),
        quiet=quiet,
        unsuitable=tuple([rule for rule in policy.suitability if rule.holds(customer)]) if is_personal and policy.suitability else (),
        kinds=policy.remedies.get(customer.cause) if is_personal and customer.cause is not None else None,
        limit=_total(contacts, ask, customer, policy),
        limits=_reached(contacts, ask, policy),
        repeated=_repeated(contacts, ask, policy.same_offer_limit),
    )


def consented(customer: Customer, channels: tuple[str, ...], purpose: str) -> tuple[str, ...]:
    """Those of the channels that the customer may be contacted on for a purpose; the one that the customer asked for stands first."""
    return _open(customer.consents, customer.unsubscribed, customer.preferred_channel, channels, purpose)


@lru_cache(maxsize=4096)
def _open(consents: frozenset[str], left: frozenset[str], preferred: str | None, channels: tuple[str, ...], purpose: str) -> tuple[str, ...]:
    """The same of whoever consents to, and left, the same: few differ."""
    found = [channel for channel in channels if _is_open(consents, left, channel, purpose)]
    return tuple(sorted(found, key=lambda channel: channel != preferred))


def _is_open(consents: frozenset[str], left: frozenset[str], channel: str, purpose: str) -> bool:
    return grants(consents, channel, purpose) and left.isdisjoint((channel, EVERYTHING))


def _quiet(ask: Ask, customer: Customer | None, shop: Shop, policy: Policy) -> frozenset[str]:
    """Channels that are quiet now. Where the customer's zone is no zone nobody knows the hour, and it is quiet."""
    zone = _zone((customer.time_zone if customer is not None else None) or shop.local_zone)
    is_quiet = zone is None or policy.quiet_hours.cover(ask.at.astimezone(zone).hour)
    return frozenset(policy.quiet_hours.channels) if is_quiet else frozenset()


@lru_cache(maxsize=512)
def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return None


def _total(contacts: Sequence[Contact], ask: Ask, customer: Customer, policy: Policy) -> str | None:
    """The limit over all channels that is used up, the house's before that of the relation's level."""
    rule = _first_reached(contacts, ask, policy.total_limits)
    if rule is not None or customer.relation_level is None:
        return rule
    level = next((each for each in policy.level_limits if each == customer.relation_level), None)
    rule = None if level is None else _first_reached(contacts, ask, policy.level_limits[level])
    return None if rule is None else f"{level}_{rule}"


def _reached(contacts: Sequence[Contact], ask: Ask, policy: Policy) -> dict[str, str]:
    """Channels whose own limit is used up. A contact without a channel counts on every channel."""
    found: dict[str, str] = {}
    for channel in ask.channels:
        limits = policy.channel_limits.get(channel, ())
        rule = _first_reached([each for each in contacts if each.channel in (None, channel)] if contacts else (), ask, limits) if limits else None
        if rule is not None:
            found[channel] = f"{channel}_{rule}"
    return found


def _repeated(contacts: Sequence[Contact], ask: Ask, limit: Limit) -> frozenset[str]:
    if not contacts:
        return frozenset()
    since = ask.at - timedelta(days=limit.days)
    times: dict[str, int] = {}
    for each in contacts:
        if each.offer_id is not None and each.at > since:
            times[each.offer_id] = times.get(each.offer_id, 0) + 1
    return frozenset([offer_id for offer_id, count in times.items() if count >= limit.most])


def _first_reached(contacts: Sequence[Contact], ask: Ask, limits: Sequence[Limit]) -> str | None:
    """The first limit that is used up."""
    for limit in limits:
        if _is_reached(contacts, ask, limit):
            return limit.rule
    return None


def _is_reached(contacts: Sequence[Contact], ask: Ask, limit: Limit) -> bool:
    if len(contacts) < limit.most:
        return False
    since = ask.at - timedelta(days=limit.days)
    return sum(1 for each in contacts if each.at > since) >= limit.most


__all__ = ["EVERYTHING", "Standing", "consented", "grants", "is_complaining", "may_contact", "may_profile", "standing"]
