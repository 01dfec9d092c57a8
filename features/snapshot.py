"""What each view says at a moment, and where it is kept: ``snapshots/<view>/<moment>.parquet``, one row per entity known before it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field

from features import catalog, query
from features.catalog import Entity, View
from retain import config
from retain.engine import ROW_GROUP, Engine, of
from retain.errors import DataError
from retain.files import atomic_path, passing_folder, read_json, remove_partials, write_json
from retain.terminal import progress
from retain.workspace import Workspace, shift_days

ROWS_AT_ONCE = 400_000
"""Rows that one query answers: several moments of a small source share one, a big source has one moment each."""


ANCHOR = date(1970, 1, 5)
"""A Monday: on a live clock the days of the cadence are counted from it, so that tomorrow's moments are today's."""


class Cadence(BaseModel):
    """How often snapshots are taken, and how far back."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    every_days: int = Field(default=7, ge=1)
    """Calendar days from one moment to the next, on the source's stored clock."""
    max_count: int = Field(default=79, ge=1)
    """Moments kept, the present one included: a year and a half, so that a window is judged by what its season was a year before."""
    first_days: int = Field(default=28, ge=0)
    """No moment earlier than this many days after the first transaction: there is little to say yet."""
    product_count: int = Field(default=5, ge=1)
    """Newest moments at which products are described too: their features are served, and no task is trained on them."""


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


def running(now: datetime, zone: str, every_days: int = 7, count: int | None = None, since: datetime | None = None) -> list[datetime]:
    """Moments of the cadence while the clock runs: the last whole hour, and before it every so many midnights of ``zone``.

    Counted backwards from the second, no build would ever find the moments of the one before; so only the newest moves, once an hour.
    Arguments are those of ``moments``.
    """
    newest = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    today = newest.astimezone(ZoneInfo(zone)).date()
    day = today - timedelta(days=(today - ANCHOR).days % every_days)
    midnight = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)).astimezone(UTC)
    before = moments(midnight, zone, every_days, count, since)
    found = sorted({*(moment for moment in before if since is None or moment >= since), newest})
    return found if count is None else found[-count:]


def rule() -> Cadence:
    """The cadence that ``configs/snapshots.yaml`` names."""
    return config.read(config.shipped("snapshots.yaml"), Cadence)


def cadence(workspace: Workspace) -> list[datetime]:
    """The moments at which a workspace keeps snapshots: those of the rule since the first transaction, on a clock that stands or runs."""
    state = workspace.history()
    zone, counted = state.stored_zone, running if state.as_of is None else moments
    with of(workspace) as engine:
        first = engine.rows("select min(occurred_at) from transactions")[0][0]
    since = None if first is None else shift_days(first, rule().first_days, zone)
    return counted(workspace.now().replace(microsecond=0), zone, rule().every_days, rule().max_count, since)


def spine(engine: Engine, moment: datetime, entity: Entity = "customer") -> pa.Table:
    """Everybody, or every product, known before a moment: ``<entity>_id`` and ``event_timestamp``, sorted."""
    at = f"timestamptz '{moment.astimezone(UTC).isoformat()}'"
    select = f"select {entity}_id, {at} as event_timestamp from ({query.known(entity, moment)}) as known order by 1"
    return engine.arrow(query.preceded(query.parts([query.KNOWN[entity]]), select))


def snapshot(view: View, spine: pa.Table | pd.DataFrame, engine: Engine, ready: Collection[str] = ()) -> pa.Table:
    """What a view says of each row of ``spine`` (``<entity>_id``, ``event_timestamp``), sorted by moment and entity.

    Args:
        view: the view.
        spine: unique pairs of entity and moment.
        engine: has the contract tables attached.
        ready: intermediate tables that are attached too; the others are computed within the query.

    Raises:
        DataError: the view does not give one row for each row of the spine, or not its declared columns.
    """
    engine.attach({"asked": spine})
    parts = [*query.parts(view.reads, ready), ("spine", query.asked_spine(view.entity, "asked"))]
    if view.digest() not in _sound:
        _check_columns(view, engine, parts)
        _sound.add(view.digest())
    return _answer(view, engine, parts, len(spine))


_sound: set[str] = set()
"""Views that were seen to give their declared columns: what a query gives is the same for the same text."""


def build(workspace: Workspace, moments: Sequence[datetime] | None = None, views: Sequence[View] | None = None) -> Built:
    """Write the snapshots that are missing, of the workspace's cadence unless moments are given; one file each, whole or not at all.

    Products are described at the newest moments only, as the rule of the cadence says.
    Files of the same tables and the same view are kept; those of other tables or an older view are removed first. Interrupted, it goes
    on where it stopped.

    Raises:
        DataError: a moment is finer than a second, or a view does not give its declared columns, one row for each entity.
    """
    wanted = catalog.views() if views is None else tuple(views)
    when = cadence(workspace) if moments is None else sorted({moment.astimezone(UTC) for moment in moments})
    tables = workspace.state().digest
    newest = rule().product_count
    missing: dict[View, list[datetime]] = {}
    for view in wanted:
        _drop_stale(workspace, view, tables)
        asked = when[-newest:] if view.entity == "product" else when
        missing[view] = [moment for moment in asked if not path(workspace, view.name, moment).is_file()]
    files = sum(map(len, missing.values()))
    rows = _fill(workspace, {view: todo for view, todo in missing.items() if todo}) if files else 0
    kept = sum(1 for view in wanted for moment in when if path(workspace, view.name, moment).is_file()) - files
    return Built(rows, files, kept)


def path(workspace: Workspace, view: str, moment: datetime) -> Path:
    """Where the snapshot of a view at a moment lies.

    Raises:
        DataError: the moment is finer than a second, which the name does not hold.
    """
    if moment.microsecond:
        raise DataError(f"moment {moment.isoformat()}: snapshots are taken at whole seconds; leave the fraction out")
    return workspace.snapshots / view / f"{moment.astimezone(UTC):%Y%m%dT%H%M%SZ}.parquet"


def _fill(workspace: Workspace, missing: dict[View, list[datetime]]) -> int:
    """Compute and write what is missing; return the rows."""
    total = sum(map(len, missing.values()))
    with of(workspace) as engine, _materialised(engine, workspace, list(missing)) as ready:
        lots = _lots(engine, missing)
        return sum(progress((rows for lot in lots for rows in _write(workspace, *lot, engine, ready)), total, "snapshots"))


Lot = tuple[View, list[tuple[datetime, int]]]
"""A view and moments that one query answers, each with the entities known before it."""


def _lots(engine: Engine, missing: dict[View, list[datetime]]) -> list[Lot]:
    counted: dict[tuple[Entity, datetime], int] = {}
    groups: dict[tuple[View, int], list[tuple[datetime, int]]] = defaultdict(list)
    for view, when in missing.items():
        done = 0
        for moment in when:
            key = (view.entity, moment)
            if key not in counted:
                counted[key] = engine.rows(f"select count(*) from ({query.known(*key)}) as known")[0][0]
            groups[view, done // ROWS_AT_ONCE].append((moment, counted[key]))
            done += counted[key]
    return [(view, lot) for (view, _), lot in groups.items()]


def _write(workspace: Workspace, view: View, lot: list[tuple[datetime, int]], engine: Engine, ready: Collection[str]) -> Iterator[int]:
    """Answer one lot and write a file for each moment; yield its rows."""
    parts = [*query.parts(view.reads, ready), ("spine", query.spine(view.entity, [moment for moment, _ in lot]))]
    _check_columns(view, engine, parts)
    answer = _answer(view, engine, parts, sum(count for _, count in lot))
    bounds = np.cumsum([0, *(count for _, count in lot)])
    for (moment, count), (start, _) in zip(lot, pairwise(bounds), strict=True):
        rows = answer.slice(int(start), count)
        with atomic_path(path(workspace, view.name, moment)) as partial:
            pq.write_table(rows.add_column(2, "created_at", rows["event_timestamp"]), partial, compression="zstd", row_group_size=ROW_GROUP)
        yield count


def _answer(view: View, engine: Engine, parts: Sequence[query.Part], rows: int) -> pa.Table:
    answer = engine.arrow(query.preceded(parts, f"{query.result(view)} order by event_timestamp, {view.key}"))
    if len(answer) != rows:
        raise DataError(f"view {view.name}: {len(answer)} rows for {rows} of the spine; a table it joins has a key twice, ingest it again")
    return answer


def _check_columns(view: View, engine: Engine, parts: Sequence[query.Part]) -> None:
    given = engine.arrow(query.preceded(parts, f"select * from (\n{view.sql}\n) as result limit 0")).column_names
    declared = [view.key, "event_timestamp", *view.names]
    if given != declared:
        odd = sorted(set(given) ^ set(declared)) or given
        raise DataError(f"view {view.name}: {odd[0]} stands in only one of {view.name}.sql and {view.name}.yaml, or elsewhere; make them agree")


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
    names = catalog.needs(tuple(dict.fromkeys(name for view in views for name in (query.KNOWN[view.entity], *view.reads))))
    with passing_folder(workspace.temporary, "intermediate") as folder:
        for name in names:
            # Sorted by entity, rows that are added up together lie together: reading them takes a sixth less time.
            engine.write(f"select * from (\n{catalog.intermediate(name)}\n) as part order by 1", folder / f"{name}.parquet")
            engine.attach({name: folder / f"{name}.parquet"})
        yield set(names)
