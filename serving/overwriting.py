"""Records that are overwritten where they stand, by a plan that is on disk before the first: torn by a death, they are overwritten again."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from retain.errors import DataError, IntegrityError
from retain.files import read_json, write_json
from serving.segments import BLANK, Place, begins, blank, build, forget_blanked, index_path, length, rewrite

PLAN = "erasing.json"
REMEDY = "restore both from one backup, or take the file away and type `retain customer erase --again`"


class Change(NamedTuple):
    """What is done to a record: blanked, or written anew in its length; as JSON can keep it."""

    place: Place
    kind: int = BLANK
    keys: Sequence[int] = ()
    body: str = ""
    """Of what is written anew, in hexadecimal digits."""

    @property
    def length(self) -> int:
        """Of the record as it will say it itself; 0 where it stays whatever it is."""
        return 0 if self.kind == BLANK else length(self.keys, bytes.fromhex(self.body))

    def make(self, log: Path) -> None:
        """Do it, or do it again."""
        if self.kind == BLANK:
            blank(log, self.place)
        else:
            rewrite(log, self.place, self.kind, self.keys, bytes.fromhex(self.body))


def planned(ledger: Path) -> list[Change]:
    """What was to be done when somebody died; nothing, as a rule."""
    plan = ledger / PLAN
    try:
        changes = [Change(Place(*one[:2]), *one[2:]) for one in read_json(plan)] if plan.is_file() else []
        # Each is looked at as a whole: one that is not complete is found here and not halfway.
        return [change for change in changes if change.length >= 0]
    except (DataError, TypeError, ValueError):
        raise IntegrityError(f"{PLAN} of the ledger cannot be read; {REMEDY}") from None


def overwrite(ledger: Path, changes: Iterable[Change]) -> None:
    """Plan and make changes; what was planned before has to be among them, and nobody else may write. ``done`` ends it."""
    changes = list(changes)
    write_json(ledger / PLAN, [[*change.place, change.kind, change.keys, change.body] for change in changes])
    log = ledger / "log"
    for change in changes:
        change.make(log)
    anew = {change.place.segment for change in changes if change.kind != BLANK}
    for number in sorted({change.place.segment for change in changes}):
        if number in anew and index_path(log, number).is_file():
            # A key may be a hash of what stood there.
            build(log, number)
        else:
            forget_blanked(log, number)


def done(ledger: Path) -> None:
    """All of the plan was carried out."""
    (ledger / PLAN).unlink()


def again(ledger: Path) -> None:
    """Before a log is read: overwrite again what somebody left half done. The plan stays for whoever made it, with all that follows.

    Raises:
        IntegrityError: the plan cannot be read, or does not fit the log; nothing was overwritten.
    """
    log = ledger / "log"
    if not (ledger / PLAN).is_file() or not log.is_dir():
        return
    gate = os.open(log / ".gate", os.O_RDWR | os.O_CREAT, 0o640)
    try:
        fcntl.flock(gate, fcntl.LOCK_EX)
        changes = planned(ledger)
        begin = {number: begins(log, number) for number in {change.place.segment for change in changes}}
        for change in changes:
            size = begin[change.place.segment].get(change.place.offset)
            if size is None or size != (change.length or size):
                # Nothing is written over what it was not meant for.
                where = f"{change.place.segment:08d}.log, byte {change.place.offset}"
                raise IntegrityError(f"{PLAN} of the ledger is of another log, from {where}; {REMEDY}")
        for change in changes:
            change.make(log)
    finally:
        os.close(gate)


__all__ = ["PLAN", "Change", "again", "done", "overwrite", "planned"]
