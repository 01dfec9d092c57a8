"""The one place that answers and writes down: what the HTTP routes, BentoML's methods and the commands call."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from retain import erasure
from retain.erasure import Erased
from retain.errors import IntegrityError, RetainError
from retain.settings import Settings
from retain.workspace import Workspace, computer_time
from serving import grounds, incoming, pull_log, schemas
from serving.answers import Answers
from serving.basis import LIMITS_UNKNOWN, packed
from serving.champions import SCORED
from serving.decisions import receipts
from serving.decisions.facts import Language
from serving.decisions.policy import Policy
from serving.entries import Entry, Kept, Outcome
from serving.fresh import Fresh, since
from serving.holds import hold, holds, take_up
from serving.incoming import AHEAD, Fact, is_ahead
from serving.ledger import REPEAT, Ledger, LedgerError, stamp
from serving.noting import Noting
from serving.opening import Opener
from serving.pacing import Pace
from serving.strict import ContentProblem
from serving.together import Together
from serving.tracing import trace
from serving.unnamed import left

_LOG = logging.getLogger("retain.serving")
_encode = msgspec.json.Encoder().encode
FACTS_AT_ONCE = 100
"""Rows that are written down before others are answered."""
LISTS = 4
"""Lists that are made or waited for at a time."""
Counter = Callable[[str, str], None]
"""Counts one answer: what was asked, and how it was answered."""


def _unheard() -> None:
    """Nobody waits."""


def _uncounted(_asked: str, _answered: str) -> None:
    """Nobody counts."""


class ConflictError(RetainError):
    """The same key was used for something else before."""

    code = "conflict"


class BusyError(RetainError):
    """More is asked for than can be made soon."""

    code = "too_busy"


class TurnError(RetainError):
    """Other machines may be deciding about the same customer, or know what this one does not."""

    code = "turn"


class Named(NamedTuple):
    """What tells a request from others, and what it asked."""

    identity: str
    """Id of the decision."""
    key: str
    """Of its request_id; the identity again, where it has none."""
    mark: str
    """Hash of what was asked."""
    canonical: bytes


class Current(NamedTuple):
    """What one answer is made from: one version of everything. It is replaced as a whole."""

    answers: Answers
    grounds: str
    """Hash of what receipts of these answers share."""


class Desk:
    """Answers and ledger of one workspace. One thread answers; another may bring newer answers."""

    def __init__(self, answers: Answers, ledger: Ledger, count: Counter = _uncounted, erased: Erased | None = None) -> None:
        self._erased = erased
        self.ledger = ledger
        self.count = count
        self._current = Current(answers, grounds.keep(ledger.folder, answers.rows, answers.policy))
        self._turn = threading.RLock()
        """Held while something is decided or written down together with what follows from it for the next answer: newer answers wait for it."""
        self._grounds = grounds.opener(ledger.folder)
        self._together = Together(self._noted, ledger)
        self._lists, self._pulling = ThreadPoolExecutor(1, "lists"), 0
        self._noting = Noting(ledger.folder.parent)
        self.pace = Pace()
        """What long answers share."""
        self.turn: Callable[[str], AbstractContextManager[Callable[[], bool]]] | None = None
        """Where there are several machines: no other decides about a contact with a customer within, as what it gives says; or TurnError."""
        self.came_in: Callable[[], None] = _unheard
        """Called when facts came in, once they are on disk."""

    @classmethod
    def open(cls, workspace: Workspace, count: Counter = _uncounted, opener: Opener | None = None) -> Desk:
        """Open what a service needs; raises what is missing. With an opener the answers can be brought up to date later (``serving.swap``)."""
        ledger = Ledger(workspace.ledger, sync_s=Settings.read().sync_ms / 1000)
        try:
            answers = Answers.open(workspace) if opener is None else opener.first()
            for torn in ledger.journal.torn:
                _LOG.warning("the ledger had a torn tail of %d bytes, cut and laid aside; whoever asks again with its request_id is told", torn.bytes)
                count("ledger", "torn_tail_cut")
            fresh = since(ledger, answers.rows.card.fed)
            take_up(ledger, fresh, answers.policy, answers.clock())
            answers.heed(ledger)
            return cls(replace(answers, fresh=fresh), ledger, count, Erased(erasure.place(workspace)))
        except BaseException:
            ledger.close()
            raise

    @property
    def answers(self) -> Answers:
        """What is answered from; who was erased since it was opened is nobody, within a second.

        Raises:
            IntegrityError: who was erased cannot be read, so nobody is answered until it can.
        """
        buried = None if self._erased is None else self._erased.news()
        if buried is not None:
            with self._turn:
                answers, mark = self._current
                self._current = Current(answers.changed(rows=answers.rows.burying(buried)), mark)
        return self._current.answers

    def without_erased(self, answers: Answers) -> Answers:
        """The same answers, in which nobody is known who was erased since they were taken: what is made for longer than a second asks again."""
        newest = self.answers.rows.tombstones
        return answers if answers.rows.tombstones is newest else answers.changed(rows=answers.rows.burying(newest))

    @property
    def current(self) -> Answers:
        """The same for who looks after the service and answers nobody: who was erased is not looked up."""
        return self._current.answers

    @property
    def buried(self) -> int:
        """How many were erased, as far as this process knows."""
        return 0 if self._erased is None else len(self._erased.buried.hashes)

    def take_up(self, newer: Answers) -> None:
        """Answer from these from the next request on; what came in since their rows were made goes with them.

        Raises:
            OSError: what their receipts share cannot be kept.
        """
        mark = grounds.keep(self.ledger.folder, newer.rows, newer.policy)
        fresh, upto = self._current.answers.fresh, None
        if newer.rows.card.fed != self._current.answers.rows.card.fed:
            upto = self.ledger.journal.end
            fresh = since(self.ledger, newer.rows.card.fed, upto)
            take_up(self.ledger, fresh, newer.policy, newer.clock())
        newer.heed(self.ledger)
        with self._turn:
            self._hear()
            if upto is not None:
                for each in self.ledger.written(upto):
                    _heed(each, fresh, newer.policy)
            before = self._current.answers
            rows = newer.rows if self._erased is None else newer.rows.burying(self._erased.buried)
            # Rows that were made again are of these rows; by other champions they are made again once more.
            overlay = before.overlay if newer.rows.array("ids") is before.rows.array("ids") else newer.overlay
            fresh.again()
            self._current = Current(newer.changed(fresh=fresh, rows=rows, overlay=overlay, apart=before.apart, troubles=before.troubles), mark)

    def refuse(self, codes: tuple[str, ...]) -> None:
        """Answer on as before, and say what was named since and did not open; nothing where all is well again."""
        with self._turn:
            answers, mark = self._current
            if answers.refused != codes:
                self._current = Current(answers.changed(refused=codes), mark)

    def close(self) -> None:
        """Write what waits and let go."""
        self._lists.shutdown(cancel_futures=True)
        self._noting.close()
        self.ledger.close()

    def unready(self) -> str | None:
        """Why requests should go elsewhere; None when all is well. The one readiness of every runner."""
        if self.ledger.failed is not None:
            return self.ledger.failed
        try:
            missing = [task for task in SCORED if self.answers.champions.model_id(task) is None]
        except IntegrityError as error:
            return error.message
        return f"there is no model of {missing[0]}; run `retain train {missing[0]}` and `retain publish`" if missing else None

    async def decide(self, request: schemas.DecisionRequest) -> bytes:
        """The answer as bytes: the same bytes for the same request_id for a day.

        Raises:
            ConflictError: the request_id was used for another request.
            LedgerError: the decision cannot be written down.
        """
        return self.answered(request)[0]

    def answered(self, request: schemas.DecisionRequest, since: float | None = None, is_over: Callable[[], bool] | None = None) -> tuple[bytes, bool]:
        """The answer, and whether it was given before: a retry that is answered anew was not on record, so nobody was answered by it.

        Args:
            request: what is asked.
            since: when it was whole, on the clock of ``time.monotonic``: the caller's time runs from there; now where nobody knows.
            is_over: whether the time of those that it is asked with is up.
        """
        ends = _over(since, request.budget_ms)
        with self._turn:
            return self._answered(request, ends if is_over is None else lambda: is_over() or ends())

    def _answered(self, request: schemas.DecisionRequest, is_over: Callable[[], bool]) -> tuple[bytes, bool]:
        if request.dry_run:
            self._hear()
            answer, _, _ = self.answers.decision(request, None, is_over)
            self.count("decision", answer.source)
            return _encode(answer), False
        now = self.answers.clock()
        if self._is_erased(request.customer_id):
            # An erased customer leaves no new trace.
            return self._unlogged(request, is_over), False
        canonical = _encode(request)
        mark = receipts.fingerprint(canonical)
        key = receipts.one_id(os.urandom(12)) if request.request_id is None else receipts.decision_id(request.request_id)
        before = self.ledger.latest(key) if request.request_id is not None else None
        identity = key
        if before is not None and before[1] <= now - REPEAT:
            identity, before = receipts.decision_id(f"{request.request_id}\n{stamp(now)}"), None
        if before is not None:
            return self._standing(before[0], mark, canonical, now), True
        named = Named(identity, key, mark, canonical)
        try:
            # A contact that we start is weighed and held while nobody else decides: callers at once cannot exceed a limit.
            if holds(request, self.answers.policy):
                turn = nullcontext(None) if self.turn is None else self._turn_with(request.customer_id, self.turn)
                with turn as is_ours, self.ledger.alone():
                    entry, kept = self._written(request, named, now, is_over, is_ours)
                    if kept is entry:
                        self._hold(entry)
            else:
                entry, kept = self._written(request, named, now, is_over, None)
        except LedgerError:
            if self.answers.policy.when_unlogged == "refuse":
                raise
            return self._unlogged(request, is_over), False
        return self._standing(kept, mark, canonical, now, is_repeated=kept is not entry), kept is not entry

    async def outcome(self, request: schemas.OutcomeRequest) -> schemas.OutcomeAnswer:
        """Keep an outcome on disk before answering.

        Raises:
            ContentProblem: it lies in the future, or names another customer than its decision's; nothing is kept.
            ConflictError: the outcome_id was used for another outcome; the first stands.
            LedgerError: it cannot be written down.
        """
        now = self.answers.clock()
        if is_ahead(request.occurred_at, now):
            raise ContentProblem(AHEAD, field="occurred_at")
        if self._is_erased(request.customer_id):
            # What came of something is kept, of whom is not: an erased customer leaves no new trace.
            request = msgspec.structs.replace(request, customer_id=None)
        body = _encode(request)
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
            received_at=stamp(now),
            is_pending=True,
        )
        kept = await self._together.keep(outcome, body)
        if kept.is_of_another:
            raise ContentProblem("the decision was about another customer; name that one, or leave customer_id out", field="customer_id")
        if kept.is_conflict:
            raise ConflictError("this outcome_id was used for a different outcome; the first one stands", field="outcome_id")
        self.count("outcome", "duplicate" if kept.is_duplicate else request.type)
        return schemas.OutcomeAnswer(request.outcome_id, kept.is_duplicate, kept.entry.is_pending, kept.entry.is_late)

    def _noted(self, outcomes: Sequence[tuple[Outcome, bytes]]) -> list[Kept]:
        """Outcomes written down one after the other, while nobody else decides or records."""
        found = []
        with self._turn, self.ledger.alone():
            for outcome, body in outcomes:
                kept = self.ledger.add(outcome, body, is_exact=True)
                found.append(kept)
                if not (kept.is_duplicate or kept.is_of_another):
                    # What limits and consent must know holds at once, also if the disk refuses: that errs on the side of the customer.
                    self._current.answers.fresh.add(kept.entry)
            self._hear()
        return found

    async def events(self, request: schemas.EventsRequest) -> schemas.EventsAnswer:
        """Keep facts on disk before answering; the next decision about their customers knows them.

        Raises:
            ContentProblem: a row says what cannot be; nothing is kept.
            ConflictError: a row contradicts one on record, which stands; all others are kept.
            LedgerError: they cannot be written down.
        """
        facts = list(incoming.facts(request, self.answers.clock(), self.answers.rows.shop.currency))
        kept = duplicates = erased = 0
        conflict: ConflictError | None = None
        for start in range(0, len(facts), FACTS_AT_ONCE):
            with self._turn, self.ledger.alone():
                for number, fact in enumerate(facts[start : start + FACTS_AT_ONCE], start):
                    if self._is_erased(fact.customer_id):
                        erased += 1
                        continue
                    is_new = self.ledger.take(fact)
                    if is_new:
                        kept += 1
                        self._current.answers.fresh.happened(fact)
                    elif is_new is None and conflict is None:
                        conflict = _contradicted(fact, number, request)
                    duplicates += is_new is False
                self._hear()
            # Others are answered in between.
            await asyncio.sleep(0)
        # Also what was there before may not be on disk yet.
        await self.ledger.synced()
        self.came_in()
        for what, count in (("kept", kept), ("duplicate", duplicates), ("erased", erased)):
            for _ in range(count):
                self.count("event", what)
        if conflict is not None:
            raise conflict
        return schemas.EventsAnswer(kept, duplicates, erased)

    def bring(self, each: Entry | Outcome | Fact) -> bool:
        """Write down what another machine recorded, not yet synced, as if a caller had brought it; False where it is on record or was erased."""
        if not isinstance(each, Outcome) and self._is_erased(each.customer_id):
            return False
        with self._turn, self.ledger.alone():
            self._hear()
            if self._erased is not None and isinstance(each, Outcome):
                stays = left(each, self.ledger.decision(each.decision_id), self._erased.buried)
                if stays is None:
                    return False
                each = stays
            if not self.ledger.bring(each, self._current.answers.clock()):
                return False
            answers = self._current.answers
            # An outcome is taken in as this ledger knows it: its decision may be on record here.
            _heed(self.ledger.known(each), answers.fresh, answers.policy)
        if isinstance(each, Fact):
            self.came_in()
        return True

    def come_apart(self, *, is_apart: bool) -> None:
        """Say with each answer that other machines may know what this one does not, or that they are heard again."""
        with self._turn:
            answers, mark = self._current
            self._current = Current(answers.changed(apart=("machines_apart",) if is_apart else ()), mark)

    def trouble(self, code: str, *, is_on: bool) -> None:
        """Say with each answer that something fails beside it, or that it works again."""
        if is_on == (code in self._current.answers.troubles):
            return
        with self._turn:
            answers, mark = self._current
            others = tuple(each for each in answers.troubles if each != code)
            self._current = Current(answers.changed(troubles=(*others, code) if is_on else others), mark)

    @property
    def waiting(self) -> int:
        """Customers whose rows are to be made again."""
        return self.current.fresh.waiting

    def listen(self) -> None:
        """Take in what other processes wrote, though nobody asks."""
        if self.ledger.journal.is_behind():
            with self._turn:
                self._hear()

    def churn_list(
        self, who: str, top: int, channel: str | None, language: Language, is_gone: Callable[[], bool] = lambda: False
    ) -> schemas.ChurnList:
        """A list, once it is written down who pulled it; none for who is gone by then.

        Raises:
            BusyError: nobody waits for it any more.
            NotReadyError: that cannot be written down.
            IntegrityError: the log of pulls was changed.
        """
        result = None if is_gone() else self.answers.churn_list(top, channel, language)
        if result is None or is_gone():
            self.count("list", "gone")
            raise BusyError("nobody waits for this list any more")
        asked = {"top": top, "channel": channel, "language": language}
        pull_log.note(self.ledger.folder.parent, who, "churn", asked, pull_log.of_churn(result), msgspec.structs.asdict(result.models))
        self.count("list", "churn")
        return result

    async def pulled(
        self, who: str, top: int, channel: str | None, language: Language, is_gone: Callable[[], bool] = lambda: False
    ) -> schemas.ChurnList:
        """The same beside whoever answers: everybody is looked at, which takes a second or more in a large shop. One list is made at a time.

        Raises:
            BusyError: ``LISTS`` are asked for already.
        """
        if self._pulling >= LISTS:
            self.count("list", "refused")
            raise BusyError(f"{LISTS} lists are asked for already and are made one after the other; wait and ask again")
        self._pulling += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._lists, self.churn_list, who, top, channel, language, is_gone)
        finally:
            self._pulling -= 1

    async def noted(self, who: str, kind: str, asked: Mapping[str, Any], customers: Sequence[str]) -> None:
        """Write down who is told of several customers in one call, before it is told; of one nothing is written.

        Raises:
            NotReadyError: that cannot be written down.
            IntegrityError: the log of pulls was changed.
        """
        if len(customers) > 1:
            await self._noting.note(pull_log.pulled(who, kind, asked, customers, msgspec.structs.asdict(self.current.models), computer_time()))

    def trace(self, decision_id: str) -> schemas.DecisionTrace:
        """A logged decision with what it rested on and what came of it.

        Raises:
            NotFoundError: none has this id.
        """
        return trace(self.ledger, decision_id, self._grounds)

    @contextmanager
    def _turn_with(self, customer_id: str, turn: Callable[[str], AbstractContextManager[Callable[[], bool]]]) -> Iterator[Callable[[], bool]]:
        """The turn of this machine with a customer; where it cannot be had, what is given says so."""
        with ExitStack() as held:
            try:
                is_ours = held.enter_context(turn(customer_id))
            except TurnError:
                is_ours = _not_ours
            yield is_ours

    def _written(
        self,
        request: schemas.DecisionRequest,
        named: Named,
        now: datetime,
        is_over: Callable[[], bool],
        is_ours: Callable[[], bool] | None,
    ) -> tuple[Entry, Entry]:
        """What is decided, and what stands for the request: the same, unless another process was first."""
        self._hear()
        entry = self._entry(request, named, is_over, is_ours)
        return entry, self.ledger.record(entry, now, is_new=request.request_id is None)

    def _entry(self, request: schemas.DecisionRequest, named: Named, is_over: Callable[[], bool], is_ours: Callable[[], bool] | None) -> Entry:
        """Decide, and what is kept of it. A contact is proposed only if nobody else could have decided meanwhile (``is_ours``)."""
        answers, shared = self._current
        answer, windows, basis = answers.decision(request, named.identity, is_over, LIMITS_UNKNOWN if is_ours is _not_ours else None)
        if is_ours is not None and answer.offers and not is_ours():
            answers = self._current.answers
            answer, windows, basis = answers.decision(request, named.identity, is_over, LIMITS_UNKNOWN)
        # Most windows end alike.
        mostly = windows["*"]
        at_most = stamp(mostly)
        ends = _encode({offer: at_most if end is mostly else stamp(end) for offer, end in windows.items()}).decode()
        answers.fresh.join(named.identity, request.customer_id)
        self.count("decision", answer.source)
        at, encoded = stamp(answer.as_of), _encode(answer)
        return Entry(named.identity, named.key, named.mark, request.customer_id, at, named.canonical, encoded, ends, packed(basis), shared)

    def _standing(self, kept: Entry, mark: str, canonical: bytes, now: datetime, *, is_repeated: bool = True) -> bytes:
        """The answer that stands for a request, if it is the same request."""
        if is_repeated:
            self.count("decision", "repeated")
        if kept.body_hash != mark:
            self.ledger.conflict("decision", kept.decision_id, canonical, stamp(now))
            raise ConflictError("this request_id was used for a different request; use a new one", field="request_id")
        return kept.answer

    def _hold(self, entry: Entry) -> None:
        answers = self._current.answers
        _hold(entry, answers.fresh, answers.policy)

    def _is_erased(self, customer_id: str | None) -> bool:
        return self._erased is not None and customer_id is not None and customer_id in self._erased.buried

    def _unlogged(self, request: schemas.DecisionRequest, is_over: Callable[[], bool]) -> bytes:
        """An answer that stands nowhere: without an id nothing is left to chance."""
        # Other machines never hear of it, so it must not be a contact where there are any.
        is_unknown = self.turn is not None and holds(request, self.answers.policy)
        answer, _, _ = self.answers.decision(request, None, is_over, LIMITS_UNKNOWN if is_unknown else None)
        self.count("decision", "not_logged")
        return _encode(msgspec.structs.replace(answer, degraded=[*answer.degraded, "not_logged"]))

    def _hear(self) -> None:
        """Take in what other processes wrote."""
        answers = self._current.answers
        for each in self.ledger.heard():
            # Another process may have written it down as it came in, though its decision is on record.
            _heed(self.ledger.known(each), answers.fresh, answers.policy)
        answers.heed(self.ledger)


def _contradicted(fact: Fact, number: int, request: schemas.EventsRequest) -> ConflictError:
    """That a row contradicts one on record; ``number`` counts over both tables."""
    row = number if fact.table == "events" else number - len(request.events)
    return ConflictError("another row is on record under this key; the first one stands, all other rows are kept", field=fact.table, row=row)


def _heed(each: Entry | Outcome | Fact, fresh: Fresh, policy: Policy) -> None:
    """What a decision, an outcome or a fact means for the next answer."""
    if isinstance(each, Outcome):
        fresh.add(each)
    elif isinstance(each, Fact):
        fresh.happened(each)
    else:
        _hold(each, fresh, policy)
        fresh.join(each.decision_id, each.customer_id)


def _hold(entry: Entry, fresh: Fresh, policy: Policy) -> None:
    held = hold(entry, policy)
    if held is not None:
        fresh.hold(entry.customer_id, held)


def _never() -> bool:
    """No time is set."""
    return False


def _not_ours() -> bool:
    """Other machines cannot be asked."""
    return False


def _over(since: float | None, budget_ms: int | None) -> Callable[[], bool]:
    """Whether so much time has passed; never, where none is set."""
    if budget_ms is None:
        return _never
    start = time.monotonic() if since is None else since
    return lambda: (time.monotonic() - start) * 1000 > budget_ms
