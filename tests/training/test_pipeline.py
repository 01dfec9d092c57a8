"""One YAML, one run, on the simulated shop: judged beside the baseline, packaged, gated, and the same when run again."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from retain.cli import main
from retain.errors import ConfigError, LockedError
from retain.files import MANIFEST, read_json
from retain.workspace import Workspace
from training import promotions
from training.experiment import Experiment, Plan, plan
from training.package import champion, folders, load, read_card
from training.pipeline import train

# What MLflow and its libraries say of each other's deprecations is theirs to mend.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
TASKS = ("churn", "clv", "recommend")


@pytest.fixture
def copy(trained: Workspace, tmp_path: Path) -> Workspace:
    """The trained shop, to change."""
    shutil.copytree(trained.root, tmp_path / "copy")
    return Workspace.at(tmp_path / "copy")


@pytest.mark.parametrize("task", TASKS)
def test_each_task_has_a_champion_whose_card_says_where_it_came_from(trained: Workspace, task: str) -> None:
    at = champion(trained, task)
    assert at is not None
    card, state = load(at).card, trained.state()
    assert (card.task, card.data_digest, card.synthetic) == (task, state.digest, True)
    assert card.moment == trained.now()
    assert card.features_digest
    horizon = timedelta(days=card.horizon_days)
    if task != "recommend" and not card.windows.words:
        assert max(card.windows.train) + horizon <= min(card.windows.test) + timedelta(hours=2), "windows that train closed before the test"
        assert max(card.windows.final) + horizon <= trained.now() + timedelta(hours=2)
    primary = card.metrics[card.primary]
    assert primary.low <= primary.value <= primary.high
    assert primary.baseline_low <= primary.baseline <= primary.baseline_high
    assert any(entry.model_id == at.name for entry in promotions.entries(trained))


@pytest.mark.fault("B17")
def test_the_same_run_twice_gives_the_same_models(trained: Workspace, filled: Workspace, tmp_path: Path) -> None:
    shutil.copytree(filled.root, tmp_path / "again")
    again = Workspace.at(tmp_path / "again")
    outcome = train("churn", again, quick=True)
    assert {contender.id for contender in outcome.trained} == {folder.name for folder in folders(trained, "churn")}
    for contender in outcome.trained:
        assert read_json(contender.folder / MANIFEST) == read_json(trained.models / "churn" / contender.id / MANIFEST)
    assert again.promotions.read_text() == trained_lines(trained, "churn")


def trained_lines(trained: Workspace, task: str) -> str:
    """The ledger up to the last line of the first task trained."""
    lines = trained.promotions.read_text().splitlines(keepends=True)
    return "".join(line for line in lines if json.loads(line)["task"] == task)


@pytest.mark.fault("B19", "B22")
def test_promotion_and_rollback_are_one_command_each(copy: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    place = ["--workspace", str(copy.root)]
    before = champion(copy, "churn")
    other = next(folder for folder in folders(copy, "churn") if read_card(folder).title == "prevalence")
    assert main(["promote", "churn", "prevalence", *place]) == 5
    assert "prevalence does not beat" in capsys.readouterr().err
    assert champion(copy, "churn") == before
    assert main(["promote", "churn", other.name, "--override", "a drill", "--json", *place]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["champion"] == other.name
    assert said["overridden"]
    assert champion(copy, "churn") == other
    assert main(["rollback", "churn", *place]) == 0
    assert champion(copy, "churn") == before
    last = promotions.entries(copy)[-2:]
    assert [entry.action for entry in last] == ["promote", "rollback"]
    assert any("does not beat" in objection for objection in last[0].overridden)
    assert main(["promote", "churn", "nobody", *place]) == 2
    assert main(["promote", "nothing", "prevalence", *place]) == 4


@pytest.mark.fault("B6")
def test_a_second_training_waits_for_nobody(copy: Workspace) -> None:
    with copy.lock("another training"), pytest.raises(LockedError, match="another training"):
        train("churn", copy)


@pytest.mark.fault("B10")
def test_a_broken_candidate_is_not_promoted(copy: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    folder = next(folder for folder in folders(copy, "churn") if read_card(folder).title == "lightgbm")
    native = next((folder / "model").rglob("model.txt"))
    native.write_text(native.read_text().replace("leaf_value=", "leaf_value=9", 1))
    before = champion(copy, "churn")
    if before == folder:
        promotions.rollback(copy, "churn", copy.now())
        before = champion(copy, "churn")
    assert main(["promote", "churn", "lightgbm", "--override", "now", "--workspace", str(copy.root)]) == 5
    assert "model.txt" in capsys.readouterr().err
    assert champion(copy, "churn") == before


def spoil(folder: Path) -> None:
    """Change one file of a model."""
    (folder / "golden.json").write_text("{}\n")


@pytest.mark.fault("B10")
def test_training_notices_a_champion_that_no_longer_verifies(copy: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    # The champion is one that this run does not train again, so nothing heals it.
    other = next(folder for folder in folders(copy, "churn") if read_card(folder).title == "logistic")
    place = ["--workspace", str(copy.root)]
    assert main(["promote", "churn", other.name, "--override", "a drill", *place]) == 0
    spoil(other)
    capsys.readouterr()
    assert main(["train", "churn", "--models", "recency_rule", "--json", *place]) == 0
    said = json.loads(capsys.readouterr().out)
    assert "golden.json" in said["champion_before_no_longer_verified"]
    assert said["champion"] == said["models"][0]["model_id"]
    last = promotions.entries(copy)[-1]
    assert last.previous == other.name
    assert any("no longer verifies" in warning for warning in last.warnings)


@pytest.mark.fault("B10")
def test_a_broken_champion_neither_blocks_a_promotion_nor_is_returned_to(copy: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    place = ["--workspace", str(copy.root)]
    before = champion(copy, "churn")
    assert before is not None
    spoil(before)
    assert main(["promote", "churn", "prevalence", *place]) == 5
    assert "strongest simple" in capsys.readouterr().err
    assert main(["promote", "churn", "prevalence", "--override", "the champion broke", *place]) == 0
    assert "no longer verifies" in capsys.readouterr().out
    assert main(["rollback", "churn", *place]) == 7
    assert "golden.json" in capsys.readouterr().err
    assert champion(copy, "churn") != before


def test_a_plan_gives_experiments_simple_ones_first() -> None:
    chosen = plan("churn")
    runs = chosen.experiments()
    assert [run.title for run in runs if run.is_simple] == list(chosen.simple)
    assert [run.is_simple for run in runs] == sorted((run.is_simple for run in runs), reverse=True)
    assert all(run.baseline == chosen.models[chosen.baseline] for run in runs)
    assert [run.title for run in chosen.experiments(("lightgbm",))] == ["lightgbm"]
    with pytest.raises(ConfigError, match="choose from"):
        chosen.experiments(("lightgmb",))


@pytest.mark.parametrize("task", TASKS)
def test_every_shipped_plan_builds(task: str) -> None:
    for run in plan(task).experiments():
        assert run.question().name == task
        run.answer()


def test_where_leaving_is_the_end_of_a_contract_no_purchase_process_is_trained() -> None:
    assert "purchase_process" in str(plan("churn").models)
    found = plan("churn", "subscriptions")
    assert found == plan("attrition")
    assert "purchase_process" not in str(found.models)
    assert plan("clv", "subscriptions") == plan("clv")


def test_one_file_of_one_run_is_a_plan_too(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    values = {
        "task": {"use": "training.tasks.churn:Churn", "horizon_days": 30},
        "model": {"use": "training.models.lightgbm:LightGBM", "trees": 50},
        "baseline": {"use": "training.models.constant:Prevalence"},
    }
    path.write_text(yaml.safe_dump(values))
    run = plan(str(path)).experiments(("lightgbm",))[0]
    assert run.answer().trees == 50
    assert run.question().horizon_days == 30
    assert not run.is_simple


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"model": {"trees": 3}}, "model"),
        ({"modle": {}}, "modle"),
        ({"seed": "seven"}, "seed"),
    ],
)
def test_a_typing_error_in_a_file_names_file_and_field(tmp_path: Path, values: dict[str, object], field: str) -> None:
    path = tmp_path / "run.yaml"
    spec = {"use": "training.models.constant:Prevalence"}
    path.write_text(yaml.safe_dump({"task": {"use": "training.tasks.churn:Churn"}, "model": spec, "baseline": spec} | values))
    with pytest.raises(ConfigError, match=field) as caught:
        plan(str(path))
    assert "run.yaml" in caught.value.message


def test_what_is_asked_for_must_exist() -> None:
    with pytest.raises(ConfigError, match="choose from"):
        plan("chrun")
    with pytest.raises(ValueError, match="not among the models"):
        Plan(task={"use": "x:Y"}, models={"a": {"use": "x:Y"}}, baseline="b", simple=("a",))
    with pytest.raises(ValueError, match="use"):
        Experiment(task={}, model={}, baseline={})
