"""The only door to Feast. Strict: historical and online rows are exactly those that were asked, in that order, or it raises.

Snapshots are the single source of both sides. What Feast leaves open is closed here: rows that a join loses, rows that were known
only later, values of any age online, unknown customers that look like customers with nulls.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from features import catalog, services, sources
from features.catalog import View
from features.sources import BUILD
from retain.errors import ConfigError, DataError, IntegrityError, NotReadyError, RefusedError
from retain.terminal import progress
from retain.workspace import Workspace

BLOCK = 5_000
"""Entities read from the online store at once."""


@dataclass(frozen=True)
class OnlineRows:
    """What the online store holds of the asked entities, in the asked order."""

    values: pd.DataFrame
    """One column per feature, ``view__column``; null where nothing is known."""
    known: NDArray[np.bool_]
    """(rows,) whether the store has the entity at all; score nobody that it has not."""
    age_s: NDArray[np.float64]
    """(rows,) age in seconds of the oldest view of the row; NaN if unknown."""
    stale: NDArray[np.bool_]
    """(rows,) whether a view of a known row is missing or older than its time to live; its old values are given all the same."""
    at: dict[str, NDArray[np.int64]]
    """By view: (rows,) microseconds since 1970 of the snapshot that answers; -1 where there is none."""


def definitions(workspace: Workspace, views: Sequence[View] | None = None) -> list[Any]:
    """Feast's objects for a workspace: entities, the catalogue's views over its snapshots, and a service per task."""
    from features.repo import objects

    tasks = {task: _by_view(services.refs(task)) for task in services.TASKS}
    return objects.definitions(workspace.snapshots, catalog.views() if views is None else views, tasks)


def apply(workspace: Workspace, views: Sequence[View] | None = None) -> int:
    """Write Feast's settings and registry of a workspace anew from the catalogue; return the number of views. The online store stays."""
    from features.repo import layout

    made = definitions(workspace, views)
    with layout.scratch(workspace) as folder, layout.quiet():
        store = layout.opened(folder)
        store.apply(made)
        count = len(store.list_feature_views())
        layout.publish(workspace, folder, layout.CONFIG, layout.REGISTRY)
    return count


def historical(workspace: Workspace, refs: Sequence[str], spine: pd.DataFrame, *, tell_known: bool = True) -> pd.DataFrame:
    """Features as they were known at each moment, row by row in the order of ``spine``, and ``is_known``.

    Args:
        workspace: where snapshots and registry lie.
        refs: features as ``view:column``, all of one entity.
        spine: ``customer_id`` (or ``product_id``) and ``event_timestamp`` with a time zone; rows may repeat.
        tell_known: give ``is_known``; that looks through every snapshot there is.

    Returns:
        One column per feature, ``view__column``: float64 with NaN, or strings with None. Null where no snapshot within the view's time to
        live was known at the moment; ``is_known`` says whether the entity was in any earlier snapshot at all.

    Raises:
        IntegrityError: Feast lost, doubled or invented a row.
        RefusedError: a source does not say when its rows became known.
        NotReadyError: nothing has been built, or not these features.
    """
    from features.repo import layout

    store = _open(workspace)
    key, chosen = _chosen(store, refs)
    asked = _asked(spine, key)
    columns: dict[str, NDArray[Any]] = {}
    with layout.engine(workspace), layout.quiet():
        # One view at a time: a training frame of all views is then the largest thing in memory, not the join's own copy of it.
        for view, names in chosen:
            table = _joined(store, workspace, view, names, asked)
            columns.update({f"{view.name}__{name}": _plain(table.column(f"{view.name}__{name}")) for name in names})
    known = {"is_known": sources.known(workspace, [view for view, _ in chosen], key, asked)} if tell_known else {}
    return _frame(refs, columns, **known)


def materialize(workspace: Workspace, at: datetime) -> dict[str, int]:
    """Fill the online store with each entity's latest snapshot at ``at``, if within the view's time to live; return rows by view.

    All views change at once, when everything is written. Doing it again gives the same.

    Raises:
        IntegrityError: a row was known only after ``at``, or other rows were written than the snapshots have.
        RefusedError: a source does not say when its rows became known.
    """
    from features.repo import layout

    _open(workspace)
    written: dict[str, int] = {}
    with layout.scratch(workspace) as folder:
        shutil.copy(workspace.feast / layout.REGISTRY, folder / layout.REGISTRY)
        store = layout.opened(folder)
        views = sorted(store.list_feature_views(), key=lambda view: str(view.name))
        backend = layout.backend(store)
        backend.update(store.config, [], views, [], [], partial=False)
        with layout.engine(workspace), layout.quiet():
            for view in progress(views, len(views), "online store"):
                expected = sources.rows_at(workspace, view, at)
                store.materialize(at - view.ttl, at, feature_views=[view.name])
                _check_written(backend, store, view, expected)
                written[view.name] = expected
        layout.publish(workspace, folder, layout.REGISTRY, layout.ONLINE)
    return written


def online(workspace: Workspace, refs: Sequence[str], ids: Sequence[str], now: datetime) -> OnlineRows:
    """Materialised features of entities, in the asked order, with what must be known before anybody is scored.

    Raises:
        NotReadyError: the online store was never filled, or with other features.
        IntegrityError: a row is from after ``now``.
    """
    from features.repo import layout

    store = _open(workspace)
    key, chosen = _chosen(store, refs)
    backend = layout.backend(store)
    columns: dict[str, NDArray[Any]] = {}
    ages = np.full((len(chosen), len(ids)), np.nan)
    since: dict[str, NDArray[np.int64]] = {}
    for row, (view, names) in enumerate(chosen):
        answers = _answers(backend, store, view, names, key, ids)
        moments = np.array([np.nan if at is None else at.timestamp() for at, _ in answers], dtype=np.float64)
        ages[row] = now.timestamp() - moments
        # Snapshots are taken at whole seconds.
        since[str(view.name)] = np.where(np.isnan(moments), -1, np.nan_to_num(moments).astype(np.int64) * 1_000_000)
        columns.update({f"{view.name}__{name}": _column([values and values[name] for _, values in answers], _is_text(view, name)) for name in names})
    if (ages < 0).any():
        raise IntegrityError(f"online store: it holds features from after {now.isoformat()}; {BUILD} at this moment")
    known = ~np.isnan(ages).all(axis=0)
    lives = np.array([view.ttl.total_seconds() for view, _ in chosen]).reshape(-1, 1)
    oldest = np.where(known, np.nanmax(np.where(np.isnan(ages), -1.0, ages), axis=0, initial=-1.0), np.nan)
    return OnlineRows(_frame(refs, columns), known, oldest, known & ~(ages <= lives).all(axis=0), since)


def _by_view(refs: Sequence[str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for ref in refs:
        view, _, name = ref.partition(":")
        groups.setdefault(view, []).append(name)
    return groups


def _chosen(store: Any, refs: Sequence[str]) -> tuple[str, list[tuple[Any, list[str]]]]:
    """The column of the one entity that is meant, and the registered views with the columns wanted of each."""
    views = {view.name: view for view in store.list_feature_views()}
    chosen: list[tuple[Any, list[str]]] = []
    for name, columns in _by_view(refs).items():
        missing = name if name not in views else next((f"{name}:{c}" for c in columns if c not in {f.name for f in views[name].features}), None)
        if missing is not None:
            raise NotReadyError(f"feature {missing} is not registered in this workspace; {BUILD}, or see `retain features list`")
        if not views[name].batch_source.created_timestamp_column:
            raise RefusedError(f"view {name}: its source has no created column, so rows known only later would leak; {BUILD} to register it anew")
        chosen.append((views[name], columns))
    keys = {view.entity_columns[0].name for view, _ in chosen}
    if len(keys) != 1:
        raise ConfigError(f"refs: features of one entity are expected, these are of {sorted(keys) or 'none'}; ask for one at a time", field="refs")
    return keys.pop(), chosen


def _asked(spine: pd.DataFrame, key: str) -> pd.DataFrame:
    """The asked rows as Feast wants them, each with a number of ours."""
    for column in (key, "event_timestamp"):
        if column not in spine:
            raise DataError(f"spine: column {column} is missing; give {key} and event_timestamp", field=column)
        if spine[column].isna().any():
            raise DataError(f"spine: {column} is null in some rows; leave them out", field=column)
    at = spine["event_timestamp"]
    if not isinstance(at.dtype, pd.DatetimeTZDtype):
        raise DataError("spine: event_timestamp has no time zone; give aware times, for example in UTC", field="event_timestamp")
    moments = at.dt.tz_convert("UTC").astype("datetime64[us, UTC]").to_numpy(dtype="datetime64[us]")
    return pd.DataFrame(
        {
            key: spine[key].astype(str).to_numpy(dtype=object),
            "event_timestamp": pd.Series(moments).dt.tz_localize("UTC"),
            "asked_row": np.arange(len(spine)),
        }
    )


def _joined(store: Any, workspace: Workspace, view: Any, names: list[str], asked: pd.DataFrame) -> pa.Table:
    """Feast's answer for one view, put back into the asked order by our own row number."""
    sources.check(workspace, view)
    if asked.empty:
        types = {f"{view.name}__{name}": pa.string() if _is_text(view, name) else pa.float64() for name in names}
        return pa.table({name: pa.array([], kind) for name, kind in types.items()})
    refs = [f"{view.name}:{name}" for name in names]
    answer = store.get_historical_features(entity_df=asked, features=refs, full_feature_names=True, filter_by_created_timestamp=True).to_arrow()
    numbers = answer.column("asked_row").to_numpy()
    if len(numbers) != len(asked) or (np.bincount(numbers, minlength=len(asked)) != 1).any():
        raise IntegrityError(f"view {view.name}: {len(asked)} rows were asked of Feast and {len(numbers)} came back, not each once; {BUILD}")
    return answer if (np.diff(numbers) == 1).all() else answer.take(np.argsort(numbers))


def _check_written(backend: Any, store: Any, view: Any, expected: int) -> None:
    from features.repo.online import RowsOnlineStore

    if isinstance(backend, RowsOnlineStore) and (written := backend.count(store.config, view.name)) != expected:
        raise IntegrityError(f"view {view.name}: {expected} rows to serve and {written} were written; {BUILD} again")


Answer = tuple[datetime | None, dict[str, Any] | None]
"""Time and features of one entity in one view, as Feast's online stores give them; (None, None) if it is not there."""


def _answers(backend: Any, store: Any, view: Any, names: list[str], key: str, ids: Sequence[str]) -> list[Answer]:
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value

    answers: list[Answer] = []
    for start in range(0, len(ids), BLOCK):
        keys = [EntityKey(join_keys=[key], entity_values=[Value(string_val=str(each))]) for each in ids[start : start + BLOCK]]
        answers.extend(backend.online_read(store.config, view, keys, names))
    if len(answers) != len(ids):
        raise IntegrityError(f"view {view.name}: {len(ids)} rows were asked of the online store and {len(answers)} came back; {BUILD}")
    return answers


def _column(values: list[Any], is_text: bool) -> NDArray[Any]:
    """One online feature: words with None, or float64 with NaN."""
    fields = [None if value is None else value.WhichOneof("val") for value in values]
    if is_text:
        return np.array([value.string_val if field == "string_val" else None for value, field in zip(values, fields, strict=True)], dtype=object)
    numbers = [np.nan if field is None or field == "null_val" else getattr(value, field) for value, field in zip(values, fields, strict=True)]
    return np.array(numbers, dtype=np.float64)


def _plain(column: pa.ChunkedArray) -> NDArray[Any]:
    """One historical feature: words with None, or float64 with NaN."""
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return np.asarray(column.to_pandas(), dtype=object)
    return np.asarray(column.cast(pa.float64()).to_numpy(), dtype=np.float64)


def _is_text(view: Any, name: str) -> bool:
    return any(field.name == name and str(field.dtype) == "String" for field in view.features)


def _frame(refs: Sequence[str], columns: dict[str, NDArray[Any]], **more: NDArray[Any]) -> pd.DataFrame:
    names = [ref.replace(":", "__") for ref in refs]
    # Without a copy: pandas would gather the columns of a frame that is already as large as memory allows once.
    return pd.DataFrame({**{name: columns[name] for name in names}, **more}, copy=False)


def _open(workspace: Workspace) -> Any:
    """Feast's store of a workspace; registered anew if the folder was copied or moved, because sources hold absolute paths."""
    from features.repo import layout
    from features.repo.objects import pattern

    if not all((workspace.feast / name).is_file() for name in (layout.CONFIG, layout.REGISTRY)):
        raise NotReadyError(f"the workspace {workspace.root} has no feature store; {BUILD} first")
    store = layout.opened(workspace.feast)
    if all(view.batch_source.path == pattern(workspace.snapshots, view.name) for view in store.list_feature_views()):
        return store
    apply(workspace)
    return layout.opened(workspace.feast)


def forget(workspace: Workspace, ids: Sequence[str]) -> dict[str, int]:
    """Remove customers from the online store; return rows removed by view.

    Raises:
        RefusedError: the online store is of a kind that cannot be told to; fill it anew.
    """
    if not workspace.feast.is_dir() or not ids:
        return {}
    from features.repo import layout

    if not (workspace.feast / layout.CONFIG).is_file():
        return {}
    store = layout.opened(workspace.feast)
    backend = layout.backend(store)
    if not hasattr(backend, "forget"):
        raise RefusedError("this online store removes nobody by itself; empty it and run `retain features build`")
    removed: dict[str, int] = backend.forget(store.config, "customer_id", ids)
    return removed
