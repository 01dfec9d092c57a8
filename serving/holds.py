"""Contacts that are decided and not yet made: held against the limits, so that callers at once cannot exceed them."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from serving.decisions.facts import Contact
from serving.decisions.policy import Policy
from serving.entries import Entry
from serving.fresh import Fresh, Hold
from serving.ledger import Ledger
from serving.schemas import DecisionRequest


class _Offer(msgspec.Struct):
    offer_id: str
    channels: list[str]


class _Answer(msgspec.Struct):
    """As much of an answer as a hold needs."""

    as_of: datetime
    offers: list[_Offer]


def holds(request: DecisionRequest, policy: Policy) -> bool:
    """Whether what is proposed to this request is a contact that we start."""
    return policy.hold_hours > 0 and request.placement not in policy.inbound_placements


def hold(entry: Entry, policy: Policy) -> Hold | None:
    """The contact that a decision holds: one, however many proposals it shows; None where it holds none."""
    request = msgspec.json.decode(entry.request, type=DecisionRequest)
    if not holds(request, policy):
        return None
    answer = msgspec.json.decode(entry.answer, type=_Answer)
    if not answer.offers:
        return None
    first = answer.offers[0]
    channel = request.channel or (first.channels[0] if first.channels else None)
    return Hold(entry.decision_id, Contact(answer.as_of, channel, first.offer_id), _until(answer.as_of, policy.hold_hours))


def _until(at: datetime, hours: float) -> datetime:
    try:
        return at + timedelta(hours=hours)
    except OverflowError:
        return datetime.max.replace(tzinfo=at.tzinfo)


def take_up(ledger: Ledger, fresh: Fresh, policy: Policy, now: datetime) -> None:
    """Hold what was decided lately and of which nobody has said that it was shown: what a process does at its start."""
    if not policy.hold_hours:
        return
    for entry in ledger.lately(now - timedelta(hours=policy.hold_hours)):
        held = hold(entry, policy)
        if held is not None and not any(one.kind == "shown" for one in ledger.outcomes(entry.decision_id)):
            fresh.hold(entry.customer_id, held)
