"""How a source's files are opened: only what the mapping names, only inside its folder, text as text, and nothing guessed."""

from __future__ import annotations

import codecs
import csv
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import duckdb

from retain.engine import Engine, identifier, quoted
from retain.errors import ConfigError, DataError, IntegrityError
from retain.mapping import File, Source

_CHUNK = 1 << 20
_LONGEST_LINE = 16 << 20
"""A CSV line, embedded newlines included, that is longer than this many bytes is refused."""
_MOST_COLUMNS = 10_000
_MOST_SWELLING = 200
"""A Parquet file that becomes more than so many times larger when it is unpacked, and larger than ``_SWOLLEN``, is refused."""
_SWOLLEN = 1 << 30
_MOST_ROWS_PER_BYTE = 64
"""A Parquet file with more rows than this for each of its bytes, and more than ``_MANY_ROWS``, is refused: no row of a real table is so small."""
_MANY_ROWS = 10_000_000


@dataclass(frozen=True)
class Opened:
    """The files of a source as relations that SQL can read."""

    relations: Mapping[File, str]
    """SQL that stands after ``from`` for each file entry."""
    columns: Mapping[File, tuple[str, ...]]
    malformed: Mapping[File, Path]
    """Parquet with the lines of a CSV that are no rows, where there are any: file, line, error, text."""


@dataclass
class _Opening:
    relations: dict[File, str] = field(default_factory=dict)
    columns: dict[File, tuple[str, ...]] = field(default_factory=dict)
    malformed: dict[File, Path] = field(default_factory=dict)


def entries(source: Source) -> list[File]:
    """Every file entry of a mapping, each once."""
    files = [file for mapping in source.tables.values() for file in mapping.files.values()]
    if source.rates is not None:
        files += source.rates.files.values()
    return list(dict.fromkeys(files))


def located(source: Source, folder: Path) -> dict[File, list[Path]]:
    """The regular files that each entry names, sorted, all of them inside ``folder``.

    Raises:
        ConfigError: a path leads outside.
        DataError: nothing is there, or what is there is no regular file.
    """
    return {entry: [path for name in entry.path for path in _located(name, folder)] for entry in entries(source)}


def _located(name: str, folder: Path) -> list[Path]:
    pattern = Path(name)
    if pattern.is_absolute() or ".." in pattern.parts:
        raise ConfigError(f"files: {name} leads out of the folder of the data; name files inside it, and the folder with --data")
    home = folder.resolve()
    found = sorted(folder.glob(name)) if any(sign in name for sign in "*?[") else [folder / name]
    if not found:
        raise DataError(f"{name}: no file of that pattern lies in {folder}; check --data and the mapping")
    for path in found:
        if not path.exists():
            raise DataError(f"{name}: there is no such file in {folder}; check --data and the mapping")
        if not path.resolve().is_relative_to(home):
            raise DataError(f"{path.name}: is a link that leads out of {folder}; put the file itself there")
        if not stat.S_ISREG(path.stat().st_mode):
            raise DataError(f"{path.name}: is no regular file; only files can be ingested")
        if path.stat().st_size == 0:
            raise DataError(f"{path.name}: is empty (0 bytes); a table without rows still needs its header")
    return found


def opened(engine: Engine, files: Mapping[File, list[Path]], stage: Path) -> Opened:
    """Make every entry readable: Parquet where it lies; CSV and JSON lines once, as text, to ``stage``.

    Raises:
        DataError: a file is not of its declared format or encoding.
    """
    result = _Opening()
    for number, (entry, paths) in enumerate(files.items()):
        target = stage / f"file-{number}.parquet"
        try:
            if entry.kind == "csv":
                result.relations[entry] = _csv(engine, entry, _as_utf8(paths, entry.encoding, stage), target)
            elif entry.kind == "jsonl":
                result.relations[entry] = _jsonl(engine, _as_utf8(paths, entry.encoding, stage), target)
            else:
                _refuse_bombs(engine, paths)
                result.relations[entry] = f"read_parquet({_listed(paths)}, union_by_name = true)"
            described = engine.rows(f"describe select * from {result.relations[entry]}")
        except (duckdb.Error, IntegrityError) as error:
            raise DataError(
                f"{entry.path[0]}: cannot be read as {entry.kind} ({_line(error.__cause__ or error)}); check the file and its format in the mapping"
            ) from error
        if len(described) > _MOST_COLUMNS:
            raise DataError(f"{entry.path[0]}: has {len(described)} columns; more than {_MOST_COLUMNS} are refused")
        result.columns[entry] = tuple(str(row[0]) for row in described)
        rejected = target.with_suffix(".malformed")
        if rejected.is_file():
            result.malformed[entry] = rejected
    return Opened(result.relations, result.columns, result.malformed)


def _refuse_bombs(engine: Engine, paths: list[Path]) -> None:
    """Read the footers before any page: a file that would fill the disk or the memory is known by what it says of itself."""
    for path in paths:
        size = path.stat().st_size
        unpacked = engine.rows(f"select coalesce(sum(total_uncompressed_size), 0) from parquet_metadata({quoted(path)})")[0][0]
        rows = engine.rows(f"select num_rows from parquet_file_metadata({quoted(path)})")[0][0]
        if unpacked > max(_SWOLLEN, _MOST_SWELLING * size):
            raise DataError(f"{path.name}: {size:,} bytes would unpack to {unpacked:,}; more than {_MOST_SWELLING} times the file is refused")
        if rows > max(_MANY_ROWS, _MOST_ROWS_PER_BYTE * size):
            raise DataError(f"{path.name}: claims {rows:,} rows in {size:,} bytes; more than {_MOST_ROWS_PER_BYTE} rows a byte are refused")


def _line(error: BaseException) -> str:
    return str(error).splitlines()[0]


def unused(source: Source, readable: Opened) -> dict[str, tuple[str, ...]]:
    """File -> the columns that no expression of the mapping names."""
    texts = []
    for mapping in source.tables.values():
        texts += [mapping.source, mapping.where, *(one.sql for one in (*mapping.columns.values(), *mapping.descriptive.values()))]
    if source.rates is not None:
        texts += [source.rates.source, source.rates.currency.sql, source.rates.valid_from.sql, source.rates.rate.sql]
    words = "\n".join(texts)
    found = {
        ", ".join(file.path): tuple(name for name in names if not re.search(rf"(?<!\w){re.escape(name)}(?!\w)", words, re.IGNORECASE))
        for file, names in readable.columns.items()
    }
    return {file: names for file, names in found.items() if names}


def _csv(engine: Engine, entry: File, paths: list[Path], target: Path) -> str:
    options = (
        f"auto_detect = false, header = true, delim = {quoted(entry.delimiter)}, quote = {quoted(entry.quote)}, escape = {quoted(entry.quote)}, "
        f"max_line_size = {_LONGEST_LINE}, store_rejects = true"
    )
    parts = []
    for path in paths:
        # Columns are said, not sniffed: a guess from the first rows is a guess about the last one.
        columns = ", ".join(f"{quoted(name)}: 'VARCHAR'" for name in _header(path, entry))
        parts.append(f"select * from read_csv({quoted(path)}, columns = {{{columns}}}, {options})")
    engine.write(" union all by name ".join(parts), target)
    if engine.rows("select count(*) from reject_errors")[0][0]:
        endless = "error_type = 'LINE SIZE OVER MAXIMUM' or contains(rtrim(csv_line, chr(10) || chr(13)), chr(10))"
        broken = engine.rows(f"select line from reject_errors where {endless} order by line limit 1")
        if broken:
            raise DataError(f"{entry.path[0]}: line {broken[0][0]} has no end: a quote is not closed, or it is longer than 16 MB; correct the file")
        # One line can break several rules: it is one line all the same.
        engine.write(
            "select min(error_type) as error, line, left(csv_line, 1000) as text from reject_errors group by scan_id, line, csv_line order by all",
            target.with_suffix(".malformed"),
        )
    engine.execute("drop table reject_errors")
    engine.execute("drop table reject_scans")
    return f"read_parquet({quoted(target)})"


def _header(path: Path, entry: File) -> list[str]:
    with path.open(encoding="utf-8-sig", newline="") as handle:
        try:
            names = next(csv.reader(handle, delimiter=entry.delimiter, quotechar=entry.quote))
        except (StopIteration, csv.Error) as error:
            raise DataError(f"{path.name}: has no header line; the first line has to name the columns") from error
    if len(names) > _MOST_COLUMNS:
        raise DataError(f"{path.name}: has {len(names)} columns; more than {_MOST_COLUMNS} are refused")
    named = [name or f"column_{number}" for number, name in enumerate(names, 1)]
    lowered = [name.lower() for name in named]
    for name in named:
        if lowered.count(name.lower()) > 1:
            raise DataError(f"{path.name}: the header names {name!r} twice; every column needs a name of its own")
    return named


def _jsonl(engine: Engine, paths: list[Path], target: Path) -> str:
    # One text per line, and each value as text: what a sample makes of a value is not what the last line makes of it.
    lines = (
        f"(select line, case when json_valid(line) then json_type(line) = 'OBJECT' else false end as is_row "
        f"from read_csv({_listed(paths)}, auto_detect = false, header = false, columns = {{'line': 'VARCHAR'}}, "
        f"delim = {quoted(chr(1))}, quote = '', escape = '', max_line_size = {_LONGEST_LINE}) where line is not null)"
    )
    keys = sorted(str(row[0]) for row in engine.rows(f"select distinct unnest(json_keys(line)) from {lines} where is_row"))
    if not keys:
        raise DataError(f"{paths[0].name}: holds no JSON object; one object per line is expected")
    values = ", ".join(f"json_extract_string(line, {quoted('/' + key.replace('~', '~0').replace('/', '~1'))}) as {identifier(key)}" for key in keys)
    engine.write(f"select {values} from {lines} where is_row", target)
    bad = f"select 'NOT A JSON OBJECT' as error, cast(null as bigint) as line, left(line, 1000) as text from {lines} where not is_row"
    if engine.rows(f"select count(*) from ({bad})")[0][0]:
        engine.write(f"{bad} order by all", target.with_suffix(".malformed"))
    return f"read_parquet({quoted(target)})"


def _listed(paths: list[Path]) -> str:
    return "[" + ", ".join(quoted(path) for path in paths) + "]"


def _as_utf8(paths: list[Path], encoding: str, stage: Path) -> list[Path]:
    """The same files if they are UTF-8, checked from end to end; else transcoded ones."""
    try:
        codec = codecs.lookup(encoding).name
    except LookupError as error:
        raise ConfigError(f"files: encoding: {encoding!r} is no known encoding like utf-8, utf-16 or gb18030", field="encoding") from error
    if codec in ("utf-8", "utf-8-sig", "ascii"):
        for path in paths:
            _check_utf8(path)
        return paths
    return [_transcoded(path, codec, stage / f"{number}-{path.name}") for number, path in enumerate(paths)]


def _check_utf8(path: Path) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")()
    with path.open("rb") as handle:
        start = handle.read(4096)
        handle.seek(0)
        try:
            while chunk := handle.read(_CHUNK):
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError as error:
            raise DataError(f"{path.name}: is not UTF-8; it looks like {_guess(path, start)}, so declare `encoding:` in the mapping") from error
    if b"\x00\x00\x00" not in start and start.count(b"\x00") > len(start) // 4:
        raise DataError(f"{path.name}: is not UTF-8; it looks like {_guess(path, start)}, so declare `encoding:` in the mapping")


def _guess(path: Path, start: bytes) -> str:
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or start.count(b"\x00") > len(start) // 4:
        return "utf-16"
    with path.open("rb") as handle:
        sample = handle.read(_CHUNK)
    try:
        codecs.getincrementaldecoder("gb18030")().decode(sample)
    except UnicodeDecodeError:
        return "latin-1"
    # Latin letters with accents are mostly valid GB18030 pairs too: Chinese text has many high bytes in a row.
    high = [byte >= 0x80 for byte in sample]
    pairs = sum(left and right for left, right in pairwise(high))
    return "gb18030" if pairs * 3 >= sum(high) else "latin-1"


def _transcoded(path: Path, codec: str, target: Path) -> Path:
    try:
        with path.open("r", encoding=codec, newline="") as source, target.open("w", encoding="utf-8", newline="") as sink:
            while chunk := source.read(_CHUNK):
                sink.write(chunk)
    except UnicodeDecodeError as error:
        raise DataError(f"{path.name}: is not {codec}, as the mapping declares ({error.reason}); correct `encoding:`") from error
    return target
