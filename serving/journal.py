"""An append-only log: whole records or none, any number of processes writing, one sync for all that wait.

``log/<number>.log`` is a segment: records one after the other, each with its length and checksum. Whoever writes holds the gate (a lock
that the kernel opens when its holder dies), first reads what others wrote, cuts a tail that a death left torn, and then adds. A record is
written before ``append`` returns, so it survives the end of the process; it is on disk within ``sync_s``, and ``synced`` waits for that.
A full segment is sealed: its index lies beside it, sorted, and is looked up on disk, so that memory and start-up do not grow with the log.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import struct
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager, suppress
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from retain.errors import IntegrityError, RetainError
from retain.files import sync_folder
from serving import spare
from serving.segments import SEAL, START, Place, Record, Sealed, index_path, latest, parse, prefixed, read_at, segment_path

SYNC_S = 0.04
"""A sync begins at most so long after a write; with the sync itself a record is on disk within 50 ms on a disk that keeps up."""
BREATH_S = 0.01
"""Between two steps of laying an index, which takes a tenth of a second of work, once each 256 MB."""
SEGMENT_BYTES = 256 * 2**20
SEGMENT_RECORDS = 200_000
"""A segment is full at so many bytes or records: what is held of it in memory is bounded, and so is the time to open the log."""


class JournalError(RetainError):
    """Nothing can be written down any more; nothing that was acknowledged is lost."""

    code = "ledger_failed"


class Torn(NamedTuple):
    """A tail that a death or a power loss left behind; it was cut, and lies beside its segment."""

    place: Place
    bytes: int


class _Alone(AbstractContextManager[None]):
    """The mutex of this process and the gate between processes; each decision passes here, so it is no generator."""

    def __init__(self) -> None:
        self.mutex, self.gate, self._depth = threading.RLock(), -1, 0

    def __enter__(self) -> None:
        self.mutex.acquire()
        if self.gate >= 0 and self._depth == 0:
            try:
                fcntl.flock(self.gate, fcntl.LOCK_EX)
            except BaseException:
                self.mutex.release()
                raise
        self._depth += 1

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        try:
            if self.gate >= 0 and self._depth == 0:
                fcntl.flock(self.gate, fcntl.LOCK_UN)
        finally:
            self.mutex.release()


class Journal:
    """The log of one folder. Safe to share between threads and, each with its own, between processes."""

    def __init__(self, folder: Path, *, sync_s: float = SYNC_S, segment_bytes: int = SEGMENT_BYTES, read_only: bool = False) -> None:
        self.folder, self.torn = folder, list[Torn]()
        self.heard: Callable[[Record], None] = _unheard
        """Called with each record that another process wrote, before anything is written behind it."""
        self._sync_s, self._segment_bytes, self._read_only = sync_s, segment_bytes, read_only
        self._failed: str | None = None
        self._swap = threading.Lock()
        """Held for the moment in which the open segment changes, never while the disk is waited for."""
        self._left: list[int] = []
        """Files of full segments that the thread that syncs has to sync, before the one behind them, and to close."""
        self._is_begun = False
        """Whether a segment was begun whose name is not on disk yet."""
        self._wake = threading.Condition()
        self._dirty = self._closing = False
        self._waiting: list[tuple[asyncio.AbstractEventLoop | None, Any]] = []
        self._sealed: list[Sealed] = []
        self._spare = spare.Spare(folder)
        self._without_spare = 0
        """Number of the segment whose next could be given no room: it is not asked for again."""
        self._file, self._names = -1, -1
        self._alone = _Alone()
        self._mutex = self._alone.mutex
        self._number, self._end = 0, 0
        if not read_only:
            folder.mkdir(parents=True, exist_ok=True)
            self._alone.gate = os.open(folder / ".gate", os.O_RDWR | os.O_CREAT, 0o640)
            self._names = os.open(folder, os.O_RDONLY)
        with self.alone():
            if not read_only:
                spare.tidy(folder)
            numbers = self._whole(sorted(int(path.stem) for path in folder.glob("[0-9]*.log")))
            for number in numbers[:-1]:
                self._sealed.append(Sealed.open(folder, number))
            self._begin(numbers[-1] if numbers else 1)
            self.catch_up()
        self._layer: threading.Thread | None = None
        self._is_laying, self._on_disk = False, 0
        self._thread = threading.Thread(target=self._flush, name="journal", daemon=True)
        if not read_only:
            self._thread.start()

    @property
    def failed(self) -> str | None:
        """Why nothing can be written any more; None while all is well."""
        return self._failed

    @property
    def end(self) -> Place:
        """Where the next record will stand."""
        with self._mutex:
            return Place(self._number, self._end)

    def close(self) -> None:
        """Sync what is written and let go."""
        if self._thread.is_alive():
            with self._wake:
                self._closing = True
                self._wake.notify()
            self._thread.join()
            if self._layer is not None:
                self._layer.join()
            self._on_disk = self._number
            self._lay_indices()
        for handle in (*self._left, self._file, self._alone.gate, self._names):
            if handle >= 0:
                os.close(handle)
        self._left, self._file, self._alone.gate, self._names = [], -1, -1, -1
        self._spare.close()

    def alone(self) -> AbstractContextManager[None]:
        """Nobody else writes within; what others wrote before has to be read with ``catch_up`` first. May be nested."""
        return self._alone

    def is_behind(self) -> bool:
        """Whether another process wrote something that was not read yet."""
        return self._file >= 0 and self._size() != self._end

    def catch_up(self) -> None:
        """Read what others wrote; cut what a death left torn. Only within ``alone``, or read-only."""
        while self.is_behind():
            size = self._size()
            if size < self._end:
                raise IntegrityError(f"{self._number:08d}.log of the ledger is shorter than it was; restore it from a backup")
            data = os.pread(self._file, size - self._end, self._end)
            place = self._end
            for record, end in parse(data, self._number, place):
                self._end = end
                if record.kind == SEAL:
                    self._turn()
                    break
                self._note(record.kind, record.keys, record.place.offset)
                self.heard(record)
            else:
                if self._end < size and self._read_only:
                    break
                if self._end < size:
                    self._cut(data[self._end - place :])

    def append(self, kind: int, at: int, keys: Sequence[int], body: bytes) -> Place:
        """Write one record, behind whatever others wrote; it survives this process when this returns.

        Raises:
            JournalError: it could not be written, or an earlier write failed.
        """
        if self._failed is not None:
            raise JournalError(self._failed)
        with self.alone():
            self.catch_up()
            place = Place(self._number, self._end)
            try:
                self._write(prefixed(kind, at, keys, body), body)
                self._note(kind, keys, place.offset)
                if self._end >= self._segment_bytes or len(self._rows) >= SEGMENT_RECORDS:
                    self._seal()
            except OSError as error:
                self._fail(error)
                # What was written of it is no record; where even this fails, the next to write cuts it.
                with suppress(OSError):
                    os.ftruncate(self._file, self._end)
                raise JournalError(self._failed or "") from error
        self._rouse()
        return place

    async def synced(self) -> None:
        """Wait until everything that was written before this call is on disk.

        Raises:
            JournalError: the disk refused.
        """
        await self.syncing(asyncio.get_running_loop())

    def syncing(self, loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
        """Done once everything that was written before this call is on disk; call it from the thread of the loop."""
        future: asyncio.Future[None] = loop.create_future()
        self._wait(loop, future)
        return future

    def sync(self) -> None:
        """The same for threads."""
        future: Future[None] = Future()
        self._wait(None, future)
        future.result()

    def find(self, key: int, kind: int) -> Iterator[Record]:
        """Records of a kind under a key, the latest first; different things may share a key, so the caller compares."""
        with self._mutex:
            # Within: the open segment must not become a full one between its index and its file.
            found = [read_at(self._file, Place(self._number, offset)) for offset in latest(self._index, key)]
            full = self._sealed[::-1]
        yield from (record for record in found if record.kind == kind)
        for sealed in full:
            yield from sealed.find(key, kind)

    def at(self, place: Place) -> Record | None:
        """The record at a place; None where none begins there."""
        path = segment_path(self.folder, place.segment)
        if not path.is_file():
            return None
        file = os.open(path, os.O_RDONLY)
        try:
            return read_at(file, place)
        except (IntegrityError, struct.error):
            return None
        finally:
            os.close(file)

    def records(self, kinds: Collection[int], since: Place = START) -> Iterator[Record]:
        """All records of some kinds from a place on that are there now, in the order in which they were written; others may go on writing."""
        with self._open(since) as (file, number, rows, full):
            for sealed in full:
                if sealed.number >= since.segment:
                    yield from (record for record in sealed.records(kinds) if record.place >= since)
            for noted, offset in rows:
                if noted in kinds and (record := read_at(file, Place(number, offset))).kind in kinds:
                    yield record

    def lately(self, kind: int, since: int) -> list[Record]:
        """Records of a kind that were recorded from a moment on (microseconds), in order; older segments are not looked into."""
        found: list[Record] = []
        with self._open() as (file, number, rows, full):
            for offset in [offset for noted, offset in reversed(rows) if noted == kind]:
                record = read_at(file, Place(number, offset))
                if record.at < since:
                    return found[::-1]
                if record.kind == kind:
                    found.append(record)
            for sealed in reversed(full):
                part = [record for record in sealed.records((kind,)) if record.at >= since]
                found.extend(reversed(part))
                if len(part) == 0:
                    break
        return found[::-1]

    @contextmanager
    def _open(self, since: Place = START) -> Iterator[tuple[int, int, list[tuple[int, int]], list[Sealed]]]:
        """The open segment as it stands now (its file, number and rows from a place on) and the full ones, while another thread writes on."""
        with self._mutex:
            file, number = os.dup(self._file) if self._file >= 0 else -1, self._number
            first = bisect_left(self._rows, since.offset, key=itemgetter(1)) if since.segment == number else 0 if since.segment < number else None
            rows, full = [] if first is None else self._rows[first:], self._sealed.copy()
        try:
            yield file, number, rows, full
        finally:
            if file >= 0:
                os.close(file)

    def _size(self) -> int:
        """Bytes of the open segment; nobody reads or writes at the place of the file that this moves."""
        return os.lseek(self._file, 0, os.SEEK_END)

    def _begin(self, number: int) -> None:
        path = segment_path(self.folder, number)
        self._index: dict[int, int | tuple[int, ...]] = {}
        self._rows: list[tuple[int, int]] = []
        file = -1
        if not self._read_only:
            file = self._spare.take(path)
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o640) if file < 0 else file
        elif path.is_file():
            file = os.open(path, os.O_RDONLY)
        with self._swap:
            if self._file >= 0:
                self._left.append(self._file)
            self._file, self._number, self._end, self._is_begun = file, number, 0, True
        if self._read_only:
            self._close_left()

    def _note(self, kind: int, keys: Sequence[int], offset: int) -> None:
        for key in keys:
            before = self._index.get(key)
            self._index[key] = offset if before is None else ((*before, offset) if isinstance(before, tuple) else (before, offset))
        self._rows.append((kind, offset))

    def _write(self, head: bytes, body: bytes) -> None:
        written = os.pwritev(self._file, [head, body], self._end)
        if written != len(head) + len(body):
            raise OSError(f"{written} of {len(head) + len(body)} bytes were written; the disk is full")
        self._end += written

    def _seal(self) -> None:
        """End the segment and begin the next. The thread that syncs syncs it first, and lays the index beside it: who answers waits for no disk."""
        self._write(prefixed(SEAL, 0, (), b""), b"")
        if self._left:
            # The disk has not taken the one before yet. More than one that a power loss could tear must not stand in the way of the next start.
            self.sync()
        self._turn()

    def _turn(self) -> None:
        self._sealed.append(Sealed(self.folder, self._number, self._index, self._rows))
        self._begin(self._number + 1)
        if not self._read_only:
            self._rouse()

    def _cut(self, tail: bytes) -> None:
        place = Place(self._number, self._end)
        self._aside(place).write_bytes(tail)
        os.ftruncate(self._file, self._end)
        os.fsync(self._file)
        self.torn.append(Torn(place, len(tail)))

    def _aside(self, place: Place) -> Path:
        """Where what was torn at a place lies."""
        return self.folder / f"{place.segment:08d}-{place.offset}.torn"

    def _whole(self, numbers: list[int]) -> list[int]:
        """The segments that stand. A power loss may leave the last but one without its end: it was not on disk, so nothing behind it was
        acknowledged, and what stands behind it is laid aside; its own tail is cut as that of any open segment.
        """
        if self._read_only or len(numbers) < 2:
            return numbers
        try:
            Sealed.open(self.folder, numbers[-2])
        except IntegrityError:
            if index_path(self.folder, numbers[-2]).is_file():
                raise
            last = segment_path(self.folder, numbers[-1])
            self.torn.append(Torn(Place(numbers[-1], 0), last.stat().st_size))
            last.rename(self._aside(Place(numbers[-1], 0)))
            sync_folder(self.folder)
            return numbers[:-1]
        return numbers

    def _rouse(self) -> None:
        """Something is not on disk yet."""
        with self._wake:
            if not self._dirty:
                self._dirty = True
                self._wake.notify()

    def _wait(self, loop: asyncio.AbstractEventLoop | None, future: Any) -> None:
        if self._failed is not None:
            future.set_exception(JournalError(self._failed))
            return
        with self._wake:
            self._waiting.append((loop, future))
            self._dirty = True
            self._wake.notify()

    def _flush(self) -> None:
        """Sync whenever somebody waits, and at most ``sync_s`` after a write."""
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._dirty or self._closing)
                if not self._waiting and not self._closing:
                    self._wake.wait_for(lambda: bool(self._waiting) or self._closing, self._sync_s)
                if not self._dirty:
                    return
                waiting, self._waiting = self._waiting, []
                self._dirty = False
            error: JournalError | None = None
            try:
                number = self._to_disk()
            except OSError as failure:
                self._fail(failure)
            if self._failed is not None:
                error = JournalError(self._failed)
            _release(waiting, error)
            if error is None:
                self._lay_beside(number)

    def _to_disk(self) -> int:
        """Sync full segments, names, and the open segment, in this order; the number of the last.

        Only the thread that syncs closes files, so none is closed meanwhile; it opens none: where none can be opened, a sync still goes on.
        """
        with self._swap:
            file, number, is_begun, self._is_begun = self._file, self._number, self._is_begun, False
            left = self._left.copy()
        for each in left:
            os.fdatasync(each)
            spare.fit(each)
        self._close_left(len(left))
        if is_begun:
            os.fsync(self._names)
        os.fdatasync(file)
        return number

    def _close_left(self, count: int | None = None) -> None:
        with self._swap:
            done, self._left = self._left[:count], [] if count is None else self._left[count:]
        for each in done:
            os.close(each)

    def _lay_beside(self, before: int) -> None:
        """Lay what indices there are to lay, and make room ahead, in a thread of its own: who waits for the disk does not wait for that."""
        with self._wake:
            self._on_disk = before
            if self._is_laying or (self._to_lay() is None and not self._ahead()):
                return
            self._is_laying = True
        self._layer = threading.Thread(target=self._lay_indices, name="indices", daemon=True)
        self._layer.start()

    def _to_lay(self) -> Sealed | None:
        """A full segment that is on disk and has no index beside it, which would say so."""
        return next((sealed for sealed in list(self._sealed) if sealed.index is not None and sealed.number < self._on_disk), None)

    def _ahead(self) -> int:
        """Bytes for which room is to be made for the next segment: as many as this one will have, once half of it is full; 0 where none is."""
        if self._spare.is_there or self._closing or self._number == self._without_spare:
            return 0
        full = max(self._end / self._segment_bytes, len(self._rows) / SEGMENT_RECORDS)
        return int(self._end / full) if full > 0.5 else 0

    def _lay_indices(self) -> None:
        while True:
            with self._wake:
                sealed = None if self._failed is not None else self._to_lay()
                ahead, number = 0 if self._failed is not None else self._ahead(), self._number
                if sealed is None and not ahead:
                    self._is_laying = False
                    return
            if ahead:
                self._without_spare = 0 if self._spare.make(ahead) else number
            if sealed is None:
                continue
            try:
                sealed.load(self._breathe)
            except OSError as failure:
                self._fail(failure)

    def _breathe(self) -> None:
        """Who answers goes first: beside a thread that reckons, each request would wait for the interpreter at every step."""
        if not self._closing:
            time.sleep(BREATH_S)

    def _fail(self, error: Exception) -> None:
        if self._failed is None:
            self._failed = f"the ledger cannot be written ({error}); free or repair the disk and start the service again"


def _unheard(_: Record) -> None:
    """Nobody listens."""


def _release(waiting: list[tuple[asyncio.AbstractEventLoop | None, Any]], error: JournalError | None) -> None:
    """Tell those who waited, each event loop once."""
    loops: dict[asyncio.AbstractEventLoop, list[Any]] = {}
    for loop, future in waiting:
        if loop is None:
            _settle([future], error)
        else:
            loops.setdefault(loop, []).append(future)
    for loop, futures in loops.items():
        # A loop that was closed has nobody left who waits.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(_settle, futures, error)


def _settle(futures: list[Any], error: JournalError | None) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None) if error is None else future.set_exception(error)
