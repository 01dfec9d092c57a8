"""Tombstones: keyed, in front of every ingest, and never guessed."""

from __future__ import annotations

import json
import stat
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
import yaml

from retain.cli import main
from retain.erasure import HASHES, KEY, Tombstones, bury, place, tombstones
from retain.errors import IntegrityError
from retain.ingest import ingest
from retain.workspace import Workspace

NOW = datetime(2024, 6, 1, tzinfo=UTC)
COLUMNS = {"order_id": "nr", "customer_id": "who", "product_id": "what", "occurred_at": "day", "quantity": "1", "amount": "number(paid)"}
ROWS = ["1,c1,p1,2024-01-05,2.5", "2,c2,p1,2024-01-06,5", "3,c1,p2,2024-01-07,4", "4,c1,p2,2024-03-07,much", "5,c2,p2,2024-03-07,many"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    data.mkdir()
    (data / "sales.csv").write_text("\n".join(["nr,who,what,day,paid", *ROWS, ""]))
    path = tmp_path / "mine.yaml"
    sales = {"files": {"sales": "sales.csv"}, "columns": COLUMNS}
    said = {"name": "mine", "currency": "EUR", "stored_zone": "UTC", "quarantine_share": 1.0, "tables": {"transactions": sales}}
    path.write_text(yaml.safe_dump(said))
    return path


def test_a36_an_erased_customer_is_rejected_at_ingest_counted_and_kept_nowhere(source: Path, tmp_path: Path) -> None:
    workspace = Workspace.at(tmp_path / "w")
    before = ingest(source, workspace, data=tmp_path / "data", now=NOW).tables["transactions"]
    assert (before.rows_in, before.rows_out, before.quarantined, before.erased) == (5, 3, 2, 0)
    bury(place(workspace), "c1", bytes(32))
    report = ingest(source, workspace, data=tmp_path / "data", now=NOW)
    after = report.tables["transactions"]
    assert (after.rows_in, after.rows_out, after.quarantined, after.erased) == (5, 1, 1, 3), "unusable rows of the erased too"
    assert "of erased customers, kept nowhere: 3" in report.text()
    assert pd.read_parquet(workspace.table("transactions"))["customer_id"].tolist() == ["c2"]
    assert pd.read_parquet(workspace.quarantine / "transactions.parquet")["customer_id"].tolist() == ["c2"]


def test_a_tombstone_names_nobody_without_its_key(tmp_path: Path) -> None:
    one, other = bury(tmp_path / "a", "c1", bytes(32)), bury(tmp_path / "b", "c1", bytes([1]) * 32)
    assert "c1" in one
    assert "c2" not in one
    assert one.hashes.isdisjoint(other.hashes)
    assert "c1" not in (tmp_path / "a" / HASHES).read_text()
    assert stat.S_IMODE((tmp_path / "a" / KEY).stat().st_mode) == 0o600
    again = bury(tmp_path / "a", "c2", bytes([7]) * 32)
    assert again.key == one.key
    assert len(again.hashes) == 2
    assert bury(tmp_path / "a", "c2", bytes(32)) == again
    assert "c1" not in Tombstones()


def test_without_the_key_nothing_is_ingested(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workspace = Workspace.at(tmp_path / "w")
    bury(place(workspace), "c1", bytes(32))
    (place(workspace) / KEY).unlink()
    with pytest.raises(IntegrityError, match="restore both"):
        tombstones(place(workspace))
    assert main(["ingest", str(source), "--data", str(tmp_path / "data"), "--workspace", str(workspace.root)]) == 7
    assert not workspace.is_filled
    with pytest.raises(IntegrityError):
        bury(place(workspace), "c2", bytes(32))
    (place(workspace) / KEY).write_text("00" * 32)
    (place(workspace) / HASHES).write_text(json.dumps({"tombs": []}))
    with pytest.raises(IntegrityError):
        tombstones(place(workspace))
    assert "restore both" in capsys.readouterr().err


def test_tombstones_lie_where_the_deployment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETAIN_TOMBSTONES", str(tmp_path / "elsewhere"))
    assert place(Workspace.at(tmp_path / "w")) == tmp_path / "elsewhere"
