"""Which model was champion when: an append-only, chained ledger; the pointer of each task follows from it.

A promotion pushes a model, a rollback takes the top one off. The time is the workspace's. A line that a crash cut short was never
promised to anybody and is dropped; any other change of a line breaks the chain and is refused.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from retain.errors import IntegrityError, RefusedError
from retain.files import append_line, read_json, write_json, write_text
from retain.workspace import Workspace
from training.gate import Verdict
from training.package import POINTER

START = "0" * 64


class Entry(BaseModel):
    """One line of the ledger."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sequence: int
    moment: AwareDatetime
    task: str
    action: Literal["promote", "rollback"]
    model_id: str
    """The champion from here on."""
    previous: str | None
    """The champion until here."""
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    overridden: tuple[str, ...] = ()
    """Objections of the gate that an override set aside."""
    chain: str = ""
    """Hash over the line before and this one."""


def entries(workspace: Workspace) -> list[Entry]:
    """The whole ledger, checked.

    Raises:
        IntegrityError: a line was changed, removed or added by hand; the message names it.
    """
    result: list[Entry] = []
    chain = START
    for number, line in enumerate(_lines(workspace), start=1):
        try:
            entry = Entry.model_validate_json(line)
        except ValidationError as error:
            raise IntegrityError(f"{workspace.promotions.name}: line {number} is not a promotion; restore the ledger from a backup") from error
        if entry.sequence != number or entry.chain != _link(chain, entry):
            raise IntegrityError(f"{workspace.promotions.name}: line {number} does not follow from the one before; restore the ledger from a backup")
        chain = entry.chain
        result.append(entry)
    return result


def reigns(ledger: list[Entry], task: str) -> list[str]:
    """Champions that a rollback can still reach, the present one last."""
    stack: list[str] = []
    for entry in ledger:
        if entry.task == task:
            if entry.action == "promote":
                stack.append(entry.model_id)
            else:
                stack.pop()
    return stack


def promote(workspace: Workspace, task: str, model_id: str, verdict: Verdict, moment: datetime) -> Entry:
    """Write down a promotion that the gate granted and move the pointer. Hold the workspace's lock."""
    if not verdict.promote:
        raise RefusedError(f"{model_id} is not promoted: {'; '.join(verdict.reasons)}")
    ledger = entries(workspace)
    stack = reigns(ledger, task)
    entry = Entry(
        sequence=len(ledger) + 1,
        moment=moment,
        task=task,
        action="promote",
        model_id=model_id,
        previous=stack[-1] if stack else None,
        reasons=verdict.reasons,
        warnings=verdict.warnings,
        overridden=verdict.overridden,
    )
    return _append(workspace, ledger, entry)


def before(workspace: Workspace, task: str) -> str:
    """Id of the champion that a rollback returns to.

    Raises:
        RefusedError: there is none.
    """
    stack = reigns(entries(workspace), task)
    if len(stack) < 2:
        raise RefusedError(f"{task} has no champion before the present one; `retain promote {task} MODEL` chooses another model")
    return stack[-2]


def rollback(workspace: Workspace, task: str, moment: datetime, reason: str = "") -> Entry:
    """Return to the champion before. Hold the workspace's lock.

    Raises:
        RefusedError: there is none.
    """
    target, ledger = before(workspace, task), entries(workspace)
    entry = Entry(
        sequence=len(ledger) + 1,
        moment=moment,
        task=task,
        action="rollback",
        model_id=target,
        previous=reigns(ledger, task)[-1],
        reasons=(reason or "returned to the champion before",),
    )
    return _append(workspace, ledger, entry)


def follow(workspace: Workspace, ledger: list[Entry] | None = None) -> None:
    """Make every pointer say what the ledger says; a crash between the two is healed here."""
    ledger = entries(workspace) if ledger is None else ledger
    for task in sorted({entry.task for entry in ledger}):
        stack = reigns(ledger, task)
        wanted = {"model_id": stack[-1], "previous": stack[-2] if len(stack) > 1 else None}
        pointer = workspace.models / task / POINTER
        if not pointer.is_file() or read_json(pointer) != wanted:
            write_json(pointer, wanted)


def _append(workspace: Workspace, ledger: list[Entry], entry: Entry) -> Entry:
    entry = entry.model_copy(update={"chain": _link(ledger[-1].chain if ledger else START, entry)})
    path = workspace.promotions
    if path.is_file() and not path.read_bytes().endswith(b"\n"):
        write_text(path, "".join(line + "\n" for line in _lines(workspace)))
    append_line(path, entry.model_dump_json())
    follow(workspace, [*ledger, entry])
    return entry


def _link(chain: str, entry: Entry) -> str:
    text = json.dumps(entry.model_dump(mode="json", exclude={"chain"}), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(f"{chain}\n{text}".encode()).hexdigest()


def _lines(workspace: Workspace) -> list[str]:
    """Finished lines of the ledger; a last line without its end was cut short by a crash."""
    if not workspace.promotions.is_file():
        return []
    text = workspace.promotions.read_bytes()
    whole = text[: text.rfind(b"\n") + 1]
    return whole.decode(errors="replace").split("\n")[:-1]
