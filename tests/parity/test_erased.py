"""What an erasure leaves of every view is what a build from the start would say, offline and online."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from features import catalog, store
from features.snapshot import build
from retain.workspace import Workspace
from serving.erasure import erase

GONE, OTHERS = "C00000005", ["C00000004", "C00000006"]


@pytest.mark.slow
def test_views_of_customers_are_what_they_would_be_without_the_erased(filled: Workspace, tmp_path: Path) -> None:
    shutil.copytree(filled.root, tmp_path / "own")
    own = Workspace.at(tmp_path / "own")
    views = [view for view in catalog.views() if view.entity == "customer"]
    refs = [f"{view.name}:{name}" for view in views for name in view.names[:2]]
    before = store.online(own, refs, OTHERS, own.now())
    assert store.online(own, refs, [GONE], own.now()).known.tolist() == [True]
    removed = erase(own, GONE, bytes(32), datetime(2026, 3, 10, tzinfo=UTC))["removed"]
    assert {f"online/{view.name}" for view in views} <= set(removed)
    assert store.online(own, refs, [GONE], own.now()).known.tolist() == [False]
    after = store.online(own, refs, OTHERS, own.now())
    for name, values in before.values.items():
        np.testing.assert_array_equal(values, after.values[name])
    swept = {path: pq.read_table(path) for view in views for path in sorted((own.snapshots / view.name).glob("*.parquet"))}
    assert sum(rows for name, rows in removed.items() if name.startswith("snapshots/")) > len(views)
    for path in swept:
        path.unlink()
    assert build(own, views=views).files == len(swept)
    for path, table in swept.items():
        assert pq.read_table(path).equals(table), path.relative_to(own.snapshots)
