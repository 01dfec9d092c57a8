"""What the snapshot files say by themselves, asked without Feast: the yardstick that Feast's answers are held against.

``view`` is a registered feature view of Feast: its name, source and time to live are what is registered, not what the catalogue says now.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from retain.engine import empty, quoted
from retain.errors import IntegrityError, NotReadyError, RefusedError
from retain.workspace import Workspace

BUILD = "run `retain features build`"
"""The remedy for whatever is missing here."""


def known(workspace: Workspace, views: Sequence[Any], key: str, asked: pd.DataFrame) -> NDArray[np.bool_]:
    """(rows,) whether the entity was in any snapshot that was known at or before the moment, whatever its age."""
    seen = " union all ".join(f"select {key}, greatest(event_timestamp, created_at) as since from {_files(view)}" for view in views)
    with empty(workspace) as engine:
        first = engine.query(f"select {key}, min(since) as since from ({seen}) where {key} in (select {key} from asked) group by {key}", asked=asked)
    rows = pd.Index(first[key]).get_indexer(asked[key])
    since = np.append(first["since"].dt.tz_convert(None).to_numpy(dtype="datetime64[us]"), np.datetime64("NaT"))
    return np.asarray(since[rows] <= asked["event_timestamp"].dt.tz_convert(None).to_numpy(dtype="datetime64[us]"))


def rows_at(workspace: Workspace, view: Any, at: datetime) -> int:
    """Entities with a snapshot within the time to live at ``at``."""
    check(workspace, view)
    window = f"event_timestamp between timestamptz '{(at - view.ttl).isoformat()}' and timestamptz '{at.isoformat()}'"
    with empty(workspace) as engine:
        key = view.entity_columns[0].name
        ((rows, late),) = engine.rows(
            f"select count(distinct {key}), count(*) filter (where created_at > timestamptz '{at.isoformat()}') from {_files(view)} where {window}"
        )
    if late:
        raise IntegrityError(f"view {view.name}: {late} snapshot rows from before {at.isoformat()} were known only after it; give a later moment")
    return int(rows)


def check(workspace: Workspace, view: Any) -> None:
    """Refuse a view whose files are missing, or do not say when their rows became known.

    Raises:
        NotReadyError: there are no files.
        RefusedError: there is no created column.
    """
    files = sorted((workspace.snapshots / view.name).glob("[0-9]*.parquet"))
    if not files:
        raise NotReadyError(f"view {view.name} has no snapshots in the workspace {workspace.root}; {BUILD} first")
    created = view.batch_source.created_timestamp_column
    for file in (files[0], files[-1]):
        if not created or created not in pq.read_schema(file).names:
            raise RefusedError(f"view {view.name}: {file.name} has no created column, so rows known only later would leak; remove it and {BUILD}")


def _files(view: Any) -> str:
    return f"read_parquet({quoted(view.batch_source.path)})"
