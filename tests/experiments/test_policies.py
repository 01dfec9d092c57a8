"""``retain policies compare`` on plain tables: which columns, what is said, which exit code."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from retain.cli import main


@pytest.fixture
def table() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    n = 1200
    loyal = rng.random(n) < 0.5
    call = np.where(loyal, 0.5, 0.3)
    action = np.where(rng.random(n) < call, "call", "mail")
    reward = np.round(10 + 3 * (action == "call") + rng.normal(size=n), 2)
    return pd.DataFrame({
        "customer_id": [f"c{i // 2}" for i in range(n)],
        "action": action,
        "probability": np.where(action == "call", call, 1 - call),
        "reward": reward,
        "challenger": "call",
        "tier": np.where(loyal, "loyal", "new"),
        "age": rng.integers(18, 80, n),
    })  # fmt: skip


def run(frame: pd.DataFrame, folder: Path, *options: str, name: str = "log.csv") -> int:
    path = folder / name
    frame.to_parquet(path) if name.endswith("parquet") else frame.to_csv(path, index=False)
    return main(["policies", "compare", str(path), *options])


def test_a_better_policy_may_be_launched(table: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(table, tmp_path) == 0
    said = capsys.readouterr().out
    assert "log.csv: 1200 decisions of 600 customers" in said
    assert "may be launched: its gain per decision is at least" in said
    assert "it is shown and decides nothing" in said


def test_a_worse_one_is_kept_from_launch_and_told_to_programs(table: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table.loc[:9, "reward"] = None
    assert run(table, tmp_path, "--challenger", "always:mail", "--json", name="log.parquet") == 5
    told = json.loads(capsys.readouterr().out)
    assert told["is_allowed"] is False
    assert told["reward_unknown"] == 10
    assert told["challenger"]["dr"]["difference"]["high"] < 0
    assert "lower end" in told["reasons"][0]


def test_probabilities_and_a_named_champion(table: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table["new:call"], table["new:mail"] = 0.8, 0.2
    assert run(table.drop(columns="challenger"), tmp_path, "--challenger", "new", "--champion", "uniform", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["champion"]["policy"] == "named"
    assert told["challenger"]["dr"]["difference"]["value"] == pytest.approx(0.9, abs=0.2)


def test_what_the_log_never_did_is_said_where(table: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table.loc[table["tier"] == "new", ["action", "probability"]] = ["mail", 1.0]
    assert run(table, tmp_path) == 5
    said = capsys.readouterr().out
    assert "not reached: 'call': the challenger does it where tier = new" in said


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--action", "offer"], 2, "no column 'offer'"),
        (["--challenger", "nobody"], 2, "always:ACTION"),
        (["--clip", "0"], 2, "at least 1"),
        (["--margin", "-1"], 2, "--margin"),
        (["--context", "shoe"], 2, "'shoe'"),
        (["--probability", "age"], 3, "row 1: probability"),
        (["--reward", "tier"], 3, "not a number"),
    ],
)
def test_mistakes_are_one_sentence(
    table: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], code: int, words: str
) -> None:
    assert run(table, tmp_path, *options) == code
    assert words in capsys.readouterr().err


def test_no_file_and_no_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policies", "compare", str(tmp_path / "none.csv")]) == 2
    (tmp_path / "log.parquet").write_bytes(b"no")
    assert main(["policies", "compare", str(tmp_path / "log.parquet")]) == 3
    assert "cannot be read as a table" in capsys.readouterr().err
