"""Who pulled which list, answers about several customers or the export of one, and when.

One line each, chained to the one before, so that no line can be changed, removed or added unseen.
The line is on disk before anything is handed over; where it cannot be written, nothing is. Beside the log lies its head (how many
lines, and the last hash): a tail that was cut off is missed too. Whoever can rewrite both can forge both: note the head elsewhere,
``retain pulls verify --head HASH`` says whether the log still holds it. No customer is named in it.
"""

from __future__ import annotations

import hashlib
import json
import os
import pwd
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from retain.errors import DataError, IntegrityError, NotReadyError
from retain.files import alone, append_line, read_json, write_json
from retain.workspace import PULLS_HEAD, Workspace, computer_time
from serving.keys import Key
from serving.schemas import ChurnList

START = "0" * 64
HEAD = PULLS_HEAD
TOGETHER = 32
"""At most so many lines are written with one sync, and stand without a head after a crash."""
TAIL = 2**18
"""Bytes at the end of the log that hold them."""


class Pulled(BaseModel):
    """One list that somebody pulled."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    who: str
    """``key <id> <name>``, ``this machine`` where no key is demanded, or ``command <account>``."""
    list: str
    """Which kind of list, or ``scores``, ``decisions``, ``customer`` (an export of one)."""
    asked: dict[str, Any]
    at: AwareDatetime
    """On the computer's clock."""
    rows: int
    content: str
    """Hash of the customers in their order, so that a list can be told apart from another without naming anybody."""
    models: dict[str, str | None]
    sequence: int = 0
    chain: str = ""
    """Hash over the line before and this one."""


def by_key(key: Key | None) -> str:
    """Who asks over HTTP."""
    return "this machine" if key is None else f"key {key.key_id} {key.name}"


def by_command() -> str:
    """Who asks at a terminal."""
    try:
        return f"command {pwd.getpwuid(os.getuid()).pw_name}"
    except KeyError:
        return f"command {os.getuid()}"


def pulled(who: str, kind: str, asked: Mapping[str, Any], customers: Iterable[str], models: Mapping[str, str | None], at: datetime) -> Pulled:
    """What is written down of a list."""
    content, rows = hashlib.sha256(), 0
    for customer in customers:
        content.update(customer.encode("utf-8", "surrogatepass") + b"\n")
        rows += 1
    return Pulled(who=who, list=kind, asked=dict(asked), at=at, rows=rows, content=content.hexdigest(), models=dict(models))


def of_churn(result: ChurnList) -> list[str]:
    """The customers of a churn list, in their order."""
    return [row.customer_id for row in (*result.rows, *result.involuntary)]


def note(root: Path, who: str, kind: str, asked: Mapping[str, Any], customers: Iterable[str], models: Mapping[str, str | None]) -> Pulled:
    """Write down a list that is about to be handed over.

    Raises:
        NotReadyError: the disk refuses; there is no list then.
        IntegrityError: the log was changed; there is none either.
    """
    return note_all(root, [pulled(who, kind, asked, customers, models, computer_time())])[0]


def note_all(root: Path, given: Sequence[Pulled]) -> list[Pulled]:
    """Write down at most ``TOGETHER`` pulls at once.

    Raises:
        NotReadyError: the disk refuses; nothing is handed over then.
        IntegrityError: the log was changed; nothing is either.
    """
    try:
        return keep_all(Workspace.at(root).pulls, given)
    except OSError as error:
        raise NotReadyError("who pulls this cannot be written down, so it is not handed over; free or repair the disk") from error


def keep(path: Path, entry: Pulled) -> Pulled:
    """Append a line and sync it; raises what ``keep_all`` raises."""
    return keep_all(path, [entry])[0]


def keep_all(path: Path, given: Sequence[Pulled]) -> list[Pulled]:
    """Append at most ``TOGETHER`` lines with one sync.

    Raises:
        IntegrityError: the log does not end where its head says; nothing is handed over until somebody has looked.
    """
    found: list[Pulled] = []
    with alone(path):
        sequence, chain = _end(path)
        if (sequence, chain) != _head(path):
            # What a crash left without it, or a disk that refused it: first that, or lines that nobody names would become more than one crash leaves.
            write_json(path.with_name(HEAD), {"sequence": sequence, "chain": chain})
        for entry in given:
            whole = entry.model_copy(update={"sequence": sequence + 1})
            whole = whole.model_copy(update={"chain": _link(chain, whole)})
            sequence, chain = whole.sequence, whole.chain
            found.append(whole)
        append_line(path, "\n".join(each.model_dump_json() for each in found))
        write_json(path.with_name(HEAD), {"sequence": sequence, "chain": chain})
    return found


def entries(path: Path, head: str | None = None) -> list[Pulled]:
    """The whole log, checked from the first line to its head.

    Raises:
        IntegrityError: names the first line that was changed, removed or added, or says how many are missing at the end.
    """
    found: list[Pulled] = []
    chain = START
    with _undisturbed(path):
        # The head first: lines that come between are more than it names, which a crash leaves too, and never fewer.
        said, lines = _head(path), _lines(path)
    for number, line in enumerate(lines, start=1):
        try:
            entry = Pulled.model_validate_json(line)
        except ValidationError as error:
            raise IntegrityError(f"{path.name}: line {number} is not a pull; compare it with a backup") from error
        if entry.sequence != number or entry.chain != _link(chain, entry):
            raise IntegrityError(f"{path.name}: line {number} does not follow from the one before; it was changed, or lines were removed or added")
        chain = entry.chain
        found.append(entry)
    if said[0] > len(found):
        raise IntegrityError(f"{path.name}: {said[0] - len(found)} lines are missing at the end; {len(found)} stand, {HEAD} says {said[0]}")
    if said[0] < len(found) - TOGETHER or (said[0] and found[said[0] - 1].chain != said[1]):
        raise IntegrityError(f"{HEAD} does not say how {path.name} ends: {len(found)} lines stand; one of the two was changed")
    if head is not None and head not in [START, *(entry.chain for entry in found)]:
        raise IntegrityError(f"{path.name}: no line has the hash {head[:12]}...; the log was written anew since it was noted")
    return found


@contextmanager
def _undisturbed(path: Path) -> Iterator[None]:
    """Nobody appends meanwhile; whoever may only read takes the log as it is. A reader makes no lock: writers might not open it."""
    with ExitStack() as held:
        with suppress(OSError):
            held.enter_context(alone(path, is_made=False))
        yield


def _end(path: Path) -> tuple[int, str]:
    """Where the next line follows: the head, or the lines of one sync that a crash left without it."""
    sequence, chain = _head(path)
    tail = _tail(path)
    if not tail and sequence == 0:
        return 0, START
    last = _parsed(path, tail[-1]) if tail else None
    if last is not None and (last.sequence, last.chain) == (sequence, chain):
        return sequence, chain
    if last is not None and 0 < last.sequence - sequence <= min(TOGETHER, len(tail)):
        for line in tail[sequence - last.sequence :]:
            entry = _parsed(path, line)
            if entry.sequence != sequence + 1 or entry.chain != _link(chain, entry):
                break
            sequence, chain = entry.sequence, entry.chain
        else:
            return sequence, chain
    raise IntegrityError(f"{path.name} does not end where {HEAD} says; `retain pulls verify` names the place, no list is handed over until then")


def _head(path: Path) -> tuple[int, str]:
    beside = path.with_name(HEAD)
    if not beside.is_file():
        return 0, START
    try:
        said = read_json(beside)
        return int(said["sequence"]), str(said["chain"])
    except (DataError, KeyError, TypeError, ValueError) as error:
        raise IntegrityError(f"{HEAD} is broken; compare it with a backup") from error


def _tail(path: Path) -> list[bytes]:
    """The last whole lines, more than go down at once. A line that a crash cut short was never answered and goes."""
    if not path.is_file():
        return []
    size = path.stat().st_size
    with path.open("r+b") as file:
        start = max(0, size - TAIL)
        file.seek(start)
        data = file.read()
        end = data.rfind(b"\n") + 1
        if end < len(data):
            file.truncate(start + end)
    lines = data[:end].split(b"\n")[:-1]
    # Where the log is longer than what was read, the first of them is cut.
    return lines[1:] if start else lines


def _parsed(path: Path, line: bytes) -> Pulled:
    try:
        return Pulled.model_validate_json(line)
    except ValidationError as error:
        raise IntegrityError(f"{path.name}: its last line is not a pull; `retain pulls verify` names the place") from error


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        return []
    text = path.read_bytes()
    return text[: text.rfind(b"\n") + 1].decode(errors="replace").split("\n")[:-1]


def _link(chain: str, entry: Pulled) -> str:
    text = json.dumps(entry.model_dump(mode="json", exclude={"chain"}), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(f"{chain}\n{text}".encode()).hexdigest()
