"""The SQL that engines share: an allow-list of what features' queries may say, so that the same text can run on DuckDB and on Spark."""

from __future__ import annotations

from collections.abc import Iterator

import sqlglot
from sqlglot import exp
from sqlglot.errors import ParseError

from retain.errors import ConfigError

CLAUSES: frozenset[type[exp.Expr]] = frozenset({
    exp.Select, exp.From, exp.Join, exp.Where, exp.Group, exp.Having, exp.With, exp.CTE, exp.Subquery, exp.Union, exp.Order, exp.Ordered,
    exp.Window, exp.WindowSpec, exp.Filter, exp.Table, exp.TableAlias, exp.Alias, exp.Column, exp.Identifier, exp.Star, exp.Var,
})  # fmt: skip
VALUES: frozenset[type[exp.Expr]] = frozenset({
    exp.Literal, exp.Null, exp.Boolean, exp.DataType, exp.DataTypeParam, exp.Paren, exp.Neg, exp.Add, exp.Sub, exp.Mul, exp.Div,
    exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.And, exp.Or, exp.Not, exp.Is, exp.In, exp.Between,
})  # fmt: skip
FUNCTIONS: frozenset[type[exp.Expr]] = frozenset({
    exp.Count, exp.Sum, exp.Min, exp.Max, exp.Avg, exp.Median, exp.Case, exp.If, exp.Coalesce, exp.Nullif, exp.Greatest, exp.Least,
    exp.Cast, exp.DateDiff, exp.Abs, exp.Sqrt, exp.RowNumber, exp.Distinct,
})  # fmt: skip
"""Not among them, because engines differ: logarithms, day of week, epoch, quantiles, lists, and arithmetic of intervals."""
TYPES = frozenset({"DATE", "TIMESTAMPNTZ", "TIMESTAMPTZ", "DOUBLE", "DECIMAL", "BIGINT", "INT", "VARCHAR", "TEXT", "BOOLEAN"})


def unportable(sql: str) -> set[str]:
    """What a query says that engines do not share, in words; empty if nothing.

    Raises:
        ConfigError: the text is no single query.

    >>> sorted(unportable("select log(x) / y as z from t"))
    ['division without nullif: LOG(x) / y', 'log: LOG(x)']
    """
    try:
        statements = sqlglot.parse(sql, dialect="duckdb")
    except ParseError as error:
        raise ConfigError(f"features/sql: a query cannot be parsed ({str(error).splitlines()[0]})") from error
    if len(statements) != 1 or statements[0] is None:
        raise ConfigError(f"features/sql: one query is expected, {len(statements)} were found")
    return {complaint for node in statements[0].walk() for complaint in _complaints(node)}


def _complaints(node: exp.Expr) -> Iterator[str]:
    text = node.sql(dialect="duckdb")
    kind = type(node)
    if kind not in CLAUSES | VALUES | FUNCTIONS:
        name = node.name if isinstance(node, exp.Anonymous) else kind.__name__
        yield f"{name.lower()}: {text}"
    elif isinstance(node, exp.Div) and not _is_safe(node.expression):
        yield f"division without nullif: {text}"
    elif isinstance(node, exp.DateDiff) and not (node.text("unit").lower() == "day" and _is_date(node.this) and _is_date(node.expression)):
        yield f"day difference of what are no dates: {text}"
    elif isinstance(node, exp.Cast) and node.to.this.name not in TYPES:
        yield f"type: {text}"
    elif isinstance(node, exp.Select) and (odd := {"distinct", "qualify", "sample", "limit", "offset", "kind", "hint"} & _given(node)):
        yield f"{sorted(odd)[0]}: {text}"
    elif isinstance(node, exp.Join) and (odd := {"using", "method"} & _given(node)):
        yield f"join with {sorted(odd)[0]}: {text}"
    elif isinstance(node, exp.Star) and _given(node):
        yield f"star with exceptions: {text}"
    elif isinstance(node, exp.Group) and _given(node) - {"expressions"}:
        yield f"group by all or sets: {text}"
    elif isinstance(node, exp.Distinct) and not isinstance(node.parent, exp.Count):
        yield f"distinct: {text}"


def _given(node: exp.Expr) -> set[str]:
    return {name for name, value in node.args.items() if value}


def _is_date(node: exp.Expr) -> bool:
    return isinstance(node, exp.Cast) and node.to.this.name == "DATE"


def _is_safe(denominator: exp.Expr) -> bool:
    """Whether it cannot be zero: nullif, a number, or something counted plus a number."""
    inner = denominator.unnest()
    if isinstance(inner, exp.Add):
        return _is_number(inner.expression)
    return _is_number(inner) or (isinstance(inner, exp.Nullif) and inner.expression.sql() == "0")


def _is_number(node: exp.Expr) -> bool:
    return isinstance(node, exp.Literal) and not node.is_string and float(node.this) > 0
