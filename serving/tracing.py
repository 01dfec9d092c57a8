"""A logged decision for whoever looks into it: what was asked, what was answered, what it rested on, and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from retain.errors import NotReadyError, RetainError
from serving import grounds, schemas
from serving.basis import unpacked
from serving.entries import Entry
from serving.ledger import Ledger


class NotFoundError(RetainError):
    """Nothing stands under that id."""

    exit_code = NotReadyError.exit_code
    code = "not_found"


def trace(ledger: Ledger, decision_id: str, opened: Callable[[str], grounds.Opened] | None = None) -> schemas.DecisionTrace:
    """A decision of a ledger with what it rested on and what came of it.

    Raises:
        NotFoundError: none has this id.
    """
    entry = ledger.decision(decision_id)
    if entry is None:
        raise NotFoundError("no decision has this id", field="decision_id")
    answer = msgspec.json.decode(entry.answer, type=schemas.DecisionAnswer)
    seen = [
        schemas.OutcomeSeen(each.outcome_id, each.kind, each.occurred_at, each.offer_id, each.amount, each.is_late)
        for each in ledger.outcomes(decision_id)
    ]
    return schemas.DecisionTrace(
        decision_id=decision_id,
        recorded_at=answer.as_of,
        request=msgspec.json.decode(entry.request, type=schemas.DecisionRequest),
        answer=answer,
        outcomes=seen,
        basis=_rested(entry, grounds.opener(ledger.folder) if opened is None else opened),
    )


def _rested(entry: Entry, opened: Callable[[str], grounds.Opened]) -> dict[str, Any] | None:
    """What a decision rested on, in words and figures."""
    basis = unpacked(entry.basis)
    if basis is None:
        return None
    shared = opened(entry.grounds)
    plain: dict[str, Any] = msgspec.to_builtins(basis, order="deterministic")
    plain["candidates"] = [msgspec.structs.asdict(each) for each in basis.candidates]
    plain["instead"] = None if basis.instead is None else msgspec.structs.asdict(basis.instead)
    plain["features"], plain["features_at"] = shared.features(basis.features), shared.times(basis.features_at)
    named = ("release", "policy_version", "rows", "data_digest", "views", "models")
    plain["grounds"] = {"id": entry.grounds, **{name: getattr(shared.grounds, name) for name in named}}
    return plain
