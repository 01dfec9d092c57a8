"""Which feature views exist and what their columns mean: the pairs ``features/sql/NAME.sql`` and ``NAME.yaml``, read and checked."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from retain import config
from retain.errors import ConfigError
from retain.tables import TABLES, is_protected

Dtype = Literal["Int64", "Float64", "String"]
Entity = Literal["customer", "product"]
Kind = Literal["descriptive", "behavioral", "transaction", "promotional"]

KINDS: tuple[Kind, ...] = ("descriptive", "behavioral", "transaction", "promotional")
SQL_TYPE: dict[Dtype, str] = {"Int64": "BIGINT", "Float64": "DOUBLE", "String": "VARCHAR"}
FOLDER = Path(__file__).parent / "sql"
INTERMEDIATE = FOLDER / "intermediate"
_QUALIFIED = re.compile(r"\b\w+\.(\w+)")
"""Columns of a query, with the table before them."""


@dataclass(frozen=True)
class Feature:
    """One column of a view."""

    name: str
    dtype: Dtype
    description: str
    unit: str


@dataclass(frozen=True)
class View:
    """One feature view: a query over ``spine``, and its words."""

    name: str
    description: str
    entity: Entity
    ttl_days: int
    columns: tuple[Feature, ...]
    sql: str
    reads: tuple[str, ...]
    """Intermediate tables that the query reads; contract tables are not listed."""
    kind: Kind

    @property
    def key(self) -> str:
        """The entity's column."""
        return f"{self.entity}_id"

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        return tuple(feature.name for feature in self.columns)

    def digest(self) -> str:
        """Hash of everything that decides the values: the query, its intermediate tables, names and types."""
        parts = [self.sql, *(intermediate(name) for name in needs(self.reads)), *(f"{f.name}:{f.dtype}" for f in self.columns)]
        return _hash(parts)


class _Column(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    dtype: Dtype
    description: str = Field(min_length=1)
    unit: str = Field(min_length=1)


class _Words(BaseModel):
    """What the YAML beside a query holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: str = Field(min_length=1)
    entity: Entity
    ttl_days: int = Field(ge=1)
    kind: Kind = Field(alias="class")
    reads: tuple[str, ...] = ()
    columns: dict[str, _Column] = Field(min_length=1)

    @model_validator(mode="after")
    def _names(self) -> _Words:
        for name in self.columns:
            if not name.isidentifier() or "__" in name or name in {f"{self.entity}_id", "event_timestamp", "created_at"}:
                raise ValueError(f"{name!r} cannot name a feature")
            if is_protected(name):
                raise ValueError(f"{name!r} is a protected attribute: nothing learns from it (see retain/tables.py)")
        return self


def views(folder: Path = FOLDER) -> tuple[View, ...]:
    """All feature views by name.

    Raises:
        ConfigError: a query or its words are missing, or the words say what cannot be.
    """
    return _views(folder)


def customer_views() -> tuple[View, ...]:
    """The views about customers."""
    return tuple(view for view in views() if view.entity == "customer")


def view(name: str) -> View:
    """One view.

    Raises:
        ConfigError: there is none of that name.
    """
    found = {each.name: each for each in views()}
    if name not in found:
        raise ConfigError(f"{name!r} is no feature view; the views are {', '.join(found)}", field="view")
    return found[name]


@cache
def intermediate(name: str) -> str:
    """The query of an intermediate table.

    Raises:
        ConfigError: there is none of that name.
    """
    path = INTERMEDIATE / f"{name}.sql"
    if not path.is_file():
        raise ConfigError(f"features/sql/intermediate/{name}.sql: there is no such intermediate table", field="reads")
    return path.read_text(encoding="utf-8").strip()


@cache
def needs(reads: tuple[str, ...]) -> tuple[str, ...]:
    """Intermediate tables in the order in which they can be built: those that others read come first."""
    ordered: list[str] = []
    for name in reads:
        below = tuple(other for other in _names() if other != name and _mentions(intermediate(name), other))
        ordered.extend(each for each in (*needs(below), name) if each not in ordered)
    return tuple(ordered)


@cache
def tables(view: View) -> frozenset[str]:
    """Contract tables that a view reads, by itself or by its intermediate tables."""
    texts = [view.sql, *(intermediate(name) for name in needs(view.reads))]
    return frozenset(name for name in TABLES if any(_mentions(text, name) for text in texts))


def digest() -> str:
    """Hash of all views: what a model card names as the version of its features."""
    return _hash([f"{each.name}:{each.digest()}" for each in views()])


@cache
def _views(folder: Path) -> tuple[View, ...]:
    queries = {path.stem for path in folder.glob("*.sql")}
    words = {path.stem for path in folder.glob("*.yaml")}
    for name in sorted(queries ^ words):
        raise ConfigError(f"features/sql/{name}: a view is a pair, {name}.sql and {name}.yaml; one of them is missing")
    return tuple(_read(folder, name) for name in sorted(queries))


def _read(folder: Path, name: str) -> View:
    words = config.read(folder / f"{name}.yaml", _Words)
    columns = tuple(Feature(column, each.dtype, each.description, each.unit) for column, each in words.columns.items())
    sql = (folder / f"{name}.sql").read_text(encoding="utf-8").strip()
    for column in _QUALIFIED.findall(sql):
        if is_protected(column):
            raise ConfigError(f"features/sql/{name}.sql: {column!r} is a protected attribute: nothing learns from it (see retain/tables.py)")
    return View(name, words.description, words.entity, words.ttl_days, columns, sql, words.reads, words.kind)


@cache
def _names() -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in INTERMEDIATE.glob("*.sql")))


def _mentions(sql: str, table: str) -> bool:
    return any(f"{word} {table} " in " ".join(sql.split()) + " " for word in ("from", "join"))


def _hash(parts: list[str]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
