"""What a decision rested on, kept beside it: enough to explain it and, with the shop and the rules of its versions, to make it again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

import msgspec

from retain.tables import CHANNELS
from serving.decisions import receipts
from serving.decisions.decide import OVER_BUDGET, Decision, Source, decide
from serving.decisions.eligibility import EVERYTHING
from serving.decisions.facts import Ask, Customer, Habits, Scores, Shop, Withheld
from serving.decisions.policy import Policy
from serving.schemas import DecisionAnswer, DecisionRequest, Freshness, Models
from serving.wire import decision_answer


class Candidate(NamedTuple):
    """One proposal that could have been made."""

    offer_id: str
    lens: str
    p: float
    """Probability of acceptance."""
    priority: float
    gain: float | None
    probability: float
    """Probability with which it was shown; 1 or 0 where nothing was left to chance."""


@dataclass(frozen=True)
class Basis:
    """Everything that was read for one decision and may be different tomorrow."""

    at: datetime
    """The moment that was asked about."""
    customer: Customer | None
    """What the rules knew, scores and lists included; None of somebody unknown."""
    features: bytes
    """What the models read: the customer's raw row as float64, its columns and words as the grounds name them; empty where nothing was read."""
    features_at: bytes
    """Event time of each view's features in microseconds since 1970 (int64), views as the grounds name them; -1 where it had none."""
    source: Source
    degraded: tuple[str, ...]
    refused: str | None
    """Why nothing could be decided at that moment."""
    freshness: Freshness
    models: Models
    is_over: bool = False
    """Whether the caller's time was up before scoring."""
    candidates: tuple[Candidate, ...] = ()
    """What was weighed in the end; empty until it is decided."""
    withheld: tuple[Withheld, ...] = ()
    """What was not proposed, also where the caller did not ask why."""


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
    return answer, ends, replace(basis, is_over=OVER_BUDGET in made.degraded, candidates=_weighed(made, answer), withheld=made.withheld)


def impersonal(customer: Customer) -> Customer:
    """The customer without what was bought, scored or ranked: where that may not choose, it is not kept either."""
    return replace(customer, owned={}, habits=Habits(), scores=Scores(), signs=(), cause=None, likings={})


def packed(basis: Basis) -> bytes:
    """For the ledger."""
    return _encode(basis)


def unpacked(kept: bytes) -> Basis | None:
    """From the ledger; None where an older release kept none."""
    return _decode(kept) if kept else None


def _weighed(made: Decision, answer: DecisionAnswer) -> tuple[Candidate, ...]:
    shown = {offer.offer_id: (offer.goal, offer.p_shown) for offer in answer.offers}
    found = []
    for one in made.candidates:
        offer_id, lens = one.passed.offer.offer_id, one.passed.lens
        goal, p_shown = shown.get(offer_id, (None, 0.0))
        found.append(Candidate(offer_id, lens, one.p.value, one.priority, one.gain, p_shown if goal == lens else 0.0))
    return tuple(found)


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Basis).decode
