"""The one place that answers and writes down: what the HTTP routes, BentoML's methods and the commands call."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable

import msgspec

from retain.errors import RetainError
from retain.workspace import Workspace
from serving import schemas
from serving.answers import Answers
from serving.basis import packed, unpacked
from serving.decisions import receipts
from serving.fresh import Fresh
from serving.ledger import Entry, Ledger, Outcome, is_late, stamp

Counter = Callable[[str, str], None]
"""Counts one answer: what was asked, and how it was answered."""


def _uncounted(_asked: str, _answered: str) -> None:
    """Nobody counts."""


class ConflictError(RetainError):
    """The same key was used for something else before."""

    code = "conflict"


class NotFoundError(RetainError):
    """Nothing stands under that id."""

    code = "not_found"


class Desk:
    """Answers and ledger of one workspace."""

    def __init__(self, answers: Answers, ledger: Ledger, count: Counter = _uncounted) -> None:
        self.answers = answers
        self.ledger = ledger
        self.count = count

    @classmethod
    def open(cls, workspace: Workspace, count: Counter = _uncounted) -> Desk:
        """Open what a service needs; raises what is missing."""
        ledger = Ledger(workspace.ledger)
        try:
            return cls(Answers.open(workspace, Fresh(ledger.everything())), ledger, count)
        except BaseException:
            ledger.close()
            raise

    def close(self) -> None:
        """Write what waits and let go."""
        self.ledger.close()

    def unready(self) -> str | None:
        """Why requests should go elsewhere; None when all is well. The one readiness of every runner."""
        if self.ledger.failed is not None:
            return self.ledger.failed
        missing = [task for task in ("churn", "clv") if self.answers.champions.model_id(task) is None]
        return f"there is no model of {missing[0]}; run `retain train {missing[0]}` and `retain publish`" if missing else None

    async def decide(self, request: schemas.DecisionRequest) -> bytes:
        """The answer as bytes: the same bytes for the same request_id, for good.

        Raises:
            ConflictError: the request_id was used for another request.
            LedgerError: the decision cannot be written down.
        """
        start = time.monotonic()
        is_over = _over(start, request.budget_ms)
        if request.dry_run:
            answer, _, _ = self.answers.decision(request, None, is_over)
            self.count("decision", answer.source)
            return msgspec.json.encode(answer)
        canonical = msgspec.json.encode(request)
        mark = receipts.fingerprint(canonical)
        identity = receipts.decision_id(request.request_id or uuid.uuid4().hex)
        kept = self.ledger.decision(identity) if request.request_id is not None else None
        if kept is None:
            answer, windows, basis = self.answers.decision(request, identity, is_over)
            ends = msgspec.json.encode({offer: stamp(end) for offer, end in windows.items()}).decode()
            encoded = msgspec.json.encode(answer)
            entry = Entry(identity, mark, request.customer_id, stamp(answer.as_of), canonical, encoded, ends, packed(basis))
            kept = await self.ledger.record(entry)
            self.answers.fresh.join(identity, kept.customer_id)
            self.count("decision", answer.source)
        else:
            self.count("decision", "repeated")
        if kept.body_hash != mark:
            await self.ledger.conflict("decision", identity, canonical, stamp(self.answers.clock()))
            raise ConflictError("this request_id was used for a different request; use a new one", field="request_id")
        return kept.answer

    async def outcome(self, request: schemas.OutcomeRequest) -> schemas.OutcomeAnswer:
        """Keep an outcome on disk before answering.

        Raises:
            ConflictError: the outcome_id was used for another outcome; the first stands.
            LedgerError: it cannot be written down.
        """
        body = msgspec.json.encode(request)
        occurred_at = stamp(request.occurred_at)
        decision = self.ledger.decision(request.decision_id)
        outcome = Outcome(
            outcome_id=request.outcome_id,
            body_hash=receipts.fingerprint(body),
            decision_id=request.decision_id,
            customer_id=request.customer_id or (None if decision is None else decision.customer_id),
            kind=request.type,
            occurred_at=occurred_at,
            offer_id=request.offer_id,
            channel=request.channel,
            amount=request.amount,
            currency=request.currency,
            received_at=stamp(self.answers.clock()),
            is_pending=decision is None,
            is_late=decision is not None and is_late(decision.windows, request.offer_id, occurred_at),
        )
        kept = await self.ledger.add(outcome, body)
        if kept.is_conflict:
            raise ConflictError("this outcome_id was used for a different outcome; the first one stands", field="outcome_id")
        if not kept.is_duplicate:
            self.answers.fresh.add(outcome)
        self.count("outcome", "duplicate" if kept.is_duplicate else request.type)
        return schemas.OutcomeAnswer(request.outcome_id, kept.is_duplicate, kept.entry.is_pending, kept.entry.is_late)

    def trace(self, decision_id: str) -> schemas.DecisionTrace:
        """A logged decision with what it rested on and what came of it.

        Raises:
            NotFoundError: none has this id.
        """
        entry = self.ledger.decision(decision_id)
        if entry is None:
            raise NotFoundError("no decision has this id", field="decision_id")
        answer = msgspec.json.decode(entry.answer, type=schemas.DecisionAnswer)
        seen = [
            schemas.OutcomeSeen(each.outcome_id, each.kind, each.occurred_at, each.offer_id, each.amount, each.is_late)
            for each in self.ledger.outcomes(decision_id)
        ]
        basis = unpacked(entry.basis)
        return schemas.DecisionTrace(
            decision_id=decision_id,
            recorded_at=answer.as_of,
            request=msgspec.json.decode(entry.request, type=schemas.DecisionRequest),
            answer=answer,
            outcomes=seen,
            basis=None if basis is None else msgspec.to_builtins(basis, order="deterministic"),
        )


def _over(start: float, budget_ms: int | None) -> Callable[[], bool]:
    return lambda: budget_ms is not None and (time.monotonic() - start) * 1000 > budget_ms
