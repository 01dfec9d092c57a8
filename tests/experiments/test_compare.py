"""Leaderboards compare only what was judged on the same customers, and say when nothing was shown."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from experiments import report
from experiments.compare import Comparison, compare, labels, pairs
from retain.cli import main
from retain.errors import NotReadyError
from retain.workspace import State, Workspace
from training.candidates import Contender
from training.card import Card, Curve, Measure, Windows
from training.evidence import Evidence

NOW = datetime(2018, 1, 1, tzinfo=UTC)


def _contender(title: str, value: float, noise: float, rows: str = "same", model_id: str = "") -> Contender:
    rng = np.random.default_rng(1)
    shared = rng.normal(0, 0.05, 400)
    own = np.random.default_rng(sum(title.encode())).normal(0, noise, 400)
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
        metrics={
            "auc": Measure(value=value, low=value - 0.1, high=value + 0.1, baseline=0.5, baseline_low=0.4, baseline_high=0.6, gain=value - 0.5,
                           gain_low=0, gain_high=1, better="higher")
        },
        curves={"lift": Curve(x=(0.0, 1.0), y=(0.0, 1.0)), "calibration": Curve(x=(0.1, 0.9), y=(0.2, 0.8))},
        moment=NOW,
        seed=7,
        data_digest="d",
        features_digest="f",
        code_version="0",
        synthetic=True,
    )  # fmt: skip
    return Contender(card, Path(card.model_id), Evidence(rows, 500, {"auc": value}, {"auc": value + shared + own}))


STRONG, CLOSE, WEAK = _contender("strong", 0.80, 0.002), _contender("close", 0.799, 0.002), _contender("weak", 0.70, 0.002)


def test_pairs_are_judged_on_the_same_draws_not_on_overlapping_intervals() -> None:
    found = {(pair.better, pair.worse): pair for pair in pairs([STRONG, CLOSE, WEAK])}
    assert found["strong", "weak"].verdict == "better", "their own intervals overlap, the paired one is clear"
    assert found["strong", "close"].verdict == "no difference shown"
    assert all(pair.p_corrected >= pair.p for pair in found.values())
    assert len(found) == 3


def test_models_of_another_window_are_not_paired() -> None:
    assert pairs([STRONG, _contender("other", 0.1, 0.002, rows="else")]) == ()


def test_two_models_of_one_title_are_told_apart() -> None:
    twins = [_contender("same", 0.8, 0.01, model_id="churn-aaaaaaaaaaaa"), _contender("same", 0.7, 0.01, model_id="churn-bbbbbbbbbbbb")]
    assert sorted(labels(twins).values()) == ["same aaaaaa", "same bbbbbb"]


def test_report_says_the_same_to_people_programs_and_browsers() -> None:
    found = Comparison("churn", STRONG.id, (STRONG, CLOSE, WEAK), pairs([STRONG, CLOSE, WEAK]), (WEAK.card,))
    words, values, page = report.words(found), report.values(found), report.page(found)
    assert "strong *" in words
    assert "no difference shown" in words
    assert "synthetic" in words
    assert [model["title"] for model in values["models"]] == ["strong", "close", "weak"]
    json.dumps(values, allow_nan=False)
    assert page.count("data:image/png;base64,") == 5
    assert "no difference shown" in page


def test_a_title_cannot_run_in_the_page() -> None:
    odd = _contender("<script>alert(1)</script>", 0.9, 0.01)
    page = report.page(Comparison("churn", None, (odd,), (), ()))
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_nothing_trained_is_said_with_the_remedy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workspace = Workspace.at(tmp_path)
    workspace.write_state(State(source="none"))
    with pytest.raises(NotReadyError, match="retain train churn"):
        compare(workspace, "churn")
    assert main(["compare", "churn", "--workspace", str(tmp_path)]) == 4
    assert "retain train churn" in capsys.readouterr().err


@pytest.mark.parametrize("task", ["churn", "clv", "recommend"])
def test_the_shop_has_a_leaderboard(trained: Workspace, task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    html = tmp_path / "page.html"
    assert main(["compare", task, "--workspace", str(trained.root), "--html", str(html), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert len(said["models"]) >= 3
    assert sum(model["is_champion"] for model in said["models"]) == 1
    assert len(said["pairs"]) == len(said["models"]) * (len(said["models"]) - 1) / 2
    assert html.read_text().startswith("<!doctype html>")
