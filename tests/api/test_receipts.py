"""The whole chain, from tables through the feature store to receipts: what was served is what training would have read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from retain.cli import main
from retain.workspace import Workspace
from serving.desk import Desk
from serving.schemas import DecisionRequest


@pytest.fixture
def own(served: Workspace, tmp_path: Path) -> Workspace:
    shutil.copytree(served.root, tmp_path / "own", ignore=shutil.ignore_patterns("ledger", "mlruns"))
    return Workspace.at(tmp_path / "own")


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main([str(each) for each in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_what_the_service_read_is_what_training_would_have_read(own: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    desk = Desk.open(own)
    try:
        rows = desk.answers.rows
        asked = [DecisionRequest(rows.id(place), placement="inbound_end") for place in range(0, len(rows), 10)]
        for request in asked:
            desk.answered(request)
    finally:
        desk.close()
    code, out, err = run(capsys, "decisions", "audit", "--json", "--workspace", own.root)
    found = json.loads(out)
    assert (code, found["share"], found["causes"]) == (0, 1.0, []), err
    assert found["decisions"] == len(asked)
    assert found["values"] >= 30 * (len(asked) - found["without_features"]) > 0
