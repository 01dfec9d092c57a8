"""Who was erased, kept as keyed hashes, and how tables and other Parquet files lose a customer.

A tombstone is written before anything is removed, and everything that is removed is looked for by tombstone: whoever is interrupted does it
again, and what a backup brings back goes again. At ingest a tombstone rejects the rows of its customer. The hashes are keyed, so that they
name nobody to who has the file alone; without the key nothing is guessed, nothing is ingested either.
"""

from __future__ import annotations

import hmac
import math
import os
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from retain.digest import digest
from retain.engine import ROW_GROUP, Engine, identifier, quoted
from retain.errors import IntegrityError, RefusedError
from retain.files import MANIFEST, alone, atomic_folder, atomic_path, read_json, write_json
from retain.settings import Settings
from retain.tables import TABLES
from retain.workspace import Workspace

HASHES, KEY = "hashes.json", "key"
LOOK_S = 1.0
_COLUMN = "customer_id"
_WORD = re.compile(r"[^\s,;\t|\"']+")


@dataclass(frozen=True)
class Tombstones:
    """Those who were erased; asked by id."""

    key: bytes = b""
    hashes: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        """Whether anybody was."""
        return bool(self.hashes)

    def __contains__(self, customer_id: object) -> bool:
        """Whether this customer was."""
        return bool(self.hashes) and self.of(str(customer_id)) in self.hashes

    def of(self, customer_id: str) -> str:
        """The tombstone of an id."""
        return hmac.digest(self.key, customer_id.encode("utf-8", "surrogatepass"), "sha256").hex()


def place(workspace: Workspace) -> Path:
    """Where the tombstones of a workspace lie; RETAIN_TOMBSTONES puts them where no restore reaches them."""
    return Settings.read().tombstones or workspace.root / "tombstones"


def tombstones(folder: Path) -> Tombstones:
    """Those who were erased.

    Raises:
        IntegrityError: there are hashes and no key, or they are broken: whom they mean cannot be told, so nothing may be read in.
    """
    if not (folder / HASHES).is_file():
        return Tombstones()
    try:
        key, hashes = bytes.fromhex((folder / KEY).read_text(encoding="ascii")), read_json(folder / HASHES)["hashes"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise IntegrityError(f"{folder.name}: the hashes or the key of erased customers cannot be read; restore both from where they were") from error
    return Tombstones(key, frozenset(map(str, hashes)))


class Erased:
    """The tombstones as a running process knows them; the file is looked at once a second at most."""

    def __init__(self, folder: Path, tick: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._tick = folder, tick
        self._look_at, self._seen = -math.inf, 0
        self._unreadable = ""
        """Why those that are there now are not known."""
        self.buried = Tombstones()

    def news(self) -> Tombstones | None:
        """All tombstones where there are others than before; None where nothing is new.

        Raises:
            IntegrityError: there are others and they cannot be read. Nobody can be told to be anybody until they can, so it is said each time.
        """
        now = self._tick()
        if now >= self._look_at:
            self._look_at = now + LOOK_S
            try:
                return self._looked()
            except IntegrityError as error:
                self._unreadable = error.message
                raise
        if self._unreadable:
            raise IntegrityError(self._unreadable)
        return None

    def _looked(self) -> Tombstones | None:
        try:
            seen = (self._folder / HASHES).stat().st_mtime_ns
        except FileNotFoundError:
            if self._unreadable:
                raise IntegrityError(self._unreadable) from None
            return None
        except OSError as error:
            raise IntegrityError(f"{self._folder.name}: who was erased cannot be looked up; repair the disk or its rights") from error
        if seen == self._seen:
            self._unreadable = ""
            return None
        self.buried = tombstones(self._folder)
        self._seen, self._unreadable = seen, ""
        return self.buried


def bury(folder: Path, customer_id: str, random: bytes) -> Tombstones:
    """Add a tombstone; ``random`` (32 bytes) becomes the key where there is none yet."""
    prepare(folder, random)
    with alone(folder / HASHES):
        found = tombstones(folder)
        if customer_id not in found:
            found = Tombstones(found.key, found.hashes | {found.of(customer_id)})
            write_json(folder / HASHES, {"hashes": sorted(found.hashes)})
    return found


def prepare(folder: Path, random: bytes) -> None:
    """Lay down a key where there is none yet, with nobody under it: by its copy later tombstones are known to be those of the same customers."""
    with alone(folder / HASHES):
        if not (folder / HASHES).is_file() and not (folder / KEY).is_file():
            _write_key(folder, random)
        if not (folder / HASHES).is_file():
            write_json(folder / HASHES, {"hashes": []})


def merge(folder: Path, other: Path) -> Tombstones:
    """Add the tombstones that lie elsewhere, for example those of a backup; whoever has one in either was erased.

    Raises:
        RefusedError: they were made under another key, so that nobody can tell whether two of them mean the same customer.
        IntegrityError: either cannot be read.
    """
    theirs = tombstones(other)
    if folder.resolve() == other.resolve() or not theirs.key:
        return tombstones(folder)
    with alone(folder / HASHES):
        if not (folder / HASHES).is_file() and not (folder / KEY).is_file():
            _write_key(folder, theirs.key)
            write_json(folder / HASHES, {"hashes": []})
        ours = tombstones(folder)
        if ours.key != theirs.key:
            if not theirs:
                return ours
            raise RefusedError(f"{other}: these tombstones have another key than those in {folder}; keep the ones that belong to these customers")
        found = Tombstones(ours.key, ours.hashes | theirs.hashes)
        if found != ours:
            write_json(folder / HASHES, {"hashes": sorted(found.hashes)})
    return found


def reject(engine: Engine, path: Path, columns: Iterable[str], buried: Tombstones) -> int:
    """Take the rows of erased customers out of a staged file, usable or not; return how many."""
    if not buried or _COLUMN not in columns:
        return 0
    relation = f"read_parquet({quoted(path)})"
    whose = f"coalesce({_COLUMN}, {identifier(f'raw_{_COLUMN}')})"
    gone = [str(one) for (one,) in engine.rows(f"select distinct {whose} from {relation} where {whose} is not null") if one in buried]
    if not gone:
        return 0
    before = int(engine.rows(f"select count(*) from {relation}")[0][0])
    kept = engine.write(
        f"select * from {relation} where {whose} is null or {whose} not in ({', '.join(map(quoted, gone))})", path.with_suffix(".kept")
    )
    path.with_suffix(".kept").replace(path)
    return before - kept


def _untold(_before: str, _after: str) -> None:
    """Nobody follows."""


def sweep_tables(workspace: Workspace, buried: Tombstones, follow: Callable[[str, str], None] = _untold) -> dict[str, int]:
    """Remove erased customers from tables, truth and quarantine; return rows removed by file.

    The state follows the tables, and before it whoever else names them by their digest: is told the one of before and the one of now.
    """
    removed = {f"tables/{name}": rows for name, rows in sweep_folder(workspace.tables, buried).items()}
    if (workspace.tables / MANIFEST).is_file() and workspace.is_filled:
        counts = {name: pq.ParquetFile(workspace.table(name)).metadata.num_rows for name in TABLES if workspace.table(name).is_file()}
        state = workspace.state()
        swept = state.model_copy(update={"tables": {**state.tables, **counts}, "digest": digest(workspace.tables)})
        if swept != state:
            follow(state.digest, swept.digest)
            workspace.write_state(swept)
    for folder in (workspace.truth, workspace.quarantine):
        removed |= {f"{folder.name}/{name}": rows for name, rows in sweep_folder(folder, buried).items()}
    return removed


def sweep_folder(folder: Path, buried: Tombstones) -> dict[str, int]:
    """Remove erased customers from the Parquet files of a folder that is written as a whole; return rows removed by file."""
    touched = {path.name for path in sorted(folder.glob("*.parquet")) if is_in(path, buried)}
    if not touched:
        return {}
    removed: dict[str, int] = {}
    with atomic_folder(folder) as fresh:
        for path in sorted(folder.rglob("*")):
            target = fresh / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.name in touched and path.parent == folder:
                removed[path.name] = copy_without(path, target, buried)
            elif path.is_file() and path.name != MANIFEST:
                os.link(path, target)
        beside = fresh / "state.json"
        if beside.is_file():
            # The state among the tables is that of the tables before.
            beside.unlink()
    return removed


def sweep_file(path: Path, buried: Tombstones) -> int:
    """Remove erased customers from one Parquet file; return rows removed."""
    if not is_in(path, buried):
        return 0
    with atomic_path(path) as partial:
        return copy_without(path, partial, buried)


def is_in(path: Path, buried: Tombstones) -> bool:
    """Whether a Parquet file holds an erased customer."""
    file = pq.ParquetFile(path)
    columns = [name for name in (_COLUMN, "line", "audience") if name in file.schema_arrow.names]
    return bool(columns) and any(_gone(batch, buried) is not None for batch in file.iter_batches(batch_size=ROW_GROUP, columns=columns))


def copy_without(path: Path, target: Path, buried: Tombstones) -> int:
    """Copy a Parquet file without the rows of erased customers, and without them where an offer names whom it is for; return rows removed."""
    file, removed = pq.ParquetFile(path), 0
    with pq.ParquetWriter(target, file.schema_arrow, compression="zstd") as writer:
        for batch in file.iter_batches(batch_size=ROW_GROUP):
            changed = _gone(batch, buried)
            kept = batch if changed is None else changed
            removed += len(batch) - len(kept)
            writer.write_table(pa.Table.from_batches([kept], schema=file.schema_arrow), row_group_size=ROW_GROUP)
    return removed


def held(path: Path, customer_id: str) -> list[dict[str, Any]]:
    """A customer's rows of a Parquet file; of a table of offers those that are for the customer by name."""
    names = pq.ParquetFile(path).schema_arrow.names
    rows: list[dict[str, Any]] = []
    if _COLUMN in names:
        rows = pq.read_table(path, filters=[(_COLUMN, "=", customer_id)]).to_pylist()
    elif "audience" in names:
        rows = [row for row in pq.read_table(path).to_pylist() if customer_id in (row["audience"] or ())]
    return rows


def _write_key(folder: Path, key: bytes) -> None:
    with atomic_path(folder / KEY) as partial, os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(key.hex())


def _gone(batch: pa.RecordBatch, buried: Tombstones) -> pa.RecordBatch | None:
    """The rows that stay, or None where nobody of them was erased."""
    names, changed = batch.schema.names, None
    if _COLUMN in names:
        gone = [one for one in pc.unique(batch[_COLUMN]).to_pylist() if one is not None and one in buried]
        if gone:
            changed = batch.filter(pc.invert(pc.fill_null(pc.is_in(batch[_COLUMN], pa.array(gone, batch[_COLUMN].type)), False)))
    whole = batch if changed is None else changed
    if "line" in names and "reason" in names:
        # A line that is no row: nobody knows which of its words is whose id.
        named = [one is None or not any(word in buried for word in _WORD.findall(one)) for one in whole["line"].to_pylist()]
        if not all(named):
            changed = whole = whole.filter(pa.array(named))
    if "audience" in names and pa.types.is_list(batch.schema.field("audience").type):
        values = whole["audience"].to_pylist()
        cleared = [None if one is None else [each for each in one if each not in buried] for one in values]
        if cleared != values:
            position = names.index("audience")
            changed = whole.set_column(position, whole.schema.field(position), pa.array(cleared, whole.schema.field(position).type))
    return changed
