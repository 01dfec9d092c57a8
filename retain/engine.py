"""Where SQL runs: DuckDB with a UTC clock, a memory limit and a place to spill, from the same text wherever it is called."""

from __future__ import annotations

import re
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias, TypeVar

import duckdb
import pandas as pd
import pyarrow as pa

from retain.errors import IntegrityError, NotReadyError, RetainError
from retain.files import atomic_path, passing_folder
from retain.settings import Settings
from retain.tables import TABLES
from retain.workspace import Workspace

ROW_GROUP = 100_000
"""Rows of one Parquet row group: small enough to skip by customer, large enough to compress."""

_MORE = "raise RETAIN_MEMORY_GB or free disk space"
_UNPACKING = re.compile(r"""file ["'](.+?)["']: .*decompress""", re.IGNORECASE)
"""What DuckDB says of a file whose pages it could not unpack: because they are damaged, or because there was no memory to do it in."""
_INTERRUPTED = re.compile(r"(^|: )KeyboardInterrupt(:|$)", re.MULTILINE)
"""What DuckDB says where the process was told to stop while it ran Python of ours, an object's text or the next batch of a table."""

Relation: TypeAlias = Path | pd.DataFrame | pa.Table
T = TypeVar("T")


def quoted(value: str | Path) -> str:
    """A text literal of SQL."""
    return "'" + str(value).replace("'", "''") + "'"


def identifier(name: str) -> str:
    """A name of SQL, whatever characters it has."""
    return '"' + name.replace('"', '""') + '"'


class Engine:
    """A DuckDB connection in memory. Results without ``order by`` have no order; equal input gives equal rows.

    Sums of floats depend on the order of addition, and threads change it: sum money as ``decimal`` where the last bit counts.
    """

    def __init__(self, temporary: Path | None = None, threads: int = 2, memory_gb: float = 2.0) -> None:
        # A folder of its own: two processes that spill into one folder overwrite each other's files.
        self._temporary, self._spill = (temporary or Path(tempfile.gettempdir())) / f"sql-{uuid.uuid4().hex[:12]}", ExitStack()
        # Where nothing may be written, reading still works.
        with suppress(OSError):
            if temporary is not None:
                self._temporary = self._spill.enter_context(passing_folder(temporary, "sql"))
        self._connection = duckdb.connect(
            ":memory:",
            config={
                "threads": threads,
                "memory_limit": f"{int(memory_gb * 1024)}MiB",
                "temp_directory": str(self._temporary),
                "preserve_insertion_order": False,
                "autoinstall_known_extensions": False,
                "python_enable_replacements": False,
            },
        )
        self._connection.execute("set TimeZone = 'UTC'")
        self._files: dict[str, Path] = {}
        """What is attached from files, by name."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of memory and of what was spilled."""
        self._connection.close()
        self._spill.close()
        # Without a folder that was given DuckDB makes one when it first spills.
        shutil.rmtree(self._temporary, ignore_errors=True)

    def attach(self, tables: Mapping[str, Relation]) -> None:
        """Make each table a view of that name: a Parquet file or glob, a pandas frame or an Arrow table."""
        for name, table in tables.items():
            if isinstance(table, Path):
                self._files[name] = table
                self.execute(f"create or replace view {identifier(name)} as select * from read_parquet({quoted(table)})")
            else:
                self._connection.register(name, table)

    def restrict(self, readable: Sequence[Path], writable: Sequence[Path] = ()) -> None:
        """From now on nothing but these files and folders can be opened, and no setting can be changed."""
        paths = [path for path in (*readable, *writable) if not path.is_dir()]
        folders = [path for path in (*readable, *writable) if path.is_dir()]
        self.execute(f"set allowed_paths = [{', '.join(map(quoted, paths))}]")
        self.execute(f"set allowed_directories = [{', '.join(map(quoted, [*folders, self._temporary]))}]")
        self.execute("set enable_external_access = false")
        self.execute("set lock_configuration = true")

    def execute(self, sql: str) -> None:
        """Run a statement whose rows nobody wants."""
        self._run(lambda: self._connection.execute(sql))

    def query(self, sql: str, **tables: Relation) -> pd.DataFrame:
        """Rows as a pandas frame; ``tables`` are attached for this query. Times come as datetime64[us, UTC]."""
        with self._attached(tables):
            return self._run(lambda: self._connection.execute(sql).df())

    def arrow(self, sql: str, **tables: Relation) -> pa.Table:
        """Rows as an Arrow table; ``tables`` are attached for this query."""
        with self._attached(tables):
            return self._run(lambda: self._connection.execute(sql).to_arrow_table())

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows as tuples, for a handful of them."""
        return self._run(lambda: self._connection.execute(sql).fetchall())

    def write(self, sql: str, path: Path) -> int:
        """Write rows to one Parquet file, whole or not at all; return how many. The order is kept where the query says one."""
        with atomic_path(path) as partial:
            self.execute(f"copy ({sql}) to {quoted(partial)} (format parquet, compression zstd, row_group_size {ROW_GROUP})")
            return int(self.rows(f"select count(*) from read_parquet({quoted(partial)})")[0][0])

    @contextmanager
    def _attached(self, tables: Mapping[str, Relation]) -> Iterator[None]:
        self.attach(tables)
        try:
            yield
        finally:
            for name, table in tables.items():
                if isinstance(table, Path):
                    self.execute(f"drop view {identifier(name)}")
                    self._files.pop(name, None)
                else:
                    self._connection.unregister(name)

    def _run(self, work: Callable[[], T]) -> T:
        try:
            with told():
                return work()
        except duckdb.Error as error:
            # A file that was cut short or written over: its reader's own errors have no kind. Anything else is a statement of ours that is wrong.
            is_of_file = isinstance(error, duckdb.InvalidInputException) and "parquet" in str(error).lower()
            if not is_of_file and type(error) is not duckdb.Error:
                raise
            named = _UNPACKING.search(str(error))
            if "bad alloc" in str(error).replace("_", " ") or (named is not None and _is_whole(Path(named[1]))):
                raise RetainError(f"SQL ran out of memory ({_first_line(error)}); {_MORE}") from error
            which = self._damaged(str(error))
            raise IntegrityError(f"SQL could not read a table ({_first_line(error)}); restore {which} from a backup or make it again") from error

    def _damaged(self, said: str) -> str:
        """The attached file that cannot be read, by name, where DuckDB did not say which; "it" where none is found.

        All are read for that, each once as it stands: who tries again soon pays nothing.
        """
        paths = [path for file in self._files.values() for path in ([file] if file.is_file() else sorted(file.parent.glob(file.name)))]
        if any(str(path) in said for path in paths):
            return "it"
        return next((f"{path.parent.name}/{path.name}" for path in paths if not _was_whole(path, path.stat().st_mtime_ns)), "it")


@contextmanager
def told() -> Iterator[None]:
    """What stops DuckDB, whoever runs it, in our words.

    Raises:
        KeyboardInterrupt: the process was told to stop.
        RetainError: memory or disk did not suffice, or a file could not be read or written.
    """
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise RetainError(f"SQL ran out of memory or disk ({_first_line(error)}); {_MORE}") from error
    except RuntimeError as error:
        # DuckDB takes Ctrl-C for itself and tells of it in its own words.
        if str(error) == "Query interrupted":
            raise KeyboardInterrupt from error
        raise
    except duckdb.Error as error:
        if _INTERRUPTED.search(str(error)):
            raise KeyboardInterrupt from error
        if not isinstance(error, duckdb.IOException):
            raise
        raise RetainError(f"SQL could not read or write a file ({_first_line(error)}); what stood before is unchanged") from error


def of(workspace: Workspace) -> Engine:
    """An engine with the eight contract tables of a workspace attached by name, and with the memory that the deployment allows.

    Raises:
        NotReadyError: a table is missing, so nothing has been ingested.
    """
    for name in TABLES:
        if not workspace.table(name).is_file():
            raise NotReadyError(f"the workspace {workspace.root} has no table {name}; run `retain ingest SOURCE` or `retain simulate` first")
    engine = empty(workspace)
    engine.attach({name: workspace.table(name) for name in TABLES})
    return engine


def empty(workspace: Workspace) -> Engine:
    """An engine without tables that spills into a workspace."""
    settings = Settings.read()
    return Engine(workspace.temporary, settings.threads, settings.memory_gb)


def _is_whole(path: Path) -> bool:
    """Whether a file can be unpacked, now that nothing else is in memory."""
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=10_000, use_threads=False):
                batch.validate()
    except MemoryError:
        return True
    except (OSError, pa.ArrowException):
        return False
    return True


@lru_cache(maxsize=64)
def _was_whole(path: Path, _changed_ns: int) -> bool:
    """The same, remembered for as long as the file is not changed."""
    return _is_whole(path)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
