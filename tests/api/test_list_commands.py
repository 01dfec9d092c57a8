"""The commands of lists and campaigns on a published shop: the same arguments give the same list, a diff explains, a report is made."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from retain.workspace import Workspace
from serving.lists import prices
from serving.lists.campaign_commands import campaign
from serving.lists.commands import lists


@pytest.fixture(scope="module")
def own(served: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A copy: a list leaves its prices in the workspace, and calls use them."""
    folder = tmp_path_factory.mktemp("own") / "shop"
    shutil.copytree(served.root, folder, ignore=shutil.ignore_patterns("ledger", "mlruns"))
    return Workspace.at(folder)


@pytest.fixture(scope="module")
def pulled(own: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pulls of one campaign: twice the same, and once with little money."""
    folder = tmp_path_factory.mktemp("lists")
    common = ["retention", "--workspace", str(own.root), "--channel-costs", "call_center=1,email=0.02", "--saved-share", "1", "--campaign", "c"]
    budget = 50.0
    for name in ("one", "two", "small"):
        (folder / name).mkdir()
        if name == "small":
            budget = 0.2 * json.loads((folder / "one" / "list.csv.json").read_text())["expected_cost"]
        assert lists([*common, "--budget", str(budget), "--call-seats", "3", "--out", str(folder / name / "list.csv")]) == 0
    return folder


def test_the_same_arguments_give_the_same_files(pulled: Path, own: Workspace) -> None:
    one, two = ({path.name: path.read_bytes() for path in (pulled / name).iterdir()} for name in ("one", "two"))
    assert one == two
    assert len(one) == 5
    held = prices.load(own, own.now())
    assert held is not None
    assert held.money > 0


def test_less_money_is_felt_and_moves_nobody_in_or_out_of_the_control_group(pulled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert lists(["diff", str(pulled / "one" / "list.csv"), str(pulled / "small" / "list.csv"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["left"] + said["moved"] > 0
    assert "control group" not in {why for _, why, _ in said["counts"]}
    assert said["changed"][0].startswith("argument budget: 50.0 -> ")
    manifest = json.loads((pulled / "small" / "list.csv.json").read_text())
    assert manifest["expected_cost"] <= manifest["arguments"]["budget"] * (1 + 1e-9)
    assert manifest["contacted"] > 0
    assert json.loads((pulled / "one" / "list.csv.json").read_text())["held_out"] > 0


def test_a_campaign_just_drawn_has_nothing_to_say_yet(pulled: Path, own: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert pulled.is_dir()
    assert campaign(["report", "c", "--workspace", str(own.root)]) == 0
    assert "nothing can be said yet" in capsys.readouterr().out
