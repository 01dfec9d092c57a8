"""``retain policies compare`` on the ledger: receipts made again, by the rules that decided and by others, joined with what came of them."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from msgspec import structs

from experiments.ope import receipts as ope
from retain.cli import main
from retain.simulate import simulate
from retain.workspace import Workspace
from serving.answers import Answers
from serving.decisions.control import Groups
from serving.decisions.exploring import exploring
from serving.decisions.facts import Offer
from serving.decisions.policy import Exploration, Policy, Suitability
from serving.desk import Desk
from serving.ledger import Ledger
from serving.schemas import DecisionRequest, OutcomeRequest

OFFERS = (
    Offer("tea", "Tea for two", "bundle", margin=2.0, outcome_days=7),
    Offer("jam", "Jam day", "coupon", margin=1.0, outcome_days=7),
    Offer("talk", "A talk", "service", margin=0.5, outcome_days=7),
)
NO_ITEMS = Suitability.model_validate({"name": "no_items", "fact": "churn", "is": "at_least", "value": 0, "kinds": ["product"]})
LOGGING = Policy(exploration=Exploration(floor=0.1, most=0.3, seed="s"), groups=Groups(salt="z0", control=0.5), suitability=(NO_ITEMS,))
"""Of the customers below, cid is in the control group."""
ROUNDS = 600


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = Workspace.at(tmp_path_factory.mktemp("tiny"))
    simulate(workspace, customers=20, seed=7, days=60, progress=False)
    return workspace


@pytest.fixture
def decided(tiny: Workspace, tmp_path: Path, make: Callable[..., Answers], now: datetime) -> Workspace:
    """A workspace with decisions for three customers; jam is bought every other time when it stands first, and nothing else ever."""
    whole = Workspace.at(tiny.root.with_name("whole"))
    if not whole.root.exists():
        shutil.copytree(tiny.root, whole.root)
        whole.write_state(whole.state().model_copy(update={"as_of": now + timedelta(days=40)}))
        _decide(whole, make(offers=OFFERS, popular=(), policy=LOGGING), now)
    shutil.copytree(whole.root, tmp_path / "own")
    return Workspace.at(tmp_path / "own")


def _decide(place: Workspace, answers: Answers, now: datetime) -> None:
    desk = Desk(answers, Ledger(place.ledger))
    for number in range(ROUNDS):
        for customer in ("ann", "bob", "cid"):
            request = DecisionRequest(customer, f"{customer}{number}", placement="inbound_end", max_offers=1, goal="cross_sell")
            answer: dict[str, Any] = json.loads(asyncio.run(desk.decide(request)))
            if answer["offers"] and answer["offers"][0]["offer_id"] == "jam" and number % 2:
                asyncio.run(desk.outcome(_bought(f"o{customer}{number}", answer["decision_id"], "jam", now)))
    desk.close()


def _bought(name: str, decision_id: str, offer: str, now: datetime) -> OutcomeRequest:
    return OutcomeRequest(name, decision_id, "purchased", now + timedelta(hours=1), offer_id=offer, amount=10.0)


def test_receipts_are_a_table_with_exact_probabilities_and_what_came_of_them(decided: Workspace) -> None:
    found = ope.receipts(decided, LOGGING, by="offer", reward="amount")
    table, mixture = found.table, exploring(3, 1, 0.1, 0.3)
    fronts = {front: table[[f"{front}:{name}" for name in ("tea", "jam", "talk")]].to_numpy() for front in ("log", "rules")}
    np.testing.assert_allclose(fronts["log"], np.tile([mixture.at(0, place) for place in range(3)], (len(table), 1)))
    np.testing.assert_array_equal(fronts["log"], fronts["rules"])
    taken = table.apply(lambda row: row[f"log:{row['action']}"], axis=1)
    np.testing.assert_array_equal(taken, table["probability"])
    assert [(table["action"] == name).mean() for name in ("tea", "jam", "talk")] == pytest.approx([0.8, 0.1, 0.1], abs=0.05)
    assert (found.control, len(table), found.changed) == (ROUNDS, 2 * ROUNDS, 0)
    assert table.loc[table["action"] != "jam", "reward"].max() == 0
    assert table.loc[table["action"] == "jam", "reward"].mean() == pytest.approx(5.0, abs=2.0)
    by_kind = ope.receipts(decided, LOGGING).table
    np.testing.assert_array_equal(by_kind[["log:bundle", "log:coupon", "log:service"]].to_numpy(), fronts["log"])
    assert by_kind.loc[by_kind["action"] == "coupon", "reward"].mean() == pytest.approx(0.5, abs=0.2)
    assert {"churn", "stage", "placement"} <= set(table.columns)
    assert not {"birth_year", "region", "country"} & set(table.columns)


def test_what_other_rules_would_have_done_is_judged_by_the_command(decided: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = tmp_path / "new.yaml"
    rules.write_text("suitability:\n  - {name: no_bundles, fact: churn, is: at_least, value: 0, kinds: [product, bundle]}\n")
    asked = ["policies", "compare", "--workspace", str(decided.root), "--json", "--customer", "each on its own"]
    assert main([*asked, "--rules", str(rules), "--context", "churn"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["champion"]["policy"] == "log"
    # Without bundles jam stands first nine times in ten, and every other one buys it; before it stood first one time in ten.
    assert told["challenger"]["snips"]["difference"]["low"] < 0.45 - 0.05 < told["challenger"]["snips"]["difference"]["high"]
    assert told["challenger"]["controlled"]["least_difference"] > 0.1
    assert "control group" in told["left_out"][0]
    assert main([*asked, "--challenger", "always:bundle"]) == 5
    assert json.loads(capsys.readouterr().out)["challenger"]["ips"]["value"] == 0


def test_what_the_rules_that_logged_gave_no_chance_is_a_gap(decided: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = tmp_path / "all.yaml"
    rules.write_text("suitability: []\n")
    asked = ["policies", "compare", "--workspace", str(decided.root), "--rules", str(rules), "--customer", "each on its own"]
    assert main([*asked, "--json"]) == 5
    told = json.loads(capsys.readouterr().out)
    whole = ope.receipts(decided, Policy()).table["rules:product"].mean()
    assert [(gap["action"], gap["share"]) for gap in told["not_reached"]] == [("product", pytest.approx(whole))]
    assert main(asked) == 5
    assert "not reached: 'product'" in capsys.readouterr().out


def test_what_is_bought_of_another_offer_is_no_reward_of_the_first(decided: Workspace, make: Callable[..., Answers], now: datetime) -> None:
    before = ope.receipts(decided, by="offer").table
    bare = before[before["reward"] == 0].iloc[0]
    desk = Desk(make(offers=OFFERS, popular=(), policy=LOGGING), Ledger(decided.ledger))
    for number, offer in enumerate(("product:milk", str(bare["action"]))):
        asyncio.run(desk.outcome(_bought(f"x{number}", bare["decision_id"], offer, now)))
        after = ope.receipts(decided, by="offer").table
        assert after.loc[after["decision_id"] == bare["decision_id"], "reward"].tolist() == [float(number)]
    desk.close()


def test_open_windows_are_left_out_and_what_cannot_be_asked_is_said(
    decided: Workspace, tiny: Workspace, tmp_path: Path, now: datetime, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["policies", "compare", "--workspace", str(decided.root)]
    assert main(asked) == 2
    assert "--rules FILE" in capsys.readouterr().err
    assert main([*asked, "--challenger", "uniform", "--reward", "joy"]) == 2
    assert "accepted, amount, spend" in capsys.readouterr().err
    assert main(["policies", "compare", "log.csv", "--rules", "new.yaml"]) == 2
    assert main(["policies", "compare", "--workspace", str(tiny.root), "--challenger", "uniform"]) == 4
    assert "retain serve" in capsys.readouterr().err
    # The shop counts 28 days; all wait for that, though these offers have 7, or the quick ones would be chosen by what was done.
    for days, is_open in ((3, True), (27.9, True), (28.1, False)):
        decided.write_state(decided.state().model_copy(update={"as_of": now + timedelta(days=days)}))
        assert ope.receipts(decided).table["reward"].isna().all() == is_open


def test_spend_is_counted_for_everybody_alike(decided: Workspace, now: datetime) -> None:
    bought = pq.read_table(decided.table("transactions"))
    row = {name: bought[name][0].as_py() for name in bought.column_names}
    lines = [
        {**row, "customer_id": who, "order_id": who, "amount": 7.5, "occurred_at": now + timedelta(days=days)}
        for who, days in (("ann", 2), ("bob", 39))
    ]
    pq.write_table(pa.concat_tables([bought, pa.Table.from_pylist(lines, bought.schema)]), decided.table("transactions"))
    found = ope.receipts(decided, reward="spend").table
    for who, amount in (("ann", 7.5), ("bob", 0.0)):
        assert set(found.loc[found["customer_id"] == who, "reward"]) <= {amount}
    # Order lines that end before the window does leave it open: nothing bought is not the same as nothing known.
    short = pa.concat_tables([bought, pa.Table.from_pylist(lines[:1], bought.schema)])
    pq.write_table(short, decided.table("transactions"))
    assert ope.receipts(decided, reward="spend").table["reward"].isna().all()
    assert ope.receipts(decided).table["reward"].notna().any()


def test_a_receipt_that_this_release_decides_otherwise_is_counted_and_left_out(decided: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = len(ope.receipts(decided).table)
    real = ope.made

    def other(request: Any, decision_id: Any, basis: Any, *rest: Any) -> Any:
        found = real(request, decision_id, basis, *rest)
        return structs.replace(found, offers=found.offers[:0]) if request.customer_id == "ann" else found

    monkeypatch.setattr(ope, "made", other)
    found = ope.receipts(decided)
    assert found.changed > 0
    assert found.changed + len(found.table) == whole
