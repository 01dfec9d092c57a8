"""Records that are overwritten where they stand, by a plan that is on disk before the first: torn by a death, they are overwritten again."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from retain.files import read_json, write_json
from serving.segments import BLANK, Place, blank, build, forget_blanked, index_path, rewrite

PLAN = "erasing.json"


class Change(NamedTuple):
    """What is done to a record: blanked, or written anew in its length; as JSON can keep it."""

    place: Place
    kind: int = BLANK
    keys: Sequence[int] = ()
    body: str = ""
    """Of what is written anew, in hexadecimal digits."""

    def make(self, log: Path) -> None:
        """Do it, or do it again."""
        if self.kind == BLANK:
            blank(log, self.place)
        else:
            rewrite(log, self.place, self.kind, self.keys, bytes.fromhex(self.body))


def planned(ledger: Path) -> list[Change]:
    """What was to be done when somebody died; nothing, as a rule."""
    plan = ledger / PLAN
    return [Change(Place(*one[:2]), *one[2:]) for one in read_json(plan)] if plan.is_file() else []


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
    """Before a log is read: overwrite again what somebody left half done. The plan stays for whoever made it, with all that follows."""
    if not (ledger / PLAN).is_file() or not (ledger / "log").is_dir():
        return
    gate = os.open(ledger / "log" / ".gate", os.O_RDWR | os.O_CREAT, 0o640)
    try:
        fcntl.flock(gate, fcntl.LOCK_EX)
        for change in planned(ledger):
            change.make(ledger / "log")
    finally:
        os.close(gate)


__all__ = ["PLAN", "Change", "again", "done", "overwrite", "planned"]
