"""The text of a feature query: a view over its spine, with the intermediate tables it reads put before it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from features import catalog
from features.catalog import SQL_TYPE, Entity, View
from retain.engine import identifier

KNOWN: Mapping[Entity, str] = {"customer": "known_customers", "product": "known_products"}
"""Intermediate tables that say since when an entity is known."""
WINDOWS = (7, 14, 28, 30, 60, 90, 180, 365)
"""Days of the windows that views use; nothing looks further back, so features do not grow with the length of history."""

Part = tuple[str, str]
"""A name and the query behind it, to stand in a ``with``."""


def parts(reads: Sequence[str], ready: Collection[str] = ()) -> list[Part]:
    """The intermediate tables that have to stand before a query; those in ``ready`` are attached already."""
    return [(name, catalog.intermediate(name)) for name in catalog.needs(tuple(reads)) if name not in ready]


def preceded(before: Sequence[Part], query: str) -> str:
    """``query`` with its parts in a ``with`` before it."""
    return "with " + ",\n".join(f"{name} as (\n{sql}\n)" for name, sql in before) + "\n" + query if before else query


def known(entity: Entity, moment: datetime) -> str:
    """Every customer, or product, that something was known of before a moment."""
    return f"select {entity}_id from {KNOWN[entity]} where known_since < {clock(moment)}"


def spine(entity: Entity, moments: Sequence[datetime]) -> str:
    """Everybody known before each moment, as views see it: beside the moment the beginning of each window, ``since_7d`` and so on."""
    rows = ", ".join(f"({', '.join(clock(moment - timedelta(days=days)) for days in (0, *WINDOWS))})" for moment in moments)
    names = ", ".join(["event_timestamp", *(f"since_{days}d" for days in WINDOWS)])
    return f"select k.{entity}_id, m.* from {KNOWN[entity]} as k join (values {rows}) as m({names}) on k.known_since < m.event_timestamp"


def asked_spine(entity: Entity, table: str) -> str:
    """The spine as views see it, of the pairs of entity and moment in a table."""
    since = ", ".join(f"event_timestamp - interval {days} day as since_{days}d" for days in WINDOWS)
    asked = f"select {entity}_id, cast(event_timestamp as timestamp) as event_timestamp from {table}"
    return f"select *, {since} from ({asked}) as asked_at"


def result(view: View) -> str:
    """The view's declared columns in their declared types; the moment is zoned again."""
    columns = ", ".join(f"cast({identifier(f.name)} as {SQL_TYPE[f.dtype]}) as {identifier(f.name)}" for f in view.columns)
    times = "cast(event_timestamp as timestamptz) as event_timestamp"
    return f"select {view.key}, {times}, {columns} from (\n{view.sql}\n) as result"


def clock(moment: datetime) -> str:
    """A moment as features' SQL compares it: UTC without a zone, because DuckDB reckons with zoned times ten times slower."""
    return f"timestamp '{moment.astimezone(UTC).replace(tzinfo=None).isoformat(sep=' ')}'"
