"""Facts that come in over HTTP: rows of the tables ``events`` and ``transactions``, checked as an ingest checks them, and how they are kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import msgspec

from retain import convert
from retain.facts import EARLIEST_FACT, GRACE, SIGNS
from serving.decisions import receipts
from serving.schemas import EventsRequest
from serving.strict import ContentProblem

TableName = Literal["events", "transactions"]
KEYS: Mapping[TableName, tuple[str, ...]] = {"events": ("event_id",), "transactions": ("order_id", "line_id")}
EARLIEST = datetime.fromisoformat(EARLIEST_FACT).replace(tzinfo=UTC)
OLDEST, LATEST = (datetime.fromisoformat(end).replace(tzinfo=UTC) for end in (convert.EARLIEST, convert.LATEST))
"""Between these lies every other time of a row, as at an ingest."""


class Fact(msgspec.Struct, frozen=True, array_like=True):
    """A row that came in, as it is kept. Times are ISO 8601 in UTC."""

    table: TableName
    identity: str
    """Its key in the table."""
    body_hash: str
    customer_id: str
    occurred_at: str
    received_at: str
    row: bytes
    """JSON: columns of the contract that are known."""

    @property
    def received(self) -> datetime:
        """When it came in."""
        return datetime.fromisoformat(self.received_at)

    def values(self) -> dict[str, Any]:
        """The row as it goes into its table, times as text; it was known when it came in, and not before it happened."""
        return {**msgspec.json.decode(self.row), "known_at": max(self.occurred_at, self.received_at)}


def facts(request: EventsRequest, received_at: datetime, currency: str) -> Iterator[Fact]:
    """The rows of a request.

    Args:
        request: rows whose types and words are right.
        received_at: the moment on the clock of the workspace.
        currency: of the workspace; money comes in no other.

    Raises:
        ContentProblem: a row says what cannot be; nothing of the request is kept.
    """
    if not request.events and not request.transactions:
        raise ContentProblem("send at least one row in events or transactions", field="events")
    stamp = _stamp(received_at)
    groups: tuple[tuple[TableName, Sequence[msgspec.Struct]], ...] = (("events", request.events), ("transactions", request.transactions))
    for table, rows in groups:
        for number, row in enumerate(rows):
            values = {name: value for name, value in msgspec.structs.asdict(row).items() if value is not None}
            problem = _problem(table, values, received_at, currency)
            if problem is not None:
                raise ContentProblem(problem[1], field=f"{table}.{problem[0]}", row=number)
            plain = {name: _stamp(value) if isinstance(value, datetime) else value for name, value in values.items()}
            body = msgspec.json.encode(plain)
            identity = "\n".join(str(plain[name]) for name in KEYS[table])
            yield Fact(table, identity, receipts.fingerprint(body), values["customer_id"], plain["occurred_at"], stamp, body)


def _problem(table: TableName, values: Mapping[str, Any], now: datetime, currency: str) -> tuple[str, str] | None:
    """The field that cannot be, and why."""
    at = values["occurred_at"]
    if at < EARLIEST:
        return "occurred_at", f"nothing is told of before {EARLIEST:%Y}"
    if is_ahead(at, now):
        return "occurred_at", AHEAD
    absurd = next((name for name, value in values.items() if isinstance(value, datetime) and not OLDEST <= value <= LATEST), None)
    if absurd is not None:
        return absurd, f"no time of a row lies before {OLDEST:%Y} or after {LATEST:%Y}"
    if values.get("currency", currency) != currency:
        return "currency", f"money comes in in {currency or 'the currency of the workspace'} only"
    if table == "transactions":
        return next(((sign.column, sign.reason) for sign in SIGNS if sign.is_broken(values["kind"], values[sign.column])), None)
    return None


def is_ahead(at: datetime, now: datetime) -> bool:
    """Whether something is said to have happened further ahead of the clock than clocks differ."""
    return at > now + GRACE


AHEAD = f"it lies more than {GRACE // timedelta(hours=1)} hours ahead of the clock of the workspace"


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
