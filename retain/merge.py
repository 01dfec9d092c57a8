"""Which of the usable rows are kept: those before the date asked for, one per key; and how many were not."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from retain.engine import Engine, identifier, quoted
from retain.staging import Staged


@dataclass(frozen=True)
class Merged:
    """The kept rows of a table as SQL, and what became of the others."""

    sql: str
    superseded_sql: str | None
    """The rows that another of the same key replaces, where there are any."""
    merged: int = 0
    superseded: int = 0
    after_until: int = 0
    not_sampled: int = 0
    duplicates_kept: int = 0
    raised: int = 0


def merge(engine: Engine, staged: Staged, until: datetime | None, sample: float | None = None) -> Merged:
    """Keep the rows before ``until``; of rows with the same key keep the one known last, equal ones once.

    ``sample`` is the share of the customers to keep, the same ones every time and in every table.
    Rows whose key has a gap, and all rows of a table without a key, are separate facts: equal ones are counted and kept.
    """
    columns = ", ".join(map(identifier, staged.columns))
    usable = f"from read_parquet({quoted(staged.path)}) where reasons is null"
    early = "true"
    if until is not None:
        moment = f"timestamptz {quoted(until.isoformat(sep=' '))}"
        early = f"(occurred_at < {moment} and known_at < {moment})"
    drawn = _drawn(sample) if sample is not None and "customer_id" in staged.columns else "true"
    wanted = f"{early} and {drawn}"
    counted = ("true", early, wanted, f"is_raised and {wanted}")
    rows, before, kept, raised = engine.rows(f"select {', '.join(f'count(*) filter (where {each})' for each in counted)} {usable}")[0]
    base = f"select {columns} {usable} and {wanted}"
    counts = {"after_until": int(rows) - int(before), "not_sampled": int(before) - int(kept), "raised": int(raised)}
    if not staged.key:
        return Merged(base, None, duplicates_kept=_duplicates(engine, base, columns), **counts)
    key = ", ".join(map(identifier, staged.key))
    whole = " and ".join(f"{identifier(name)} is not null" for name in staged.key)
    keyed = f"select * from ({base}) where {whole}"
    with_key, keys = engine.rows(f"select count(*), count(distinct row({key})) from ({keyed})")[0]
    gaps = f"select * from ({base}) where not ({whole})"
    counts["duplicates_kept"] = _duplicates(engine, gaps, columns) if with_key < kept else 0
    if with_key == keys:
        return Merged(base, None, **counts)
    distinct = f"select distinct * from ({keyed})"
    different = int(engine.rows(f"select count(*) from ({distinct})")[0][0])
    # All columns break the tie, so that the order of the source's rows decides nothing.
    rank = f"row_number() over (partition by {key} order by known_at desc, {columns})"
    return Merged(
        f"select {columns} from ({distinct}) qualify {rank} = 1 union all {gaps}",
        f"select {columns} from ({distinct}) qualify {rank} > 1" if different > keys else None,
        merged=int(with_key) - different,
        superseded=different - int(keys),
        **counts,
    )


def _drawn(sample: float) -> str:
    """Whether a customer belongs to the sample: by a hash of the id, so that all tables agree. Anonymous sales are nobody's and stay out."""
    return f"coalesce(md5_number_lower(customer_id) % 1000000 < {round(sample * 1_000_000)}, false)"


def _duplicates(engine: Engine, rows: str, columns: str) -> int:
    found = engine.rows(f"select coalesce(sum(times - 1), 0) from (select count(*) as times from ({rows}) group by {columns} having count(*) > 1)")
    return int(found[0][0])
