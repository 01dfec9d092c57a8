"""The engine: a UTC clock, tables by name, whole files, nothing outside once restricted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from retain import engine
from retain.engine import ROW_GROUP, Engine, identifier, quoted
from retain.errors import IntegrityError, NotReadyError, RetainError
from retain.workspace import Workspace


def test_times_are_utc_whatever_the_computer_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    with Engine() as sql:
        found = sql.query("select timestamptz '2024-03-31 01:30:00' as at")
    assert str(found["at"].dtype) == "datetime64[us, UTC]"
    assert found["at"][0].isoformat() == "2024-03-31T01:30:00+00:00"


def test_frames_arrow_and_files_are_tables_by_name(tmp_path: Path) -> None:
    pq.write_table(pa.table({"n": [1, 2]}), tmp_path / "it's.parquet")
    with Engine() as sql:
        sql.attach({"file": tmp_path / "it's.parquet", "frame": pd.DataFrame({"n": [3]}), "odd name": pa.table({"n": [4]})})
        assert sql.rows(f'select sum(n) from (from file union all from frame union all from "odd name" where {quoted("a")} = {quoted("a")})') == [
            (10,)
        ]
        assert sql.arrow("select n from file order by n").column("n").to_pylist() == [1, 2]


def test_tables_of_one_query_are_gone_after_it() -> None:
    with Engine() as sql:
        assert sql.query("select sum(n) as n from extra", extra=pd.DataFrame({"n": [1, 2]}))["n"].tolist() == [3]
        with pytest.raises(duckdb.CatalogException):
            sql.query("select * from extra")


def test_a_variable_of_the_caller_is_no_table() -> None:
    secret = pd.DataFrame({"n": [1]})
    with Engine() as sql, pytest.raises(duckdb.CatalogException):
        sql.query("select * from secret")
    assert len(secret) == 1


def test_written_rows_keep_their_order_in_small_groups(tmp_path: Path) -> None:
    rows = 2 * ROW_GROUP + 5
    with Engine() as sql:
        assert sql.write(f"select (i * 7919) % {rows} as n from range({rows}) as t(i) order by n desc", tmp_path / "n.parquet") == rows
    file = pq.ParquetFile(tmp_path / "n.parquet")
    assert file.read()["n"].to_pylist() == list(range(rows - 1, -1, -1))
    assert file.metadata.num_row_groups == 2
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"


def test_a_failed_write_leaves_what_stood(tmp_path: Path) -> None:
    with Engine() as sql:
        sql.write("select 1 as n", tmp_path / "n.parquet")
        with pytest.raises(duckdb.Error):
            sql.write("select error('stop') as n", tmp_path / "n.parquet")
    assert pq.read_table(tmp_path / "n.parquet")["n"].to_pylist() == [1]
    assert [path.name for path in tmp_path.iterdir()] == ["n.parquet"]


def test_what_does_not_fit_into_memory_spills_and_is_removed(tmp_path: Path) -> None:
    with Engine(temporary=tmp_path / "spill", memory_gb=0.1) as sql:
        found = sql.rows("select count(*) from (select md5(cast(i as varchar)) as m, i from range(2000000) as t(i) order by m, i)")
        assert found == [(2_000_000,)]
    assert list((tmp_path / "spill").glob("*")) == []


def test_too_little_memory_is_one_sentence() -> None:
    with Engine(memory_gb=0.02) as sql, pytest.raises(RetainError, match="RETAIN_MEMORY_GB"):
        sql.execute("select list(i) from range(20000000) as t(i)")


def _told_to_stop() -> Iterator[pa.RecordBatch]:
    yield pa.record_batch({"a": [1, 2]})
    raise KeyboardInterrupt


class _ToldToStop:
    def __str__(self) -> str:
        raise KeyboardInterrupt


def test_a_stop_that_finds_duckdb_in_python_of_ours_is_a_stop() -> None:
    """DuckDB tells of it as of an error of its own, and of a different kind each time."""
    asked = [pa.RecordBatchReader.from_batches(pa.schema([("a", pa.int64())]), _told_to_stop()), pd.DataFrame({"a": [_ToldToStop()] * 2})]
    for table in asked:
        with Engine() as sql, pytest.raises(KeyboardInterrupt):
            sql.query("select * from given", given=table)
    with Engine() as sql, pytest.raises(duckdb.ConversionException):
        sql.query("select cast('KeyboardInterrupt' as bigint)")


def test_a_restricted_engine_opens_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    pq.write_table(pa.table({"n": [1]}), tmp_path / "mine" / "a.parquet")
    pq.write_table(pa.table({"n": [2]}), tmp_path / "theirs.parquet")
    with Engine() as sql:
        sql.restrict([tmp_path / "mine"])
        assert sql.rows(f"select n from read_parquet({quoted(tmp_path / 'mine' / 'a.parquet')})") == [(1,)]
        for name in ("theirs.parquet", "mine/../theirs.parquet"):
            with pytest.raises(duckdb.PermissionException):
                sql.rows(f"select n from read_parquet({quoted(tmp_path / name)})")
        with pytest.raises(duckdb.Error):
            sql.execute("set enable_external_access = true")


def test_names_and_texts_cannot_break_out() -> None:
    with Engine() as sql:
        text, name = "it's", 'a "b"'
        assert sql.query(f"select {quoted(text)} as {identifier(name)}").to_dict("list") == {name: [text]}


def test_an_empty_workspace_names_the_command_to_run(tmp_path: Path) -> None:
    with pytest.raises(NotReadyError, match="retain ingest"):
        engine.of(Workspace.at(tmp_path))


@pytest.mark.parametrize("left", [b"", b"PAR1", b"no table at all, only words"])
def test_a_table_that_was_cut_short_is_one_sentence(tmp_path: Path, left: bytes) -> None:
    (tmp_path / "events.parquet").write_bytes(left)
    with Engine() as sql, pytest.raises(RetainError, match=r"could not read.*events\.parquet"):
        sql.attach({"events": tmp_path / "events.parquet"})
    with Engine() as sql, pytest.raises(duckdb.InvalidInputException):
        sql.rows("select error('no table is meant')")


@pytest.mark.parametrize("damage", ["none", "length", "many"])
def test_a_table_that_cannot_be_unpacked_is_damaged_or_there_is_no_memory(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "events.parquet"
    pq.write_table(pa.table({"n": [number * number % 1009 for number in range(200_000)]}), path, compression="zstd")
    raw = bytearray(path.read_bytes())
    if damage == "length":
        # Of the first page: what it says of itself is not so any more.
        raw[4:12] = bytes(255 - each for each in raw[4:12])
    elif damage == "many":
        raw[len(raw) // 4 : len(raw) // 2] = bytes(len(raw) // 2 - len(raw) // 4)
    path.write_bytes(raw)
    if damage != "none":
        with Engine() as sql, pytest.raises(IntegrityError, match="could not read a table"):
            sql.rows(f"select sum(n) from {quoted(path)}")

    def unpacked() -> None:
        raise duckdb.InvalidInputException(f'Invalid Input Error: Failed to read file "{path}": ZSTD Decompression failure')

    with Engine() as sql, pytest.raises(RetainError, match="ran out of memory" if damage == "none" else "restore it from a backup"):
        sql._run(unpacked)


@pytest.mark.parametrize("start", [0.05, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("filler", [0, 255])
def test_a_damaged_table_is_named_whatever_duckdb_says_of_it(tmp_path: Path, start: float, filler: int) -> None:
    numbers = pa.table({"n": [number * number % 1009 for number in range(200_000)], "word": [f"w{number % 977}" for number in range(200_000)]})
    for name in ("contacts", "events", "offers"):
        pq.write_table(numbers, tmp_path / f"{name}.parquet", compression="zstd", row_group_size=50_000)
    path = tmp_path / "events.parquet"
    raw = bytearray(path.read_bytes())
    at, length = int(start * len(raw)), len(raw) // 20
    raw[at : at + length] = bytes([filler]) * length
    path.write_bytes(raw)
    with Engine() as sql:
        sql.attach({name: tmp_path / f"{name}.parquet" for name in ("contacts", "events", "offers")})
        with pytest.raises(RetainError, match=r"events\.parquet"):
            sql.rows("select sum(e.n), max(e.word), (select sum(n) from contacts), (select max(word) from offers) from events as e")
