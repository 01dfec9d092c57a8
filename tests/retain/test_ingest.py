"""Ingest: several files and formats, as of a date, whole or not at all; and what the commands say of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from retain.cli import main
from retain.errors import ConfigError, LockedError
from retain.ingest import ingest
from retain.tables import TABLES
from retain.workspace import State, Workspace

NOW = datetime(2024, 6, 1, tzinfo=UTC)
COLUMNS = {"order_id": "nr", "customer_id": "who", "product_id": "what", "occurred_at": "day", "quantity": "1", "amount": "paid"}
ROWS = ["1,c1,p1,2024-01-05,2.5", "2,c2,p1,2024-01-06,5", "3,c1,p2,2024-01-07,4", "4,c1,p2,2024-03-07,4"]


def _mapping(folder: Path, **changes: Any) -> Path:
    sales = {"files": {"sales": "sales*.csv"}, "columns": COLUMNS, **changes.pop("sales", {})}
    base = {"name": "mine", "title": "My shop", "currency": "EUR", "stored_zone": "Europe/Berlin", "as_of": "last_complete_day"}
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(base | {"tables": {"transactions": sales, **changes.pop("tables", {})}} | changes))
    return path


def _data(folder: Path, rows: list[str], name: str = "sales.csv", header: str = "nr,who,what,day,paid") -> Path:
    data = folder / "data"
    data.mkdir(exist_ok=True)
    (data / name).write_text("\n".join([header, *rows, ""]))
    return data


def _rows(workspace: Workspace, name: str = "transactions") -> list[dict[str, Any]]:
    return pd.read_parquet(workspace.table(name)).to_dict("records")


def test_all_eight_tables_stand_with_the_columns_of_the_contract(tmp_path: Path) -> None:
    workspace = Workspace.at(tmp_path / "w")
    report = ingest(_mapping(tmp_path), workspace, data=_data(tmp_path, ROWS), now=NOW)
    for name, table in TABLES.items():
        assert tuple(pd.read_parquet(workspace.table(name)).columns) == table.names
    state = workspace.state()
    assert (state.source, state.title, state.stored_zone, state.local_zone) == ("mine", "My shop", "Europe/Berlin", "Europe/Berlin")
    assert state.tables == {name: 4 if name == "transactions" else 0 for name in TABLES}
    assert state.digest == report.digest
    # The times are whole days, so the last of them is complete.
    assert state.as_of == datetime(2024, 3, 7, 23, tzinfo=UTC)
    assert [(row["customer_id"], row["order_id"]) for row in _rows(workspace)] == [("c1", "1"), ("c1", "3"), ("c1", "4"), ("c2", "2")]
    assert {row["source"] for row in _rows(workspace)} == {"mine"}
    assert json.loads((workspace.quarantine / "report.json").read_text())["digest"] == report.digest
    assert (workspace.quarantine / "report.txt").read_text() == report.text()


def test_files_of_a_glob_may_order_their_columns_as_they_like(tmp_path: Path) -> None:
    _data(tmp_path, ROWS[:2], "sales-1.csv")
    data = _data(tmp_path, ["5,p9,c3,2024-02-01,3"], "sales-2.csv", header="paid,what,who,day,nr")
    workspace = Workspace.at(tmp_path / "w")
    ingest(_mapping(tmp_path), workspace, data=data, now=NOW)
    assert [(row["customer_id"], row["order_id"], row["amount"]) for row in _rows(workspace)] == [
        ("c1", "1", 2.5),
        ("c2", "2", 5.0),
        ("c3", "3", 5.0),
    ]


def test_json_lines_are_read_as_they_are_written(tmp_path: Path) -> None:
    data = _data(tmp_path, ROWS)
    lines = [
        {"id": "007", "tags": ["a", "b"], "size": 3, "new": True, "when": "2024-01-01T10:00:00Z", "from/to": "x"},
        {"id": 12, "size": None, "when": "2024-01-02T10:00:00Z", "tags": []},
    ]
    (data / "offers.jsonl").write_text("\n".join([*(json.dumps(line) for line in lines), '{"id": ', '"text"', ""]))
    columns = {
        "offer_id": "id",
        "occurred_at": '"when"',
        "kind": "'product'",
        "product_ids": "tags",
        "stock": "size",
        "is_once": '"new"',
        "text": '"from/to"',
    }
    tables = {"offers": {"files": {"offers": "offers.jsonl"}, "columns": columns}}
    workspace = Workspace.at(tmp_path / "w")
    report = ingest(_mapping(tmp_path, tables=tables, quarantine_share=0.5), workspace, data=data, now=NOW)
    assert report.tables["offers"].reasons == {"file:malformed": 2}
    first, second = _rows(workspace, "offers")
    assert (first["offer_id"], list(first["product_ids"]), first["stock"], first["is_once"], first["text"]) == ("007", ["a", "b"], 3.0, True, "x")
    assert (second["offer_id"], list(second["product_ids"])) == ("12", [])
    assert pd.isna(second["stock"])


def test_files_are_joined_and_filtered_and_further_columns_kept(tmp_path: Path) -> None:
    data = _data(tmp_path, ROWS)
    (data / "people.csv").write_text("who;club;points;consent\nc1;gold;12,5;email:marketing; sms:*\nc2;;x;\nc3;gold;1;\n".replace("; sms", "|sms"))
    people = {
        "files": {"people": {"path": "people.csv", "delimiter": ";"}, "sales": "sales.csv"},
        "from": "people join (select who as buyer, min(day) as first_day from sales group by who) as firsts on firsts.buyer = people.who",
        "where": "club is not null or who = 'c2'",
        "columns": {"customer_id": "who", "occurred_at": "first_day", "consents": "replace(consent, '|', ';')"},
        "descriptive": {"club": "club", "points": "number(points)"},
        "numbers": {"decimal": ","},
    }
    workspace = Workspace.at(tmp_path / "w")
    report = ingest(_mapping(tmp_path, tables={"customers": people}, quarantine_share=0.5), workspace, data=data, now=NOW)
    assert report.tables["customers"].reasons == {"points:not_a_number": 1}
    (row,) = _rows(workspace, "customers")
    assert (row["customer_id"], row["club"], row["points"], list(row["consents"])) == ("c1", "gold", 12.5, ["email:marketing", "sms:*"])
    assert workspace.state().descriptive == ("club", "points")
    assert list(pd.read_parquet(workspace.table("customers")).columns) == [*TABLES["customers"].names, "club", "points"]


def test_what_names_a_person_is_kept_in_the_table_and_is_never_a_feature(tmp_path: Path) -> None:
    data = _data(tmp_path, ROWS)
    (data / "people.csv").write_text("who,since,phone,tier\nc1,2024-01-01,5551234,gold\n")
    customers = {
        "files": {"people": "people.csv"},
        "columns": {"customer_id": "who", "occurred_at": "since"},
        "descriptive": {"phone": "phone", "tier": "tier"},
    }
    workspace = Workspace.at(tmp_path / "w")
    ingest(_mapping(tmp_path, tables={"customers": {**customers, "personal": ["phone"]}}), workspace, data=data, now=NOW)
    assert "phone" in pd.read_parquet(workspace.table("customers")).columns
    assert workspace.state().descriptive == ("tier",)
    with pytest.raises(ConfigError, match="street is not declared"):
        ingest(_mapping(tmp_path, tables={"customers": {**customers, "personal": ["street"]}}), workspace, data=data, now=NOW)


def test_as_of_a_date_nothing_later_exists(tmp_path: Path) -> None:
    header = "nr,who,what,day,paid,known"
    early = ["1,c1,p1,2024-01-05,2.5,2024-01-05", "2,c2,p1,2024-01-06,5,2024-01-20"]
    # Known too late, happened too late, and a correction that came too late.
    late = ["3,c3,p1,2024-01-07,1,2024-02-10", "4,c1,p1,2024-02-01,1,2024-02-01", "1,c1,p1,2024-01-05,99,2024-02-03"]
    sales = {"columns": {**COLUMNS, "known_at": "known"}, "key": ["order_id", "product_id"]}
    mapping, until = _mapping(tmp_path, sales=sales), datetime(2024, 1, 31, 23, tzinfo=UTC)
    workspace = Workspace.at(tmp_path / "w")
    cut = ingest(mapping, workspace, data=_data(tmp_path, early + late, header=header), until=until, now=NOW)
    assert cut.tables["transactions"].after_until == 3
    assert workspace.now() == until
    seen = pd.read_parquet(workspace.table("transactions"))
    never = ingest(mapping, workspace, data=_data(tmp_path, early, header=header), until=until, now=NOW)
    assert cut.digest == never.digest
    pd.testing.assert_frame_equal(pd.read_parquet(workspace.table("transactions")), seen)


def test_known_before_it_happens_is_known_when_it_happens(tmp_path: Path) -> None:
    sales = {"columns": {**COLUMNS, "known_at": "timestamp '2024-01-01'"}}
    workspace = Workspace.at(tmp_path / "w")
    report = ingest(_mapping(tmp_path, sales=sales), workspace, data=_data(tmp_path, ROWS), now=NOW)
    assert report.tables["transactions"].raised == 4
    assert all(row["known_at"] == row["occurred_at"] for row in _rows(workspace))


def test_constants_are_marked_as_assumed(tmp_path: Path) -> None:
    data = _data(tmp_path, ROWS)
    (data / "sent.csv").write_text("who,day,how\nc1,2024-01-02,mail\nc2,2024-01-02,sms\n")
    contacts = {"files": {"sent": "sent.csv"}, "columns": {"customer_id": "who", "occurred_at": "day", "channel": "how"}}
    basis = "as our accountant says it is"
    assume = {"margin_rate": {"value": 0.4, "basis": basis}, "contact_cost": {"value": {"mail": 0.8}, "basis": basis}}
    workspace = Workspace.at(tmp_path / "w")
    ingest(_mapping(tmp_path, tables={"contacts": contacts}, assume=assume), workspace, data=data, now=NOW)
    assert [row["margin"] for row in _rows(workspace)] == pytest.approx([1.0, 1.6, 1.6, 2.0])
    costs = {row["channel"]: row["cost"] for row in _rows(workspace, "contacts")}
    assert costs["mail"] == 0.8
    assert pd.isna(costs["sms"])
    assert {one.name: one.value for one in workspace.state().assumed} == {"margin_rate": 0.4, "contact_cost": {"mail": 0.8}}


def test_only_one_ingest_at_a_time(tmp_path: Path) -> None:
    workspace = Workspace.at(tmp_path / "w")
    with workspace.lock("retain train"), pytest.raises(LockedError, match="retain train"):
        ingest(_mapping(tmp_path), workspace, data=_data(tmp_path, ROWS), now=NOW)


@pytest.mark.parametrize(("sign", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_stopped_ingest_leaves_what_stood_and_the_next_one_cleans_up(tmp_path: Path, sign: signal.Signals, code: int) -> None:
    mapping, workspace = _mapping(tmp_path), Workspace.at(tmp_path / "w")
    first = ingest(mapping, workspace, data=_data(tmp_path, ROWS), now=NOW)
    many = [f"{number},c{number % 997},p{number % 89},2024-01-{number % 28 + 1:02d},2" for number in range(400_000)]
    data = _data(tmp_path, many)
    command = [sys.executable, "-m", "retain", "ingest", str(mapping), "--data", str(data), "--workspace", str(workspace.root)]
    # A shell that starts the tests in the background has them ignore SIGINT, and whoever they start inherits that.
    heard, silent = partial(signal.signal, signal.SIGINT, signal.SIG_DFL), subprocess.DEVNULL
    environment = os.environ | {"RETAIN_THREADS": "1"}
    with subprocess.Popen(command, stderr=silent, stdout=silent, env=environment, preexec_fn=heard) as process:
        # Stopped as soon as it works on the new rows.
        while not list(workspace.temporary.glob("ingest-*/*")):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(sign)
        assert process.wait(60) == code
    assert workspace.state().digest == first.digest
    assert len(_rows(workspace)) == 4
    again = ingest(mapping, workspace, data=_data(tmp_path, ROWS), now=NOW)
    assert again.digest == first.digest
    assert sorted(path.name for path in workspace.root.iterdir()) == [".lock", "quarantine", "tables", "temporary", "workspace.json"]
    assert list(workspace.temporary.iterdir()) == []


def test_the_command_speaks_to_people_and_to_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mapping, data, folder = str(_mapping(tmp_path, quarantine_share=0.5)), str(_data(tmp_path, [*ROWS, "5,c1,p1,never,1"])), str(tmp_path / "w")
    assert main(["ingest", mapping, "--data", data, "--workspace", folder]) == 0
    words = capsys.readouterr().out
    assert "My shop: the clock is fixed at 2024-03-07 23:00 UTC" in words
    assert "occurred_at:not_a_time: 1" in words
    assert main(["ingest", mapping, "--data", data, "--workspace", folder, "--until", "2024-01-06", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    # The date is a midnight on the stored clock.
    assert report["until"] == "2024-01-05T23:00:00Z"
    assert report["tables"]["transactions"]["rows_out"] == 1
    assert main(["ingest", mapping, "--data", str(tmp_path / "nowhere"), "--workspace", folder]) == 2
    assert main(["ingest", mapping, "--data", data, "--workspace", folder, "--until", "soon"]) == 3


def test_status_tells_source_clock_rows_and_assumptions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(tmp_path / "w")
    assert main(["status", "--workspace", folder]) == 4
    assume = {"margin_rate": {"value": 0.4, "basis": "as our accountant says it is"}}
    ingest(_mapping(tmp_path, assume=assume), Workspace.at(Path(folder)), data=_data(tmp_path, ROWS), now=NOW)
    capsys.readouterr()
    assert main(["status", "--workspace", folder]) == 0
    words = capsys.readouterr().out
    assert "mine: My shop" in words
    assert "2024-03-07 23:00 UTC, fixed by the source (2024-03-08 00:00 Europe/Berlin)" in words
    assert "margin_rate = 0.4: as our accountant says it is" in words
    assert "SYNTHETIC" not in words
    assert main(["status", "--workspace", folder, "--json"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert status["tables"]["transactions"] == 4
    assert status["now"] == "2024-03-07T23:00:00+00:00"


def test_status_says_synthetic_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workspace = Workspace.at(tmp_path)
    workspace.write_state(State(source="simulated", synthetic=True))
    assert main(["status", "--workspace", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("SYNTHETIC DATA")


def test_simulate_refuses_numbers_that_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--customers", "0", "--workspace", str(tmp_path)]) == 2
    assert "at least one customer" in capsys.readouterr().err


def test_the_documented_mapping_works_as_documented(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "sources.md").read_text()
    blocks = {kind: text.partition(f"```{kind}\n")[2].partition("```")[0] for kind in ("csv", "yaml")}
    (tmp_path / "exports").mkdir()
    (tmp_path / "exports" / "lines-2024.csv").write_text(blocks["csv"])
    (tmp_path / "shop.yaml").write_text(blocks["yaml"])
    workspace = Workspace.at(tmp_path / "w")
    report = ingest(tmp_path / "shop.yaml", workspace, data=tmp_path / "exports", now=NOW)
    assert report.tables["transactions"].quarantined == 0
    assert report.counts["anonymous_sale_lines"] == 1
    found = {row["order_id"]: (row["kind"], row["amount"], row["occurred_at"].isoformat()) for row in _rows(workspace)}
    assert found["10001"] == ("sale", 1234.5, "2024-01-05T09:30:00+00:00")
    assert found["10003"] == ("return", -617.25, "2024-02-09T15:02:00+00:00")
