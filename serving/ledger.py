"""What was decided and what came of it, durable, over the log of a workspace (``serving.journal``).

A decision is answered after it was written (it survives the end of the process) and on disk within 50 ms; an outcome is answered once it
is on disk. Any number of processes may write: what is asked twice is kept once. A write that fails puts the ledger into a failed state for
good: the process must start again and look at what is there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from typing import TypeVar

import msgspec

from retain.facts import GRACE
from serving import older, overwriting
from serving.entries import Conflict, Entry, Kept, Outcome
from serving.incoming import Fact
from serving.journal import SYNC_S, Journal, JournalError
from serving.segments import START, Place, Record
from serving.unnamed import unnamed

T = TypeVar("T")
LedgerError = JournalError
REPEAT = timedelta(hours=24)
"""For so long the same request_id is the same request."""
DECISION, OUTCOME, CONFLICT, FACT = 1, 2, 3, 4
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


_ENTRY = msgspec.msgpack.Decoder(Entry)
_OUTCOME = msgspec.msgpack.Decoder(Outcome)
_FACT = msgspec.msgpack.Decoder(Fact)
_encode = msgspec.msgpack.Encoder().encode
_written = msgspec.json.Encoder().encode


class Ledger:
    """The ledger of one workspace. ``read_only`` looks at what another process may be writing and changes nothing."""

    def __init__(self, folder: Path, *, read_only: bool = False, sync_s: float = SYNC_S) -> None:
        self.folder = folder
        if not read_only:
            # First: half of an overwritten record would be taken for the end of the log.
            overwriting.again(folder)
        self.journal = Journal(folder / "log", read_only=read_only, sync_s=sync_s)
        self._heard: list[Entry | Outcome | Fact] = []
        self.journal.heard = self._hear
        if not read_only and (folder / "ledger.db").is_file():
            self._take_over(folder / "ledger.db")

    def _take_over(self, old: Path) -> None:
        """Record what a ledger of the first release holds, and rename it. Interrupted, it is done again and doubles nothing."""
        entries, outcomes = older.held(old)
        with self.journal.alone():
            for entry in entries:
                self.record(entry, datetime.fromisoformat(entry.at))
            for outcome in outcomes:
                self.add(outcome, b"")
        self.journal.sync()
        old.rename(self.folder / older.TAKEN)

    @property
    def failed(self) -> str | None:
        """Why nothing can be written any more; None while all is well."""
        return self.journal.failed

    def close(self) -> None:
        """Sync what is written and let go."""
        self.journal.close()

    def alone(self) -> AbstractContextManager[None]:
        """Nobody else decides or records within; what others did before is read by ``heard``."""
        return self.journal.alone()

    def record(self, entry: Entry, now: datetime, *, is_new: bool = False) -> Entry:
        """Keep a decision; return the one that stands for its request, which is an earlier one after a retry within a day.

        Args:
            entry: the decision.
            now: the clock of the workspace.
            is_new: nobody else can have the same key, so nothing is looked up.
        """
        if is_new:
            self._append(entry, now)
            return entry
        with self.journal.alone():
            self.journal.catch_up()
            kept = self.latest(entry.key)
            if kept is not None and (kept[1] > now - REPEAT or kept[0].decision_id == entry.decision_id):
                return kept[0]
            self._append(entry, now)
        return entry

    def add(self, outcome: Outcome, body: bytes, *, is_brought: bool = False, is_exact: bool = False) -> Kept:
        """Write an outcome down, not yet synced; the first under an id wins, a later one that differs is logged as a conflict.

        Args:
            outcome: as it came in.
            body: of the request, for the log of conflicts.
            is_brought: another machine recorded it first.
            is_exact: it is not kept where it names another customer than its decision's.
        """
        with self.journal.alone():
            self.journal.catch_up()
            kept = self._outcome(outcome.outcome_id)
            if kept is not None:
                # A name may have been taken out of the one that is kept; then its moment is hashed in UTC.
                is_conflict = kept.body_hash not in (outcome.body_hash, _nameless(outcome) if outcome.customer_id is None else "")
                if is_conflict:
                    self.conflict("outcome", outcome.outcome_id, body, outcome.received_at)
                return Kept(kept, is_duplicate=True, is_conflict=is_conflict)
            decision = self.decision(outcome.decision_id)
            judged = outcome if decision is None else joined(outcome, decision)
            if judged.named is not None and is_exact:
                return Kept(judged, is_duplicate=False, is_conflict=False, is_of_another=True)
            # Whose customers differ stays as it came in, and is joined whenever it is read: both names stand in it.
            kept_as = outcome if judged.named is not None else judged
            keys, encoded = (_key("outcome", outcome.outcome_id), _key("of", outcome.decision_id)), _encode(kept_as)
            self.journal.append(OUTCOME, micros(datetime.fromisoformat(outcome.received_at)), _marked(keys, encoded, is_brought), encoded)
        return Kept(judged, is_duplicate=False, is_conflict=False)

    def take(self, fact: Fact, *, is_brought: bool = False) -> bool | None:
        """Write a fact down, not yet synced; False where it was on record, None where another row is on record under its key (a conflict, logged)."""
        with self.journal.alone():
            self.journal.catch_up()
            key = _key(fact.table, fact.identity)
            for record in self.journal.find(key, FACT):
                kept = _FACT.decode(record.body)
                if (kept.table, kept.identity) == (fact.table, fact.identity):
                    if kept.body_hash == fact.body_hash:
                        return False
                    self.conflict(fact.table, fact.identity, fact.row, fact.received_at)
                    return None
            keys, encoded = (key, _key("facts", fact.customer_id)), _encode(fact)
            self.journal.append(FACT, micros(datetime.fromisoformat(fact.received_at)), _marked(keys, encoded, is_brought), encoded)
        return True

    def bring(self, each: Entry | Outcome | Fact, now: datetime) -> bool:
        """Write down what another machine recorded, not yet synced; False where that stands here already, or something else under its key."""
        if isinstance(each, Outcome):
            first = self._outcome(each.outcome_id)
            if first is not None and (each.body_hash == _nameless(first) or first.body_hash == _nameless(each)):
                # The same, but that one of them has no name: an erasure took it, or it was told without.
                return False
            each = msgspec.structs.replace(each, filler=None)
            return not self.add(each, msgspec.json.encode(msgspec.structs.asdict(each)), is_brought=True).is_duplicate
        if isinstance(each, Fact):
            return bool(self.take(each, is_brought=True))
        with self.journal.alone():
            self.journal.catch_up()
            kept = self.decision(each.decision_id)
            if kept is not None:
                if (kept.body_hash, kept.answer) != (each.body_hash, each.answer):
                    self.conflict("decision", each.decision_id, each.request, stamp(now))
                return False
            last = self.latest(each.key)
            # A request_id that was used again since stands for what was decided last.
            names = {each.decision_id} if last is not None and last[0].at > each.at else {each.decision_id, each.key}
            encoded = _encode(each)
            # Recorded now, as far as this log knows: decisions stand in it by the time at which they were recorded.
            self.journal.append(DECISION, micros(now), _marked([_key("decision", name) for name in names], encoded, True), encoded)
        return True

    def known(self, each: Entry | Outcome | Fact) -> Entry | Outcome | Fact:
        """A record with what else this ledger knows of it: an outcome joined to its decision."""
        return self._joined(each) if isinstance(each, Outcome) else each

    def conflict(self, kind: str, identity: str, body: bytes, received_at: str) -> None:
        """Log a request that contradicts one that was kept."""
        at = micros(datetime.fromisoformat(received_at))
        self.journal.append(CONFLICT, at, (_key("conflict", identity),), _encode(Conflict(kind, identity, body, received_at)))

    async def synced(self) -> None:
        """Wait until everything that was written before is on disk.

        Raises:
            LedgerError: the disk refused.
        """
        await self.journal.synced()

    def heard(self) -> list[Entry | Outcome | Fact]:
        """What other processes wrote since this was asked last."""
        if self.journal.is_behind():
            with self.journal.alone():
                self.journal.catch_up()
        if not self._heard:
            return []
        found, self._heard = self._heard, []
        return found

    def decision(self, decision_id: str) -> Entry | None:
        """A kept decision."""
        for record in self.journal.find(_key("decision", decision_id), DECISION):
            entry = _ENTRY.decode(record.body)
            if entry.decision_id == decision_id:
                return entry
        return None

    def latest(self, key: str) -> tuple[Entry, datetime] | None:
        """The last decision for a request_id, by its key, and when it was recorded."""
        for record in self.journal.find(_key("decision", key), DECISION):
            entry = _ENTRY.decode(record.body)
            if entry.key == key:
                return entry, EPOCH + timedelta(microseconds=record.at)
        return None

    def decisions(self, since: Place = START) -> Iterator[Entry]:
        """All decisions in the order in which they were recorded."""
        return (_ENTRY.decode(record.body) for record in self.journal.records((DECISION,), since))

    def lately(self, since: datetime) -> list[Entry]:
        """Decisions recorded from a moment on, in order."""
        return [_ENTRY.decode(record.body) for record in self.journal.lately(DECISION, micros(since))]

    def outcomes(self, decision_id: str) -> list[Outcome]:
        """What came of a decision so far, by time."""
        found = [_OUTCOME.decode(record.body) for record in self.journal.find(_key("of", decision_id), OUTCOME)]
        return sorted((self._joined(each) for each in found if each.decision_id == decision_id), key=_by_time)

    def everything(self) -> list[Outcome]:
        """All outcomes, by time."""
        return sorted((outcome for _, outcome in self.placed()), key=_by_time)

    def placed(self, since: Place = START) -> Iterator[tuple[Place, Outcome]]:
        """Outcomes recorded from a place on, each with its place, in the order in which they were recorded."""
        for record in self.journal.records((OUTCOME,), since):
            yield record.place, self._joined(_OUTCOME.decode(record.body))

    def facts(self, since: Place = START) -> Iterator[tuple[Place, Fact]]:
        """Facts recorded from a place on, each with its place, in the order in which they were recorded."""
        for record in self.journal.records((FACT,), since):
            yield record.place, _FACT.decode(record.body)

    def facts_of(self, customer_id: str) -> list[Fact]:
        """A customer's facts, in the order in which they were recorded."""
        found = [_FACT.decode(record.body) for record in self.journal.find(_key("facts", customer_id), FACT)]
        return [each for each in found if each.customer_id == customer_id][::-1]

    def written(self, since: Place) -> Iterator[Entry | Outcome | Fact]:
        """Decisions, outcomes and facts recorded from a place on, in the order in which they were recorded."""
        for record in self.journal.records((DECISION, OUTCOME, FACT), since):
            yield self._joined(each) if isinstance(each := decoded(record.kind, record.body), Outcome) else each

    def conflicts(self) -> list[Conflict]:
        """Requests that contradicted kept ones, in order."""
        return [msgspec.msgpack.decode(record.body, type=Conflict) for record in self.journal.records((CONFLICT,))]

    def _append(self, entry: Entry, now: datetime) -> None:
        keys = [_key("decision", name) for name in {entry.decision_id, entry.key}]
        self.journal.append(DECISION, micros(now), keys, _encode(entry))

    def _outcome(self, outcome_id: str) -> Outcome | None:
        for record in self.journal.find(_key("outcome", outcome_id), OUTCOME):
            outcome = _OUTCOME.decode(record.body)
            if outcome.outcome_id == outcome_id:
                return self._joined(outcome)
        return None

    def _joined(self, outcome: Outcome) -> Outcome:
        """An outcome that came before its decision is joined to it once it is there."""
        decision = self.decision(outcome.decision_id) if outcome.is_pending else None
        return outcome if decision is None else joined(outcome, decision)

    def _hear(self, record: Record) -> None:
        if record.kind in (DECISION, OUTCOME, FACT):
            self._heard.append(decoded(record.kind, record.body))


def decoded(kind: int, body: bytes) -> Entry | Outcome | Fact:
    """What a record of a kind holds.

    Raises:
        ValueError: it holds nothing of that kind.
    """
    if kind == DECISION:
        return _ENTRY.decode(body)
    if kind == OUTCOME:
        return _OUTCOME.decode(body)
    if kind == FACT:
        return _FACT.decode(body)
    raise ValueError(kind)


def is_brought(record: Record) -> bool:
    """Whether another machine recorded this first."""
    return mark(record.body) in record.keys


def is_rewritten(record: Record) -> bool:
    """Whether the name of somebody erased was taken out of this record where it stands."""
    return record.kind == OUTCOME and _OUTCOME.decode(record.body).filler is not None


def rekeyed(record: Record, body: bytes) -> tuple[int, ...]:
    """The keys of a record whose body is another now."""
    return tuple(mark(body) if key == mark(record.body) else key for key in record.keys)


def mark(body: bytes) -> int:
    """What tells a record from another that stands in its place."""
    return int.from_bytes(blake2b(body, digest_size=8, person=b"brought").digest(), "little")


def _nameless(outcome: Outcome) -> str:
    return unnamed(outcome).body_hash


def _marked(keys: Sequence[int], body: bytes, is_brought: bool) -> Sequence[int]:
    """Keys of a record; one more says that it was brought, another for each record, so that none has many places."""
    return (*keys, mark(body)) if is_brought else keys


def joined(outcome: Outcome, decision: Entry) -> Outcome:
    """An outcome whose decision is known: its customer, whom the caller named instead, and whether it lies outside its offer's window."""
    late = is_late(decision.windows, outcome.offer_id, outcome.occurred_at) or is_early(decision.at, outcome.occurred_at)
    named = None if outcome.customer_id in (None, decision.customer_id) else outcome.customer_id
    return msgspec.structs.replace(outcome, customer_id=decision.customer_id, is_pending=False, is_late=late, named=named)


def stamp(moment: datetime) -> str:
    """A moment as the ledger keeps it: text in UTC that sorts by time; what lies beyond the calendar is its end."""
    if moment.tzinfo is not UTC:
        try:
            moment = moment.astimezone(UTC)
        except OverflowError:
            moment = datetime(1, 1, 1, tzinfo=UTC) if moment.year < 5000 else datetime(9999, 12, 31, tzinfo=UTC)
    # As ``isoformat`` writes it with microseconds, in a third of the time: a decision needs several.
    return f"{str(_written(moment)[1:-2], 'ascii')}{'' if moment.microsecond else '.000000'}+00:00"


def micros(moment: datetime) -> int:
    """Microseconds since 1970."""
    return (moment - EPOCH) // _MICROSECOND


def is_late(windows: str, offer_id: str | None, occurred_at: str) -> bool:
    """Whether something happened after the window of its offer."""
    ends: dict[str, str] = json.loads(windows)
    return occurred_at > ends.get(offer_id or "*", ends["*"])


def is_early(decided_at: str, occurred_at: str) -> bool:
    """Whether something happened so long before the decision that no clock explains it: then the decision did not bring it about."""
    return occurred_at < decided_at and datetime.fromisoformat(occurred_at) < datetime.fromisoformat(decided_at) - GRACE


def outcomes_of(folder: Path) -> list[Outcome]:
    """All outcomes of a ledger that another process may be writing; none where there is no ledger."""
    return reading(folder, lambda ledger: ledger.everything()) if (folder / "log").is_dir() else []


def reading(folder: Path, work: Callable[[Ledger], T]) -> T:
    """Look at a ledger that another process may be writing."""
    ledger = Ledger(folder, read_only=True)
    try:
        return work(ledger)
    finally:
        ledger.close()


def _by_time(outcome: Outcome) -> tuple[str, str]:
    return outcome.occurred_at, outcome.outcome_id


def _key(kind: str, identity: str) -> int:
    return int.from_bytes(blake2b(f"{kind}\n{identity}".encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
