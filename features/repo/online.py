"""How features lie in SQLite for serving: one row per view and entity.

Feast's own SQLite store keeps one row per view, entity *and feature*, and times on the local clock to the second. At a hundred
thousand customers with two hundred features that is twenty million rows. Here a row holds all features of a view as one message, and
its times in microseconds, UTC.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from feast import Entity, FeatureView
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.online_store import OnlineStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import RepeatedValue, Value
from feast.repo_config import FeastConfigBaseModel, RepoConfig

from retain.errors import NotReadyError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_BLOCK = 5_000
"""Keys asked in one statement; SQLite takes 32,766 at most."""


class RowsOnlineStoreConfig(FeastConfigBaseModel):
    """Settings of the store."""

    type: Literal["features.repo.online.RowsOnlineStore"] = "features.repo.online.RowsOnlineStore"
    path: str = "online.db"
    """The SQLite file, absolute or from the folder of ``feature_store.yaml``."""


class RowsOnlineStore(OnlineStore):
    """Feast's online store interface over one SQLite file; arguments that Feast passes and SQLite has no use for are left alone."""

    def online_write_batch(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list[tuple[EntityKey, dict[str, Value], datetime, datetime | None]],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Write rows, replacing those of the same entity; all of them or none."""
        names = [field.name for field in table.features]
        rows = [
            (_key(config, entity), _micros(at), _micros(created or at), RepeatedValue(val=[values[name] for name in names]).SerializeToString())
            for entity, values, at, created in data
        ]
        with closing(_connect(config)) as connection, connection:
            _create(connection, table)
            connection.executemany(f'insert or replace into "{table.name}" values (?, ?, ?, ?)', rows)
        if progress:
            progress(len(rows))

    def online_read(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[tuple[datetime | None, dict[str, Value] | None]]:
        """Time and features of each asked entity, in the asked order; (None, None) for one that is not there.

        Raises:
            NotReadyError: the file is not there, or the view was filled without a requested feature.
        """
        keys = [_key(config, entity) for entity in entity_keys]
        found: dict[bytes, tuple[int, bytes]] = {}
        with closing(_connect_to_read(config)) as connection:
            names = _columns(connection, table.name)
            missing = sorted(set(requested_features or ()) - set(names))
            if missing or not names:
                what = missing[0] if names else "anything"
                raise NotReadyError(f"online store: view {table.name} was filled without {what}; run `retain features build`")
            for start in range(0, len(keys), _BLOCK):
                block = keys[start : start + _BLOCK]
                marks = ",".join("?" * len(block))
                rows = connection.execute(f'select entity, event_us, features from "{table.name}" where entity in ({marks})', block)
                found.update({entity: (at, features) for entity, at, features in rows})
        wanted = [(name, names.index(name)) for name in requested_features or names]
        return [_answer(found.get(key), wanted) for key in keys]

    def update(
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[FeatureView],
        tables_to_keep: Sequence[FeatureView],
        entities_to_delete: Sequence[Entity],  # noqa: ARG002
        entities_to_keep: Sequence[Entity],  # noqa: ARG002
        partial: bool,  # noqa: ARG002
    ) -> None:
        """Make the tables of views that stay, drop those of views that go."""
        with closing(_connect(config)) as connection, connection:
            for table in tables_to_keep:
                _create(connection, table)
            for table in tables_to_delete:
                _drop(connection, table.name)

    def teardown(self, config: RepoConfig, tables: Sequence[FeatureView], entities: Sequence[Entity]) -> None:  # noqa: ARG002
        """Remove the file."""
        _path(config).unlink(missing_ok=True)

    def forget(self, config: RepoConfig, key: str, ids: Sequence[str]) -> dict[str, int]:
        """Remove entities named by one key from every view, so that nothing of them stays in the file; return rows removed by view."""
        entities = [_key(config, EntityKey(join_keys=[key], entity_values=[Value(string_val=one)])) for one in ids]
        removed: dict[str, int] = {}
        with closing(_connect(config)) as connection:
            connection.execute("pragma secure_delete = on")
            for (view,) in connection.execute("select name from _views order by name").fetchall():
                with connection:
                    gone = sum(connection.execute(f'delete from "{view}" where entity = ?', (entity,)).rowcount for entity in entities)
                if gone:
                    removed[view] = gone
        return removed

    def count(self, config: RepoConfig, view: str) -> int:
        """Rows of a view."""
        with closing(_connect_to_read(config)) as connection:
            return int(connection.execute(f'select count(*) from "{view}"').fetchone()[0]) if _columns(connection, view) else 0


def _path(config: RepoConfig) -> Path:
    path = Path(config.online_store.path)
    return path if config.repo_path is None else Path(config.repo_path) / path


def _connect(config: RepoConfig) -> sqlite3.Connection:
    path = _path(config)
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path)
    connection.execute("create table if not exists _views (name text primary key, columns text not null)")
    return connection


def _connect_to_read(config: RepoConfig) -> sqlite3.Connection:
    path = _path(config)
    if not path.is_file():
        raise NotReadyError(f"online store: {path} is not there; run `retain features build` first")
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)


def _columns(connection: sqlite3.Connection, view: str) -> list[str]:
    row = connection.execute("select columns from _views where name = ?", (view,)).fetchone()
    return [] if row is None else [str(name) for name in json.loads(row[0])]


def _create(connection: sqlite3.Connection, table: FeatureView) -> None:
    """Make the table of a view; one whose features have changed starts empty, because its rows could not be read any more."""
    names = [field.name for field in table.features]
    if _columns(connection, table.name) == names:
        return
    _drop(connection, table.name)
    columns = "entity blob primary key, event_us integer not null, created_us integer not null, features blob not null"
    connection.execute(f'create table "{table.name}" ({columns})')
    connection.execute("insert into _views values (?, ?)", (table.name, json.dumps(names)))


def _drop(connection: sqlite3.Connection, view: str) -> None:
    connection.execute(f'drop table if exists "{view}"')
    connection.execute("delete from _views where name = ?", (view,))


def _key(config: RepoConfig, entity: EntityKey) -> bytes:
    return bytes(serialize_entity_key(entity, entity_key_serialization_version=config.entity_key_serialization_version))


def _micros(at: datetime) -> int:
    return ((at if at.tzinfo else at.replace(tzinfo=UTC)) - _EPOCH) // _MICROSECOND


def _answer(row: tuple[int, bytes] | None, wanted: list[tuple[str, int]]) -> tuple[datetime | None, dict[str, Value] | None]:
    if row is None:
        return None, None
    values = list(RepeatedValue.FromString(row[1]).val)
    return _EPOCH + timedelta(microseconds=row[0]), {name: values[position] for name, position in wanted}
