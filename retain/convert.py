"""How a value of a source becomes a value of the contract, or a reason why it cannot: one column as SQL, no row in Python.

A reason is ``column:what``, for example ``amount:not_a_number``. Nothing turns into null in silence: a value that is there and cannot
be read gives a reason, only what is missing is null.
"""

from __future__ import annotations

from dataclasses import dataclass

from retain.engine import identifier, quoted
from retain.errors import ConfigError
from retain.facts import EARLIEST_FACT, LARGEST, LONGEST_ID
from retain.mapping import Expression, Numbers
from retain.tables import SQL, Column

EARLIEST, LATEST = "1880-01-01", "9999-12-31 23:59:59"
"""Bounds of times that are no facts: the start of a relation, the end of a validity that never ends."""

_NO_VALUE = ("", "NULL", "NONE", "NAN", "NAT", "<NA>")
_NO_NUMBER = (*_NO_VALUE, "NA", "N/A")
_NUMBER = r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?"
_ISO = r"\s*[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([T ].*)?"
_ZONED = r".*[0-9]{2}:[0-9]{2}.*([zZ]|[+-][0-9]{2}(:?[0-9]{2})?)\s*"
_NO_SECONDS = r"([T ][0-9]{2}:[0-9]{2})\s*([zZ]|[+-][0-9:]+)\s*$"
_INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT")
_FLOATS = ("FLOAT", "DOUBLE")
_TRUE, _FALSE = ("true", "t", "yes", "y", "1"), ("false", "f", "no", "n", "0")


@dataclass(frozen=True)
class Converted:
    """One column as SQL."""

    value: str
    """The value in the contract's type, over the raw column; null where it is missing or cannot be read."""
    reasons: tuple[tuple[str, str], ...]
    """(condition over the raw column and the value under its contract name, reason); several can hold."""


def is_id(column: Column) -> bool:
    """Whether a column names something: kept as it is written, byte by byte."""
    return column.kind == "string" and column.name.endswith("_id")


def macros(numbers: Numbers) -> tuple[str, ...]:
    """SQL functions that mappings may use: ``number(text)`` is NaN for what is no number, which is then quarantined, never lost."""
    text = _number_text("value", numbers)
    return (
        f"create or replace temporary macro number(value) as case when {_missing('value', _NO_NUMBER)} then null "
        f"when regexp_full_match({text}, {quoted(_NUMBER)}) then cast({text} as double) else cast('nan' as double) end",
    )


def convert(column: Column, raw: str, kind: str, expression: Expression, stored_zone: str | None, numbers: Numbers) -> Converted:
    """SQL that turns ``raw``, a column of SQL type ``kind``, into the contract's ``column``.

    Raises:
        ConfigError: no value of that type can be read as the column.
    """
    out = identifier(column.name)
    if column.kind == "string":
        value, reasons = _id(raw, kind) if is_id(column) else _string(raw)
    elif column.kind in ("float", "int"):
        value, reasons = _number(raw, kind, numbers, whole=column.kind == "int")
    elif column.kind == "bool":
        value, reasons = _bool(raw, kind)
    elif column.kind == "timestamp":
        value, reasons = _time(raw, kind, out, expression, stored_zone, is_fact=column.name in ("occurred_at", "known_at"))
    else:
        value, reasons = _strings(raw, kind), ()
    if value is None:
        raise ConfigError(f"{expression.sql} is of type {kind}, which is no {SQL[column.kind]}; {_advice(column)}")
    if column.choices:
        reasons = (*reasons, (f"{out} not in ({', '.join(map(quoted, column.choices))})", "not_a_choice"))
    if column.required:
        failed = " or ".join(f"coalesce({condition}, false)" for condition, _ in reasons) or "false"
        reasons = (*reasons, (f"{out} is null and not ({failed})", "missing"))
    return Converted(value, tuple((condition, f"{column.name}:{what}") for condition, what in reasons))


_Reasons = tuple[tuple[str, str], ...]
_Result = tuple[str | None, _Reasons]


def _missing(raw: str, words: tuple[str, ...]) -> str:
    return f"coalesce(upper(trim({raw})) in ({', '.join(quoted(word) for word in words)}), true)"


def _string(raw: str) -> _Result:
    text = f"cast({raw} as varchar)"
    # NUL ends a text for many readers, and the contract is read by more than one.
    return f"case when {text} <> '' then {text} end", ((f"contains({text}, chr(0))", "control_character"),)


def _id(raw: str, kind: str) -> _Result:
    if kind in _INTEGERS:
        return f"cast({raw} as varchar)", ()
    if kind in _FLOATS:
        # Numbers with gaps come as floats from many tools: 17850.0 is the customer 17850.
        whole = f"isfinite({raw}) and {raw} = trunc({raw}) and abs({raw}) < 9007199254740992"
        return f"case when {whole} then cast(cast({raw} as bigint) as varchar) end", ((f"not isnan({raw}) and not ({whole})", "not_an_id"),)
    text = f"cast({raw} as varchar)"
    present = f"not {_missing(text, _NO_VALUE)}"
    return f"case when {present} then {text} end", (
        (f"length({text}) > {LONGEST_ID}", "too_long"),
        (f"regexp_matches({text}, '[[:cntrl:]]')", "control_character"),
    )


def _number_text(raw: str, numbers: Numbers) -> str:
    text = f"trim({raw})"
    if numbers.thousands:
        text = f"replace({text}, {quoted(numbers.thousands)}, '')"
    if numbers.decimal != ".":
        # A point that is not declared must not pass as one.
        text = f"replace(replace({text}, '.', '?'), {quoted(numbers.decimal)}, '.')"
    return text


def _number(raw: str, kind: str, numbers: Numbers, *, whole: bool) -> _Result:
    if kind == "VARCHAR":
        text = _number_text(raw, numbers)
        readable = f"regexp_full_match({text}, {quoted(_NUMBER)})"
        value = f"case when {readable} then try_cast({text} as double) end"
        infinite = f"regexp_full_match(lower(trim({raw})), '[+-]?inf(inity)?')"
        reasons: _Reasons = (
            (f"not {_missing(raw, _NO_NUMBER)} and not {readable} and not {infinite}", "not_a_number"),
            (f"{infinite} or isinf({value})", "not_finite"),
        )
    elif kind in _FLOATS:
        value = f"case when isfinite({raw}) then cast({raw} as double) end"
        reasons = ((f"isnan({raw})", "not_a_number"), (f"isinf({raw})", "not_finite"))
    elif kind in _INTEGERS or kind.startswith("DECIMAL") or kind == '"NULL"':
        value, reasons = f"cast({raw} as double)", ()
    else:
        return None, ()
    bounded = f"abs({value}) <= {LARGEST:.0f}"
    reasons = (*reasons, (f"not ({bounded}) and isfinite({value})", "too_large"))
    if whole:
        # A whole number only: 2.5 children are a mistake of the source, not two.
        return f"case when {bounded} then cast({value} as bigint) end", (*reasons, (f"{bounded} and {value} <> trunc({value})", "not_whole"))
    # Adding zero makes one zero of the two that floats have.
    return f"case when {bounded} then {value} + 0.0 end", reasons


def _bool(raw: str, kind: str) -> _Result:
    if kind in ("BOOLEAN", '"NULL"'):
        return f"cast({raw} as boolean)", ()
    if kind != "VARCHAR" and kind not in _INTEGERS:
        return None, ()
    text = f"lower(trim(cast({raw} as varchar)))"
    yes, no = (", ".join(quoted(word) for word in words) for words in (_TRUE, _FALSE))
    value = f"case when {text} in ({yes}) then true when {text} in ({no}) then false end"
    return value, ((f"{text} not in ({yes}, {no}) and not {_missing(text, _NO_NUMBER)}", "not_a_boolean"),)


def _time(raw: str, kind: str, out: str, expression: Expression, stored_zone: str | None, *, is_fact: bool) -> _Result:
    zone = expression.zone or stored_zone
    unzoned: str | None = None
    reasons: _Reasons = ()
    if kind == "TIMESTAMP WITH TIME ZONE":
        value = raw
    elif kind.startswith("TIMESTAMP") or kind == "DATE":
        value, unzoned = _on_clock(zone, f"cast({raw} as timestamp)"), f"{raw} is not null"
    elif kind == '"NULL"':
        value = "cast(null as timestamptz)"
    elif kind == "VARCHAR" and expression.format:
        naive = f"try_strptime(trim({raw}), {quoted(expression.format)})"
        has_zone = "%z" in expression.format or "%Z" in expression.format
        value, unzoned = (naive, None) if has_zone else (_on_clock(zone, naive), f"{naive} is not null")
        reasons = ((f"{naive} is null and not {_missing(raw, _NO_NUMBER)}", "not_a_time"),)
    elif kind == "VARCHAR":
        zoned, iso = f"regexp_full_match({raw}, {quoted(_ZONED)})", f"regexp_full_match({raw}, {quoted(_ISO)})"
        naive = f"case when {iso} and not {zoned} then try_cast({raw} as timestamp) end"
        # A zone after hours and minutes is ISO too; DuckDB wants seconds before it.
        seconds = f"regexp_replace({raw}, {quoted(_NO_SECONDS)}, '\\1:00\\2')"
        value = f"case when {zoned} then case when {iso} then try_cast({seconds} as timestamptz) end else {_on_clock(zone, naive)} end"
        unzoned = f"({naive}) is not null"
        read = f"case when {zoned} then {out} is not null else ({naive}) is not null end"
        reasons = ((f"not {_missing(raw, _NO_NUMBER)} and not ({iso} and {read})", "not_a_time"),)
    else:
        return None, ()
    if zone is None and unzoned is not None:
        reasons = (*reasons, (unzoned, "no_zone"))
    low = EARLIEST_FACT if is_fact else EARLIEST
    # The bounds need no zone: what they keep out is wrong by years.
    reasons = (*reasons, (f"{out} < timestamptz '{low} 00:00:00+00' or {out} > timestamptz '{LATEST}+00'", "absurd"))
    return value, reasons


def _on_clock(zone: str | None, naive: str) -> str:
    return "cast(null as timestamptz)" if zone is None else f"timezone({quoted(zone)}, {naive})"


def _strings(raw: str, kind: str) -> str:
    if kind == '"NULL"':
        return "cast(null as varchar[])"
    if kind.endswith("[]"):
        return f"list_filter(list_transform({raw}, lambda one: cast(one as varchar)), lambda one: one is not null)"
    text = f"cast({raw} as varchar)"
    parts = f"list_filter(list_transform(string_split({text}, ';'), lambda one: trim(one)), lambda one: one <> '')"
    is_json = f"starts_with(ltrim({text}), '[') and json_valid({text})"
    return f"case when {_missing(text, _NO_VALUE)} then null when {is_json} then from_json({text}, '[\"VARCHAR\"]') else {parts} end"


def _advice(column: Column) -> str:
    if column.kind == "timestamp":
        return "give a time, a text with `format:`, or to_timestamp(...) of seconds"
    return f"write an expression that gives one for {column.name}"
