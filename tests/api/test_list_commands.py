"""The commands of lists and campaigns on a published shop: the same arguments give the same list, a diff explains, a report is made."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from retain.workspace import Workspace
from serving.answers import Answers
from serving.decisions.policy import Exploration, QuietHours
from serving.desk import Desk
from serving.ledger import Ledger
from serving.lists import prices, running
from serving.lists.campaign_commands import campaign
from serving.lists.commands import lists
from serving.schemas import DecisionRequest


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


def settled(answers: Answers) -> Answers:
    """The same at an hour when everybody may be called, with nothing left to chance."""
    groups = answers.policy.groups.model_copy(update={"random": 0.0})
    changes = {"quiet_hours": QuietHours(channels=()), "exploration": Exploration(), "groups": groups}
    return replace(answers, policy=answers.policy.model_copy(update=changes))


def test_the_same_arguments_give_the_same_files(pulled: Path, own: Workspace) -> None:
    one, two = ({path.name: path.read_bytes() for path in (pulled / name).iterdir()} for name in ("one", "two"))
    assert one == two
    assert len(one) == 5
    held = prices.load(own, own.now())
    assert held is not None
    assert held.prices.money > 0


def test_a_call_says_of_everybody_what_the_list_says(pulled: Path, own: Workspace) -> None:
    """Prices, exceptions and groups are those of the list: contacted with the same on the same channel, or nothing, and held out by name."""
    last = json.loads((pulled / "small" / "list.csv.json").read_text())["run"]
    answers = settled(Answers.open(own))
    (run,) = (each for each in answers.campaigns.all if each.folder.name.endswith(last))
    arms = {row["customer_id"]: row for row in pq.read_table(run.folder / running.ARMS).to_pylist()}
    base = {row["customer_id"]: bool(row["is_held_out"]) for row in pq.read_table(run.folder / running.BASE).to_pylist() if row["is_free"]}
    assert 0 < sum(base.values()) < len(base)
    seen = Counter[str]()
    for customer, is_held in base.items():
        called = {
            channel: answers.decision(DecisionRequest(customer, goal="retention", channel=channel, placement="letter", explain=True), None)[0]
            for channel in ("call_center", "email")
        }
        ours = {channel: [each for each in answer.offers if each.offer_id in run.offers] for channel, answer in called.items()}
        listed = arms.get(customer)
        if is_held:
            assert not any(ours.values())
            rules = {(each.offer_id, each.rule) for answer in called.values() for each in answer.withheld if each.stage == "control"}
            assert all(rule == "held_out_of_c" for _, rule in rules)
            seen["held out"] += 1
            seen["named"] += bool(rules)
            turned = answers.decision(DecisionRequest(customer, goal="retention", channel="email", placement="inbound_end"), None)[0]
            assert not [each for each in turned.offers if each.offer_id in run.offers]
        elif listed is not None:
            best = max((each for each in ours.values() if each), key=lambda each: each[0].priority)[0]
            assert (best.offer_id, listed["channel"]) == (listed["offer_id"], next(name for name, each in ours.items() if best in each))
            seen["contacted"] += 1
        else:
            assert not any(ours.values()), (customer, ours)
            seen["not on it"] += 1
    assert min(seen[name] for name in ("held out", "named", "contacted", "not on it")) > 0, seen


def test_calls_spend_the_limits_of_a_list_and_never_more(own: Workspace, tmp_path: Path) -> None:
    place = Workspace.at(shutil.copytree(own.root, tmp_path / "shop", ignore=shutil.ignore_patterns("ledger")))
    asked = ["retention", "--workspace", str(place.root), "--channel-costs", "email=0.02", "--saved-share", "1", "--campaign", "calls"]
    assert lists([*asked, "--budget", "0.6", "--seats", "email=25", "--by-calls", "--out", str(tmp_path / "list.csv")]) == 0
    offers = json.loads((tmp_path / "list.csv.json").read_text())["offers"]
    listed = {row["customer_id"]: row["offer_id"] for row in csv.DictReader(io.StringIO((tmp_path / "list.csv").read_bytes().decode("utf-8-sig")))}
    desk = Desk(settled(Answers.open(place)), Ledger(place.ledger))
    try:
        money, seats, kept = 0.0, 0, 0
        for customer in sorted((desk.answers.rows.id(each) for each in range(len(desk.answers.rows))), reverse=True):
            answer = json.loads(desk.answered(DecisionRequest(customer, goal="retention", channel="email", placement="letter"))[0])
            ours = [each for each in answer["offers"] if each["offer_id"] in offers]
            if customer in listed and money < 0.5:
                assert answer["offers"][0]["offer_id"] == listed[customer], "as long as there is money"
                kept += 1
            if ours:
                money += 0.02 + max(each["accept_prob"][0] * each["cost"] for each in ours)
                seats += 1
    finally:
        desk.close()
    assert kept > 0
    assert 0.5 < money <= 0.6, "what there is is used, and no more"
    assert 0 < seats <= 25


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
