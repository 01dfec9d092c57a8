"""The one place that answers and writes down: what the HTTP routes, BentoML's methods and the commands call."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime
from typing import Any

import msgspec

from retain import erasure
from retain.erasure import Erased
from retain.errors import NotReadyError, RetainError
from retain.settings import Settings
from retain.workspace import Workspace
from serving import grounds, pull_log, schemas
from serving.answers import Answers
from serving.basis import packed, unpacked
from serving.decisions import receipts
from serving.decisions.facts import Language
from serving.fresh import since
from serving.holds import hold, holds, take_up
from serving.ledger import REPEAT, Entry, Ledger, LedgerError, Outcome, stamp

_LOG = logging.getLogger("retain.serving")
Counter = Callable[[str, str], None]
"""Counts one answer: what was asked, and how it was answered."""


def _uncounted(_asked: str, _answered: str) -> None:
    """Nobody counts."""


class ConflictError(RetainError):
    """The same key was used for something else before."""

    code = "conflict"


class NotFoundError(RetainError):
    """Nothing stands under that id."""

    exit_code = NotReadyError.exit_code
    code = "not_found"


class Desk:
    """Answers and ledger of one workspace."""

    def __init__(self, answers: Answers, ledger: Ledger, count: Counter = _uncounted, erased: Erased | None = None) -> None:
        self._answers = answers
        self._erased = erased
        self.ledger = ledger
        self.count = count
        self.grounds = grounds.keep(ledger.folder, answers.rows, answers.policy)
        self._grounds = grounds.opener(ledger.folder)

    @classmethod
    def open(cls, workspace: Workspace, count: Counter = _uncounted) -> Desk:
        """Open what a service needs; raises what is missing."""
        ledger = Ledger(workspace.ledger, sync_s=Settings.read().sync_ms / 1000)
        try:
            answers = Answers.open(workspace)
            for torn in ledger.journal.torn:
                _LOG.warning("the ledger had a torn tail of %d bytes, cut and laid aside; whoever asks again with its request_id is told", torn.bytes)
                count("ledger", "torn_tail_cut")
            fresh = since(ledger, answers.rows.card.fed)
            take_up(ledger, fresh, answers.policy, answers.clock())
            return cls(replace(answers, fresh=fresh), ledger, count, Erased(erasure.place(workspace)))
        except BaseException:
            ledger.close()
            raise

    @property
    def answers(self) -> Answers:
        """What is answered from; who was erased since it was opened is nobody, within a second."""
        buried = None if self._erased is None else self._erased.news()
        if buried is not None:
            self._answers = replace(self._answers, rows=self._answers.rows.burying(buried))
        return self._answers

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
        """The answer as bytes: the same bytes for the same request_id for a day.

        Raises:
            ConflictError: the request_id was used for another request.
            LedgerError: the decision cannot be written down.
        """
        return self.answered(request)[0]

    def answered(self, request: schemas.DecisionRequest) -> tuple[bytes, bool]:
        """The answer, and whether it was given before: a retry that is answered anew was not on record, so nobody was answered by it."""
        start = time.monotonic()
        is_over = _over(start, request.budget_ms)
        if request.dry_run:
            self._hear()
            answer, _, _ = self.answers.decision(request, None, is_over)
            self.count("decision", answer.source)
            return msgspec.json.encode(answer), False
        now = self.answers.clock()
        if self._is_erased(request.customer_id):
            # An erased customer leaves no new trace.
            return self._unlogged(request, is_over), False
        canonical = msgspec.json.encode(request)
        mark = receipts.fingerprint(canonical)
        key = receipts.decision_id(request.request_id or os.urandom(16).hex())
        before = self.ledger.latest(key) if request.request_id is not None else None
        identity = key
        if before is not None and before[1] <= now - REPEAT:
            identity, before = receipts.decision_id(f"{request.request_id}\n{stamp(now)}"), None
        if before is not None:
            return self._standing(before[0], mark, canonical, now), True
        try:
            # A contact that we start is weighed and held while nobody else decides: callers at once cannot exceed a limit.
            is_held = holds(request, self.answers.policy)
            with self.ledger.alone() if is_held else nullcontext():
                self._hear()
                entry = self._entry(request, identity, key, mark, canonical, is_over)
                kept = self.ledger.record(entry, now, is_new=request.request_id is None)
                if is_held and kept is entry:
                    self._hold(entry)
        except LedgerError:
            if self.answers.policy.when_unlogged == "refuse":
                raise
            return self._unlogged(request, is_over), False
        return self._standing(kept, mark, canonical, now, is_repeated=kept is not entry), kept is not entry

    async def outcome(self, request: schemas.OutcomeRequest) -> schemas.OutcomeAnswer:
        """Keep an outcome on disk before answering.

        Raises:
            ConflictError: the outcome_id was used for another outcome; the first stands.
            LedgerError: it cannot be written down.
        """
        received_at = stamp(self.answers.clock())
        if self._is_erased(request.customer_id):
            # What came of something is kept, of whom is not: an erased customer leaves no new trace.
            request = msgspec.structs.replace(request, customer_id=None)
        body = msgspec.json.encode(request)
        outcome = Outcome(
            outcome_id=request.outcome_id,
            body_hash=receipts.fingerprint(body),
            decision_id=request.decision_id,
            customer_id=request.customer_id,
            kind=request.type,
            occurred_at=stamp(request.occurred_at),
            offer_id=request.offer_id,
            channel=request.channel,
            amount=request.amount,
            currency=request.currency,
            received_at=received_at,
            is_pending=True,
        )
        kept = self.ledger.add(outcome, body)
        # Also what was there before may not be on disk yet.
        await self.ledger.synced()
        self._hear()
        if kept.is_conflict:
            raise ConflictError("this outcome_id was used for a different outcome; the first one stands", field="outcome_id")
        if not kept.is_duplicate:
            self.answers.fresh.add(kept.entry)
        self.count("outcome", "duplicate" if kept.is_duplicate else request.type)
        return schemas.OutcomeAnswer(request.outcome_id, kept.is_duplicate, kept.entry.is_pending, kept.entry.is_late)

    def churn_list(self, who: str, top: int, channel: str | None, language: Language) -> schemas.ChurnList:
        """A list, once it is written down who pulled it.

        Raises:
            NotReadyError: that cannot be written down.
            IntegrityError: the log of pulls was changed.
        """
        result = self.answers.churn_list(top, channel, language)
        asked = {"top": top, "channel": channel, "language": language}
        pull_log.note(self.ledger.folder.parent, who, "churn", asked, pull_log.of_churn(result), msgspec.structs.asdict(result.models))
        self.count("list", "churn")
        return result

    def trace(self, decision_id: str) -> schemas.DecisionTrace:
        """A logged decision with what it rested on and what came of it.

        Raises:
            NotFoundError: none has this id.
        """
        return trace(self.ledger, decision_id, self._grounds)

    def _entry(self, request: schemas.DecisionRequest, identity: str, key: str, mark: str, canonical: bytes, is_over: Callable[[], bool]) -> Entry:
        """Decide, and what is kept of it."""
        answer, windows, basis = self.answers.decision(request, identity, is_over)
        ends = msgspec.json.encode({offer: stamp(end) for offer, end in windows.items()}).decode()
        self.answers.fresh.join(identity, request.customer_id)
        self.count("decision", answer.source)
        at, encoded = stamp(answer.as_of), msgspec.json.encode(answer)
        return Entry(identity, key, mark, request.customer_id, at, canonical, encoded, ends, packed(basis), self.grounds)

    def _standing(self, kept: Entry, mark: str, canonical: bytes, now: datetime, *, is_repeated: bool = True) -> bytes:
        """The answer that stands for a request, if it is the same request."""
        if is_repeated:
            self.count("decision", "repeated")
        if kept.body_hash != mark:
            self.ledger.conflict("decision", kept.decision_id, canonical, stamp(now))
            raise ConflictError("this request_id was used for a different request; use a new one", field="request_id")
        return kept.answer

    def _hold(self, entry: Entry) -> None:
        held = hold(entry, self.answers.policy)
        if held is not None:
            self.answers.fresh.hold(entry.customer_id, held)

    def _is_erased(self, customer_id: str | None) -> bool:
        return self._erased is not None and customer_id is not None and customer_id in self._erased.buried

    def _unlogged(self, request: schemas.DecisionRequest, is_over: Callable[[], bool]) -> bytes:
        """An answer that stands nowhere: without an id nothing is left to chance."""
        answer, _, _ = self.answers.decision(request, None, is_over)
        self.count("decision", "not_logged")
        return msgspec.json.encode(msgspec.structs.replace(answer, degraded=[*answer.degraded, "not_logged"]))

    def _hear(self) -> None:
        """Take in what other processes wrote."""
        for each in self.ledger.heard():
            if isinstance(each, Outcome):
                self.answers.fresh.add(each)
            else:
                self._hold(each)
                self.answers.fresh.join(each.decision_id, each.customer_id)


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
    plain["candidates"] = [each._asdict() for each in basis.candidates]
    plain["features"], plain["features_at"] = shared.features(basis.features), shared.times(basis.features_at)
    named = ("release", "policy_version", "rows", "data_digest", "views", "models")
    plain["grounds"] = {"id": entry.grounds, **{name: getattr(shared.grounds, name) for name in named}}
    return plain


def _over(start: float, budget_ms: int | None) -> Callable[[], bool]:
    return lambda: budget_ms is not None and (time.monotonic() - start) * 1000 > budget_ms
