"""`retain crossfit` on a small snapshot, and on the public one by its evaluator."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from retain.cli import main

MAPPING = """
name: club
kind: snapshot
as_of: 2020-05-01
stored_zone: UTC
currency: EUR
churn: subscriptions
tables:
  customers:
    files: {members: members.parquet}
    columns: {customer_id: member, gender: gender}
    descriptive: {sport: sport}
  subscriptions:
    files: {members: members.parquet}
    columns:
      subscription_id: member
      customer_id: member
      started_at: timestamp '2020-05-01' - to_days(days)
      ended_at: case when gone then timestamp '2020-04-30' end
      end_cause: cause
      price: fee
"""


@pytest.fixture(scope="module")
def club(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three hundred members; swimmers and newcomers leave more, twelve moved away."""
    folder, rng = tmp_path_factory.mktemp("club"), np.random.default_rng(2)
    sport, days = rng.choice(["chess", "golf", "swimming"], 300), rng.integers(10, 900, 300)
    gone = rng.random(300) < np.where(sport == "golf", 0.6, 0.15) + np.where(days < 200, 0.2, 0)
    moved = np.flatnonzero(gone)[:12]
    table = pd.DataFrame({"member": np.arange(300, dtype="int16"), "sport": sport, "days": days, "gone": gone, "gender": "x", "fee": 20.0})
    table["cause"] = pd.Series(["involuntary"] * 12, index=moved).reindex(range(300))
    table.to_parquet(folder / "members.parquet")
    (folder / "club.yaml").write_text(MAPPING)
    return folder


def test_each_customer_is_predicted_in_each_repetition(club: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out" / "club.parquet"
    code = main(["crossfit", str(club / "club.yaml"), "--data", str(club), "--models", "prevalence", "logistic", "--out", str(out), "--json"])
    assert code == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["customers"], said["left_out"], said["repeats"], said["folds"]) == (300, 12, 5, 5)
    assert said["chosen"] == {"prevalence": 0, "logistic": 25}
    assert said["metrics"]["auc"] > 0.7
    found = pd.read_parquet(out)
    assert found.columns.tolist() == ["customer_id", "repeat", "fold", "p_churn"]
    assert str(found["customer_id"].dtype) == "int16"
    assert found.groupby("repeat")["customer_id"].nunique().tolist() == [300] * 5
    assert found["p_churn"].between(0, 1).all()
    assert [path.name for path in out.parent.iterdir()] == ["club.parquet"]
    again = tmp_path / "again.parquet"
    assert main(["crossfit", str(club / "club.yaml"), "--data", str(club), "--models", "logistic", "--folds", str(out), "--out", str(again)]) == 0
    assert again.read_bytes() == out.read_bytes()
    assert "12 left for a cause that nobody chose" in capsys.readouterr().out


def test_what_cannot_be_asked_is_said(club: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(tmp_path / "x.parquet")]
    assert main(["crossfit", "online_retail", "--data", str(club), *out]) == 2
    assert "retain backtest online_retail" in capsys.readouterr().err
    assert main(["crossfit", str(club / "club.yaml"), "--data", str(club), "--folds", str(tmp_path / "none.parquet"), *out]) == 3
    assert "there is no such file" in capsys.readouterr().err
    assert main(["crossfit", str(club / "club.yaml"), "--data", str(club), "--models", "oracle", *out]) == 2
    assert "there is no model 'oracle'" in capsys.readouterr().err
    assert main(["backtest", str(club / "club.yaml"), "--data", str(club), "--as-of", "2020-01-01", "--horizon", "30", "--out", str(tmp_path)]) == 2
    assert "retain crossfit" in capsys.readouterr().err
    assert not (tmp_path / "x.parquet").exists()


@pytest.mark.slow
def test_telco_reaches_the_reference(shared: Path, tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("models_eval", shared / "references" / "models_eval.py")
    assert spec is not None
    assert spec.loader is not None
    evaluator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(evaluator)
    folds, out, task, data = tmp_path / "folds.parquet", tmp_path / "telco.parquet", "attrition:telco_churn", shared / "data"
    evaluator.main(["population", "--task", task, "--data", str(data), "--out", str(folds)])
    assert main(["crossfit", "telco", "--data", str(data / "telco_churn"), "--folds", str(folds), "--models", "logistic", "--out", str(out)]) == 0
    drawn = tmp_path / "drawn.parquet"
    options = ["--name", "telco_churn", "--models", "logistic", "--out", str(drawn)]
    assert main(["crossfit", "telco", "--data", str(data / "telco_churn"), *options]) == 0
    assert drawn.read_bytes() == out.read_bytes()
    found = evaluator.score(task, data, pd.read_parquet(out), reps=20)["metrics"]
    assert found["auc"]["value"] > 0.849
    assert found["log_loss"]["value"] < 0.412
