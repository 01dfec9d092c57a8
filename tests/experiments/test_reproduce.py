"""A model is made again byte by byte, or what differs is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from experiments.reproduce import DIFFERENT, reproduce
from retain.cli import main
from retain.files import MANIFEST, read_json, write_json
from retain.workspace import Workspace
from training.package import champion, folders, read_card


@pytest.mark.fault("B17")
@pytest.mark.parametrize(("task", "title"), [pytest.param("churn", "ensemble", marks=pytest.mark.slow), ("recommend", "als")])
def test_a_model_is_made_again_byte_by_byte(trained: Workspace, task: str, title: str) -> None:
    folder = next(folder for folder in folders(trained, task) if read_card(folder).title == title)
    found = reproduce(trained, folder.name)
    assert found.is_same
    assert found.again == folder.name
    assert found.inputs == ()
    assert len(found.files) == len(read_json(folder / MANIFEST)["files"])


def test_other_data_are_named_and_nothing_is_made(trained: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(trained.root, tmp_path / "copy")
    copy = Workspace.at(tmp_path / "copy")
    copy.write_state(copy.state().model_copy(update={"digest": "other"}))
    at = champion(copy, "churn")
    assert at is not None
    assert main(["reproduce", "churn", "--workspace", str(copy.root)]) == DIFFERENT
    said = capsys.readouterr().out
    assert at.name in said
    assert "not made again" in said
    assert main(["reproduce", at.name, "--json", "--workspace", str(copy.root)]) == DIFFERENT
    values = json.loads(capsys.readouterr().out)
    assert values["inputs_differ"] == [{"what": "data", "then": read_card(at).data_digest, "now": "other"}]
    assert values["again"] is None


def test_other_code_is_named_and_the_model_compared(trained: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = next(folder for folder in folders(trained, "churn") if read_card(folder).title == "recency_rule")
    monkeypatch.setattr("training.provenance.code", lambda: "changed")
    monkeypatch.setattr("training.provenance.version", lambda name: "9.9" if name == "numpy" else read_card(folder).environment[name])
    found = reproduce(trained, folder.name)
    assert {(each.what, each.now) for each in found.inputs} == {("code", "changed"), ("numpy", "9.9")}
    assert found.is_same, "the model is; only what made it is another"
    assert found.again != folder.name


@pytest.mark.slow
def test_another_recipe_of_the_same_name_is_not_the_same(trained: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    from training.models.logistic import Logistic

    folder = next(folder for folder in folders(trained, "churn") if read_card(folder).title == "logistic")
    fit = Logistic.fit
    monkeypatch.setattr(Logistic, "fit", lambda self, frame: fit(self.model_copy(update={"c": 9.0}), frame))
    found = reproduce(trained, folder.name)
    assert not found.is_same
    assert any(name.startswith("model/") for name in found.changed)
    assert any(each.what == "card: metrics" for each in found.fields)


def test_a_changed_model_is_not_compared_and_no_model_is_said(trained: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(trained.root, tmp_path / "copy")
    copy = Workspace.at(tmp_path / "copy")
    folder = folders(copy, "churn")[0]
    write_json(folder / "golden.json", {})
    assert main(["reproduce", folder.name, "--workspace", str(copy.root)]) == 7
    assert main(["reproduce", "churn-nothing", "--workspace", str(copy.root)]) == 2
    assert main(["reproduce", "churn", "--workspace", str(tmp_path / "empty")]) == 4
    assert "golden.json" in capsys.readouterr().err
