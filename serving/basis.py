"""What a decision rested on, kept beside it: enough to explain it and, with the shop and the rules of its versions, to make it again."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

import msgspec

from retain.tables import CHANNELS
from serving.decisions import receipts
from serving.decisions.decide import OVER_BUDGET, Decision, Source, decide
from serving.decisions.eligibility import EVERYTHING
from serving.decisions.facts import Ask, Customer, Habits, Scores, Shop, Withheld
from serving.decisions.policy import Policy
from serving.schemas import DecisionAnswer, DecisionRequest, Freshness, Models
from serving.wire import decision_answer


@dataclass(frozen=True)
class Basis:
    """Everything that was read for one decision and may be different tomorrow."""

    at: datetime
    """The moment that was asked about."""
    customer: Customer | None
    """What the rules knew, scores and lists included; None of somebody unknown."""
    features: dict[str, float | str]
    """What the models read, as ``view__column``; what was null is left out."""
    source: Source
    degraded: tuple[str, ...]
    refused: str | None
    """Why nothing could be decided at that moment."""
    freshness: Freshness
    models: Models
    is_over: bool = False
    """Whether the caller's time was up before scoring."""


def decided(
    request: DecisionRequest, decision_id: str | None, basis: Basis, shop: Shop, policy: Policy, is_over: Callable[[], bool] = lambda: False
) -> tuple[DecisionAnswer, dict[str, datetime], Basis]:
    """The answer that follows from what was read, until when outcomes count for each offer, and what it rested on in the end. Pure."""
    ask = Ask(
        goal=request.goal,
        at=basis.at,
        channels=CHANNELS if request.channel is None else (request.channel,),
        is_inbound=request.placement in policy.inbound_placements,
        personalised=request.personalised,
        intent=None if request.context is None else request.context.intent,
        max_offers=request.max_offers,
        exclude=frozenset(request.exclude),
        language=request.language,
    )
    if basis.refused is not None:
        made = Decision((), (Withheld(EVERYTHING, "clock", basis.refused),), "none", basis.degraded, False)
    else:
        made = decide(
            ask,
            basis.customer,
            shop,
            policy,
            source=basis.source,
            degraded=basis.degraded,
            is_over=lambda: basis.is_over or is_over(),
        )
    ends = receipts.windows(made, shop, basis.at)
    answer = decision_answer(request, decision_id, made, basis.at, ends, shop, policy, basis.freshness, basis.models)
    return answer, ends, replace(basis, is_over=OVER_BUDGET in made.degraded)


def impersonal(customer: Customer) -> Customer:
    """The customer without what was bought, scored or ranked: where that may not choose, it is not kept either."""
    return replace(customer, owned={}, habits=Habits(), scores=Scores(), signs=(), cause=None, likings={})


def packed(basis: Basis) -> bytes:
    """For the ledger: JSON with sets in order, compressed."""
    return zlib.compress(msgspec.json.encode(basis, order="deterministic"), 1)


def unpacked(kept: bytes) -> Basis | None:
    """From the ledger; None where an older release kept none."""
    return msgspec.json.decode(zlib.decompress(kept), type=Basis) if kept else None
