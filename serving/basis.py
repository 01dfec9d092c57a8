"""What a decision rested on, kept beside it: enough to explain it and, with the shop and the rules of its versions, to make it again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import msgspec
from msgspec.structs import replace

from retain.tables import CHANNELS
from serving.decisions import receipts
from serving.decisions.decide import OVER_BUDGET, Decision, Source, decide
from serving.decisions.eligibility import EVERYTHING
from serving.decisions.facts import Ask, Customer, Habits, Scores, Shop, Withheld
from serving.decisions.policy import Policy
from serving.decisions.prices import Prices
from serving.schemas import DecisionAnswer, DecisionRequest, Freshness, Models
from serving.wire import decision_answer

LIMITS_UNKNOWN = "limits_unknown"
"""Why a contact is not proposed while other machines may know of some that this one does not."""


class Candidate(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One proposal that could have been made."""

    offer_id: str
    lens: str
    p: float
    """Probability of acceptance."""
    priority: float
    gain: float | None
    probability: float
    """Probability with which it is shown in any slot; 1 or 0 where nothing is left to chance."""


class Instead(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What would have been shown first to somebody of the control group."""

    offer_id: str
    channel: str
    p_shown: float
    """Probability with which it would have been."""


class Basis(msgspec.Struct, frozen=True):
    """Everything that was read for one decision and may be different tomorrow."""

    at: datetime
    """The moment that was asked about."""
    customer: Customer | None
    """What the rules knew, scores and lists included; None of somebody unknown."""
    features: bytes
    """What the models read: the customer's raw row as float64, its columns and words as the grounds name them; empty where nothing was read."""
    features_at: bytes
    """Event time of each view's features in microseconds since 1970 (int64), views by name; -1 where it had none."""
    source: Source
    degraded: tuple[str, ...]
    refused: str | None
    """Why nothing could be decided at that moment, or no contact be proposed."""
    freshness: Freshness
    models: Models
    is_over: bool = False
    """Whether the caller's time was up before scoring."""
    candidates: tuple[Candidate, ...] = ()
    """What was weighed in the end; empty until it is decided."""
    withheld: tuple[Withheld, ...] = ()
    """What was not proposed, also where the caller did not ask why."""
    prices: Prices | None = None
    """Of money and seats, as the last list solved for them."""
    instead: Instead | None = None
    """Of whoever was contacted with nothing as a control; None also where nothing would have been shown."""


def made(
    request: DecisionRequest, decision_id: str | None, basis: Basis, shop: Shop, policy: Policy, is_over: Callable[[], bool] = lambda: False
) -> Decision:
    """The decision that follows from what was read. Pure."""
    if basis.refused is not None:
        stage = "fatigue" if basis.refused == LIMITS_UNKNOWN else "clock"
        return Decision((), (Withheld(EVERYTHING, stage, basis.refused),), "none", basis.degraded, False)
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
        explain=request.explain,
        chance=decision_id if decision_id is not None else _trial(request, basis.at),
    )
    return decide(
        ask,
        basis.customer,
        shop,
        policy,
        source=basis.source,
        degraded=basis.degraded,
        is_over=lambda: basis.is_over or is_over(),
        customer_id=request.customer_id,
        prices=basis.prices,
    )


def decided(
    request: DecisionRequest, decision_id: str | None, basis: Basis, shop: Shop, policy: Policy, is_over: Callable[[], bool] = lambda: False
) -> tuple[DecisionAnswer, dict[str, datetime], Basis]:
    """The answer that follows from what was read, until when outcomes count for each offer, and what it rested on in the end. Pure."""
    decision = made(request, decision_id, basis, shop, policy, is_over)
    ends = receipts.windows(decision, shop, basis.at)
    answer = decision_answer(request, decision_id, decision, basis.at, ends, shop, policy, basis.freshness, basis.models)
    first = decision.instead[0] if decision.instead else None
    other = None if first is None else Instead(first.worth.passed.offer.offer_id, first.worth.channel, first.p_shown)
    is_over_now = OVER_BUDGET in decision.degraded
    return answer, ends, replace(basis, is_over=is_over_now, candidates=_weighed(decision), withheld=decision.withheld, instead=other)


def _trial(request: DecisionRequest, at: datetime) -> str | None:
    """What a trial draws chance from: the id that the decision would have, or customer and moment where no request is named.

    An answer that is no trial and has no id stands nowhere, so nothing of it is left to chance.
    """
    if not request.dry_run:
        return None
    return f"{request.customer_id}\n{at.isoformat()}" if request.request_id is None else receipts.decision_id(request.request_id)


def impersonal(customer: Customer) -> Customer:
    """The customer without what was bought, scored or ranked: where that may not choose, it is not kept either."""
    return replace(customer, owned={}, habits=Habits(), scores=Scores(), signs=(), cause=None, likings={}, effects={})


def packed(basis: Basis) -> bytes:
    """For the ledger."""
    return _encode(basis)


def unpacked(kept: bytes) -> Basis | None:
    """From the ledger; None where an older release kept none."""
    return _decode(kept) if kept else None


def _weighed(made: Decision) -> tuple[Candidate, ...]:
    return tuple(
        [
            Candidate(one.passed.offer.offer_id, one.passed.lens, one.p.value, one.priority, one.gain, chance)
            for one, chance in zip(made.candidates, made.chances, strict=True)
        ]
    )


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Basis).decode
