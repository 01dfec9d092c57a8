"""A customer's right to know and to be gone: everything that is held of one, and its removal from every place, with a receipt.

The tombstone is on disk before anything is removed; then each place is swept for everybody who has one. Interrupted, the same command goes
on. After a restore ``again`` removes whoever came back. A running service knows nobody any more who has a tombstone, within a second.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from retain import erasure
from retain.engine import Engine, quoted
from retain.erasure import Tombstones
from retain.files import MANIFEST, PARTIAL, read_json, remove_partials, sha256, write_json, write_text
from retain.workspace import Workspace, computer_time
from serving import grounds, listed, overwriting
from serving.decisions.facts import Shop
from serving.entries import Conflict, Entry, Outcome
from serving.feedback import follow
from serving.incoming import Fact
from serving.ledger import CONFLICT, DECISION, FACT, OUTCOME, Ledger, reading, rekeyed
from serving.older import TAKEN
from serving.overwriting import Change
from serving.publishing import Content, point, write
from serving.rows import POINTER, Rows
from serving.segments import Record, blanked_with_keys
from serving.unnamed import filled, left

RECEIPTS = "erasures"


def erase(workspace: Workspace, customer_id: str | None, random: bytes, now: datetime | None = None) -> dict[str, Any]:
    """Bury a customer (or nobody new, where none is named) and sweep the workspace; return the receipt, which is kept too.

    Raises:
        LockedError: somebody else is at work in the workspace.
    """
    folder = erasure.place(workspace)
    buried = erasure.tombstones(folder) if customer_id is None else erasure.bury(folder, customer_id, random)
    with workspace.lock("retain customer erase"):
        _clear(workspace)
        ids = sorted({*known(workspace, buried), *([] if customer_id is None else [customer_id])})
        before = workspace.state().digest if workspace.is_filled else ""
        removed = erasure.sweep_tables(workspace, buried, partial(follow, workspace))
        removed |= _features(workspace, buried, ids, before)
        removed |= sweep_rows(workspace, buried, before)
        removed |= sweep_ledger(workspace, buried)
        removed |= sweep_lists(workspace, buried)
    at = (now or computer_time()).isoformat(timespec="seconds")
    receipt = {
        "tombstone": None if customer_id is None else buried.of(customer_id),
        "tombstones": len(buried.hashes),
        "at": at,
        "removed": removed,
        "not_reached": [
            "lists written outside the workspace (`retain pulls list` says who pulled which)",
            "backups: `retain restore` removes them again where it finds the tombstones (RETAIN_TOMBSTONES, --tombstones)",
            "other machines (RETAIN_REDIS): the command runs on each; what waits for them in Redis is gone once they have it, in a day at most",
            "the files of the source: the tombstone rejects their rows at every ingest",
            "what models learned: no id lies in one, up to 16 nameless golden rows go when it goes; the next training does not know the erased",
        ],
    }
    name = "again" if customer_id is None else buried.of(customer_id)[:12]
    write_json(workspace.root / RECEIPTS / f"{re.sub('[^0-9T]', '', at[:19])}-{name}.json", receipt)
    return receipt


def export(workspace: Workspace, customer_id: str) -> dict[str, Any]:
    """Everything that is held of a customer, by where it lies."""
    tables = {path.stem: rows for path in sorted(workspace.tables.glob("*.parquet")) if (rows := erasure.held(path, customer_id))}
    refused = {path.stem: rows for path in sorted(workspace.quarantine.glob("*.parquet")) if (rows := erasure.held(path, customer_id))}
    from features.erasure import newest

    return {
        "customer_id": customer_id,
        "is_erased": customer_id in erasure.tombstones(erasure.place(workspace)),
        "tables": tables,
        "quarantine": refused,
        "features": newest(workspace, customer_id),
        "row": _row(workspace, customer_id),
        "ledger": reading(workspace.ledger, lambda ledger: _told(ledger, customer_id)) if (workspace.ledger / "log").is_dir() else {},
        "lists": [str(path.relative_to(workspace.root)) for path in _listing(workspace) if listed.names(path, customer_id)],
    }


def known(workspace: Workspace, buried: Tombstones) -> Iterator[str]:
    """Ids of the erased that published rows, tables or snapshots still name."""
    if not buried:
        return
    for folder in _versions(workspace):
        ids = np.load(folder / "ids.npy", mmap_mode="r", allow_pickle=False)
        yield from (name for one in ids if (name := bytes(one).decode()) in buried)
    with Engine(workspace.temporary) as engine:
        files = (*sorted(workspace.tables.glob("*.parquet")), *sorted(workspace.snapshots.glob("*/[!.]*.parquet")))
        held = [quoted(path) for path in files if "customer_id" in _columns(path) and erasure.is_in(path, buried)]
        if held:
            sql = f"select distinct customer_id from read_parquet([{', '.join(held)}], union_by_name = true) where customer_id is not null"
            yield from (str(one) for (one,) in engine.rows(sql) if str(one) in buried)


def sweep_rows(workspace: Workspace, buried: Tombstones, before: str) -> dict[str, int]:
    """Publish the rows again without the erased, whom no offer is for by name any more; versions that hold them go."""
    pointer = workspace.rows / POINTER
    if not pointer.is_file():
        return {}
    current = str(read_json(pointer)["version"])
    kept = {folder.name: _kept(folder, buried) for folder in _versions(workspace)}
    named = {name: _named(workspace.rows / name, buried) for name in kept}
    touched = [name for name, keep in kept.items() if named[name] or not keep.all()]
    if not touched:
        return {}
    if current not in touched:
        point(workspace, current, keep_previous=False)
    else:
        rows = Rows.open(workspace.rows / current)
        digest = workspace.state().digest if rows.card.data_digest == before else rows.card.data_digest
        arrays = {path.stem: np.load(path, allow_pickle=False) for path in sorted((workspace.rows / current).glob("*.npy"))}
        made = Content(replace(rows.card, data_digest=digest), grounds.without(rows.shop, buried), without(arrays, kept[current]))
        write(workspace, made, keep_previous=False)
    removed = {f"rows/{name}": gone for name in touched if (gone := int((~kept[name]).sum()))}
    return {**removed, **{f"rows/{name}/offers": named[name] for name in touched if named[name]}}


def without(arrays: dict[str, NDArray[Any]], keep: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
    """Arrays of rows with only those customers; ragged tables (``name.start``) lose their entries too."""
    result: dict[str, NDArray[Any]] = {}
    for name, array in arrays.items():
        table, dot, column = name.partition(".")
        if dot and f"{table}.start" not in arrays:
            # Of the shop, not of its customers.
            result[name] = array
        elif not dot:
            result[name] = np.ascontiguousarray(array[keep])
        elif column == "start":
            result[name] = np.concatenate([[0], np.cumsum(np.diff(array)[keep])]).astype(array.dtype)
        else:
            result[name] = np.ascontiguousarray(array[np.repeat(keep, np.diff(arrays[f"{table}.start"]))])
    return result


def sweep_ledger(workspace: Workspace, buried: Tombstones) -> dict[str, int]:
    """Overwrite the erased customers' records where they stand, so that places hold and a running service reads on.

    They are blanked; of what is about others as well only the name goes.
    """
    log = workspace.ledger / "log"
    if not buried or not log.is_dir():
        return {}
    (workspace.ledger / TAKEN).unlink(missing_ok=True)
    named = grounds.sweep(workspace.ledger, buried)
    counts = {"ledger/grounds": named} if named else {}
    # Whatever half was written when somebody died has been written again by the time the log is open.
    ledger = Ledger(workspace.ledger)
    for torn in log.glob("*.torn"):
        torn.unlink()
    try:
        with ledger.journal.alone():
            ledger.journal.catch_up()
            looked = [(record, _change(ledger, record, buried)) for record in _records(ledger, buried.__contains__)]
            found = [(record, made) for record, made in looked if made is not None]
            # What a plan names must not be lost with the power.
            ledger.journal.sync()
            before = [*overwriting.planned(workspace.ledger), *map(Change, blanked_with_keys(log))]
            overwriting.overwrite(workspace.ledger, [*before, *(made for _, made in found)])
            for record, _ in found:
                counts[f"ledger/{record.kind}"] = counts.get(f"ledger/{record.kind}", 0) + 1
        overwriting.done(workspace.ledger)
    finally:
        ledger.close()
    return counts


def _change(ledger: Ledger, found: _Record, buried: Tombstones) -> Change | None:
    """What an erasure does to a record that it found; None: nothing, it is somebody else's."""
    stays = left(found.held, ledger.decision(found.held.decision_id), buried) if isinstance(found.held, Outcome) else None
    if stays is found.held:
        return None
    body = None if stays is None else filled(stays, len(found.record.body))
    return Change(found.record.place) if body is None else Change(found.record.place, OUTCOME, rekeyed(found.record, body), body.hex())


def sweep_lists(workspace: Workspace, buried: Tombstones) -> dict[str, int]:
    """Take the erased off the lists that the workspace keeps; pages that name them go, checksums follow."""
    removed: dict[str, int] = {}
    if not buried:
        return removed
    whole = {manifest.parent for manifest in workspace.lists.rglob(MANIFEST)}
    for folder in sorted(whole):
        removed |= {f"lists/{folder.relative_to(workspace.lists)}/{name}": rows for name, rows in erasure.sweep_folder(folder, buried).items()}
    for path in _listing(workspace):
        if path.parent in whole:
            continue
        old = sha256(path)
        rows = listed.sweep(path, buried)
        if not rows:
            continue
        removed[f"lists/{path.relative_to(workspace.lists)}"] = rows
        for summary in path.parent.glob("*.json"):
            text = summary.read_text(encoding="utf-8")
            if old in text and path.is_file():
                write_text(summary, text.replace(old, sha256(path)))
    return removed


def _clear(workspace: Workspace) -> None:
    """What a killed command left half-written goes: it may name anybody, and cannot be read.

    Lists are written without the lock: one that is being written meanwhile is ended, its command says so, and it is made again.
    """
    workspace.tidy()
    for folder in (workspace.rows, workspace.feast, workspace.snapshots, *workspace.snapshots.glob("*/")):
        remove_partials(folder)
    for folder in sorted({half.parent for half in workspace.lists.rglob(f"{PARTIAL}*")}):
        remove_partials(folder)


def _features(workspace: Workspace, buried: Tombstones, ids: list[str], before: str) -> dict[str, int]:
    if not buried or not workspace.is_filled:
        return {}
    from features.erasure import sweep

    return sweep(workspace, buried, ids, before)


class _Record(NamedTuple):
    """A record about customers."""

    kind: str
    record: Record
    held: Entry | Outcome | Fact | Conflict


def _records(ledger: Ledger, is_wanted: Callable[[str], bool]) -> Iterator[_Record]:
    """Records about customers: their decisions, what came of those or names them, facts, and requests that contradicted any of these."""
    decided: set[str] = set()
    for record in ledger.journal.records((DECISION,)):
        entry = msgspec.msgpack.decode(record.body, type=Entry)
        if is_wanted(entry.customer_id):
            decided.add(entry.decision_id)
            yield _Record("decisions", record, entry)
    for record in ledger.journal.records((OUTCOME,)):
        outcome = msgspec.msgpack.decode(record.body, type=Outcome)
        if outcome.decision_id in decided or (outcome.customer_id is not None and is_wanted(outcome.customer_id)):
            yield _Record("outcomes", record, outcome)
    for record in ledger.journal.records((FACT,)):
        fact = msgspec.msgpack.decode(record.body, type=Fact)
        if is_wanted(fact.customer_id):
            yield _Record("facts", record, fact)
    for record in ledger.journal.records((CONFLICT,)):
        conflict = msgspec.msgpack.decode(record.body, type=Conflict)
        body = _said(conflict)
        if is_wanted(str(body.get("customer_id"))) or body.get("decision_id") in decided:
            yield _Record("conflicts", record, conflict)


def _told(ledger: Ledger, customer_id: str) -> dict[str, Any]:
    """What the ledger holds of a customer: the records that an erasure would blank."""
    found: dict[str, list[Any]] = {"decisions": [], "outcomes": [], "facts": [], "conflicts": []}
    for record in _records(ledger, customer_id.__eq__):
        found[record.kind].append(_plainly(ledger, record.held))
    return {**found, "grounds": [path.name for path, _ in grounds.naming(ledger.folder, {customer_id})]}


def _plainly(ledger: Ledger, each: Entry | Outcome | Fact | Conflict) -> dict[str, Any]:
    """A record as it is told to its customer."""
    match each:
        case Entry():
            return {"at": each.at, "request": msgspec.json.decode(each.request), "answer": msgspec.json.decode(each.answer)}
        case Outcome():
            return {name: value for name, value in msgspec.structs.asdict(cast(Outcome, ledger.known(each))).items() if name != "filler"}
        case Fact():
            return {"table": each.table, "received_at": each.received_at, "row": msgspec.json.decode(each.row)}
    return {"of": each.kind, "received_at": each.received_at, "request": _said(each)}


def _said(conflict: Conflict) -> dict[str, Any]:
    """The request that contradicted another."""
    said = msgspec.json.decode(conflict.body or b"{}")
    # Releases before kept an outcome of another machine without the names of its fields.
    return said if isinstance(said, dict) else dict(zip(Outcome.__struct_fields__, said, strict=False))


def _row(workspace: Workspace, customer_id: str) -> dict[str, Any] | None:
    from serving.rows import open_rows

    if not (workspace.rows / POINTER).is_file():
        return None
    row = open_rows(workspace).get(customer_id)
    if row is None:
        return None
    scores = row.stored
    told = msgspec.to_builtins(row.customer(row.rows.card.moment, scores), order="deterministic")
    return {"features": row.features(), "knows": told, "scores": msgspec.to_builtins(scores)}


def _versions(workspace: Workspace) -> list[Path]:
    return sorted(path.parent for path in workspace.rows.glob("[!.]*/ids.npy"))


def _kept(folder: Path, buried: Tombstones) -> NDArray[np.bool_]:
    ids = np.load(folder / "ids.npy", mmap_mode="r", allow_pickle=False)
    return np.array([bytes(one).decode() not in buried for one in ids], dtype=bool)


def _named(folder: Path, buried: Tombstones) -> int:
    """How often offers of published rows are for somebody erased by name."""
    return grounds.named_in(msgspec.json.decode((folder / "shop.json").read_bytes(), type=Shop), buried)


def _listing(workspace: Workspace) -> list[Path]:
    # Whole ones only. The workspace itself may be a half, while it is restored.
    found = (path for path in workspace.lists.rglob("*") if path.is_file() and path.suffix.lower() in listed.KINDS)
    return sorted(path for path in found if not any(part.startswith(PARTIAL) for part in path.relative_to(workspace.lists).parts))


def _columns(path: Path) -> list[str]:
    import pyarrow.parquet as pq

    return list(pq.ParquetFile(path).schema_arrow.names)
