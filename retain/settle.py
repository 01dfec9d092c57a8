"""What the contract makes of a row once its values are read: when it was known, its kind, the sign of returns, one currency."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from retain.engine import identifier, quoted
from retain.facts import SIGNS
from retain.mapping import Source
from retain.tables import Table

RATES = "exchange_rates"


@dataclass(frozen=True)
class Settled:
    """SQL of settled rows."""

    sql: str
    """A query over the typed rows; it adds the columns ``is_raised`` and, where money is converted, ``factor``."""
    reasons: tuple[tuple[str, str], ...]
    """(condition over the settled row, reason)."""


def settle(source: Source, table: Table, names: list[str], typed: str, limit: datetime) -> Settled:
    """Settle the rows of the query ``typed``, which holds ``names`` and the raw column of each; facts after ``limit`` are unusable."""
    settled, reasons = _times("known_at" in names, limit)
    if table.name == "transactions":
        kind, signs, more = _kind(source, names)
        settled |= {"kind": kind, **signs}
        reasons += more
    joined, added = f"({typed}) as typed", [f"coalesce({_known('known_at' in names)} < typed.occurred_at, false) as is_raised"]
    if "currency" in table.by_name:
        settled["currency"] = quoted(source.currency)
        if "currency" in names:
            factor, join = _factor(source)
            joined += join
            added.append(f"{factor} as factor")
            reasons.append(("factor is null", "currency:no_rate"))
            money = [column.name for column in table.columns if column.unit == "currency" and column.name in names]
            settled |= {name: f"({settled.get(name, 'typed.' + name)}) * coalesce({factor}, 1.0)" for name in money}
    raw = [f"typed.{identifier('raw_' + name)}" for name in names]
    plain = [f"typed.{identifier(name)}" for name in names if name not in settled]
    made = [f"{value} as {identifier(name)}" for name, value in settled.items()]
    return Settled(f"select {', '.join([*raw, *plain, *made, *added])} from {joined}", tuple(reasons))


def added(table: Table) -> tuple[str, ...]:
    """Columns that every settled row has, whether the source gives them or not."""
    always = ("known_at", "currency") if "currency" in table.by_name else ("known_at",)
    return (*always, "kind") if table.name == "transactions" else always


def _known(is_given: bool) -> str:
    return "typed.known_at" if is_given else "cast(null as timestamptz)"


def _times(is_given: bool, limit: datetime) -> tuple[dict[str, str], list[tuple[str, str]]]:
    late = f"timestamptz {quoted(limit.isoformat(sep=' '))}"
    reasons = [(f"occurred_at > {late}", "occurred_at:future")]
    if is_given:
        reasons.append((f"known_at > {late} and occurred_at <= {late}", "known_at:future"))
    # A fact can be seen once it has happened and is known: known earlier than it happens means known when it happens.
    return {"known_at": f"greatest(coalesce({_known(is_given)}, typed.occurred_at), typed.occurred_at)"}, reasons


def _kind(source: Source, names: list[str]) -> tuple[str, dict[str, str], list[tuple[str, str]]]:
    default = "case when typed.amount < 0 or typed.quantity < 0 then 'return' else 'sale' end" if source.returns else "'sale'"
    kind = f"coalesce(typed.kind, {default})" if "kind" in names else default
    if source.zero_amount == "purchase":
        kind = f"case when {kind} = 'sale' and typed.amount = 0 then 'free' else {kind} end"
    signs: dict[str, str] = {}
    if source.returns is not None and source.returns.amount_sign == "positive":
        signs = {
            name: f"case when {kind} = 'return' then -abs(typed.{name}) else typed.{name} end"
            for name in names
            if name in ("amount", "quantity", "margin")
        }
    return kind, signs, [(sign.sql, sign.reason) for sign in SIGNS]


def _factor(source: Source) -> tuple[str, str]:
    base = quoted(source.currency)
    currency = f"coalesce(nullif(upper(trim(typed.currency)), ''), {base})"
    if source.rates is None:
        return f"case when {currency} = {base} then 1.0 end", ""
    join = f" asof left join {RATES} as rates on upper(trim(typed.currency)) = rates.rate_currency and typed.occurred_at >= rates.rate_from"
    return f"case when {currency} = {base} then 1.0 else rates.rate_value end", join
