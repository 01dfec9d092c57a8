"""A mapping's expressions run over its files: one staged Parquet per table, each row with its values or with the reasons why not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import NoReturn

import duckdb

from retain.convert import convert, is_id, macros
from retain.engine import Engine, identifier, quoted
from retain.errors import ConfigError, DataError
from retain.inputs import Opened
from retain.mapping import Expression, File, Source, TableMapping
from retain.settle import RATES, added, settle
from retain.tables import SQL, TABLES, Column, Kind, Table


@dataclass(frozen=True)
class Staged:
    """The rows of one table before duplicates are merged."""

    table: Table
    path: Path
    """Parquet: ``columns``, ``is_raised``, and on unusable rows ``reasons`` (else null) and ``raw_<column>`` as text."""
    columns: tuple[str, ...]
    """Columns that have values, in the contract's order, descriptive ones last."""
    mapped: tuple[str, ...]
    """Columns that the mapping gives."""
    descriptive: Mapping[str, str]
    """Further column -> SQL type."""
    key: tuple[str, ...]
    """Columns that make a row the same row; empty where equal rows are separate facts."""
    id_types: Mapping[str, str]
    """Arrow type of each id in the source."""
    rows: int
    left_out: int
    """Rows that the mapping's ``where`` leaves out."""
    malformed: tuple[Path, ...]
    """Lines of its files that are no rows."""


def stage(engine: Engine, source: Source, name: str, opened: Opened, limit: datetime, target: Path) -> Staged:
    """Run the expressions of one table; facts after ``limit`` are unusable.

    Raises:
        ConfigError: an expression does not bind or is of a wrong type, or times lack a zone that nobody declared.
        DataError: an expression fails on a value.
    """
    mapping, table, place = source.tables[name], TABLES[name], f"{source.name}: tables: {name}"
    _attach(engine, mapping.files, opened)
    for macro in macros(mapping.numbers):
        engine.execute(macro)
    kinds = _bound(engine, place, mapping, opened)
    descriptive = {column: _descriptive(kinds[column]) for column in mapping.descriptive}
    columns = _columns(source, table, descriptive)
    expressions = {**mapping.columns, **mapping.descriptive}
    names = [column for column in columns if column in expressions]
    typed, reasons = _typed(source, mapping, place, [columns[column] for column in names], kinds)
    settled = settle(source, table, names, typed, limit)
    listed = ", ".join(f"case when {condition} then {quoted(reason)} end" for condition, reason in (*reasons, *settled.reasons))
    unusable = " or ".join(f"coalesce({condition}, false)" for condition, _ in (*reasons, *settled.reasons))
    judged = f"select *, case when {unusable} then list_filter([{listed}], lambda one: one is not null) end as reasons from ({settled.sql})"
    written = [column for column in columns if column in names or column in added(table)]
    raws = [identifier(f"raw_{column}") for column in names]
    originals = ", ".join(f"case when reasons is not null then cast({raw} as varchar) end as {raw}" for raw in raws)
    try:
        rows = engine.write(f"select {', '.join(map(identifier, written))}, is_raised, reasons, {originals} from ({judged})", target)
        left_out = int(engine.rows(f"select count(*) from {mapping.source}")[0][0]) - rows if mapping.where else 0
    except (duckdb.ConversionException, duckdb.InvalidInputException, duckdb.OutOfRangeException) as error:
        raise DataError(f"{place}: an expression fails on a value ({_line(error)}); use try_cast(...) or number(...)") from error
    _refuse_unzoned(engine, place, target)
    return Staged(
        table=table,
        path=target,
        columns=tuple(written),
        mapped=tuple(names),
        descriptive={column: SQL[kind] for column, kind in descriptive.items()},
        key=mapping.key if mapping.key is not None else table.key if set(table.key) <= set(names) else (),
        id_types=_arrow_types(engine, mapping, {column: expressions[column].sql for column in names if is_id(columns[column])}),
        rows=rows,
        left_out=left_out,
        malformed=tuple(opened.malformed[file] for file in mapping.files.values() if file in opened.malformed),
    )


def stage_rates(engine: Engine, source: Source, opened: Opened) -> None:
    """Make the table of exchange rates that money is converted with, if the mapping has one.

    Raises:
        DataError: a rate, its currency or its date cannot be read; money is never converted by a guess.
    """
    rates = source.rates
    if rates is None:
        return
    place, wanted = f"{source.name}: rates", (Column("currency", "string", ""), Column("valid_from", "timestamp", ""), Column("rate", "float", ""))
    mapping = TableMapping.model_validate(
        {"files": rates.files, "from": rates.source, "columns": {"currency": rates.currency, "valid_from": rates.valid_from, "rate": rates.rate}}
    )
    _attach(engine, mapping.files, opened)
    for macro in macros(mapping.numbers):
        engine.execute(macro)
    typed, _ = _typed(source, mapping, place, list(wanted), _bound(engine, place, mapping, opened))
    named = "upper(trim(currency)) as rate_currency, valid_from as rate_from, rate as rate_value"
    engine.execute(f"create table {RATES} as select {named} from ({typed})")
    bad = engine.rows(f"select count(*) from {RATES} where rate_currency is null or rate_from is null or rate_value is null or rate_value <= 0")[0][0]
    if bad:
        raise DataError(f"{place}: {bad} rows lack a currency, a date or a rate above zero; correct them, money is never converted by a guess")


def _columns(source: Source, table: Table, descriptive: Mapping[str, Kind]) -> dict[str, Column]:
    columns = {column.name: column for column in table.columns}
    if table.name == "transactions" and not source.anonymous_sales:
        columns["customer_id"] = replace(columns["customer_id"], required=True)
    return columns | {name: Column(name, kind, "Declared by the source.") for name, kind in descriptive.items()}


def _typed(source: Source, mapping: TableMapping, place: str, columns: list[Column], kinds: Mapping[str, str]) -> tuple[str, list[tuple[str, str]]]:
    """A query with the raw and the typed value of each column, and the reasons why a value cannot be used."""
    expressions = {**mapping.columns, **mapping.descriptive}
    values: list[str] = []
    reasons: list[tuple[str, str]] = []
    for column in columns:
        try:
            one = convert(column, identifier(f"raw_{column.name}"), kinds[column.name], expressions[column.name], source.stored_zone, mapping.numbers)
        except ConfigError as error:
            raise ConfigError(f"{place}: columns: {column.name}: {error.message}", field=column.name) from error
        values.append(f"{one.value} as {identifier(column.name)}")
        reasons += one.reasons
    raws = ", ".join(f"({expressions[column.name].sql}) as {identifier(f'raw_{column.name}')}" for column in columns)
    return f"select *, {', '.join(values)} from (select {raws} from {_relation(mapping)})", reasons


def _attach(engine: Engine, files: Mapping[str, File], opened: Opened) -> None:
    for alias, file in files.items():
        engine.execute(f"create or replace temporary view {identifier(alias)} as select * from {opened.relations[file]}")


def _relation(mapping: TableMapping) -> str:
    return f"{mapping.source} where {mapping.where}" if mapping.where else mapping.source


def _bound(engine: Engine, place: str, mapping: TableMapping, opened: Opened) -> dict[str, str]:
    """SQL type of each expression; if they do not bind, the first one that does not is named."""
    expressions = {**mapping.columns, **mapping.descriptive}
    try:
        return _described(engine, expressions, _relation(mapping))
    except duckdb.Error as error:
        if not _binds(engine, {}, mapping.source):
            _blame(f"{place}: from: {mapping.source}", mapping, opened, error)
        if not _binds(engine, {}, _relation(mapping)):
            _blame(f"{place}: where: {mapping.where}", mapping, opened, error)
        for name, one in expressions.items():
            try:
                _described(engine, {name: one}, _relation(mapping))
            except duckdb.Error as cause:
                _blame(f"{place}: columns: {name}: {one.sql}", mapping, opened, cause)
        raise


def _binds(engine: Engine, expressions: Mapping[str, Expression], relation: str) -> bool:
    try:
        _described(engine, expressions or {"one": Expression(sql="1")}, relation)
    except duckdb.Error:
        return False
    return True


def _described(engine: Engine, expressions: Mapping[str, Expression], relation: str) -> dict[str, str]:
    sql = f"select {', '.join(f'({one.sql}) as {identifier(name)}' for name, one in expressions.items())} from {relation}"
    if len(duckdb.extract_statements(sql)) != 1:
        raise duckdb.ParserException("it holds more than one statement")
    return {str(row[0]): str(row[1]) for row in engine.rows(f"describe {sql}")}


def _blame(place: str, mapping: TableMapping, opened: Opened, error: duckdb.Error) -> NoReturn:
    there = "; ".join(f"{alias} has {', '.join(opened.columns[file][:60])}" for alias, file in mapping.files.items())
    raise ConfigError(f"{place} cannot be understood ({_line(error)}); {there}") from error


def _descriptive(kind: str) -> Kind:
    if kind == "BOOLEAN":
        return "bool"
    return "float" if kind in ("FLOAT", "DOUBLE") or kind.startswith("DECIMAL") or kind.endswith("INT") or kind == "INTEGER" else "string"


def _arrow_types(engine: Engine, mapping: TableMapping, expressions: Mapping[str, str]) -> dict[str, str]:
    listed = ", ".join(f"({sql}) as {identifier(name)}" for name, sql in expressions.items())
    schema = engine.arrow(f"select {listed} from (select * from {mapping.source} limit 0)").schema if expressions else ()
    return {field.name: str(field.type) for field in schema}


def _refuse_unzoned(engine: Engine, place: str, staged: Path) -> None:
    every = f"select unnest(reasons) as one from read_parquet({quoted(staged)})"
    found = engine.rows(f"select one from ({every}) where one like '%:no_zone' order by one limit 1")
    if found:
        column = str(found[0][0]).partition(":")[0]
        raise ConfigError(f"{place}: columns: {column}: the times name no zone; declare `stored_zone` in the mapping", field="stored_zone")


def _line(error: duckdb.Error) -> str:
    return str(error).splitlines()[0]
