"""What may be proposed at all: a funnel in fixed order. The first rule that objects decides; what it objects to can never be proposed.

consent -> eligibility -> applicability -> suitability -> suppression -> fatigue. Every unknown that a rule depends on counts against the
proposal: consent, age, region, credit and limits fail closed.

Most proposals differ only by their id and the items they cover. What the rules say of their terms is worked out once for all that share them;
each proposal is then asked only for what is its own, in the order of the funnel.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence

import msgspec

from serving.decisions import credit
from serving.decisions.facts import Alike, Ask, Customer, Item, Lens, Offer, Owned, Shop, Terms, Withheld
from serving.decisions.policy import Policy
from serving.decisions.standing import EVERYTHING, Standing, consented, grants, may_contact, may_profile, standing

CONTROL = "control"
"""The stage at which the no-contact group, and the held-out of a running campaign, are held back."""


class Passed(msgspec.Struct, frozen=True, gc=False):
    """A proposal that the whole funnel let through, as one lens looks at it."""

    offer: Offer
    lens: Lens
    channels: tuple[str, ...]
    """Channels on which it may be proposed, never empty."""
    items: tuple[str, ...]
    """The covered items that count for this lens."""


Objection = tuple[Sequence[str], str, str]
"""Ids of offers that a rule withholds together, the stage at which it does, and its name. ``*`` is every offer."""


class _Verdict(msgspec.Struct, frozen=True, gc=False):
    """What the rules say of all proposals with the same terms under one lens."""

    reach: int
    """The step of the funnel at which their terms meet an objection; ``_THROUGH`` where none does."""
    stage: str
    rule: str
    channels: tuple[str, ...]
    """Channels that are left, where nothing objects."""


_WAYS = ("not_on_sale", "no_ware", "out_of_stock", "minimum_age")
"""What may stand in the way of the sale of an item, in the order in which it is asked."""
_OFFER, _PERSON, _GOAL, _SUIT, _LIMITS, _CHANNEL, _THROUGH = range(7)
"""Steps at which terms may meet an objection; between them stands what is a proposal's own."""


def passing(
    ask: Ask, customer: Customer | None, proposals: Iterable[tuple[Lens, Sequence[Alike]]], shop: Shop, policy: Policy, *, is_personal: bool
) -> tuple[list[Passed], list[Objection]]:
    """Split proposals, lens by lens, into those that may be made, and those withheld with stage and rule.

    Where the choice must not be personal, what was bought, the cause and the lifecycle stage are not looked at; consent, law and limits always are.
    """
    objection = for_everything(ask, customer)
    if objection is not None:
        return [], [objection]
    known = standing(ask, customer, shop, policy, is_personal=is_personal)
    passed: list[Passed] = []
    objections: list[Objection] = []
    is_now = ask.at >= shop.moment
    plain = shop.plain if is_now else frozenset()
    named, excludes, stands = known.named, bool(ask.exclude), _stands(known)
    for lens, groups in proposals:
        channels = known.retention if lens == "retention" else known.marketing
        closed = None if channels else _Verdict(_OFFER, "consent", "no_consent_retention" if lens == "retention" else "no_consent_marketing", ())
        if closed is not None and not excludes:
            objections += [(group.offer_ids, closed.stage, closed.rule) for group in groups]
            continue
        owned = customer.owned if customer is not None and is_personal and lens != "retention" else None
        wants_new = lens == "cross_sell"
        said: dict[int, tuple[Terms, _Verdict]] = shop.remembered(policy, (lens, channels, *stands)) if closed is None else {}
        for terms, offers, offer_ids, items, is_plain in groups:
            before = said.get(id(terms)) if closed is None else (terms, closed)
            verdict = _judged(known, terms, lens, channels) if before is None else before[1]
            reach = verdict.reach
            if before is None and (reach == _OFFER or (terms.is_for_all and not policy.laws)):
                said[id(terms)] = terms, verdict
            if reach == _OFFER and not excludes:
                objections.append((offer_ids, verdict.stage, verdict.rule))
                continue
            # Most proposals cover nothing, or what nothing limits the sale of: only what was bought is left to ask, below what their terms stand for.
            is_unasked = terms.is_unasked and is_plain and is_now
            if is_unasked and named.isdisjoint(offer_ids) and (reach <= _GOAL or _is_alike(items, owned, wants_new)):
                if reach == _THROUGH:
                    for offer in offers:
                        passed.append(Passed(offer, lens, verdict.channels, offer.items))
                else:
                    objections.append((offer_ids, verdict.stage, verdict.rule))
                continue
            for offer in offers:
                offer_id, covered = offer.offer_id, offer.items
                if is_unasked and len(covered) < 2 and offer_id not in named:
                    if reach > _GOAL and owned is not None and covered and (covered[0] in owned) is wants_new:
                        objections.append(((offer_id,), "applicability", _bought_or_not(wants_new)))
                    elif reach == _THROUGH:
                        passed.append(Passed(offer, lens, verdict.channels, covered))
                    else:
                        objections.append(((offer_id,), verdict.stage, verdict.rule))
                    continue
                found = _examined(known, offer, lens, verdict, plain)
                if isinstance(found, Withheld):
                    objections.append(((offer_id,), found.stage, found.rule))
                else:
                    passed.append(Passed(offer, lens, verdict.channels, found))
    return passed, objections


def for_everything(ask: Ask, customer: Customer | None) -> Objection | None:
    """What rules out every offer at once."""
    if customer is None:
        return None if ask.is_inbound else _to_everything("consent", "unknown_customer_no_consent")
    if customer.is_minor:
        return _to_everything("consent", "minor")
    if customer.do_not_contact:
        return _to_everything("suppression", "do_not_contact")
    if consented(customer, ask.channels, "marketing") or consented(customer, ask.channels, "retention"):
        return None
    return _to_everything("consent", "no_consent")


def _to_everything(stage: str, rule: str) -> Objection:
    return (EVERYTHING,), stage, rule


def _is_alike(items: Sequence[str], owned: Mapping[str, Owned] | None, wants_new: bool) -> bool:
    """Whether what was bought objects to none of these: it is not looked at (``owned`` is None), or each is as the lens wants it."""
    if owned is None or not items:
        return True
    return owned.keys().isdisjoint(items) if wants_new else all(map(owned.__contains__, items))


def _examined(known: Standing, offer: Offer, lens: Lens, verdict: _Verdict, plain: frozenset[str]) -> tuple[str, ...] | Withheld:
    """The covered items that count, or the first objection: of what is the proposal's own, as far down as its terms got, or of its terms."""
    reach, items, offer_id, customer = verdict.reach, offer.items, offer.offer_id, known.customer
    if offer_id in known.ask.exclude:
        return Withheld(offer_id, "consent", "excluded_by_caller")
    if reach == _OFFER:
        return Withheld(offer_id, verdict.stage, verdict.rule)
    is_plain = not items or plain.issuperset(items)
    if not is_plain:
        items, rule = _for_sale(known, items)
        if rule is not None:
            return Withheld(offer_id, "eligibility", rule)
    if reach == _PERSON:
        return Withheld(offer_id, verdict.stage, verdict.rule)
    if offer.needs_credit:
        rule = credit.objection(offer, _price(known.shop, items), customer)
        if rule is not None:
            return Withheld(offer_id, "eligibility", rule)
    if offer.is_once and customer is not None and offer_id in customer.accepted:
        return Withheld(offer_id, "applicability", "once_is_enough")
    if reach == _GOAL:
        return Withheld(offer_id, verdict.stage, verdict.rule)
    if items and customer is not None and known.is_personal and lens != "retention":
        wants_new, owned = lens == "cross_sell", customer.owned
        if len(items) > 1 or (items[0] in owned) is wants_new:
            items = tuple([item for item in items if (item not in owned) is wants_new])
            if not items:
                return Withheld(offer_id, "applicability", _bought_or_not(wants_new))
    if reach == _SUIT:
        return Withheld(offer_id, verdict.stage, verdict.rule)
    if not is_plain:
        covered = [known.shop.items[item] for item in items]
        items = tuple([item.item_id for item in covered if item.suitability is None or _suits(known, item, lens)])
        if not items:
            return Withheld(offer_id, "suitability", str(covered[0].suitability))
    if reach == _LIMITS:
        return Withheld(offer_id, verdict.stage, verdict.rule)
    if offer_id in known.repeated:
        return Withheld(offer_id, "fatigue", f"same_offer_{known.policy.same_offer_limit.rule}")
    if reach == _CHANNEL:
        return Withheld(offer_id, verdict.stage, verdict.rule)
    campaign = None if customer is None else customer.held_out.get(offer_id)
    if campaign is not None and not (known.has_open_complaint and offer.kind in known.policy.complaint_kinds):
        # The last question of all: whoever is held out is one to whom it would have been proposed. What puts a complaint right is given to everybody.
        return Withheld(offer_id, CONTROL, f"held_out_of_{campaign}")
    return items


def _bought_or_not(wants_new: bool) -> str:
    return "already_bought" if wants_new else "never_bought"


def _stands(known: Standing) -> tuple[Hashable, ...]:
    """How somebody stands towards the rules: to all who stand so, the same is said of terms that are for everybody, under a lens and on channels."""
    customer = known.customer
    who = None if customer is None else (customer.scores.stage, customer.cause)
    limits = known.quiet, known.limit, *known.limits.items()
    rules = tuple(map(id, known.unsuitable)), known.kinds
    return known.shop.span(known.ask.at), who, known.is_personal, known.has_open_complaint, limits, rules


def _judged(known: Standing, terms: Terms, lens: Lens, channels: Sequence[str]) -> _Verdict:
    """What the rules say of terms, on channels with consent: the first objection, or the channels that are left."""
    channels = terms.among(channels)
    rule = terms.closed(known.ask.at) or (None if channels else "channel")
    if rule is not None:
        return _Verdict(_OFFER, "eligibility", rule, ())
    if known.policy.laws or not terms.is_for_all:
        channels, rule = _law(known, terms, channels)
        rule = rule or _person(known, terms)
        if rule is not None:
            return _Verdict(_PERSON, "eligibility", rule, ())
    rule = _goal(known, terms, lens)
    if rule is not None:
        return _Verdict(_GOAL, "applicability", rule, ())
    rule = _suitability(known, terms, lens) if known.unsuitable or known.kinds is not None else None
    if rule is not None:
        return _Verdict(_SUIT, "suitability", rule, ())
    if known.has_open_complaint and terms.kind not in known.policy.complaint_kinds:
        return _Verdict(_LIMITS, "suppression", "open_complaint", ())
    loud = [channel for channel in channels if channel not in known.quiet]
    if not loud:
        return _Verdict(_LIMITS, "suppression", "quiet_hours", ())
    if known.limit is not None:
        return _Verdict(_LIMITS, "fatigue", known.limit, ())
    free = [channel for channel in loud if channel not in known.limits]
    if not free:
        return _Verdict(_CHANNEL, "fatigue", known.limits[loud[-1]], ())
    return _Verdict(_THROUGH, "", "", tuple(free))


def _for_sale(known: Standing, covered: Sequence[str]) -> tuple[tuple[str, ...], str | None]:
    """The covered items that are for sale now; where none is, what stands in the way of the one that came furthest."""
    things = known.shop.items
    ways = [0 if (item := things.get(name)) is None else _way(known, item) for name in covered]
    furthest = max(ways)
    if furthest < len(_WAYS):
        return (), _WAYS[furthest]
    return tuple(covered) if min(ways) == furthest else tuple([name for name, way in zip(covered, ways, strict=True) if way == furthest]), None


def _way(known: Standing, item: Item) -> int:
    """How many of the questions about its sale an item answers well, in their order."""
    at = known.ask.at
    if (item.launched_at is not None and item.launched_at > at) or (item.retired_at is not None and at >= item.retired_at):
        return 0
    if not item.is_offerable:
        return 1
    if not (item.stock is None or item.stock > 0):
        return 2
    return len(_WAYS) if _is_old_enough(known, item.minimum_age) else 3


def _law(known: Standing, terms: Terms, channels: Sequence[str]) -> tuple[Sequence[str], str | None]:
    """Declared laws of where the customer lives, and the price that only one person would be asked."""
    customer = known.customer
    region, country = (None, None) if customer is None else (customer.region, customer.country)
    for law in known.policy.laws:
        if law.covers(terms.kind, region, country):
            channels = [channel for channel in channels if law.channels and channel not in law.channels]
            if not channels:
                return (), law.name
    if terms.audience is not None and customer is not None and not terms.is_individual_price and customer.customer_id in terms.audience:
        return channels, "individual_price_not_declared" if terms.has_own_price else None
    return channels, None


def _person(known: Standing, terms: Terms) -> str | None:
    customer = known.customer
    if not _is_old_enough(known, terms.minimum_age):
        return "minimum_age"
    if terms.regions is not None and (customer is None or {customer.region, customer.country}.isdisjoint(terms.regions)):
        return "region"
    if terms.audience is not None and (customer is None or {customer.customer_id, customer.relation}.isdisjoint(terms.audience)):
        return "audience"
    return None


def _price(shop: Shop, items: Sequence[str]) -> float | None:
    """The dearest of the covered items, for whichever of them is chosen."""
    return max((price for item in items if (price := shop.items[item].price) is not None), default=None)


def _is_old_enough(known: Standing, minimum: int | None) -> bool:
    """Of age for certain: an unknown year of birth is not, and the birthday of this year is taken as still to come."""
    if not minimum:
        return True
    born = None if known.customer is None else known.customer.birth_year
    return born is not None and known.ask.at.year - born - 1 >= minimum


def _goal(known: Standing, terms: Terms, lens: Lens) -> str | None:
    if known.customer is None:
        return None
    if terms.goal not in ("any", lens):
        return "other_goal"
    stages = known.policy.lifecycle.get(lens) if known.is_personal else None
    return "lifecycle_stage" if stages is not None and known.customer.scores.stage not in stages else None


def _suitability(known: Standing, terms: Terms, lens: Lens) -> str | None:
    for rule in known.unsuitable:
        if not rule.only_named and lens in rule.lenses and (not rule.kinds or terms.kind in rule.kinds):
            return rule.name
    if lens == "retention" and known.kinds is not None and terms.kind not in known.kinds and known.customer is not None:
        return f"cause_{known.customer.cause}"
    return None


def _suits(known: Standing, item: Item, lens: Lens) -> bool:
    """Whether the rule that a product names lets it through. One that nobody declared does not, and one that nobody may ask does not."""
    rule = next((each for each in known.policy.suitability if each.name == item.suitability), None)
    return rule is not None and known.is_personal and (rule not in known.unsuitable or lens not in rule.lenses)


STAGES = ("consent", "eligibility", "applicability", "suitability", "suppression", "fatigue")

__all__ = ["CONTROL", "EVERYTHING", "STAGES", "Objection", "Passed", "for_everything", "grants", "may_contact", "may_profile", "passing"]
