"""One segment of the log: how a record lies in it, and the index that lies beside a segment that is full.

A record is its length, a checksum of all that follows, when it was recorded, its kind, its keys, and its body. ``<number>.index``
holds the keys of a full segment in order with the places of their records; it is made from the segment and can be made again.
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from retain.errors import IntegrityError
from retain.files import atomic_path
from serving.mapped import mapped

SEAL = 255
"""Kind of the last record of a full segment."""
BLANK = 254
"""Kind of a record whose customer was erased; nothing reads it."""
_FRAME = struct.Struct("<II")
_META = struct.Struct("<qBB")
_KIND = _FRAME.size + 8
"""Bytes of a record before its kind."""


LOOKED_AT = 2_000
"""Records looked at in one step: each page of the segment has to be found, which takes a millisecond or two."""
Breathe = Callable[[], None]


class Place(NamedTuple):
    """Where a record stands."""

    segment: int
    offset: int


START = Place(0, 0)
"""Before every record."""


class Record(NamedTuple):
    """One record."""

    kind: int
    at: int
    """Microseconds since 1970 on the clock of the workspace."""
    keys: tuple[int, ...]
    body: bytes
    place: Place


def segment_path(folder: Path, number: int) -> Path:
    """Where a segment lies."""
    return folder / f"{number:08d}.log"


def index_path(folder: Path, number: int) -> Path:
    """Where the index of a full segment lies; it is laid there once the segment is on disk."""
    return folder / f"{number:08d}.index"


def _blanked_path(folder: Path, number: int) -> Path:
    """What is there once a record of a segment was blanked."""
    return folder / f"{number:08d}.blanked"


def prefixed(kind: int, at: int, keys: Sequence[int], body: bytes) -> bytes:
    """What stands before a body."""
    meta = _META.pack(at, kind, len(keys)) + struct.pack(f"<{len(keys)}Q", *keys)
    return _FRAME.pack(len(meta) + len(body), zlib.crc32(body, zlib.crc32(meta))) + meta


def parse(data: bytes | mmap.mmap, number: int, base: int) -> Iterator[tuple[Record, int]]:
    """Whole records of a piece that begins at ``base`` of its segment, each with its end; stops before the first that is not whole."""
    at, length = 0, len(data)
    while at + _FRAME.size <= length:
        size, check = _FRAME.unpack_from(data, at)
        start, end = at + _FRAME.size, at + _FRAME.size + size
        if size < _META.size or end > length:
            return
        payload = data[start:end]
        if zlib.crc32(payload) != check:
            return
        yield _record(payload, Place(number, base + at)), base + end
        at = end


def begins(folder: Path, number: int) -> dict[int, int]:
    """Where records begin in a segment, and their lengths, by what each says of itself: also of one that was torn while it was overwritten."""
    path, found, at = segment_path(folder, number), dict[int, int](), 0
    if not path.is_file() or not path.stat().st_size:
        return found
    with path.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
        while at + _FRAME.size <= len(data):
            size, _ = _FRAME.unpack_from(data, at)
            end = at + _FRAME.size + size
            if size < _META.size or end > len(data):
                break
            found[at], at = size, end
    return found


def read_at(file: int, place: Place) -> Record:
    """The record at a place.

    Raises:
        IntegrityError: what stands there is not what was written.
    """
    for _ in range(2):
        size, check = _FRAME.unpack(os.pread(file, _FRAME.size, place.offset))
        payload = os.pread(file, size, place.offset + _FRAME.size)
        if len(payload) == size and zlib.crc32(payload) == check:
            return _record(payload, place)
        # An erasure may have overwritten it between the two looks.
    raise _changed(place)


def blank(folder: Path, place: Place) -> None:
    """Overwrite a record with nothing, its keys included, and sync. Its length stays, so places and open files hold. Only within the gate."""
    # First: whoever lays an index looks for blank records only where it is told that there are some.
    _blanked_path(folder, place.segment).touch()
    _overwrite(folder, place, lambda at, size: _META.pack(at, BLANK, 0).ljust(size, b"\0"))


def length(keys: Sequence[int], body: bytes) -> int:
    """Of a record, as it says it itself."""
    return _META.size + 8 * len(keys) + len(body)


def rewrite(folder: Path, place: Place, kind: int, keys: Sequence[int], body: bytes) -> None:
    """Overwrite a record with one of the same length, and sync. Its index leads on by the keys that stay. Only within the gate.

    Raises:
        ValueError: it is of another length.
    """

    def made(at: int, size: int) -> bytes:
        payload = prefixed(kind, at, keys, body)[_FRAME.size :] + body
        if len(payload) != size:
            raise ValueError(f"{len(payload)} bytes instead of {size}")
        return payload

    _overwrite(folder, place, made)


def _overwrite(folder: Path, place: Place, made: Callable[[int, int], bytes]) -> None:
    """Write anew what is made of the time and the length of a record, which stay. Torn by a death, it can be done again."""
    file = os.open(segment_path(folder, place.segment), os.O_RDWR)
    try:
        size, _ = _FRAME.unpack(os.pread(file, _FRAME.size, place.offset))
        at, _, _ = _META.unpack(os.pread(file, _META.size, place.offset + _FRAME.size))
        payload = made(at, size)
        os.pwrite(file, _FRAME.pack(size, zlib.crc32(payload)) + payload, place.offset)
        os.fdatasync(file)
    finally:
        os.close(file)


def blanked_with_keys(folder: Path) -> Iterator[Place]:
    """Records that an earlier release blanked and left their keys: of who knows an id, a key says whether it is that one's."""
    for path in sorted(folder.glob("[0-9]*.log")):
        if path.stat().st_size:
            with path.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
                yield from (record.place for record, _ in parse(data, int(path.stem), 0) if record.kind == BLANK and record.keys)


def forget_blanked(folder: Path, number: int) -> None:
    """Lay the index of a full segment anew, without the keys of records that were blanked since. Whoever has the one before open reads on in it."""
    size = segment_path(folder, number).stat().st_size
    found = _mapped(index_path(folder, number), size)
    if found is not None:
        rows = np.column_stack([found["row_kinds"].astype(np.uint64), found["rows"].astype(np.uint64)])
        _lay(folder, number, size, found["keys"].astype(np.uint64), found["offsets"].astype(np.uint64), rows)


def _at_once() -> None:
    """Nobody else comes to work meanwhile, or has to."""


@dataclass
class Sealed:
    """A full segment. Its index is in memory until ``build`` has laid it beside the segment."""

    folder: Path
    number: int
    index: Mapping[int, int | tuple[int, ...]] | None
    rows: Sequence[tuple[int, int]]
    """(kind, offset) in order, while the index is in memory."""
    columns: Mapping[str, NDArray[np.unsignedinteger]] | None = None

    @classmethod
    def open(cls, folder: Path, number: int) -> Sealed:
        """Open a full segment; its index is made again where it is missing or does not fit.

        Raises:
            IntegrityError: the segment itself is not whole.
        """
        sealed = cls(folder, number, None, ())
        sealed.load()
        return sealed

    def load(self, breathe: Breathe = _at_once) -> None:
        """Take the index that lies beside the segment, made now where there is none; nothing of it stays in memory.

        What is in memory is laid down as it is: to read the segment again would take a second or two, in which who answers hardly comes to work.

        Args:
            breathe: called between steps of some milliseconds; it may wait.
        """
        path, size = index_path(self.folder, self.number), segment_path(self.folder, self.number).stat().st_size
        found = _mapped(path, size)
        if found is None:
            if self.index is None:
                build(self.folder, self.number)
            else:
                _lay(self.folder, self.number, size, *_flat(self.index, self.rows, breathe), breathe)
            found = _mapped(path, size)
        self.columns = found
        self.index, self.rows = None, ()

    def find(self, key: int, kind: int) -> Iterator[Record]:
        """Records of a kind under a key, the latest first."""
        return self._read(self._offsets(key), (kind,))

    def records(self, kinds: Collection[int]) -> Iterator[Record]:
        """All records of some kinds, in order."""
        rows = self.rows
        if self.columns is None:
            offsets = [offset for noted, offset in rows if noted in kinds]
        else:
            offsets = self.columns["rows"][np.isin(self.columns["row_kinds"], list(kinds))].tolist()
        return self._read(offsets, kinds)

    def _read(self, offsets: Sequence[int], kinds: Collection[int]) -> Iterator[Record]:
        """The records of some kinds at these places; the index knows nothing of those that were blanked since."""
        if not offsets:
            return
        file = os.open(segment_path(self.folder, self.number), os.O_RDONLY)
        try:
            for offset in offsets:
                record = read_at(file, Place(self.number, offset))
                if record.kind in kinds:
                    yield record
        finally:
            os.close(file)

    def _offsets(self, key: int) -> list[int]:
        index = self.index
        if index is not None:
            return latest(index, key)
        assert self.columns is not None  # noqa: S101 - either is there
        keys = self.columns["keys"]
        low = int(np.searchsorted(keys, np.uint64(key)))
        if low == len(keys) or keys[low] != key:
            return []
        high = int(np.searchsorted(keys, np.uint64(key), side="right"))
        return sorted(self.columns["offsets"][low:high].tolist(), reverse=True)


def latest(index: Mapping[int, int | tuple[int, ...]], key: int) -> list[int]:
    """Offsets under a key of an index in memory, the latest first."""
    found = index.get(key, ())
    return [found] if isinstance(found, int) else list(reversed(found))


def build(folder: Path, number: int) -> None:
    """Make the index of a full segment from the segment itself.

    Raises:
        IntegrityError: a record of it was changed, or it has no end.
    """
    path = segment_path(folder, number)
    pairs: list[tuple[int, int]] = []
    rows: list[tuple[int, int]] = []
    size, end, is_ended = path.stat().st_size, 0, False
    with path.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for record, after in parse(data, number, 0):
            end = after
            if record.kind == SEAL:
                is_ended = True
                break
            pairs.extend((key, record.place.offset) for key in record.keys)
            rows.append((record.kind, record.place.offset))
    if not is_ended or end != size:
        raise _changed(Place(number, end))
    flat = np.array(pairs, dtype=np.uint64).reshape(-1, 2)
    _lay(folder, number, size, flat[:, 0], flat[:, 1], np.array(rows, dtype=np.uint64).reshape(-1, 2))


Whole = NDArray[np.uint64]


def _flat(index: Mapping[int, int | tuple[int, ...]], rows: Sequence[tuple[int, int]], breathe: Breathe) -> tuple[Whole, Whole, Whole]:
    """Keys, their offsets, and (rows, 2) kinds and offsets, of an index in memory."""
    keys, found = np.fromiter(index, np.uint64, len(index)), list(index.values())
    breathe()
    # Few keys have several places.
    several = [(place, each) for place, each in enumerate(found) if isinstance(each, tuple)]
    breathe()
    for place, each in several:
        found[place] = each[0]
    more_keys = [int(keys[place]) for place, each in several for _ in each[1:]]
    more = [offset for _, each in several for offset in each[1:]]
    breathe()
    offsets = np.array(found, dtype=np.uint64)
    breathe()
    flat = np.fromiter(chain.from_iterable(rows), np.uint64, 2 * len(rows)).reshape(-1, 2)
    breathe()
    return np.append(keys, np.array(more_keys, dtype=np.uint64)), np.append(offsets, np.array(more, dtype=np.uint64)), flat


def _lay(folder: Path, number: int, size: int, keys: Whole, offsets: Whole, rows: Whole, breathe: Breathe = _at_once) -> None:
    """Write an index: keys in order, each with its places in order; kinds and places of the records. Of what was blanked it holds no key.

    Looked at again once it is laid: whoever blanks a record meanwhile in another process finds the index, or is found here.
    """
    order = np.lexsort((offsets, keys))
    breathe()
    keys, offsets, kinds = keys[order], offsets[order], rows[:, 0].astype(np.uint8)
    blanks = _blanks(folder, number, rows[:, 1], breathe)
    while True:
        if len(blanks):
            stays = ~np.isin(offsets, blanks)
            keys, offsets = keys[stays], offsets[stays]
            kinds[np.isin(rows[:, 1], blanks)] = BLANK
        header = np.array([size, len(keys), len(rows)], dtype=np.uint64)
        with atomic_path(index_path(folder, number)) as partial, partial.open("wb") as out:
            for array in (header, keys, offsets, rows[:, 1], kinds):
                out.write(array.tobytes())
                breathe()
        before, blanks = len(blanks), _blanks(folder, number, rows[:, 1], breathe)
        if len(blanks) == before:
            return


def _blanks(folder: Path, number: int, offsets: Whole, breathe: Breathe) -> Whole:
    """Places of a segment's records that were blanked after they were written."""
    if not len(offsets) or not _blanked_path(folder, number).exists():
        # To look at each would touch every page of the segment, beside who answers.
        return offsets[:0]
    raw = np.memmap(segment_path(folder, number), dtype=np.uint8, mode="r")
    parts = []
    for start in range(0, len(offsets), LOOKED_AT):
        part = offsets[start : start + LOOKED_AT]
        parts.append(part[raw[part + np.uint64(_KIND)] == BLANK])
        breathe()
    return np.concatenate(parts)


def _mapped(path: Path, size: int) -> dict[str, NDArray[np.unsignedinteger]] | None:
    """The arrays of an index, on disk; None where there is none for a segment of that size."""
    if not path.is_file() or path.stat().st_size < 24:
        return None
    with path.open("rb") as file:
        # Read, not looked at in the map: one look would map 64 kB around it, of each segment, for as long as the process lives.
        for_size, keys, rows = (int(each) for each in np.frombuffer(file.read(24), dtype=np.uint64))
    raw = mapped(path)
    if for_size != size or len(raw) != 24 + 16 * keys + 9 * rows:
        return None
    at = 24 + 16 * keys
    return {
        "keys": raw[24 : 24 + 8 * keys].view(np.uint64),
        "offsets": raw[24 + 8 * keys : at].view(np.uint64),
        "rows": raw[at : at + 8 * rows].view(np.uint64),
        "row_kinds": raw[at + 8 * rows :],
    }


def _record(payload: bytes, place: Place) -> Record:
    at, kind, count = _META.unpack_from(payload)
    start = _META.size + 8 * count
    return Record(kind, at, struct.unpack_from(f"<{count}Q", payload, _META.size), payload[start:], place)


def _changed(place: Place) -> IntegrityError:
    return IntegrityError(f"{place.segment:08d}.log of the ledger is not what was written, from byte {place.offset} on; restore it from a backup")
