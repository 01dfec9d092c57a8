"""Tiny contract tables written by hand, and what the views say of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from features import catalog
from features.catalog import View
from features.snapshot import snapshot, spine
from retain.engine import Engine
from retain.tables import ARROW, TABLES

Rows = Sequence[Mapping[str, Any]]


class Tiny:
    """An engine over a handful of rows per table; what a row does not name is null, and known_at is occurred_at."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def fill(self, **rows: Rows) -> Tiny:
        """Replace all eight tables."""
        for name, table in TABLES.items():
            schema = pa.schema(
                [(column.name, pa.timestamp("us", "UTC") if column.kind == "timestamp" else _type(ARROW[column.kind])) for column in table.columns]
            )
            full = [{**row, "known_at": row.get("known_at", row["occurred_at"])} for row in rows.get(name, ())]
            self.engine.execute(f"drop table if exists {name}")
            self.engine.attach({"rows_given": pa.Table.from_pylist(full, schema=schema)})
            self.engine.execute(f"create table {name} as select * from rows_given")
        return self

    def ready(self) -> set[str]:
        """Materialise every intermediate table, so that many views are quick."""
        names = catalog.needs(tuple(sorted(path.stem for path in catalog.INTERMEDIATE.glob("*.sql"))))
        for name in reversed(names):
            self.engine.execute(f"drop table if exists {name}")
        for name in names:
            self.engine.execute(f"create table {name} as {catalog.intermediate(name)}")
        return set(names)

    def say(self, view: View | str, *moments: datetime, ready: set[str] | None = None) -> pd.DataFrame:
        """What a view says of everybody known before each moment, by entity and moment."""
        chosen = catalog.view(view) if isinstance(view, str) else view
        asked = pa.concat_tables([spine(self.engine, moment, chosen.entity) for moment in moments])
        return snapshot(chosen, asked, self.engine, ready or ()).to_pandas().set_index([chosen.key, "event_timestamp"])

    def all(self, *moments: datetime) -> dict[str, pd.DataFrame]:
        """What every view says."""
        ready = self.ready()
        return {view.name: self.say(view, *moments, ready=ready) for view in catalog.views()}


def _type(name: str) -> pa.DataType:
    return pa.list_(pa.string()) if name == "list<string>" else pa.type_for_alias(name)


@pytest.fixture
def tiny() -> Iterator[Tiny]:
    with Engine(threads=2, memory_gb=1.0) as engine:
        yield Tiny(engine)


@pytest.fixture
def tinies() -> Iterator[Callable[..., Tiny]]:
    """Several engines, of as many threads as asked."""
    made: list[Engine] = []

    def new(threads: int = 2) -> Tiny:
        made.append(Engine(threads=threads, memory_gb=1.0))
        return Tiny(made[-1])

    yield new
    for engine in made:
        engine.close()
