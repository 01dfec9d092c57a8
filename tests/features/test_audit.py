"""The audit finds what differs, names it, and the command says so with its exit code."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from features import audit, catalog, commands, store
from features.snapshot import path
from retain.cli import main
from retain.errors import ConfigError
from retain.workspace import Workspace


def test_compared_names_each_cell_that_differs() -> None:
    same = [1.0, 2.0, 3.0, np.nan]
    online = pd.DataFrame({"v__n": [1.0, np.nan, 0.0, np.nan], "v__s": np.array(["a", None, "c", None], dtype=object), "v__same": same})
    offline = pd.DataFrame({"v__n": [1.0, np.nan, -0.0, 4.0], "v__s": np.array(["a", "b", "C", None], dtype=object), "v__same": same})
    found = audit.compared(["w", "x", "y", "z"], online, offline)
    assert list(zip(found["customer_id"], found["feature"], strict=True)) == [("y", "v__n"), ("z", "v__n"), ("x", "v__s"), ("y", "v__s")]
    assert found.iloc[1]["offline"] == 4.0


def test_one_bit_is_a_difference() -> None:
    one = pd.DataFrame({"v__n": [0.1 + 0.2]})
    assert audit.compared(["a"], one, one).empty
    assert len(audit.compared(["a"], one, pd.DataFrame({"v__n": [0.3]}))) == 1


def test_list_and_show_name_every_view_and_column(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["features", "list"]) == 0
    words = capsys.readouterr().out
    assert all(f"{view.name}: {view.description}" in words for view in catalog.views())
    assert main(["features", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["views"]
    assert {view["name"]: view["columns"] for view in listed} == {view.name: len(view.columns) for view in catalog.views()}
    view = catalog.views()[0]
    assert main(["features", "show", view.name]) == 0
    words = capsys.readouterr().out
    assert view.sql in words
    assert all(f"{each.name}: {each.description}" in words for each in view.columns)
    assert main(["features", "show", view.name, "--json"]) == 0
    assert [each["unit"] for each in json.loads(capsys.readouterr().out)["columns"]] == [each.unit for each in view.columns]


@pytest.mark.parametrize("line", ["show", "list purchases", "audit --customers 0", "unknown", "", "audit --custmers 5"])
def test_wrong_options_are_refused(line: str) -> None:
    with pytest.raises(ConfigError):
        commands.features(line.split())


def test_an_unknown_view_is_refused_with_the_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["features", "show", "nothing"]) == 2
    assert catalog.views()[0].name in capsys.readouterr().err


def test_build_before_ingest_says_what_to_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["features", "build", "--workspace", str(tmp_path)]) == 4
    assert "retain ingest" in capsys.readouterr().err


def test_the_command_exits_with_7_and_names_what_differs(filled: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A value changed in the online store behind our back is found."""
    shutil.copytree(filled.root, tmp_path / "own")
    own = Workspace.at(tmp_path / "own")
    at = own.now()
    assert main(["features", "audit", "--workspace", str(own.root), "--customers", "40", "--json"]) == 0
    clean = json.loads(capsys.readouterr().out)
    assert clean["differences"] == []
    assert clean["customers"] == 40

    with closing(sqlite3.connect(own.feast / "online.db")) as connection, connection:
        connection.execute("update purchases set features = (select features from purchases order by entity limit 1)")
    found = audit.differences(own, audit.sample(own, at, 40), at)
    assert len(set(found["customer_id"])) > 1
    assert set(found["feature"]) <= {f"purchases__{name}" for name in catalog.view("purchases").names}
    assert main(["features", "audit", "--workspace", str(own.root), "--customers", "40"]) == 7
    assert found["feature"].iloc[0] in capsys.readouterr().out


def test_building_again_keeps_the_files_and_gives_the_same(filled: Workspace, tmp_path: Path) -> None:
    shutil.copytree(filled.root, tmp_path / "own")
    own = Workspace.at(tmp_path / "own")
    before = path(own, "purchases", own.now()).stat().st_mtime_ns
    done = commands.fill(own)
    assert (done.files, done.rows) == (0, 0)
    assert done.kept > 0
    assert path(own, "purchases", own.now()).stat().st_mtime_ns == before
    assert done.at == own.now()
    assert set(done.online) == {view.name for view in catalog.views()}


def test_sample_is_the_same_every_time(filled: Workspace) -> None:
    at = filled.now()
    assert audit.sample(filled, at, 10) == audit.sample(filled, at, 10)
    assert len(set(audit.sample(filled, at, 10))) == 10


def test_store_knows_the_services_of_the_tasks(filled: Workspace) -> None:
    from features import services
    from features.repo import layout

    feast = layout.opened(filled.feast)
    for task in services.TASKS:
        projections = feast.get_feature_service(task).feature_view_projections
        assert {f"{view.name}:{feature.name}" for view in projections for feature in view.features} == set(services.refs(task))
    assert len(store.definitions(filled)) == len(catalog.views()) + 2 + len(services.TASKS)
