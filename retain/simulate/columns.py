"""From positions, days and seconds to columns of the contract tables, and from blocks of rows to one Parquet file per table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray

from retain.engine import ROW_GROUP
from retain.simulate.draws import Draws, Floats, Integers
from retain.tables import TABLES, Kind

SOURCE = "simulated"
TIMESTAMP = pa.timestamp("us", tz="UTC")
_TYPES: dict[Kind, pa.DataType] = {
    "string": pa.string(),
    "float": pa.float64(),
    "int": pa.int64(),
    "bool": pa.bool_(),
    "timestamp": TIMESTAMP,
    "strings": pa.list_(pa.string()),
}
DAY_S = 86_400


def schema(name: str) -> pa.Schema:
    """Arrow schema of a contract table."""
    return pa.schema([(column.name, _TYPES[column.kind]) for column in TABLES[name].columns])


@dataclass(frozen=True)
class Clock:
    """Turns days and seconds relative to the clock into times."""

    as_of: datetime

    def us(self, day: ArrayLike, second: ArrayLike = 0) -> Integers:
        """Microseconds of the epoch."""
        return (int(self.as_of.timestamp()) + np.asarray(day, dtype=np.int64) * DAY_S + np.asarray(second, dtype=np.int64)) * 1_000_000

    def times(self, day: ArrayLike, second: ArrayLike = 0, where: NDArray[np.bool_] | None = None) -> pa.Array:
        """A timestamp column; null where ``where`` is false."""
        return times(self.us(day, second), where)


def times(us: Integers, where: NDArray[np.bool_] | None = None) -> pa.Array:
    """A timestamp column of microseconds; null where ``where`` is false."""
    return pa.array(us, type=pa.int64(), mask=None if where is None else ~where).cast(TIMESTAMP)


def late(us: Integers, draws: Draws, share: float, mean_s: float) -> Integers:
    """When facts became known: at once, or for a share of them an hour and more later."""
    delay = 3600 + draws.named("delay").exponential(mean_s).astype(np.int64)
    known: Integers = us + np.where(draws.named("is_late").chance(share), delay, 0) * 1_000_000
    return known


def words(position: Integers, names: Sequence[str]) -> pa.Array:
    """A text column of positions in a list; null where the position is negative."""
    return pa.DictionaryArray.from_arrays(pa.array(position, type=pa.int32(), mask=position < 0), pa.array(names, type=pa.string())).cast(pa.string())


def where(condition: NDArray[np.bool_], values: ArrayLike) -> pa.Array:
    """A column that is null where the condition is false."""
    return pa.array(np.broadcast_to(np.asarray(values), len(condition)), mask=~condition)


def customer_ids(number: Integers) -> pa.Array:
    """Ids that sort as their numbers do."""
    return pc.binary_join_element_wise("C", pc.utf8_lpad(pa.array(number).cast(pa.string()), 8, "0"), "")


def joined(*parts: pa.Array | str) -> pa.Array:
    """Texts put together row by row."""
    return pc.binary_join_element_wise(*parts, "")


def numbered(who: Integers) -> Integers:
    """The number of each row among those of its customer; rows are sorted by customer."""
    starts = np.flatnonzero(np.r_[True, who[1:] != who[:-1]]) if len(who) else np.zeros(0, dtype=np.int64)
    return np.arange(len(who)) - np.repeat(starts, np.diff(np.r_[starts, len(who)]))


@dataclass(frozen=True)
class Rows:
    """Some rows of one table: to whom they belong, when they happened and were known, and their other columns."""

    who: Integers
    occurred: Integers
    """Microseconds of the epoch."""
    known: Integers
    columns: Mapping[str, pa.Array | Floats | Integers]


def merge(parts: Sequence[Rows], ids: pa.Array, until: int, number: str | None = None) -> pa.Table:
    """Rows sorted by customer and time, without those that are unknown at ``until``; ``number`` names an id to be made.

    Ids are given before rows are left out, so the same fact has the same id whenever it is looked at.
    """
    who, occurred, known = (np.concatenate([getattr(part, name) for part in parts]) for name in ("who", "occurred", "known"))
    order = np.lexsort((occurred, who))
    who, occurred, known = who[order], occurred[order], known[order]
    keep = np.flatnonzero(known < until)
    table = pa.concat_tables([pa.table(dict(part.columns)) for part in parts], promote_options="default").take(pa.array(order[keep]))
    customer = ids.take(pa.array(who[keep]))
    columns = {"customer_id": customer, "occurred_at": times(occurred[keep]), "known_at": times(known[keep])}
    if number is not None:
        columns[number] = joined(customer, f"-{number[0].upper()}", pa.array(numbered(who)[keep]).cast(pa.string()))
    for name, column in columns.items():
        table = table.append_column(name, column)
    return table


class Files:
    """One growing Parquet file per name in a folder; nothing is complete before ``close``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writers: dict[str, pq.ParquetWriter] = {}
        self.rows: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for writer in self._writers.values():
            writer.close()

    def append(self, name: str, table: pa.Table) -> None:
        """Add rows to a file; the first ones decide on its columns."""
        if name not in self._writers:
            self._writers[name] = pq.ParquetWriter(self._folder / f"{name}.parquet", table.schema, compression="zstd")
            self.rows[name] = 0
        self._writers[name].write_table(table, row_group_size=ROW_GROUP)
        self.rows[name] += len(table)

    def append_contract(self, name: str, table: pa.Table) -> None:
        """Add rows to a contract table: its columns in its order and types, null where the rows have none."""
        present = set(table.column_names)
        columns = [
            pa.array([SOURCE], pa.string()).take(pa.array(np.zeros(len(table), dtype=np.int32)))
            if field.name == "source"
            else table[field.name].cast(field.type)
            if field.name in present
            else pa.nulls(len(table), field.type)
            for field in schema(name)
        ]
        self.append(name, pa.Table.from_arrays(columns, schema=schema(name)))
