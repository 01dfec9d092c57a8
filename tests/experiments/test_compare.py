"""Leaderboards compare only what was judged on the same customers, and say when nothing was shown."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from experiments import page, report
from experiments.compare import Comparison, Standing, compare, labels, pairs
from experiments.slicing import sliced
from experiments.wishes import Wished, prices
from retain.cli import main
from retain.errors import NotReadyError
from retain.workspace import State, Workspace
from training.card import Card, Curve, Measure, Windows
from training.controls import Controls
from training.evidence import Evidence
from training.experiment import Experiment
from training.intervals import Interval
from training.judgement import Cost, Judged
from training.trials import open_trials

NOW = datetime(2018, 1, 1, tzinfo=UTC)
RECOMMEND = {
    "task": {"use": "training.tasks.recommend:Recommend", "item": "product"},
    "model": {"use": "training.models.personal:Personal"},
    "baseline": {"use": "training.models.popular:Popularity"},
}


def _standing(title: str, value: float, noise: float, rows: str = "same", model_id: str = "", slices: dict[str, float] | None = None) -> Standing:
    rng = np.random.default_rng(1)
    shared = rng.normal(0, 0.05, 400)
    own = np.random.default_rng(sum(title.encode())).normal(0, noise, 400)
    measure = Measure(
        value=value, low=value - 0.1, high=value + 0.1, baseline=0.5, baseline_low=0.4, baseline_high=0.6, gain=value - 0.5,
        gain_low=0, gain_high=1, better="higher",
    )  # fmt: skip
    card = Card(
        model_id=model_id or f"churn-{title}",
        task="churn",
        title=title,
        kind="scorer",
        fitted="training.models.constant:FittedConstant",
        task_spec={},
        model_spec={"use": title},
        baseline_spec={"use": "baseline"},
        is_simple=True,
        horizon_days=28,
        windows=Windows(test=(NOW,)),
        training_rows=10,
        test_rows=10,
        primary="auc",
        metrics={"auc": measure},
        curves={},
        moment=NOW,
        seed=7,
        data_digest="d",
        features_digest="f",
        code_version="0",
        synthetic=True,
    )
    apart = {name: Evidence(f"{rows}/{name}", 200, {"auc": at}, {"auc": at + shared + own}) for name, at in (slices or {}).items()}
    evidence = Evidence(rows, 500, {"auc": value}, {"auc": value + shared + own}, slices=apart)
    curves = {"lift": Curve(x=(0.0, 0.5, 1.0), y=(0.0, 0.8, 1.0)), "calibration": Curve(x=(0.1, 0.9), y=(0.2, 0.8), weight=(5, 5))}
    part = Judged(evidence, curves, Windows(test=(NOW,)), Cost(fit_cpu_s=1.5, rows_per_s=1e5, training_rows=9000, features=3))
    return Standing(card, title, evidence, {"auc": measure}, (part, part), 2048, (card.model_id,))


STRONG, CLOSE, WEAK = _standing("strong", 0.80, 0.002), _standing("close", 0.799, 0.002), _standing("weak", 0.70, 0.002)


def test_pairs_are_judged_on_the_same_draws_not_on_overlapping_intervals() -> None:
    found = {(pair.better, pair.worse): pair for pair in pairs([STRONG, CLOSE, WEAK])}
    assert found["strong", "weak"].verdict == "better", "their own intervals overlap, the paired one is clear"
    assert found["strong", "close"].verdict == "no difference shown"
    assert all(pair.p_corrected >= pair.p for pair in found.values())
    assert len(found) == 3


def test_models_of_another_window_are_not_paired() -> None:
    assert pairs([STRONG, _standing("other", 0.1, 0.002, rows="else")]) == ()


def test_two_models_of_one_title_are_told_apart() -> None:
    twins = [_standing("same", 0.8, 0.01, model_id="churn-aaaaaaaaaaaa").card, _standing("same", 0.7, 0.01, model_id="churn-bbbbbbbbbbbb").card]
    assert sorted(labels(twins).values()) == ["same aaaaaa", "same bbbbbb"]


def test_a_slice_on_which_the_first_is_behind_is_marked() -> None:
    ahead = _standing("ahead", 0.80, 0.002, slices={"band: vip": 0.6, "band: small": 0.82})
    behind = _standing("behind", 0.75, 0.002, slices={"band: vip": 0.7, "band: small": 0.75})
    board = Comparison("churn", None, (ahead, behind), pairs([ahead, behind]), {})
    found = {each.name: each.behind for each in sliced(board)}
    assert found == {"band: vip": ("behind",), "band: small": ()}
    assert "band: vip !" in report.words(board)
    assert "band: small !" not in report.words(board)


def test_report_says_the_same_to_people_programs_and_browsers() -> None:
    found = Comparison("churn", STRONG.card.model_id, (STRONG, CLOSE, WEAK), pairs([STRONG, CLOSE, WEAK]), {"churn-old": "answers another question"})
    words, values, shown = report.words(found), report.values(found), page.page(found)
    assert "strong *" in words
    assert "no difference shown" in words
    assert "synthetic" in words
    assert "churn-old, answers another question" in words
    assert [model["title"] for model in values["models"]] == ["strong", "close", "weak"]
    assert values["models"][0]["cost"]["fit_cpu_s"] == 1.5
    assert values["verdict"] == "strong: better than weak; no difference shown from close"
    json.dumps(values, allow_nan=False)
    assert "no difference shown" in shown


def test_what_a_wish_costs_stands_on_every_form_of_the_board() -> None:
    paid = Wished("variety 0.1", "new", 400, 0.21, Interval(-0.01, -0.02, -0.001))
    found = Comparison("recommend", None, (STRONG, WEAK), pairs([STRONG, WEAK]), {}, (paid,))
    assert "variety 0.1" in report.words(found)
    assert "-0.0100 [-0.0200, -0.0010]" in report.words(found)
    assert report.values(found)["wishes"][0]["change"] == {"value": -0.01, "low": -0.02, "high": -0.001}
    assert "What the shop&#x27;s wishes cost" in page.page(found)
    assert "wishes" not in report.words(Comparison("recommend", None, (STRONG,), (), {}))


def test_the_price_of_wishes_is_that_of_the_lists_the_service_makes(filled: Workspace) -> None:
    (trial,) = open_trials(Experiment.model_validate(RECOMMEND), filled, [], 1)
    card = STRONG.card.model_copy(update={"model_spec": {"use": "training.models.personal:Personal"}})
    assert prices(filled, trial, card, Controls()) == ()
    found = {(each.wish, each.purpose): each for each in prices(filled, trial, card, Controls(variety=0.5, most_of_category=1))}
    assert {wish for wish, _ in found} == {"variety 0.5", "most_of_category 1", "all wishes"}
    repeat = found["all wishes", "repeat"]
    assert repeat.customers == len(trial.targets.eligible("repeat"))  # type: ignore[attr-defined]
    assert repeat.change.low <= repeat.change.value <= repeat.change.high
    assert any(each.change.value != 0 for each in found.values())


def test_a_title_cannot_run_in_the_page() -> None:
    odd = _standing("<script>alert(1)</script>", 0.9, 0.01)
    shown = page.page(Comparison("churn", None, (odd,), (), {}))
    assert "<script>alert" not in shown
    assert "&lt;script&gt;" in shown


def test_nothing_trained_is_said_with_the_remedy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workspace = Workspace.at(tmp_path)
    workspace.write_state(State(source="none"))
    with pytest.raises(NotReadyError, match="retain train churn"):
        compare(workspace, "churn")
    assert main(["compare", "churn", "--workspace", str(tmp_path)]) == 4
    assert "retain train churn" in capsys.readouterr().err


@pytest.mark.parametrize("task", ["churn", "clv", "recommend"])
def test_the_shop_has_a_leaderboard_over_several_windows(trained: Workspace, task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    html = tmp_path / "page.html"
    assert main(["compare", task, "--workspace", str(trained.root), "--html", str(html), "--json", "--cutoffs", "2"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert len(said["models"]) >= 3
    assert sum(model["is_champion"] for model in said["models"]) == 1
    assert len(said["pairs"]) == len(said["models"]) * (len(said["models"]) - 1) / 2
    assert [len(model["per_window"]) for model in said["models"]] == [2] * len(said["models"])
    later, earlier = said["windows"]
    assert max(earlier["test"]) < min(later["test"])
    assert max(earlier["train"]) <= min(earlier["test"]), "each recipe learns before the window that judges it"
    assert said["slices"]
    assert html.read_text().startswith("<!doctype html>")


def test_what_was_judged_once_is_not_fitted_again(trained: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    from training.scoring_trial import ScoringTrial

    names = ("prevalence", "recency_rule")
    before = compare(trained, "churn", names, 2)
    monkeypatch.setattr(ScoringTrial, "judge", lambda *_: pytest.fail("fitted again"))
    again = compare(trained, "churn", names, 2)
    assert report.values(again) == report.values(before)
    assert {each.label for each in again.standing} == set(names)


def test_what_training_found_is_shown_without_fitting(trained: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    found = compare(trained, "churn", cutoffs=None)
    assert all(each.metrics == each.card.metrics and not each.parts for each in found.standing)
    assert main(["compare", "churn", "nobody", "--workspace", str(trained.root)]) == 2
    assert main(["compare", "churn", "--cutoffs", "0", "--workspace", str(trained.root)]) == 2
    assert main(["compare", "churn", "--cutoffs", "2", "--as-trained", "--workspace", str(trained.root)]) == 2
