"""What an ingest did with every row: a report that adds up, and the rows that could not be used with the reason for each."""

from __future__ import annotations

from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict

from retain.engine import Engine, identifier, quoted
from retain.errors import DataError
from retain.mapping import Source
from retain.staging import Staged
from retain.tables import is_sensitive
from retain.workspace import Assumption

MALFORMED = "file:malformed"


class TableReport(BaseModel):
    """The rows of one table: ``rows_in = rows_out + quarantined + merged + superseded + after_until + not_sampled + erased``."""

    model_config = ConfigDict(frozen=True)

    rows_in: int
    """Rows that the mapping gives, lines of its files that are no rows included."""
    rows_out: int
    quarantined: int = 0
    reasons: dict[str, int] = {}
    """Reason -> rows; a row with several reasons counts under its first."""
    merged: int = 0
    """Rows with the key and the content of another: kept once."""
    superseded: int = 0
    """Rows with the key of another and different content: the one known later is kept, this one lies in the quarantine."""
    after_until: int = 0
    """Rows that happened or became known at or after the date asked for."""
    not_sampled: int = 0
    """Rows of customers outside the sample asked for."""
    erased: int = 0
    """Rows of customers who were erased: rejected, and kept nowhere."""
    left_out: int = 0
    """Rows that the mapping's own ``where`` leaves out; not among ``rows_in``."""
    duplicates_kept: int = 0
    """Exact duplicates in a table without a key: they can be separate facts, so they are kept."""
    raised: int = 0
    """Rows whose ``known_at`` lay before ``occurred_at`` and was set to it."""


class Report(BaseModel):
    """What one ingest did."""

    model_config = ConfigDict(frozen=True)

    source: str
    title: str
    as_of: AwareDatetime | None
    until: AwareDatetime | None
    tables: dict[str, TableReport]
    counts: dict[str, int]
    """What is worth knowing of the kept rows: anonymous sales, returns without a sale, customers without a description, ..."""
    ignored_columns: dict[str, tuple[str, ...]]
    """File -> its columns that no table uses."""
    warnings: tuple[str, ...]
    assumed: tuple[Assumption, ...]
    digest: str

    def text(self) -> str:
        """The report for people."""
        clock = f"fixed at {self.as_of:%Y-%m-%d %H:%M} UTC" if self.as_of else "live"
        lines = [f"{self.title or self.source}: the clock is {clock}", ""]
        for name, table in self.tables.items():
            lines.append(f"{name:<14}{table.rows_in:>12,} rows in {table.rows_out:>12,} kept {table.quarantined:>9,} quarantined")
            lines += [f"    {reason}: {count:,}" for reason, count in table.reasons.items()]
            notes = {
                "merged as equal": table.merged,
                "replaced by a row known later": table.superseded,
                "after the date asked for": table.after_until,
                "not in the sample of customers": table.not_sampled,
                "of erased customers, kept nowhere": table.erased,
                "left out by the mapping's where": table.left_out,
                "exact duplicates kept (no key is declared)": table.duplicates_kept,
                "known before they happened, set to when they happened": table.raised,
            }
            lines += [f"    {words}: {count:,}" for words, count in notes.items() if count]
        lines += ["", *(f"{words.replace('_', ' ')}: {count:,}" for words, count in self.counts.items() if count)]
        lines += [f"not used of {file}: {', '.join(names)}" for file, names in self.ignored_columns.items()]
        lines += [f"assumed: {one.name} = {one.value} ({one.basis})" for one in self.assumed]
        lines += [f"warning: {words}" for words in self.warnings]
        return "\n".join(lines).rstrip() + "\n"


def reasons(engine: Engine, staged: Staged) -> dict[str, int]:
    """First reason -> rows of a staged table, lines that are no rows included, most frequent first."""
    bad = f"read_parquet({quoted(staged.path)}) where reasons is not null"
    rows = engine.rows(f"select reasons[1], count(*) from {bad} group by 1 order by 2 desc, 1")
    counted = {str(reason): int(count) for reason, count in rows}
    malformed = sum(int(engine.rows(f"select count(*) from read_parquet({quoted(path)})")[0][0]) for path in staged.malformed)
    return {**counted, **({MALFORMED: malformed} if malformed else {})}


def refuse_if_too_many(source: Source, name: str, rows_in: int, counted: dict[str, int]) -> None:
    """Stop an ingest of which too much is unusable: a wrong mapping looks like bad rows.

    Raises:
        DataError: the share of unusable rows is above the mapping's ``quarantine_share``.
    """
    bad = sum(counted.values())
    if bad > source.quarantine_share * rows_in:
        worst = ", ".join(f"{reason} {count:,}" for reason, count in list(counted.items())[:5])
        raise DataError(
            f"{source.name}: {name}: {bad:,} of {rows_in:,} rows are unusable ({worst}), more than the {source.quarantine_share:.1%} of "
            f"quarantine_share; correct the mapping or the files, nothing was written",
            field=name,
        )


def write_rows(engine: Engine, staged: Staged, superseded: str | None, path: Path) -> int:
    """Write the unusable rows of a table with their values as text; return how many. ``superseded`` is a query for replaced rows."""
    names = [f"raw_{name}" for name in staged.mapped]
    own = ", ".join(f"{identifier(raw)} as {identifier(raw.removeprefix('raw_'))}" for raw in names)
    bad = f"read_parquet({quoted(staged.path)}) where reasons is not null"
    parts = [f"select reasons[1] as reason, reasons, {own}, cast(null as varchar) as line from {bad}"]
    empty = ", ".join(f"cast(null as varchar) as {identifier(name)}" for name in staged.mapped)
    parts += [f"select '{MALFORMED}', ['{MALFORMED}', error], {empty}, text from read_parquet({quoted(file)})" for file in staged.malformed]
    if superseded is not None:
        replaced = ", ".join(f"cast({identifier(name)} as varchar)" for name in staged.mapped)
        parts.append(f"select 'key:superseded', ['key:superseded'], {replaced}, null from ({superseded})")
    return engine.write(" union all ".join(parts) + " order by all", path)


def sensitive(names: tuple[str, ...]) -> tuple[str, ...]:
    """Column names that speak of special categories of personal data."""
    return tuple(name for name in names if is_sensitive(name))
