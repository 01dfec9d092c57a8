"""Sources without time: what a mapping of `kind: snapshot` may leave out, what is kept, and what is refused of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from features.commands import fill
from retain.cli import main
from retain.errors import ConfigError, RefusedError
from retain.ingest import ingest
from retain.mapping import load
from retain.workspace import Workspace

PEOPLE = "who,months,city,paid,left,arm\na,3,Ulm,10,no,mail\nb,12,,20,yes,none\n"
CUSTOMERS = {"files": {"people": "people.csv"}, "columns": {"customer_id": "who", "region": "city"}, "descriptive": {"months": "number(months)"}}
SUBSCRIPTIONS = {
    "files": {"people": "people.csv"},
    "columns": {
        "subscription_id": "who",
        "customer_id": "who",
        "started_at": "timestamp '2020-05-01' - to_months(cast(months as integer))",
        "ended_at": "case when \"left\" = 'yes' then timestamp '2020-04-30' end",
        "price": "paid",
    },
}
CONTACTS = {"files": {"people": "people.csv"}, "columns": {"customer_id": "who", "arm": "arm", "is_control": "arm = 'none'", "channel": "'mail'"}}


def _mapping(folder: Path, **changes: Any) -> Path:
    base = {"name": "survey", "kind": "snapshot", "as_of": "2020-05-01", "stored_zone": "Europe/Berlin", "currency": "EUR"}
    tables = {"customers": CUSTOMERS, "subscriptions": SUBSCRIPTIONS}
    path = folder / "survey.yaml"
    # Dates are written as YAML writes them, without quotes.
    path.write_text(yaml.safe_dump({**base, "tables": tables, **changes}).replace("'2020-05-01'\n", "2020-05-01\n"))
    return path


def _filled(folder: Path, **changes: Any) -> Workspace:
    (folder / "people.csv").write_text(PEOPLE)
    workspace = Workspace.at(folder / "w")
    ingest(_mapping(folder, **changes), workspace, data=folder)
    return workspace


def test_rows_without_a_time_stand_on_the_day_before_the_clock(tmp_path: Path) -> None:
    workspace = _filled(tmp_path)
    assert workspace.now().isoformat() == "2020-04-30T22:00:00+00:00"
    for name in ("customers", "subscriptions"):
        table = pd.read_parquet(workspace.table(name))
        assert table["customer_id"].tolist() == ["a", "b"]
        assert (table["occurred_at"] == pd.Timestamp("2020-04-29 22:00", tz="UTC")).all()
    assert workspace.state().tables["transactions"] == 0


def test_a_mapped_time_is_kept(tmp_path: Path) -> None:
    columns = {**CUSTOMERS["columns"], "occurred_at": "timestamp '2020-04-01'"}
    workspace = _filled(tmp_path, tables={"customers": {**CUSTOMERS, "columns": columns}})
    assert (pd.read_parquet(workspace.table("customers"))["occurred_at"] == pd.Timestamp("2020-03-31 22:00", tz="UTC")).all()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"as_of": "live"}, "as_of: a snapshot has no times"),
        ({"tables": {"subscriptions": SUBSCRIPTIONS}}, "customers is missing"),
        ({"churn": "subscriptions", "tables": {"customers": CUSTOMERS}}, "subscriptions is not mapped"),
        ({"kind": "history"}, "occurred_at is missing"),
    ],
)
def test_what_a_snapshot_needs_is_named(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load(_mapping(tmp_path, **changes))


def test_status_says_what_it_is_and_windows_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workspace = _filled(tmp_path)
    assert main(["status", "--workspace", str(workspace.root)]) == 0
    assert "a snapshot, customers as they stood once, without time" in capsys.readouterr().out
    with pytest.raises(RefusedError, match="survey is a snapshot: its rows have no times"):
        fill(workspace)
    assert main(["train", "churn", "--workspace", str(workspace.root)]) == 5
    assert "retain crossfit survey" in capsys.readouterr().err


def test_a_control_costs_nothing(tmp_path: Path) -> None:
    assumed = {"contact_cost": {"value": 0.8, "basis": "Price of a stamp in those days."}}
    workspace = _filled(tmp_path, tables={"customers": CUSTOMERS, "contacts": CONTACTS}, assume=assumed)
    assert pd.read_parquet(workspace.table("contacts"))["cost"].tolist() == [0.8, 0.0]


@pytest.fixture(scope="module")
def hillstrom(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = Workspace.at(tmp_path_factory.mktemp("hillstrom"))
    ingest("hillstrom", workspace, data=shared / "data" / "hillstrom")
    return workspace


def test_hillstrom_holds_the_published_counts(hillstrom: Workspace) -> None:
    contacts, visits, bought = (pd.read_parquet(hillstrom.table(name)) for name in ("contacts", "events", "outcomes"))
    sizes = contacts["arm"].value_counts()
    assert sizes.to_dict() == {"Mens E-Mail": 21307, "Womens E-Mail": 21387, "No E-Mail": 21306}
    assert (contacts["probability"] == 1 / 3).all()
    assert contacts.loc[contacts["is_control"], "arm"].unique().tolist() == ["No E-Mail"]
    arm = contacts.set_index("customer_id")["arm"]
    rate = {name: (rows["customer_id"].map(arm).value_counts() / sizes).round(4).to_dict() for name, rows in {"visit": visits, "buy": bought}.items()}
    assert rate["visit"] == {"Mens E-Mail": 0.1828, "Womens E-Mail": 0.1514, "No E-Mail": 0.1062}
    assert rate["buy"] == {"Mens E-Mail": 0.0125, "Womens E-Mail": 0.0088, "No E-Mail": 0.0057}
    assert len(bought) == 578
    assert set(bought["contact_id"]) <= set(contacts["contact_id"])
    spend = bought.groupby(bought["customer_id"].map(arm))["amount"].sum() / sizes
    assert spend.round(2).to_dict() == {"Mens E-Mail": 1.42, "Womens E-Mail": 1.08, "No E-Mail": 0.65}


def test_hillstroms_customers_are_the_rows_of_the_file(hillstrom: Workspace, shared: Path) -> None:
    theirs = pd.read_parquet(shared / "data" / "hillstrom" / "customers.parquet")
    ours = pd.read_parquet(hillstrom.table("customers"))
    ours = ours.set_index(ours["customer_id"].astype(int)).sort_index()
    assert ours.index.tolist() == list(range(64_000))
    assert ours["spend_past_year"].tolist() == theirs["history"].tolist()


def test_telco_holds_its_label_as_the_end_of_a_contract(shared: Path, tmp_path: Path) -> None:
    workspace = Workspace.at(tmp_path / "w")
    ingest("telco", workspace, data=shared / "data" / "telco_churn")
    contracts = pd.read_parquet(workspace.table("subscriptions"))
    assert (len(contracts), int(contracts["ended_at"].notna().sum())) == (7043, 1869)
    assert pd.read_parquet(workspace.table("customers"))["total_charges"].isna().sum() == 11
