"""What stays of an outcome when whoever is erased is taken out of it.

A caller may tell an outcome before its decision is known here, and name the wrong customer. Then it is about two: the customer of the decision,
and, where it says that somebody left or complained, whoever was named as well. One of them can be erased; what the other said stays.
"""

from __future__ import annotations

import re
from collections.abc import Container
from datetime import datetime
from typing import Any, cast

import msgspec

from serving.decisions.receipts import OURS, fingerprint
from serving.entries import CLOSING, Entry, Outcome
from serving.schemas import OutcomeRequest


def unnamed(outcome: Outcome) -> Outcome:
    """An outcome as it would come in from the same caller now: the name of somebody erased is taken out before anything is kept."""
    at = datetime.fromisoformat(outcome.occurred_at)
    told: tuple[Any, ...] = outcome.offer_id, None, outcome.channel, outcome.amount, outcome.currency
    request = OutcomeRequest(outcome.outcome_id, outcome.decision_id, cast(Any, outcome.kind), at, *told)
    return msgspec.structs.replace(
        outcome, body_hash=fingerprint(msgspec.json.encode(request)), customer_id=None, is_pending=True, is_late=False, named=None, filler=None
    )


def left(outcome: Outcome, decision: Entry | None, buried: Container[str]) -> Outcome | None:
    """What stays: the outcome as it is, the same without a name, or nothing.

    Args:
        outcome: as it is kept or was told, not joined to its decision.
        decision: what it came of; None where that is not known.
        buried: the erased.
    """
    named = outcome.customer_id
    if decision is not None and decision.customer_id in buried:
        # It was theirs. Who was named in their place has left the channel, or complained, as well.
        is_anothers = named is not None and named not in buried and outcome.kind in CLOSING
        return outcome if is_anothers and not _tells(outcome, decision.customer_id) else None
    if named is None or named not in buried:
        return outcome
    # Of a decision that is not known yet, only that somebody left or complained: nobody may be taken to be back because of an erasure. What was
    # joined to a decision elsewhere names that decision's own customer.
    stays = decision is not None or (outcome.kind in CLOSING and outcome.is_pending)
    return unnamed(outcome) if stays and not _tells(outcome, named) else None


def filled(outcome: Outcome, size: int) -> bytes | None:
    """An outcome encoded in exactly so many bytes; None where it takes more."""
    encoded = _encode(outcome)
    missing = size - len(encoded)
    # Bytes have a head of two or three of their own, where nothing takes one.
    tries = [_encode(msgspec.structs.replace(outcome, filler=bytes(each))) for each in (missing - 1, missing - 2) if each >= 0]
    return next((each for each in (encoded, *tries) if len(each) == size), None)


def _tells(outcome: Outcome, customer_id: str) -> bool:
    """Whether an outcome holds the id of a customer, as a word of what its caller made up: callers make ids of ids."""
    word = re.compile(rf"(?<![^\W_]){re.escape(customer_id)}(?![^\W_])")
    texts = outcome.outcome_id, outcome.offer_id or "", "" if OURS.fullmatch(outcome.decision_id) else outcome.decision_id
    return any(word.search(text) for text in texts)


_encode = msgspec.msgpack.Encoder().encode

__all__ = ["filled", "left", "unnamed"]
