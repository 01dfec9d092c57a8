"""Where Feast's files of a workspace lie, how they are opened, and how they are replaced as a whole."""

from __future__ import annotations

import contextlib
import io
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ibis  # type: ignore[import-untyped]
import yaml
from feast import FeatureStore
from feast.infra.online_stores.helpers import get_online_store_from_config

from retain.engine import told
from retain.files import atomic_path, passing_folder, remove_partials, write_text
from retain.settings import Settings
from retain.workspace import Workspace

TEMPLATE = Path(__file__).parent / "feature_store.yaml"
CONFIG, REGISTRY, ONLINE = "feature_store.yaml", "registry.db", "online.db"


def opened(folder: Path) -> Any:
    """Feast's store over the settings in a folder."""
    return FeatureStore(repo_path=str(folder.resolve()))


def backend(store: Any) -> Any:
    """The online store itself, by Feast's own interface for it, which every kind of store has."""
    return get_online_store_from_config(store.config.online_store)


@contextlib.contextmanager
def scratch(workspace: Workspace) -> Iterator[Path]:
    """A folder with Feast's settings to write into beside the real one: Feast rewrites its registry in place, a crash would break it."""
    workspace.feast.mkdir(parents=True, exist_ok=True)
    remove_partials(workspace.feast)
    settings = yaml.safe_load(TEMPLATE.read_text(encoding="utf-8"))
    settings["registry"] = REGISTRY
    if "path" in settings["online_store"]:
        settings["online_store"]["path"] = ONLINE
    with tempfile.TemporaryDirectory(dir=workspace.feast, prefix=".partial-") as folder:
        write_text(Path(folder) / CONFIG, yaml.safe_dump(settings, sort_keys=False))
        yield Path(folder)


def publish(workspace: Workspace, folder: Path, *names: str) -> None:
    """Move files from a scratch folder to their place, each whole; one that this kind of store does not write is left out."""
    for name in names:
        if (folder / name).is_file():
            with atomic_path(workspace.feast / name) as partial:
                (folder / name).rename(partial)


@contextlib.contextmanager
def engine(workspace: Workspace) -> Iterator[None]:
    """Feast's DuckDB on our clock and within our limits; by default it takes all memory, all cores and the machine's time zone.

    Raises:
        KeyboardInterrupt: a query was interrupted.
        RetainError: memory or disk did not suffice, or a file could not be read or written.
    """
    limits = Settings.read()
    before = ibis.options.default_backend
    with passing_folder(workspace.temporary, "feast") as spill:
        connection = ibis.duckdb.connect(
            threads=limits.threads, memory_limit=f"{int(limits.memory_gb * 1024)}MiB", temp_directory=str(spill), autoinstall_known_extensions=False
        )
        connection.raw_sql("set TimeZone = 'UTC'")
        ibis.set_backend(connection)
        try:
            with told():
                yield
        finally:
            ibis.options.default_backend = before
            connection.disconnect()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Feast prints on standard output, which belongs to our answers, and Ibis calls a DuckDB method by its old name."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "fetch_arrow_table", DeprecationWarning)
        yield
