"""What bad input means for the floors above: too little trains nothing and breaks nothing, the future stays out, ids stay text to the last file."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from features import catalog, snapshot
from retain.cli import main
from retain.ingest import ingest
from retain.workspace import Workspace

TESTS = Path(__file__).resolve().parents[1]
NOW = datetime(2024, 6, 1, tzinfo=UTC)
COLUMNS = {"order_id": "o", "customer_id": "c", "product_id": "p", "occurred_at": '"at"', "quantity": "1", "amount": "amount"}


def shop(folder: Path, rows: list[str]) -> Workspace:
    """A workspace of a few lines: order, customer, product, time, amount."""
    (folder / "sales.csv").write_text("\n".join(["o,c,p,at,amount", *rows, ""]))
    mapping = {
        "name": "shop",
        "currency": "EUR",
        "stored_zone": "UTC",
        "as_of": "2024-05-31",
        "quarantine_share": 1.0,
        "tables": {"transactions": {"files": {"sales": "sales.csv"}, "columns": COLUMNS, "key": ["order_id", "product_id"]}},
        "assume": {"consent": {"value": "*:*", "basis": "everybody in this test agreed"}},
    }
    (folder / "shop.yaml").write_text(yaml.safe_dump(mapping))
    workspace = Workspace.at(folder / "workspace")
    ingest(folder / "shop.yaml", workspace, data=folder, now=NOW)
    return workspace


def test_a24_a25_one_order_has_features_and_trains_nothing_and_is_served(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workspace = shop(tmp_path, ["o1,007,p1,2024-05-20,5"])
    place = ["--workspace", str(workspace.root)]
    snapshot.build(workspace)
    newest = pq.read_table(snapshot.path(workspace, "purchases", snapshot.cadence(workspace)[-1])).to_pylist()
    assert [(row["customer_id"], row["orders_90d"]) for row in newest] == [("007", 1)]
    for task in ("churn", "clv", "recommend"):
        assert main(["train", task, *place]) == 5
        assert re.search("needed|ingest more history", capsys.readouterr().err), task
    assert not workspace.promotions.is_file()
    # Without a model the ladder still answers: what is popular, at an inbound placement.
    assert main(["publish", *place]) == 0
    assert main(["decisions", "007", *place]) == 0
    assert "p1" in capsys.readouterr().out


def test_a19_ids_are_text_down_to_the_exported_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids = ["007", "7", "1e5", "00123"]
    workspace = shop(tmp_path, [f"o{n},{each},p{n % 2},2024-05-0{n + 1},5" for n, each in enumerate(ids)])
    out = tmp_path / "list.csv"
    assert main(["publish", "--workspace", str(workspace.root)]) == 0
    assert main(["list", "churn", "--out", str(out), "--workspace", str(workspace.root)]) == 0
    listed = pd.read_csv(out, dtype=str)["customer_id"].tolist()
    summary = capsys.readouterr().out
    assert set(listed) <= set(ids), summary
    assert main(["list", "churn", "--out", str(out.with_suffix(".parquet")), "--workspace", str(workspace.root)]) == 0
    assert pq.read_table(out.with_suffix(".parquet")).column("customer_id").to_pylist() == listed


def told(workspace: Workspace, moment: datetime) -> list[pa.Table]:
    """What every view says of every customer at a moment."""
    snapshot.build(workspace, [moment], catalog.customer_views())
    return [pq.read_table(snapshot.path(workspace, view.name, moment)) for view in catalog.customer_views()]


def test_a05_a18_what_came_twice_and_in_another_order_changes_no_feature(tmp_path: Path) -> None:
    rows = [f"o{n // 2},c{n % 3},p{n % 5},2024-04-{n // 2 + 1:02},{n + 1}.25" for n in range(40)]
    moment = datetime(2024, 5, 1, tzinfo=UTC)
    twice = [*rows, *rows]
    np.random.default_rng(3).shuffle(twice)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    once, again = (told(shop(tmp_path / name, given), moment) for name, given in (("a", rows), ("b", twice)))
    assert all(len(one) for one in once)
    assert all(one.equals(other) for one, other in zip(once, again, strict=True))


def test_a14_what_happens_after_the_moment_is_in_no_feature(tmp_path: Path) -> None:
    past = [f"o{n},c{n % 3},p{n % 2},2024-04-{n + 1:02},5" for n in range(20)]
    later = [f"x{n},c{n % 3},p{n % 2},2024-05-{n + 1:02},500" for n in range(20)]
    moment = datetime(2024, 5, 1, tzinfo=UTC)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    before, after = (told(shop(tmp_path / name, given), moment) for name, given in (("a", past), ("b", [*past, *later])))
    assert all(len(one) for one in before)
    assert all(one.equals(other) for one, other in zip(before, after, strict=True))


def test_every_case_of_group_a_has_a_test_that_carries_its_number(shared: Path) -> None:
    text = (shared / "FAULTS.md").read_text(encoding="utf-8")
    asked = {int(number) for number in re.findall(r"^\| A(\d+) \|", text, flags=re.MULTILINE)}
    names = [
        name for file in TESTS.rglob("test_*.py") for name in re.findall(r"^def (test_\w+)", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    ]
    tested = {int(number) for name in names for number in re.findall(r"(?<=_)a(\d\d)(?=_)", name)}
    assert not asked - tested
