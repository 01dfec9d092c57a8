"""The kept rows of a table as the contract's columns: mapped, derived, assumed or null, sorted so that equal rows lie equal."""

from __future__ import annotations

from retain import derive
from retain.engine import Engine, identifier, quoted
from retain.mapping import Source
from retain.merge import Merged
from retain.staging import Staged
from retain.tables import SQL, Table


def assembled(engine: Engine, source: Source, staged: Staged, merged: Merged) -> str:
    """SQL for the rows of a contract table as they are written, in their order."""
    table = staged.table
    made = _assumed(source, staged) | _derived(source, staged) | {"source": quoted(source.name)}
    rows = f"({merged.sql}) as t"
    if table.name == "transactions":
        lines = f"select customer_id, order_id, occurred_at, known_at, kind, amount from ({merged.sql})" if "customer_id" in staged.columns else None
        if lines is None:
            made |= {"order_number": "cast(null as bigint)", "order_gap_days": "cast(null as bigint)"}
        else:
            derive.number_orders(engine, lines, source.local)
            rows += f" {derive.JOINED}"
    columns = []
    for column in table.columns:
        own = f"t.{identifier(column.name)}" if column.name in staged.columns else "null"
        columns.append(f"cast({made.get(column.name, own)} as {SQL[column.kind]}) as {identifier(column.name)}")
    columns += [f"cast(t.{identifier(name)} as {kind}) as {identifier(name)}" for name, kind in staged.descriptive.items()]
    order = [*table.sort, *(name for name in staged.columns if name not in table.sort)]
    return f"select {', '.join(columns)} from {rows} order by {', '.join(f't.{identifier(name)}' for name in order if name in staged.columns)}"


def nothing(table: Table) -> str:
    """SQL for a contract table without rows."""
    return f"select {', '.join(f'cast(null as {SQL[column.kind]}) as {identifier(column.name)}' for column in table.columns)} where false"


def _derived(source: Source, staged: Staged) -> dict[str, str]:
    if staged.table.name == "transactions":
        return derive.of_lines(source.local)
    if staged.table.name == "products" and "category_path" in staged.columns:
        return {"category": derive.category("t.category_path", source.category_level)}
    return {}


def _assumed(source: Source, staged: Staged) -> dict[str, str]:
    """Constants that the mapping declares for columns that it does not map."""
    assume, name = source.assume, staged.table.name
    made: dict[str, str] = {}
    if assume.consent and name == "customers" and "consents" not in staged.mapped:
        made["consents"] = "[" + ", ".join(quoted(part.strip()) for part in str(assume.consent.value).split(",")) + "]"
    if assume.margin_rate and name == "transactions" and "margin" not in staged.mapped:
        made["margin"] = f"t.amount * {assume.margin_rate.value}"
    if assume.margin_rate and name == "products" and "margin_rate" not in staged.mapped:
        made["margin_rate"] = str(assume.margin_rate.value)
    if assume.contact_cost and name == "contacts" and "cost" not in staged.mapped:
        cost = assume.contact_cost.value
        if isinstance(cost, dict):
            branches = " ".join(f"when {quoted(channel)} then {value}" for channel, value in cost.items())
            made["cost"] = f"case {'t.channel' if 'channel' in staged.columns else 'null'} {branches} end"
        else:
            made["cost"] = str(cost)
        if "is_control" in staged.columns:
            made["cost"] = f"case when t.is_control then 0 else {made['cost']} end"
    return made
