"""A search chooses on earlier windows only, goes on where it stopped, and says what it gained; what it may choose builds."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from experiments import spaces
from experiments.tune import tune
from retain.cli import main
from retain.config import build
from retain.errors import ConfigError, RefusedError
from retain.workspace import Workspace
from training.experiment import plan
from training.registry import uri
from training.scoring_trial import ScoringTrial

# What MLflow and its libraries say of each other's deprecations is theirs to mend.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.mark.parametrize("name", sorted(spaces.SPACES))
def test_every_declared_setting_is_one_of_its_class_and_builds_at_both_ends(name: str) -> None:
    module, _, kind = name.partition(":")
    fields = getattr(importlib.import_module(spaces.MODELS + module), kind).model_fields
    for setting, space in spaces.SPACES[name].items():
        assert setting in fields, f"{name} has no {setting}"
        ends = space.values if isinstance(space, spaces.Choice) else (space.low, space.high)
        for value in ends:
            whole = isinstance(space, spaces.Number) and space.is_whole
            build({"use": spaces.MODELS + name, setting: int(value) if whole else value})


@pytest.mark.parametrize("task", ["churn", "clv", "recommend"])
def test_the_shipped_recipes_stand_inside_the_ranges(task: str) -> None:
    searched = 0
    for experiment in plan(task).experiments():
        space, stood = spaces.settings(experiment.model), spaces.standing(experiment.model)
        assert set(space) == set(stood)
        searched += bool(space)
        for path, setting in space.items():
            assert spaces.holds(setting, stood[path]), f"{experiment.title}: {path} = {stood[path]}"
    assert searched


def test_settings_inside_wrappers_are_found_and_set_by_path() -> None:
    spec: dict[str, Any] = {
        "use": "training.models.calibrated:Calibrated",
        "inner": {
            "use": "training.models.ensemble:Ensemble",
            "members": [{"use": "training.models.logistic:Logistic", "c": 0.5}, {"use": "training.models.lightgbm:LightGBM"}],
        },
    }
    assert "inner.members.0.c" in spaces.settings(spec)
    assert spaces.standing(spec)["inner.members.0.c"] == 0.5
    found = spaces.chosen(spec, {"inner.members.0.c": 0.25, "inner.members.1.trees": 99})
    assert found["inner"]["members"][0]["c"] == 0.25
    assert found["inner"]["members"][1]["trees"] == 99
    assert spec["inner"]["members"][0]["c"] == 0.5, "the recipe itself is not changed"
    build(found)


@pytest.mark.slow
def test_a_search_goes_on_where_it_stopped_and_its_file_can_be_trained(
    filled: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(filled.root, tmp_path / "copy")
    workspace = Workspace.at(tmp_path / "copy")
    seen: list[Any] = []
    judge = ScoringTrial.judge

    def watched(trial: ScoringTrial, model: Any, seed: int) -> Any:
        seen.append((trial.split.test[0], model))
        return judge(trial, model, seed)

    monkeypatch.setattr(ScoringTrial, "judge", watched)
    first = tune("churn", workspace, model="logistic", trials=3, windows=1)
    assert first.new == 3
    newest = max(moment for moment, _ in seen)
    assert [moment == newest for moment, _ in seen].index(True) == 3, "the test window is looked at after the last trial only"
    again = tune("churn", workspace, model="logistic", trials=5, windows=1)
    assert (again.new, len(again.search.tried), again.search.study) == (2, 5, first.search.study)
    assert len({tried.settings.get("inner.c") for tried in again.search.tried}) == 5, "nothing is proposed twice"
    assert again.best <= again.standing, "log loss: the standing recipe is the first trial"
    assert again.gain.low <= again.gain.value <= again.gain.high

    run = plan(str(again.file)).experiments(("logistic_tuned",))[0]
    assert run.answer().inner["c"] == (again.settings.get("inner.c") or plan("churn").models["logistic"]["inner"]["c"])
    assert main(["tune", "churn", "--model", "logistic", "--trials", "5", "--windows", "1", "--json", "--workspace", str(workspace.root)]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["new_trials"], said["trials"], said["mlflow"]) == (0, 5, "told")

    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=uri(workspace), registry_uri=uri(workspace))
    runs = client.search_runs([client.get_experiment_by_name("retain-churn").experiment_id])
    parent = next(run for run in runs if run.data.tags.get("retain.search") == first.search.study)
    inside = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert len(inside) == 5
    assert parent.data.metrics["gain_on_test"] == again.gain.value
    assert min(run.data.metrics["log_loss"] for run in inside) == again.best


def test_what_cannot_be_searched_is_said(filled: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="experiments/spaces.py"):
        tune("churn", filled, model="rfm_logistic")
    rolling = ScoringTrial.rolling
    monkeypatch.setattr(ScoringTrial, "rolling", lambda task, workspace, moments, tests: rolling(task, workspace, moments, min(tests, 1)))
    with pytest.raises(RefusedError, match="earlier windows"):
        tune("churn", filled, model="logistic")
    assert main(["tune", "churn", "--minutes", "0", "--workspace", str(filled.root)]) == 2
