"""A source mapping to contract tables: staged, judged, merged, derived, sorted, and put in place all at once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, time
from pathlib import Path

from retain import erasure, quarantine
from retain.assemble import assembled, nothing
from retain.census import census
from retain.digest import digest
from retain.engine import Engine, empty, quoted
from retain.erasure import Tombstones
from retain.errors import DataError
from retain.facts import GRACE
from retain.files import atomic_folder, passing_folder, write_json, write_text
from retain.inputs import Opened, located, opened, unused
from retain.mapping import Source, data_folder, load
from retain.merge import Merged, merge
from retain.quarantine import Report, TableReport
from retain.staging import Staged, stage, stage_rates
from retain.tables import TABLES
from retain.workspace import STATE, State, Workspace, computer_time, moment, naive, shift_days


def _silent(_: str) -> None:
    pass


def ingest(
    source: str | Path,
    workspace: Workspace,
    *,
    data: Path | None = None,
    until: datetime | None = None,
    sample: float | None = None,
    now: datetime | None = None,
    say: Callable[[str], None] = _silent,
) -> Report:
    """Fill a workspace from a source; what stood there before is replaced when all has gone well, and stays when not.

    Args:
        source: a name in ``configs/sources/`` or the path of a mapping.
        workspace: where the tables go.
        data: the folder of the files; the mapping's package where it is not said.
        until: as if today were that moment: what happened or became known at or after it is left out, and it is the clock.
        sample: share of the customers to keep, the same ones every time; all where it is not said.
        now: the time after which a fact lies in the future; the computer's clock where it is not said.
        say: is told what is being done.

    Raises:
        ConfigError: the mapping says what cannot be.
        DataError: the files break the contract, or too many rows do.
        LockedError: somebody else is at work in the workspace.
    """
    mapping, dropped = _without_sensitive(load(source))
    files = located(mapping, data_folder(mapping, data))
    buried = erasure.tombstones(erasure.place(workspace))
    with workspace.lock("retain ingest"):
        workspace.tidy()
        with passing_folder(workspace.temporary, "ingest") as folder, empty(workspace) as engine:
            engine.restrict([path for paths in files.values() for path in paths], [workspace.root])
            say("opening the files")
            readable = opened(engine, files, folder)
            staged, as_of, erased = _staged(engine, mapping, readable, folder, now or computer_time(), buried, say)
            ignored = unused(mapping, readable)
            warnings = _warnings(mapping, staged, ignored, dropped)
            read = _Read(staged, as_of if until is None else until, until, sample, ignored, warnings, erased)
            return _written(engine, mapping, workspace, read, say)


@dataclass(frozen=True)
class _Read:
    """A source as far as it has been read."""

    staged: dict[str, Staged]
    as_of: datetime | None
    until: datetime | None
    sample: float | None
    ignored: dict[str, tuple[str, ...]]
    warnings: tuple[str, ...]
    erased: dict[str, int]
    """Table -> rows of erased customers."""


def _staged(
    engine: Engine, source: Source, readable: Opened, folder: Path, now: datetime, buried: Tombstones, say: Callable[[str], None]
) -> tuple[dict[str, Staged], datetime | None, dict[str, int]]:
    """Every mapped table staged and judged, transactions first because they can set the clock; the clock; rows of erased customers by table."""
    stage_rates(engine, source, readable)
    as_of = moment(source.as_of.isoformat(), source.stored) if not isinstance(source.as_of, str) else None
    staged: dict[str, Staged] = {}
    erased: dict[str, int] = {}
    for name in sorted(source.tables, key=lambda one: one != "transactions"):
        say(f"reading {name}")
        limit = (now if as_of is None else min(now, as_of)) + GRACE
        whole = stage(engine, source, name, readable, limit, folder / f"{name}.parquet")
        erased[name] = erasure.reject(engine, whole.path, whole.mapped, buried)
        staged[name] = replace(whole, rows=whole.rows - erased[name])
        bad = quarantine.reasons(engine, staged[name])
        quarantine.refuse_if_too_many(source, name, staged[name].rows + bad.get(quarantine.MALFORMED, 0), bad)
        if name == "transactions" and source.as_of == "last_complete_day":
            as_of = _last_complete_day(engine, staged[name], source)
    return staged, as_of, erased


def _last_complete_day(engine: Engine, transactions: Staged, source: Source) -> datetime:
    """The midnight before the last transaction, on the stored clock; the one after it where times are whole days."""
    rows = f"read_parquet({quoted(transactions.path)}) where reasons is null"
    clock = f"timezone({quoted(source.stored)}, occurred_at)"
    last, whole_days = engine.rows(f"select max(occurred_at), bool_and({clock} = date_trunc('day', {clock})) from {rows}")[0]
    if last is None:
        raise DataError(f"{source.name}: transactions: there are no usable rows; check the files and the mapping's expressions")
    midnight = moment(datetime.combine(naive(last, source.stored), time()).isoformat(), source.stored)
    return shift_days(midnight, 1, source.stored) if whole_days else midnight


def _written(engine: Engine, source: Source, workspace: Workspace, read: _Read, say: Callable[[str], None]) -> Report:
    """Write tables, quarantine, report and state; the old ones stand until the new ones are whole."""
    staged = read.staged

    def emptied() -> None:
        # Between the new tables and their state there is no state at all: whoever is killed there finds an empty workspace, not a wrong one.
        (workspace.root / STATE).unlink(missing_ok=True)
        shutil.rmtree(workspace.truth, ignore_errors=True)

    # The tables take their place last: whatever fails before leaves those of before with their state.
    with atomic_folder(workspace.tables, last=emptied) as tables, atomic_folder(workspace.quarantine) as refused:
        reports: dict[str, TableReport] = {}
        for name, table in TABLES.items():
            if name not in staged:
                engine.write(nothing(table), tables / f"{name}.parquet")
                continue
            say(f"writing {name}")
            merged = merge(engine, staged[name], read.until, read.sample)
            quarantine.write_rows(engine, staged[name], merged.superseded_sql, refused / f"{name}.parquet")
            rows = engine.write(assembled(engine, source, staged[name], merged), tables / f"{name}.parquet")
            reports[name] = _report(engine, staged[name], merged, rows, read.erased[name])
        needed = "customers" if source.kind == "snapshot" else "transactions"
        if reports[needed].rows_out == 0:
            raise DataError(f"{source.name}: {needed}: no rows are left; check the files, the mapping's expressions and the date asked for")
        engine.attach({name: tables / f"{name}.parquet" for name in TABLES})
        say("counting")
        state = _state(source, read, {name: reports[name].rows_out if name in reports else 0 for name in TABLES}, digest(tables))
        report = Report(
            source=source.name,
            title=source.title,
            as_of=read.as_of,
            until=read.until,
            tables=reports,
            counts=census(engine) if "transactions" in staged else {},
            ignored_columns=read.ignored,
            warnings=read.warnings,
            assumed=state.assumed,
            digest=state.digest,
        )
        write_json(refused / "report.json", report.model_dump(mode="json"))
        write_text(refused / "report.txt", report.text())
    workspace.write_state(state)
    return report


def _report(engine: Engine, staged: Staged, merged: Merged, rows: int, erased: int) -> TableReport:
    bad = quarantine.reasons(engine, staged)
    return TableReport(
        rows_in=staged.rows + bad.get(quarantine.MALFORMED, 0) + erased,
        rows_out=rows,
        erased=erased,
        quarantined=sum(bad.values()),
        reasons=bad,
        merged=merged.merged,
        superseded=merged.superseded,
        after_until=merged.after_until,
        not_sampled=merged.not_sampled,
        left_out=staged.left_out,
        duplicates_kept=merged.duplicates_kept,
        raised=merged.raised,
    )


def _state(source: Source, read: _Read, rows: dict[str, int], hashed: str) -> State:
    # What transactions say of an id counts most: populations are made of them.
    first = [read.staged[name] for name in ("transactions",) if name in read.staged]
    id_types = {name: kind for one in (*read.staged.values(), *first) for name, kind in one.id_types.items()}
    customers = read.staged.get("customers")
    return State(
        source=source.name,
        kind=source.kind,
        churn=source.churn,
        title=source.title,
        origin=source.origin,
        licence=source.licence,
        cost_per_record=source.cost_per_record,
        synthetic=source.synthetic,
        as_of=read.as_of,
        stored_zone=source.stored,
        local_zone=source.local,
        currency=source.currency,
        assumed=source.assume.listed(),
        id_types={**id_types, "category": "string"},
        descriptive=tuple(name for name in customers.descriptive if name not in source.tables["customers"].personal) if customers else (),
        horizon_days=source.horizon_days,
        not_offered=source.not_offered,
        item=source.item,
        tables=rows,
        digest=hashed,
    )


def _without_sensitive(source: Source) -> tuple[Source, tuple[str, ...]]:
    """The mapping without descriptive columns of special categories of personal data, and their names."""
    customers = source.tables.get("customers")
    dropped = quarantine.sensitive(tuple(customers.descriptive)) if customers else ()
    if customers is None or not dropped:
        return source, ()
    kept = {name: one for name, one in customers.descriptive.items() if name not in dropped}
    return source.model_copy(update={"tables": {**source.tables, "customers": customers.model_copy(update={"descriptive": kept})}}), dropped


def _warnings(source: Source, staged: dict[str, Staged], ignored: dict[str, tuple[str, ...]], dropped: tuple[str, ...]) -> tuple[str, ...]:
    found = {*dropped, *(name for names in ignored.values() for name in quarantine.sensitive(names))}
    warnings = [f"{name} looks like a special category of personal data; it was left out" for name in sorted(found)]
    if source.assume.consent is None and not ("customers" in staged and "consents" in staged["customers"].mapped):
        warnings.append("no consent is given and none is assumed: lists and offers for contact will be refused")
    if source.assume.margin_rate is None and "transactions" in staged and "margin" not in staged["transactions"].mapped:
        warnings.append("no margin is given and none is assumed: what needs a margin will be refused, value is net spend")
    return tuple(warnings)
