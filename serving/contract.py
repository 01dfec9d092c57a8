"""Rows of the contract tables as they come in over HTTP: types made from the contract itself, so that names and kinds stand once."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from retain.facts import LARGEST, LONGEST_ID
from retain.tables import EVENTS, TRANSACTIONS, Column, Table

NAME = r"^[^\u0000-\u001f\u007f]+$(?!\n)"
"""No control characters; the look-ahead is there because ``$`` also stands before a last newline."""
TEXT = r"^[^\u0000]+$(?!\n)"
LONGEST_TEXT = 10_000
SET_HERE = frozenset({"known_at"})
"""When we knew of a row is when it came in; nobody else says so."""


def row_type(name: str, table: Table, required: Collection[str], words: str) -> type[Struct]:
    """A strict type for rows of a table: what is derived at ingest and when it was known are not among its fields."""
    fields: list[Any] = []
    for column in table.columns:
        if column.derived or column.name in SET_HERE:
            continue
        kind = _type(column)
        fields.append((column.name, kind) if column.name in required else (column.name, kind | None, None))
    return msgspec.defstruct(name, fields, frozen=True, forbid_unknown_fields=True, kw_only=True, module=__name__, namespace={"__doc__": words})


def _type(column: Column) -> Any:
    words = f"{column.meaning} In {column.unit}." if column.unit else column.meaning
    if column.choices:
        return Annotated[Literal[column.choices], Meta(description=words)]
    if column.kind == "float":
        return Annotated[float, Meta(ge=-LARGEST, le=LARGEST, description=words)]
    if column.kind == "int":
        return Annotated[int, Meta(ge=-(2**53), le=2**53, description=words)]
    if column.kind == "bool":
        return Annotated[bool, Meta(description=words)]
    if column.kind == "timestamp":
        return Annotated[datetime, Meta(tz=True, description=words)]
    if column.kind == "strings":
        return Annotated[list[str], Meta(max_length=1000, description=words)]
    is_long = column.name in ("text", "question")
    longest, pattern = (LONGEST_TEXT, TEXT) if is_long else (LONGEST_ID, NAME)
    return Annotated[str, Meta(min_length=1, max_length=longest, pattern=pattern, description=words)]


if TYPE_CHECKING:

    class EventRow(Struct):
        """Something that a customer did: a row of the table ``events``."""

    class TransactionRow(Struct):
        """An order line: a row of the table ``transactions``."""

else:
    EventRow = row_type(
        "EventRow", EVENTS, ("event_id", "customer_id", "occurred_at", "kind"), "Something that a customer did: a row of the table events."
    )
    TransactionRow = row_type(
        "TransactionRow",
        TRANSACTIONS,
        ("order_id", "line_id", "customer_id", "product_id", "occurred_at", "kind", "quantity", "amount"),
        "An order line of a known customer: a row of the table transactions; returns are negative.",
    )
