"""Facts of the ledger as rows of their tables: the contract's columns, beside what the tables hold already, and what is derived made anew."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

import pyarrow as pa

from retain import derive
from retain.engine import Engine, identifier
from retain.tables import ARROW, TABLES
from retain.workspace import State
from serving.incoming import Fact, TableName

SOURCE = "ledger"
BLOCK = 50_000
HELD: Mapping[TableName, str] = {
    "events": "h.event_id = c.event_id",
    # Where a source has no ids of lines, an order that is held is held whole.
    "transactions": "h.order_id = c.order_id and coalesce(h.line_id, c.line_id) = c.line_id",
}
"""When a row ``c`` that came in is held as ``h``."""
_TYPES = {"string": pa.string(), "double": pa.float64(), "int64": pa.int64(), "bool": pa.bool_(), "list<string>": pa.list_(pa.string())}


def contract(name: str, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows, moments as ``datetime``, as a table with the contract's columns."""
    columns = TABLES[name].columns
    arrays = [pa.array([row.get(c.name) for row in rows], _TYPES.get(ARROW[c.kind], pa.timestamp("us", "UTC"))) for c in columns]
    return pa.table(arrays, names=[column.name for column in columns])


def of_facts(table: TableName, facts: Iterable[Fact], state: State) -> pa.Table:
    """Facts of one table as its rows, without what is derived; money is in the currency of the workspace, an assumed margin is filled in."""
    found = iter(facts)
    parts = [contract(table, [])]
    while block := list(islice(found, BLOCK)):
        parts.append(contract(table, [_row(table, fact, state) for fact in block]))
    return pa.concat_tables(parts)


def _row(table: TableName, fact: Fact, state: State) -> dict[str, Any]:
    kinds = TABLES[table].by_name
    row: dict[str, Any] = {name: datetime.fromisoformat(value) if kinds[name].kind == "timestamp" else value for name, value in fact.values().items()}
    if table == "transactions":
        rate = next((each.value for each in state.assumed if each.name == "margin_rate"), None)
        if row.get("margin") is None and isinstance(rate, float | int):
            row["margin"] = row["amount"] * rate
        row["currency"] = state.currency or None
    return {**row, "source": SOURCE}


def together(engine: Engine, table: TableName, held: str, came: str, zone: str) -> str:
    """SQL of a table with what came in: ``held`` and ``came`` name relations with the contract's columns.

    What is held is not added again; of lines everything that is derived is made anew, for the customers of ``came`` only.
    """
    names = ", ".join(map(identifier, TABLES[table].names))
    same = HELD[table]
    new = f"select {names} from {came} as c where not exists (select 1 from {held} as h where {same})"
    if table == "events":
        return f"select {names} from {held} union all {new}"
    theirs = f"select distinct customer_id from {came}"
    lines = f"select {names} from {held} where customer_id in ({theirs}) union all {new}"
    derive.number_orders(engine, f"select customer_id, order_id, occurred_at, known_at, kind, amount from ({lines})", zone)
    made = ", ".join(f"{value} as {identifier(name)}" for name, value in derive.of_lines(zone).items())
    rest = f"select {names} from {held} where customer_id is null or customer_id not in ({theirs})"
    return f"{rest} union all select {names} from (select t.* replace ({made}) from ({lines}) as t {derive.JOINED})"
