"""What came of one customer's decision and was told with another's name, without that name.

A caller may tell an outcome before its decision is known here, and name the wrong customer. When that customer is erased, whoever the decision
was about keeps what they said: a customer who left a channel has left it.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from datetime import datetime
from typing import Any, cast

import msgspec

from serving.decisions.receipts import fingerprint
from serving.entries import Outcome
from serving.ledger import Ledger
from serving.schemas import OutcomeRequest


def keep(ledger: Ledger, outcomes: Iterable[Outcome], buried: Container[str]) -> None:
    """Of outcomes that are about to be blanked, keep on disk what came of decisions of others than the erased, without the name. Repeatable."""
    for outcome in outcomes:
        decision = ledger.decision(outcome.decision_id)
        if decision is not None and decision.customer_id not in buried:
            ledger.stand_in(unnamed(outcome))
    ledger.journal.sync()


def unnamed(outcome: Outcome) -> Outcome:
    """An outcome as it would come in from the same caller now: the name of somebody erased is taken out before anything is kept."""
    at = datetime.fromisoformat(outcome.occurred_at)
    told: tuple[Any, ...] = outcome.offer_id, None, outcome.channel, outcome.amount, outcome.currency
    request = OutcomeRequest(outcome.outcome_id, outcome.decision_id, cast(Any, outcome.kind), at, *told)
    return msgspec.structs.replace(
        outcome, body_hash=fingerprint(msgspec.json.encode(request)), customer_id=None, is_pending=True, is_late=False, named=None
    )


__all__ = ["keep", "unnamed"]
