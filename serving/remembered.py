"""What a machine remembers of the exchange over a restart: its name, how far it went, whom it knows. Beside its log; in no backup."""

from __future__ import annotations

import fcntl
import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from retain.errors import DataError
from retain.files import read_json, write_json
from serving.ledger import Ledger, is_rewritten, mark
from serving.segments import BLANK, Place
from serving.shared import NOTHING, NOTHING_READ, Read

FILE = ".exchange.json"
_LOG = logging.getLogger("retain.serving")


@dataclass(frozen=True)
class Remembered:
    """Nobody, where nothing is remembered."""

    name: str = ""
    told: Read = NOTHING_READ
    """The last record that others were told."""
    got: dict[str, Read] = field(default_factory=dict)
    known: tuple[str, ...] = ()


def recall(folder: Path) -> Remembered:
    """What the ledger of a folder was called, and so on."""
    if not (folder / FILE).is_file():
        return Remembered()
    try:
        kept = read_json(folder / FILE)
        got = {str(name): _read(each) for name, each in kept["got"].items()}
        return Remembered(str(kept["name"]), _read(kept["told"]), got, tuple(map(str, kept["known"])))
    except (DataError, AttributeError, KeyError, TypeError, ValueError):
        _LOG.error("%s of the ledger is broken; this machine has a new name, and everything is told and read again, which changes nothing", FILE)
        return Remembered()


def remember(folder: Path, what: Remembered) -> None:
    """Keep it; whoever dies before does a little again."""
    write_json(folder / FILE, {"name": what.name, "told": what.told, "got": what.got, "known": what.known})


def stands(ledger: Ledger, told: Read | None) -> bool:
    """Whether what others were told stands in the log, or was somebody's who was erased.

    A power loss may take the end of a log, and a restore replace it: what is written in its place is not what others have.
    """
    if told is None or told.last == NOTHING or not told.mark:
        return True
    record = ledger.journal.at(told.last)
    return record is not None and (record.kind == BLANK or mark(record.body) == told.mark or is_rewritten(record))


def read_up_to(ledger: Ledger, place: Place) -> Read | None:
    """The record at a place as it is remembered; None where none begins there."""
    record = ledger.journal.at(place)
    return None if record is None else Read(place, mark(record.body))


def gate(folder: Path) -> int | None:
    """The lock of whoever speaks for this machine, which the kernel opens when its holder dies; None where another process has it."""
    handle = os.open(folder / ".exchange.lock", os.O_RDWR | os.O_CREAT, 0o640)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


def _read(kept: Any) -> Read:
    (segment, offset), mark = kept
    return Read(Place(int(segment), int(offset)), int(mark))
