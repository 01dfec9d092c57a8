"""Campaign reports: intervals that hold at every look, effects that are the planted ones, harms that are told, and groups that are what was drawn."""

from __future__ import annotations

import doctest
import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from retain.errors import DataError
from retain.files import atomic_folder, write_json
from retain.ingest import ingest
from retain.workspace import STATE, Workspace
from serving import export
from serving.lists import campaign_page, campaigns, confidence, holdout, power
from serving.lists import files as retention_files
from serving.lists.campaign_commands import campaign
from serving.lists.campaign_report import reported
from serving.lists.campaigns import Gathered, gathered


def drawn(customers: int, seed: int, lift: float = 0.0, chance: float = 0.9, **changes: Any) -> Gathered:
    """A campaign over ten days whose effect on money is known; a third of the money comes back from those who were contacted."""
    random = np.random.default_rng(seed)
    is_contacted = random.random(customers) < chance
    money = random.gamma(1.0, 20.0, customers) * (random.random(customers) < 0.4) + lift * is_contacted
    days = np.zeros((customers, 7))
    days[np.arange(customers), random.integers(0, 7, customers)] = money
    none = np.zeros(customers, dtype=bool)
    values: dict[str, Any] = {
        "campaign": "test",
        "customers": np.array([f"C{place}" for place in range(customers)], dtype=object),
        "at": np.sort(np.datetime64("2026-01-01") + random.integers(0, 10, customers)).astype("datetime64[us]"),
        "is_contacted": is_contacted,
        "chance": np.full(customers, chance),
        "is_closed": np.ones(customers, dtype=bool),
        "buys": (money > 0).astype(float),
        "revenue": days,
        "margin": days / 2,
        "sold": money,
        "sent_back": money / 3 * is_contacted,
        "harms": {"unsubscribed": is_contacted & (random.random(customers) < 0.05), "complained": none, "returned": none},
        "cost": 0.1 * is_contacted,
        "days": 7,
        "as_of": datetime(2026, 2, 1, tzinfo=UTC),
        "currency": "EUR",
        "groups_by": "list",
        "notes": (),
        "synthetic": True,
        "funnel": {"shown": 30, "clicked": 3},
        "has_days": True,
    }
    return Gathered(**{**values, **changes})


def test_the_interval_holds_at_all_looks_together_and_the_ordinary_one_does_not() -> None:
    random = np.random.default_rng(3)
    count, repeats, failed, failed_once = 1500, 400, 0, 0
    t = np.arange(1, count + 1)
    for _ in range(repeats):
        is_contacted = random.random(count) < 0.8
        outcome = random.exponential(10.0, count) * (random.random(count) < 0.3) + 1.5 * is_contacted
        values = confidence.contrast(outcome, is_contacted, np.full(count, 0.8))
        found = confidence.running(values, count)
        failed += bool(np.any((found.low > 1.5) | (found.high < 1.5)))
        half = 1.96 * np.sqrt(np.maximum(np.cumsum(values**2) / t - found.value**2, 0) / t)
        failed_once += bool(np.any(np.abs(found.value - 1.5)[confidence.BURN_IN :] > half[confidence.BURN_IN :]))
    # Three standard errors of a share of 5 % above it.
    assert failed / repeats < 0.05 + 3 * np.sqrt(0.05 * 0.95 / repeats)
    assert failed_once / repeats > 0.2


def test_the_effect_is_the_planted_one_and_what_follows_from_it_adds_up() -> None:
    report = reported(drawn(20_000, 1, lift=4.0))
    assert report.measures["revenue"].value == pytest.approx(4.0, abs=3 * 0.45)
    assert report.measures["margin"].value == pytest.approx(report.measures["revenue"].value / 2)
    assert report.measures["margin"].low > 0
    assert report.cost == pytest.approx(0.1 * report.contacted)
    assert report.profit is not None
    assert report.returned is not None
    assert report.profit[0] == pytest.approx(report.contacted * report.measures["margin"].value - report.cost)
    assert report.returned[0] == pytest.approx(report.profit[0] / report.cost)
    assert campaign_page.verdict(report) == "it paid"
    margin = report.measures["margin"]
    assert margin.low < margin.once_low < margin.once_high < margin.high


def test_what_the_tables_do_not_hold_yet_is_no_loss() -> None:
    report = reported(drawn(4000, 1, revenue=np.zeros((4000, 28)), margin=np.zeros((4000, 28))))
    assert campaign_page.verdict(report) == "it cost more than it brought"
    assert "cannot be said" in campaign_page.verdict(replace(report, notes=(f"{campaigns.BEHIND}: they hold nothing",)))


def test_harm_is_told_and_money_sent_back_is_the_over_selling_meter() -> None:
    report = reported(drawn(20_000, 2))
    assert report.harms["unsubscribed"].low > 0
    assert report.harms["over_selling"].low > 0
    assert "complained, in points: none recorded" in " ".join(campaign_page.spoken(report))
    page = campaign_page.page(report)
    assert '<td class="bad">' in page
    assert "<td>clicked</td><td>3</td>" in page


def test_customers_whose_window_is_not_over_count_nowhere() -> None:
    found = drawn(4000, 3)
    half = np.arange(4000) < 2000
    report = reported(replace(found, is_closed=half))
    poisoned = replace(found, is_closed=half, revenue=np.where(half[:, None], found.revenue, 1e6), buys=np.where(half, found.buys, 9.0))
    assert report.waiting == 2000
    assert reported(poisoned) == report


def test_an_earlier_look_is_what_the_sequence_said_then() -> None:
    found = drawn(4000, 4)
    early = reported(replace(found, is_closed=np.arange(4000) < 1000))
    values = confidence.contrast(found.revenue.sum(axis=1), found.is_contacted, found.chance)
    assert early.measures["revenue"].low == pytest.approx(confidence.running(values, 4000).low[999])


def test_groups_that_nobody_would_draw_so_are_warned_about() -> None:
    assert not reported(drawn(4000, 5)).is_odd_split
    report = reported(drawn(4000, 5, is_contacted=np.arange(4000) % 2 == 0))
    assert report.is_odd_split
    assert "WARNING" in campaign_page.spoken(report)[1]


def test_nothing_is_claimed_of_too_few() -> None:
    assert reported(drawn(50, 6)).measures["margin"].low == -np.inf
    report = reported(drawn(50, 6, is_closed=np.zeros(50, dtype=bool)))
    assert "nothing can be said yet" in campaign_page.spoken(report)[-1]
    assert "50 whose window is not over" in campaign_page.page(report)


def test_a_campaign_of_the_shop_is_reported_from_its_contacts(shop: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = gathered(shop, "K00037")
    assert found.is_contacted.sum() > found.chance.sum() * 0.7
    assert np.all((found.chance > 0) & (found.chance < 1))
    assert found.revenue.sum() == pytest.approx((found.sold - found.sent_back).sum(), rel=0.2)
    assert campaign(["report", "K00037", "--workspace", str(shop.root), "--json", "--out", str(tmp_path / "k.html")]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["contacted"] + said["held_out"] == len(found.customers)
    assert (tmp_path / "k.html").read_text().startswith("<!doctype html>")
    with pytest.raises(DataError, match="no campaign"):
        gathered(shop, "K99999")


def test_a_list_of_the_workspace_says_who_was_drawn_when_and_at_what_cost(shop: Workspace, tmp_path: Path) -> None:
    workspace = Workspace.at(tmp_path)
    shutil.copytree(shop.tables, workspace.tables)
    shutil.copy(shop.root / STATE, workspace.root / STATE)
    moment = workspace.now() - timedelta(days=40)
    ids = pd.read_parquet(workspace.table("customers"))["customer_id"].drop_duplicates().tolist()
    for run, mark in ((0, 1), (1, 0)):
        at = moment + timedelta(days=7 * run)
        rows = [(each, int((place + run) % 5 > 0), 0.8, 1, "O1", "email", 0.25, 1.0) for place, each in enumerate(ids[: 200 if mark else 250])]
        with atomic_folder(workspace.lists / "campaigns" / "own" / f"{at:%Y%m%dT%H%M%S}-{run}") as folder:
            export.write_table(folder / "arms.parquet", retention_files.ARM_COLUMNS, rows, at, retention_files.NUMBERS, retention_files.WHOLE)
            write_json(folder / "list.json", {"as_of": at.isoformat()})
    found = gathered(workspace, "own")
    # Who stands on both lists is what the first one drew; only the fifty new ones are the second one's.
    assert len(found.customers) == 250
    assert (found.at == np.datetime64(moment.replace(tzinfo=None))).sum() == 200
    assert (found.cost == 0.25 * found.is_contacted).all()
    assert found.groups_by == "list"
    assert reported(found).waiting == 0
    assert not any(note.startswith(campaigns.BEHIND) for note in found.notes)
    lines = pq.read_table(workspace.table("transactions"))
    pq.write_table(lines.filter(pc.less(lines["occurred_at"], moment + timedelta(days=7))), workspace.table("transactions"))
    assert any(note.startswith(campaigns.BEHIND) for note in gathered(workspace, "own").notes)


def test_hillstroms_test_pays_at_every_look(shared: Path, tmp_path: Path) -> None:
    workspace = Workspace.at(tmp_path)
    ingest("hillstrom", workspace, data=shared / "data" / "hillstrom")
    report = reported(gathered(workspace, "email-test", margin_rate=0.4))
    # Spend of 1.25 against 0.65 dollars, as the file itself has it.
    assert report.measures["revenue"].contacted == pytest.approx(1.2495, abs=0.001)
    assert report.measures["revenue"].held_out == pytest.approx(0.6528, abs=0.001)
    assert report.measures["revenue"].low > 0
    assert report.profit is not None
    assert report.profit[1] > 0


def test_the_examples_in_the_docstrings_hold() -> None:
    for module in (power, holdout, confidence, retention_files):
        assert doctest.testmod(module, extraglobs={"np": np, "Path": Path}).failed == 0
