"""MLflow mirrors folders and ledger; without it everything stands, and it is caught up later."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from retain.files import MANIFEST, read_json
from retain.workspace import Workspace
from training import promotions
from training.gate import Verdict
from training.package import load
from training.registry import mirror, uri

# What these libraries say of each other's deprecations is theirs to mend.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
YES = Verdict(True, ("won",))


def _client(workspace: Workspace) -> Any:
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=uri(workspace), registry_uri=uri(workspace))


def _promote(workspace: Workspace, folder: Path) -> None:
    promotions.promote(workspace, "churn", folder.name, YES, workspace.now())


@pytest.mark.fault("B8")
def test_what_could_not_be_reached_is_caught_up_and_the_alias_follows_the_ledger(made: Callable[..., Path], workspace: Workspace) -> None:
    first, second = made("logistic"), made("other", c=0.1)
    _promote(workspace, first)
    workspace.mlruns.write_text("a file where the folder should be")
    assert "cannot be opened" in mirror(workspace, "churn").problem
    assert promotions.reigns(promotions.entries(workspace), "churn") == [first.name], "the promotion stands"
    workspace.mlruns.unlink()

    told = mirror(workspace, "churn")
    assert (told.logged, told.champion, told.problem) == (2, first.name, "")
    client = _client(workspace)
    experiment = client.get_experiment_by_name("retain-churn")
    runs = {run.data.tags["retain.model_id"]: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {first.name, second.name}
    run = runs[first.name]
    card = load(first).card
    measure = card.metrics["log_loss"]
    for name, value in {
        "log_loss": measure.value,
        "log_loss_low": measure.low,
        "log_loss_high": measure.high,
        "baseline_log_loss": measure.baseline,
        "gain_log_loss_low": measure.gain_low,
    }.items():
        assert run.data.metrics[name] == value
    assert run.data.params["model.use"] == "training.models.logistic:Logistic"
    for tag, value in {"data_digest": card.data_digest, "features_digest": card.features_digest, "code_version": card.code_version}.items():
        assert run.data.tags[f"retain.{tag}"] == value
    model = Path(client.download_artifacts(run.info.run_id, "model"))
    assert read_json(model / MANIFEST) == read_json(first / MANIFEST)
    assert {Path(file.path).name for file in client.list_artifacts(run.info.run_id, "pictures")} >= {"calibration.png", "lift.png"}

    shown = Path(client.download_artifacts(run.info.run_id, "report.html")).read_text()
    assert shown.startswith("<!doctype html>")
    for name, each in card.metrics.items():
        for figure in (each.value, each.baseline):
            assert f"{figure:.4g}" in shown, f"the page says another {name} than MLflow's run"

    again = mirror(workspace, "churn")
    assert again.logged == 0
    assert len(client.search_runs([experiment.experiment_id])) == 2
    _promote(workspace, second)
    mirror(workspace, "churn")
    assert client.get_model_version_by_alias("retain-churn", "champion").tags["retain.model_id"] == second.name
    promotions.rollback(workspace, "churn", workspace.now())
    mirror(workspace, "churn")
    assert client.get_model_version_by_alias("retain-churn", "champion").tags["retain.model_id"] == first.name


@pytest.mark.fault("B8")
def test_a_database_that_is_none_is_said_in_one_line(made: Callable[..., Path], workspace: Workspace) -> None:
    made()
    workspace.mlruns.mkdir(parents=True)
    (workspace.mlruns / "mlflow.db").write_bytes(b"this is no database" * 100)
    told = mirror(workspace, "churn")
    assert "not a database" in told.problem
    assert "\n" not in told.problem
