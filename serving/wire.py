"""A decision as it is answered: plain values of the schema, nothing decided here."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from serving import schemas
from serving.decisions.decide import Decision, Offered
from serving.decisions.facts import Shop
from serving.decisions.policy import Policy


def decision_answer(
    request: schemas.DecisionRequest,
    decision_id: str | None,
    decided: Decision,
    at: datetime,
    ends: Mapping[str, datetime],
    shop: Shop,
    policy: Policy,
    freshness: schemas.Freshness,
    models: schemas.Models,
) -> schemas.DecisionAnswer:
    """The answer to a request; ``ends`` says until when outcomes count, by offer."""
    # The first by place: with more than fifteen names Python would make a dictionary of them first.
    return schemas.DecisionAnswer(
        decision_id,
        request.request_id,
        request.customer_id,
        at,
        request.goal,
        policy.version,
        decided.arm,
        decided.exploration,
        decided.source,
        list(decided.degraded),
        is_personal=decided.is_personal,
        offers=[_offer(rank, each, ends) for rank, each in enumerate(decided.offers, start=1)],
        withheld=list(decided.withheld) if request.explain else [],
        currency=shop.currency,
        assumed=[*shop.assumed, *_assumed_effect(decided, policy)],
        synthetic=shop.synthetic,
        freshness=freshness,
        models=models,
        probability=decided.probability,
        stage=decided.stage,
    )


def _offer(rank: int, offered: Offered, ends: Mapping[str, datetime]) -> schemas.OfferOut:
    worth, offer = offered.worth, offered.worth.passed.offer
    channels = worth.passed.channels
    # The first by place, as above.
    return schemas.OfferOut(
        rank,
        offer.offer_id,
        offer.name,
        offer.kind,
        worth.passed.lens,
        # The one that its price is of stands first.
        [*channels] if channels[0] == worth.channel else [worth.channel, *(each for each in channels if each != worth.channel)],
        offered.p_shown,
        worth.p.triple,
        worth.gain,
        worth.basis,
        incremental_value=None if worth.effect is None else worth.effect.gain.triple,
        evidence=worth.evidence,
        cost=offer.cost,
        expires_at=offer.valid_to,
        outcome_until=ends[offer.offer_id],
        text=offer.text,
        reasons=list(offered.reasons),
        priority=worth.priority,
        strategy=offered.strategy,
        is_individual_price=offer.is_individual_price,
    )


def _assumed_effect(decided: Decision, policy: Policy) -> list[str]:
    """What the money of retention proposals takes for granted."""
    for offered in decided.offers:
        if offered.worth.passed.lens == "retention" and offered.worth.effect is None:
            return [
                f"saved_share = {policy.saved_share}: an accepted retention proposal keeps this share of the expected loss; no effect was measured"
            ]
    return []
