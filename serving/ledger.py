"""What was decided and what came of it, durable: one SQLite file, one writer, one commit for all that wait.

A decision is answered after it was written (it survives the end of the process) and synced within 50 ms; an outcome is answered after
the sync. A write that fails puts the ledger into a failed state for good: the process must start again and look at what is there.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from retain.errors import LockedError, RetainError

SYNC_S = 0.05
BATCH = 512
_SCHEMA = """
create table if not exists decisions (
    decision_id text primary key, body_hash text not null, customer_id text not null, at text not null,
    request blob not null, answer blob not null, windows text not null, basis blob not null default x''
) without rowid;
create table if not exists outcomes (
    outcome_id text primary key, body_hash text not null, decision_id text not null, customer_id text, kind text not null, occurred_at text not null,
    offer_id text, channel text, amount real, currency text, received_at text not null, is_pending integer not null, is_late integer not null
) without rowid;
create table if not exists conflicts (kind text not null, id text not null, body blob not null, received_at text not null);
create index if not exists outcomes_by_decision on outcomes (decision_id);
"""


class LedgerError(RetainError):
    """Nothing can be written down any more; nothing that was acknowledged is lost."""

    code = "ledger_failed"


@dataclass(frozen=True)
class Entry:
    """A decision as it is kept."""

    decision_id: str
    body_hash: str
    customer_id: str
    at: str
    request: bytes
    answer: bytes
    windows: str
    """JSON: offer id -> end of its outcome window; ``*`` is any other offer's."""
    basis: bytes = b""
    """What the decision rested on (``serving.basis``); empty where an older release decided."""


@dataclass(frozen=True)
class Outcome:
    """What came of a decision, as it is kept. Times are ISO 8601 in UTC."""

    outcome_id: str
    body_hash: str
    decision_id: str
    customer_id: str | None
    kind: str
    occurred_at: str
    offer_id: str | None
    channel: str | None
    amount: float | None
    currency: str | None
    received_at: str
    is_pending: bool = False
    is_late: bool = False


@dataclass(frozen=True)
class Kept:
    """What the ledger holds after a write."""

    entry: Outcome
    is_duplicate: bool
    is_conflict: bool


class Ledger:
    """The ledger of one workspace. One process writes; any may read."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o640)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._lock)
            raise LockedError(f"the ledger {folder} has a writer already; stop the service that is running, or choose another --workspace") from error
        self._path = folder / "ledger.db"
        self._reader = _connect(self._path)
        self._reader.executescript(_SCHEMA)
        _migrate(self._reader)
        self._wal = os.open(f"{self._path}-wal", os.O_RDWR | os.O_CREAT, 0o640)
        self._queue: queue.SimpleQueue[tuple[Callable[[sqlite3.Connection], Any], Future[Any], bool] | None] = queue.SimpleQueue()
        self._failed: str | None = None
        self._thread = threading.Thread(target=self._write, name="ledger", daemon=True)
        self._thread.start()

    @property
    def failed(self) -> str | None:
        """Why nothing can be written any more; None while all is well."""
        return self._failed

    def close(self) -> None:
        """Write what waits, sync, and let go."""
        if not self._thread.is_alive():
            return
        self._queue.put(None)
        self._thread.join()
        self._reader.close()
        os.close(self._wal)
        os.close(self._lock)

    async def record(self, entry: Entry) -> Entry:
        """Keep a decision; return the one that stands under its id, which is an earlier one after a retry."""
        return await asyncio.wrap_future(self._submit(lambda connection: _record(connection, entry), durable=False))

    async def add(self, outcome: Outcome, body: bytes) -> Kept:
        """Keep an outcome on disk; the first under an id wins, a later one that differs is logged as a conflict."""
        return await asyncio.wrap_future(self._submit(lambda connection: _add(connection, outcome, body), durable=True))

    async def conflict(self, kind: str, identity: str, body: bytes, received_at: str) -> None:
        """Log a request that contradicts one that was kept."""
        await asyncio.wrap_future(self._submit(lambda connection: _conflict(connection, kind, identity, body, received_at), durable=False))

    def decision(self, decision_id: str) -> Entry | None:
        """A kept decision."""
        row = self._reader.execute("select * from decisions where decision_id = ?", (decision_id,)).fetchone()
        return None if row is None else Entry(*row)

    def outcomes(self, decision_id: str) -> list[Outcome]:
        """What came of a decision so far, by time."""
        return _outcomes(self._reader, "where decision_id = ? order by occurred_at, outcome_id", (decision_id,))

    def everything(self) -> list[Outcome]:
        """All outcomes, by time."""
        return _outcomes(self._reader, "order by occurred_at, outcome_id", ())

    def _submit(self, work: Callable[[sqlite3.Connection], Any], *, durable: bool) -> Future[Any]:
        future: Future[Any] = Future()
        if self._failed is not None:
            future.set_exception(LedgerError(self._failed))
        else:
            self._queue.put((work, future, durable))
        return future

    def _write(self) -> None:
        connection = _connect(self._path)
        is_dirty = False
        while True:
            try:
                first = self._queue.get(timeout=SYNC_S if is_dirty else None)
            except queue.Empty:
                is_dirty = not self._sync()
                continue
            batch = [first]
            while len(batch) < BATCH and not self._queue.empty():
                batch.append(self._queue.get())
            jobs = [job for job in batch if job is not None]
            if jobs:
                is_dirty = self._commit(connection, jobs) or is_dirty
            if None in batch:
                if is_dirty:
                    self._sync()
                connection.close()
                return

    def _commit(self, connection: sqlite3.Connection, jobs: list[tuple[Callable[[sqlite3.Connection], Any], Future[Any], bool]]) -> bool:
        """Do all jobs in one transaction; return whether something is written and not yet synced."""
        is_durable = any(durable for _, _, durable in jobs)
        try:
            if self._failed is not None:
                raise LedgerError(self._failed)
            connection.execute(f"pragma synchronous = {'full' if is_durable else 'normal'}")
            connection.execute("begin immediate")
            answers = [work(connection) for work, _, _ in jobs]
            connection.execute("commit")
        except (sqlite3.Error, OSError, LedgerError) as error:
            self._fail(error)
            for _, future, _ in jobs:
                future.set_exception(LedgerError(self._failed or "the ledger failed"))
            return False
        for (_, future, _), answer in zip(jobs, answers, strict=True):
            future.set_result(answer)
        return not is_durable

    def _sync(self) -> bool:
        try:
            os.fsync(self._wal)
        except OSError as error:
            self._fail(error)
        return True

    def _fail(self, error: Exception) -> None:
        if self._failed is None:
            self._failed = f"the ledger {self._path.name} cannot be written ({error}); free or repair the disk and start the service again"


def stamp(moment: datetime) -> str:
    """A moment as the ledger keeps it: text in UTC that sorts by time; what lies beyond the calendar is its end."""
    try:
        moment = moment.astimezone(UTC)
    except OverflowError:
        moment = datetime(1, 1, 1, tzinfo=UTC) if moment.year < 5000 else datetime(9999, 12, 31, tzinfo=UTC)
    return moment.isoformat(timespec="microseconds")


def is_late(windows: str, offer_id: str | None, occurred_at: str) -> bool:
    """Whether something happened after the window of its offer."""
    ends: dict[str, str] = json.loads(windows)
    return occurred_at > ends.get(offer_id or "*", ends["*"])


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma busy_timeout = 5000")
    return connection


def _migrate(connection: sqlite3.Connection) -> None:
    """Give a ledger of an older release the columns that it lacks."""
    if "basis" not in {row[1] for row in connection.execute("pragma table_info(decisions)")}:
        connection.execute("alter table decisions add column basis blob not null default x''")


def _record(connection: sqlite3.Connection, entry: Entry) -> Entry:
    row = connection.execute("select * from decisions where decision_id = ?", (entry.decision_id,)).fetchone()
    if row is not None:
        return Entry(*row)
    values = (entry.decision_id, entry.body_hash, entry.customer_id, entry.at, entry.request, entry.answer, entry.windows, entry.basis)
    connection.execute("insert into decisions values (?, ?, ?, ?, ?, ?, ?, ?)", values)
    # Outcomes that came before their decision are joined to it now; a customer that the caller named is not overwritten.
    for waiting in _outcomes(connection, "where decision_id = ? and is_pending", (entry.decision_id,)):
        connection.execute(
            "update outcomes set is_pending = 0, customer_id = coalesce(customer_id, ?), is_late = ? where outcome_id = ?",
            (entry.customer_id, is_late(entry.windows, waiting.offer_id, waiting.occurred_at), waiting.outcome_id),
        )
    return entry


def _add(connection: sqlite3.Connection, outcome: Outcome, body: bytes) -> Kept:
    kept = _outcomes(connection, "where outcome_id = ?", (outcome.outcome_id,))
    if kept:
        is_conflict = kept[0].body_hash != outcome.body_hash
        if is_conflict:
            _conflict(connection, "outcome", outcome.outcome_id, body, outcome.received_at)
        return Kept(kept[0], is_duplicate=True, is_conflict=is_conflict)
    connection.execute(f"insert into outcomes values ({', '.join('?' * 13)})", tuple(getattr(outcome, name) for name in Outcome.__dataclass_fields__))
    return Kept(outcome, is_duplicate=False, is_conflict=False)


def _conflict(connection: sqlite3.Connection, kind: str, identity: str, body: bytes, received_at: str) -> None:
    connection.execute("insert into conflicts values (?, ?, ?, ?)", (kind, identity, body, received_at))


def _outcomes(connection: sqlite3.Connection, where: str, values: tuple[str, ...]) -> list[Outcome]:
    rows = connection.execute(f"select * from outcomes {where}", values).fetchall()
    return [
        Outcome(**{**dict(zip(Outcome.__dataclass_fields__, row, strict=True)), "is_pending": bool(row[11]), "is_late": bool(row[12])})
        for row in rows
    ]


def outcomes_of(folder: Path) -> list[Outcome]:
    """All outcomes of a ledger that another process may be writing; none where there is no ledger."""
    path = folder / "ledger.db"
    if not path.is_file():
        return []
    connection = sqlite3.connect(f"file:{quote(str(path.resolve()))}?mode=ro", uri=True)
    try:
        return _outcomes(connection, "order by occurred_at, outcome_id", ())
    finally:
        connection.close()
