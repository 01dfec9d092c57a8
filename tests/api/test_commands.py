"""The commands of serving over the simulated shop, and what publishing promises."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pytest

from retain.cli import main
from retain.files import read_json
from retain.workspace import Workspace
from serving.answers import Answers
from serving.champions import packages


@pytest.fixture
def own(served: Workspace, tmp_path: Path) -> Workspace:
    shutil.copytree(served.root, tmp_path / "own", ignore=shutil.ignore_patterns("ledger", "mlruns"))
    return Workspace.at(tmp_path / "own")


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main([str(each) for each in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_the_list_on_disk_is_the_list_of_the_service(served: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "list.csv"
    code, out, _ = run(capsys, "list", "churn", "--top", 7, "--out", path, "--workspace", served.root)
    assert code == 0
    assert "left out" in out
    assert "synthetic" in out
    rows = list(csv.DictReader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline="")))
    expected = Answers.open(served).churn_list(7)
    assert [row["customer_id"] for row in rows] == [row.customer_id for row in expected.rows]
    assert [float(row["expected_loss"]) for row in rows] == [row.expected_loss for row in expected.rows]
    assert read_json(path.with_name("list.csv.json"))["left_out"] == expected.left_out


def test_wrong_options_are_told_before_anything_is_opened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "list", "churn", "--out", tmp_path / "list.txt", "--workspace", tmp_path)[0] == 2
    assert run(capsys, "list", "churn", "--top", -1, "--workspace", tmp_path)[0] == 2
    code, _, err = run(capsys, "list", "churn", "--workspace", tmp_path)
    assert code == 4
    assert "retain publish" in err
    assert run(capsys, "decisions", "x", "--workspace", tmp_path)[0] == 4


def test_decisions_explains_and_writes_nothing(served: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(path.name for path in served.root.rglob("*") if "ledger" not in path.parts)
    code, out, _ = run(capsys, "decisions", "C00000001", "--json", "--workspace", served.root)
    assert code == 0
    answer = json.loads(out)
    assert answer["decision_id"] is None
    assert answer["policy"].startswith("nbo@")
    explained = json.loads(run(capsys, "decisions", "explain", "C00000001", "--json", "--workspace", served.root)[1])["explained"]
    assert next(each["stage"] for each in explained["funnel"]) == "consent"
    assert explained["group"]["arm"] == answer["arm"]
    assert "priority = margin x weight x lever" in run(capsys, "decisions", "explain", "C00000001", "--workspace", served.root)[1]
    assert run(capsys, "decisions", "nobody", "--workspace", served.root)[1].count("degraded: unknown_customer") == 1
    assert sorted(path.name for path in served.root.rglob("*") if "ledger" not in path.parts) == before


def test_publishing_again_gives_the_same_rows(own: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    pointer = own.rows / "current.json"
    version = read_json(pointer)["version"]
    before = read_json(own.rows / version / "manifest.json")
    code, out, err = run(capsys, "publish", "--json", "--workspace", own.root)
    assert code == 0, err
    assert json.loads(out)["version"] == version
    assert read_json(own.rows / version / "manifest.json") == before
    assert read_json(pointer) == {"version": version, "previous": None}


@pytest.mark.fault("B9", "B10")
def test_a_broken_champion_is_replaced_by_the_one_before_or_left_out(own: Workspace) -> None:
    package, code = packages(own, "churn")
    assert package is not None
    assert code is None
    for path in (package.folder / "model").iterdir():
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        break
    answers = Answers.open(own)
    assert answers.champions.model_id("churn") != package.card.model_id
    assert {"churn_previous_model", "churn_model_refused"} & set(answers.degraded)
