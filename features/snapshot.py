"""What each view says at a moment, and where it is kept: ``snapshots/<view>/<moment>.parquet``, one row per entity known before it."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from features import catalog
from features.catalog import SQL_TYPE, Entity, View
from retain import config
from retain.engine import Engine, identifier, of
from retain.errors import DataError
from retain.files import read_json, remove_partials, write_json
from retain.terminal import progress
from retain.workspace import Workspace, shift_days

KNOWN: Mapping[Entity, str] = {"customer": "known_customers", "product": "known_products"}
"""Intermediate tables that say since when an entity is known."""
WINDOWS = (7, 28, 30, 90, 365)
"""Days of the windows that views use; nothing looks further back, so features do not grow with the length of history."""


class Cadence(BaseModel):
    """How often snapshots are taken, and how far back."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    every_days: int = Field(default=7, ge=1)
    """Calendar days from one moment to the next, on the source's stored clock."""
    max_count: int = Field(default=53, ge=1)
    """Moments kept, the present one included."""
    first_days: int = Field(default=28, ge=0)
    """No moment earlier than this many days after the first transaction: there is little to say yet."""


@dataclass(frozen=True)
class Built:
    """What a build did."""

    rows: int
    """Rows written now."""
    files: int
    """Files written now."""
    kept: int
    """Files that were there already for the same tables and views."""


def moments(now: datetime, zone: str, every_days: int = 7, count: int | None = None, since: datetime | None = None) -> list[datetime]:
    """Moments of the cadence, rising, counted backwards from ``now``, which is always one.

    Args:
        now: the workspace's clock.
        zone: the source's stored clock, on which days are counted.
        every_days: days from one moment to the next.
        count: at most so many moments.
        since: none earlier than this, but ``now``.

    Raises:
        ValueError: neither ``count`` nor ``since`` bounds the list.
    """
    if count is None and since is None:
        raise ValueError("moments: give count or since, else the list has no end")
    result = [now.astimezone(UTC)]
    while count is None or len(result) < count:
        earlier = shift_days(now, -every_days * len(result), zone)
        if since is not None and earlier < since:
            break
        result.append(earlier)
    return result[::-1]


def cadence(workspace: Workspace) -> list[datetime]:
    """The moments at which a workspace keeps snapshots, to the second: those of ``configs/snapshots.yaml`` since the first transaction."""
    rule = config.read(config.shipped("snapshots.yaml"), Cadence)
    zone = workspace.state().stored_zone
    with of(workspace) as engine:
        first = engine.rows("select min(occurred_at) from transactions")[0][0]
    since = None if first is None else shift_days(first, rule.first_days, zone)
    return moments(workspace.now().replace(microsecond=0), zone, rule.every_days, rule.max_count, since)


def spine(engine: Engine, moment: datetime, entity: Entity = "customer") -> pa.Table:
    """Everybody, or every product, known before a moment: ``<entity>_id`` and ``event_timestamp``, sorted."""
    parts = [(name, catalog.intermediate(name)) for name in catalog.needs((KNOWN[entity],))]
    at = f"timestamptz '{moment.astimezone(UTC).isoformat()}'"
    return engine.arrow(f"{_with(parts)} select {entity}_id, {at} as event_timestamp from ({_known(entity, moment)}) as known order by 1")


def snapshot(view: View, spine: pa.Table | pd.DataFrame, engine: Engine, ready: Collection[str] = ()) -> pa.Table:
    """What a view says of each row of ``spine`` (``<entity>_id``, ``event_timestamp``), sorted by them.

    Args:
        view: the view.
        spine: unique pairs of entity and moment.
        engine: has the contract tables attached.
        ready: intermediate tables that are attached too; the others are computed within the query.

    Raises:
        DataError: the view does not give one row for each row of the spine, or not its declared columns.
    """
    engine.attach({"asked": spine})
    asked = f"select {view.key}, cast(event_timestamp as timestamp) as event_timestamp from asked"
    parts = [*_parts(view, ready), ("spine", _windows(asked))]
    _check_columns(view, engine, parts)
    result = engine.arrow(f"{_with(parts)} {_select(view, 'cast(event_timestamp as timestamptz) as event_timestamp')}")
    _check_rows(view, len(result), len(spine))
    return result


def build(workspace: Workspace, moments: Sequence[datetime] | None = None, views: Sequence[View] | None = None) -> Built:
    """Write the snapshots that are missing, of the workspace's cadence unless moments are given; one file each, whole or not at all.

    Files of the same tables and the same view are kept; those of other tables or an older view are removed first. Interrupted, it goes
    on where it stopped.

    Raises:
        DataError: a moment is finer than a second, or a view does not give its declared columns, one row for each entity.
    """
    wanted = catalog.views() if views is None else tuple(views)
    when = cadence(workspace) if moments is None else sorted({moment.astimezone(UTC) for moment in moments})
    tables = workspace.state().digest
    for view in wanted:
        _drop_stale(workspace, view, tables)
    missing = [(moment, view) for moment in when for view in wanted if not path(workspace, view.name, moment).is_file()]
    rows = 0
    if missing:
        with of(workspace) as engine, _materialised(engine, workspace, [view for _, view in missing]) as ready:
            for view in wanted:
                _check_columns(view, engine, [*_parts(view, ready), ("spine", _spine(view.entity, when[0]))])
            for moment, view in progress(missing, len(missing), "snapshots"):
                rows += _write(workspace, view, moment, engine, ready)
    return Built(rows, len(missing), len(when) * len(wanted) - len(missing))


def path(workspace: Workspace, view: str, moment: datetime) -> Path:
    """Where the snapshot of a view at a moment lies.

    Raises:
        DataError: the moment is finer than a second, which the name does not hold.
    """
    if moment.microsecond:
        raise DataError(f"moment {moment.isoformat()}: snapshots are taken at whole seconds; leave the fraction out")
    return workspace.snapshots / view / f"{moment.astimezone(UTC):%Y%m%dT%H%M%SZ}.parquet"


Parts = Sequence[tuple[str, str]]
"""Names and queries to put before a query, those that others read first."""


def _parts(view: View, ready: Collection[str]) -> Parts:
    return [(name, catalog.intermediate(name)) for name in catalog.needs(view.reads) if name not in ready]


def _with(parts: Parts) -> str:
    return "with " + ",\n".join(f"{name} as (\n{sql}\n)" for name, sql in parts) if parts else ""


def _known(entity: Entity, moment: datetime) -> str:
    return f"select {entity}_id from {KNOWN[entity]} where known_since < {_clock(moment)}"


def _clock(moment: datetime) -> str:
    """A moment as features' SQL compares it: UTC without a zone, because DuckDB's arithmetic on zoned times is ten times slower."""
    return f"timestamp '{moment.astimezone(UTC).replace(tzinfo=None).isoformat(sep=' ')}'"


def _windows(asked: str) -> str:
    """The spine as views see it: beside the moment the beginning of each window, ``since_7d`` and so on."""
    since = ", ".join(f"event_timestamp - interval {days} day as since_{days}d" for days in WINDOWS)
    return f"select *, {since} from ({asked}) as asked_at"


def _spine(entity: Entity, moment: datetime) -> str:
    since = ", ".join(f"{_clock(moment - timedelta(days=days))} as since_{days}d" for days in WINDOWS)
    return f"select {entity}_id, {_clock(moment)} as event_timestamp, {since} from ({_known(entity, moment)}) as known"


def _select(view: View, times: str) -> str:
    columns = ", ".join(f"cast({identifier(f.name)} as {SQL_TYPE[f.dtype]}) as {identifier(f.name)}" for f in view.columns)
    return f"select {view.key}, {times}, {columns} from (\n{view.sql}\n) as result order by {view.key}, event_timestamp"


def _check_columns(view: View, engine: Engine, parts: Parts) -> None:
    given = engine.arrow(f"{_with(parts)} select * from (\n{view.sql}\n) as result limit 0").column_names
    declared = [view.key, "event_timestamp", *view.names]
    if given != declared:
        odd = sorted(set(given) ^ set(declared)) or given
        raise DataError(f"view {view.name}: {odd[0]} stands in only one of {view.name}.sql and {view.name}.yaml, or at another place; make them agree")


def _check_rows(view: View, given: int, wanted: int) -> None:
    if given != wanted:
        raise DataError(f"view {view.name}: {given} rows for {wanted} of the spine; a table it joins has a key twice, ingest it again")


def _drop_stale(workspace: Workspace, view: View, tables: str) -> None:
    """Remove the files of other tables or of an older view, and what an interrupted build left."""
    folder = workspace.snapshots / view.name
    manifest = workspace.snapshots / f"{view.name}.json"
    current = {"tables": tables, "view": view.digest()}
    remove_partials(folder)
    if manifest.is_file() and read_json(manifest) == current:
        return
    for file in folder.glob("*.parquet"):
        file.unlink()
    write_json(manifest, current)


@contextmanager
def _materialised(engine: Engine, workspace: Workspace, views: Sequence[View]) -> Iterator[set[str]]:
    """Compute the intermediate tables of some views once, as Parquet that lives as long as the block."""
    names = catalog.needs(tuple(dict.fromkeys(name for view in views for name in (KNOWN[view.entity], *view.reads))))
    workspace.temporary.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=workspace.temporary, prefix="intermediate-") as folder:
        for name in names:
            engine.write(catalog.intermediate(name), Path(folder) / f"{name}.parquet")
            engine.attach({name: Path(folder) / f"{name}.parquet"})
        yield set(names)


def _write(workspace: Workspace, view: View, moment: datetime, engine: Engine, ready: Collection[str]) -> int:
    at = f"timestamptz '{moment.astimezone(UTC).isoformat()}'"
    query = f"{_with([*_parts(view, ready), ('spine', _spine(view.entity, moment))])} {_select(view, f'{at} as event_timestamp, {at} as created_at')}"
    rows = engine.write(query, path(workspace, view.name, moment))
    _check_rows(view, rows, engine.rows(f"select count(*) from ({_known(view.entity, moment)}) as known")[0][0])
    return rows
