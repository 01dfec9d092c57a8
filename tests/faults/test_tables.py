"""Input tables gone wrong, with real files: what is refused, what is quarantined under which reason, and that every row is accounted for."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from retain import inputs
from retain.errors import ConfigError, DataError, RetainError
from retain.ingest import ingest
from retain.quarantine import Report
from retain.workspace import Workspace

NOW = datetime(2024, 6, 1, tzinfo=UTC)
HEADER = "order_id,customer_id,product_id,at,quantity,amount"
GOOD = ["o1,c1,p1,2024-01-05 10:00,1,2.5", "o2,c2,p1,2024-01-06 11:00,2,5", "o3,c1,p2,2024-01-07 12:00,1,4"]
COLUMNS = {
    "order_id": "order_id",
    "customer_id": "customer_id",
    "product_id": "product_id",
    "occurred_at": '"at"',
    "quantity": "quantity",
    "amount": "amount",
}

Fill = Callable[..., tuple[Workspace, Report]]


@pytest.fixture
def fill(tmp_path: Path) -> Fill:
    """Write rows to a CSV, ingest it with a mapping that differs as asked, and check that the rows add up."""

    def run(rows: list[str] | bytes, header: str = HEADER, files: dict[str, bytes] | None = None, **changes: Any) -> tuple[Workspace, Report]:
        data = tmp_path / "data"
        data.mkdir(exist_ok=True)
        content = rows if isinstance(rows, bytes) else "\n".join([header, *rows, ""]).encode()
        (data / "sales.csv").write_bytes(content)
        for name, other in (files or {}).items():
            (data / name).write_bytes(other)
        sales = {"files": {"sales": "sales.csv"}, "columns": COLUMNS | changes.pop("columns", {}), **changes.pop("sales", {})}
        mapping = {
            "name": "shop",
            "currency": "EUR",
            "stored_zone": "UTC",
            "quarantine_share": 1.0,
            "tables": {"transactions": sales, **changes.pop("tables", {})},
        }
        path = tmp_path / "shop.yaml"
        path.write_text(yaml.safe_dump({key: value for key, value in (mapping | changes).items() if value is not None}))
        workspace = Workspace.at(tmp_path / "workspace")
        report = ingest(path, workspace, data=data, now=NOW)
        for name, table in report.tables.items():
            assert table.rows_in == table.rows_out + table.quarantined + table.merged + table.superseded + table.after_until
            assert table.rows_out == len(_table(workspace, name))
            assert table.quarantined + table.superseded == len(pd.read_parquet(workspace.quarantine / f"{name}.parquet"))
            assert sum(table.reasons.values()) == table.quarantined
        return workspace, report

    return run


def _table(workspace: Workspace, name: str = "transactions") -> pd.DataFrame:
    return pd.read_parquet(workspace.table(name))


def _reasons(report: Report) -> dict[str, int]:
    return report.tables["transactions"].reasons


def test_a01_a_missing_column_is_named_and_nothing_is_written(fill: Fill, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"shop: tables: transactions: columns: amount: .*amount.*sales has order_id, customer_id") as caught:
        fill(["o1,c1,p1,2024-01-05,1"], header="order_id,customer_id,product_id,at,quantity")
    assert "\n" not in caught.value.message
    assert not (tmp_path / "workspace" / "tables").exists()
    assert not (tmp_path / "workspace" / "workspace.json").exists()


def test_a02_further_columns_are_listed_and_sensitive_ones_warned_of(fill: Fill) -> None:
    workspace, report = fill([row + ",blue,none" for row in GOOD], header=HEADER + ",colour,customer_religion")
    assert report.ignored_columns == {"sales.csv": ("colour", "customer_religion")}
    assert any("customer_religion" in warning for warning in report.warnings)
    assert "customer_religion" not in _table(workspace).columns


def test_a02_a_sensitive_column_cannot_come_in_as_a_descriptive_one(fill: Fill) -> None:
    customers = {
        "files": {"people": "people.csv"},
        "columns": {"customer_id": "customer_id", "occurred_at": "timestamp '2024-01-01'"},
        "descriptive": {"religion": "religion", "club": "club"},
    }
    workspace, report = fill(GOOD, files={"people.csv": b"customer_id,religion,club\nc1,x,gold\n"}, tables={"customers": customers})
    assert workspace.state().descriptive == ("club",)
    assert "religion" not in _table(workspace, "customers").columns
    assert any("religion" in warning for warning in report.warnings)


def test_a03_a18_the_order_of_columns_and_rows_changes_nothing(fill: Fill) -> None:
    workspace, first = fill([*GOOD, *GOOD])
    before = workspace.table("transactions").read_bytes()
    turned = [",".join(reversed(row.split(","))) for row in reversed([*GOOD, *GOOD])]
    _, second = fill(turned, header=",".join(reversed(HEADER.split(","))))
    assert first.digest == second.digest
    assert workspace.table("transactions").read_bytes() == before


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('"1,234.50"', "amount:not_a_number"),
        ("￥12", "amount:not_a_number"),
        ("１２", "amount:not_a_number"),
        ("1_000", "amount:not_a_number"),
        ("12 EUR", "amount:not_a_number"),
        ("0x10", "amount:not_a_number"),
        ("", "amount:missing"),
        ("NaN", "amount:missing"),
        ("NULL", "amount:missing"),
        ("inf", "amount:not_finite"),
        ("-Infinity", "amount:not_finite"),
        ("1e308", "amount:too_large"),
        ("1e999", "amount:not_finite"),
        ("-3", "amount:negative_sale"),
    ],
)
def test_a04_a08_a09_a10_amounts_that_cannot_be_used(fill: Fill, text: str, reason: str) -> None:
    workspace, report = fill([*GOOD, f"o4,c3,p1,2024-01-08 10:00,1,{text}"])
    assert _reasons(report) == {reason: 1}
    kept = pd.read_parquet(workspace.quarantine / "transactions.parquet")
    assert (kept["amount"].iloc[0] or "") == text.strip('"')
    assert _table(workspace)["amount"].sum() == 11.5


def test_a04_a_declared_format_is_read(fill: Fill) -> None:
    sales = {"numbers": {"decimal": ",", "thousands": "."}}
    workspace, report = fill(['o1,c1,p1,2024-01-05 10:00,1,"1.234,50"', "o2,c1,p1,2024-01-05 10:00,1,2.5"], sales=sales)
    assert _reasons(report) == {}
    assert sorted(_table(workspace)["amount"]) == [25.0, 1234.5]


def test_a04_arithmetic_on_text_loses_nothing(fill: Fill) -> None:
    workspace, report = fill(["o1,c1,p1,2024-01-05,2,2.5", "o2,c1,p1,2024-01-05,2,two"], columns={"amount": "number(quantity) * number(amount)"})
    assert _table(workspace)["amount"].tolist() == [5.0]
    assert _reasons(report) == {"amount:not_a_number": 1}


def test_a05_without_a_key_duplicates_are_kept_and_counted(fill: Fill) -> None:
    _, report = fill([GOOD[0], GOOD[0], GOOD[0], GOOD[1]])
    assert (report.tables["transactions"].rows_out, report.tables["transactions"].duplicates_kept) == (4, 2)


def test_a05_with_a_key_equal_rows_are_one_and_the_later_known_wins(fill: Fill) -> None:
    rows = [
        "o1,c1,p1,2024-01-05 10:00,1,2.5,2024-01-05 10:00",
        "o1,c1,p1,2024-01-05 10:00,1,2.5,2024-01-05 10:00",
        "o1,c1,p1,2024-01-05 10:00,1,3.5,2024-01-09 10:00",
        "o2,c1,p1,2024-01-05 10:00,1,1,2024-01-05 10:00",
    ]
    workspace, report = fill(rows, header=HEADER + ",known", columns={"known_at": "known"}, sales={"key": ["order_id", "product_id"]})
    table = report.tables["transactions"]
    assert (table.rows_in, table.rows_out, table.merged, table.superseded) == (4, 2, 1, 1)
    assert sorted(_table(workspace)["amount"]) == [1.0, 3.5]
    replaced = pd.read_parquet(workspace.quarantine / "transactions.parquet")
    assert replaced["reason"].tolist() == ["key:superseded"]
    assert replaced["amount"].tolist() == ["2.5"]


@pytest.mark.parametrize("text", ["", "NULL", "None", "nan", "NaN", "<NA>"])
def test_a07_a_line_without_a_customer(fill: Fill, text: str) -> None:
    row = f"o4,{text},p1,2024-01-08 10:00,1,2"
    _, report = fill([*GOOD, row])
    assert _reasons(report) == {"customer_id:missing": 1}
    workspace, report = fill([*GOOD, row], anonymous_sales=True)
    assert _reasons(report) == {}
    assert report.counts["anonymous_sale_lines"] == 1
    assert report.counts["customers"] == 2
    assert _table(workspace)["customer_id"].isna().sum() == 1


def test_a07_without_order_product_or_time_a_line_is_unusable(fill: Fill) -> None:
    rows = [",c1,p1,2024-01-08,1,2", "o5,c1,NULL,2024-01-08,1,2", "o6,c1,p1,,1,2"]
    _, report = fill([*GOOD, *rows], anonymous_sales=True)
    assert _reasons(report) == {"occurred_at:missing": 1, "order_id:missing": 1, "product_id:missing": 1}


def test_a08_a09_numbers_of_a_parquet_file(fill: Fill, tmp_path: Path) -> None:
    amounts = [1.0, float("nan"), float("inf"), None, 1e300, -0.0]
    frame = pa.table(
        {
            "order_id": list("abcdef"),
            "customer_id": pa.array([7.0, 8.0, 8.0, 8.0, 8.0, 9.5]),
            "product_id": pa.array([1, 2, 3, 4, 5, 6], pa.int32()),
            "at": pa.array([datetime(2024, 1, 1)] * 6, pa.timestamp("us")),
            "quantity": [1] * 6,
            "amount": pa.array(amounts),
        }
    )
    (tmp_path / "data").mkdir()
    pq.write_table(frame, tmp_path / "data" / "sales.parquet")
    workspace, report = fill(GOOD, sales={"files": {"sales": "sales.parquet"}})
    assert _reasons(report) == {
        "amount:missing": 1,
        "amount:not_a_number": 1,
        "amount:not_finite": 1,
        "amount:too_large": 1,
        "customer_id:not_an_id": 1,
    }
    assert _table(workspace)["customer_id"].tolist() == ["7"]
    assert workspace.state().id_types["customer_id"] == "double"
    assert workspace.state().id_types["product_id"] == "int32"


def test_a11_returns_reduce_revenue_and_are_no_orders(fill: Fill) -> None:
    rows = [GOOD[0], "o2,c1,p1,2024-01-06 10:00,-2,-5", "o3,c1,p2,2024-01-07 12:00,1,4"]
    workspace, report = fill(rows, returns={"amount_sign": "negative"})
    table = _table(workspace)
    assert table["kind"].tolist() == ["sale", "return", "sale"]
    assert table["amount"].sum() == 1.5
    assert table["order_number"].tolist()[0] == 1
    assert pd.isna(table["order_number"].tolist()[1])
    assert table["order_number"].tolist()[2] == 2
    assert report.counts["products_returned_for_more_than_was_paid"] == 1


def test_a11_positive_returns_are_turned_round(fill: Fill) -> None:
    rows = [GOOD[0] + ",sale", "o2,c1,p1,2024-01-06 10:00,1,2.5,return"]
    workspace, report = fill(rows, header=HEADER + ",kind", columns={"kind": "kind"}, returns={"amount_sign": "positive"})
    assert _reasons(report) == {}
    assert _table(workspace)[["quantity", "amount"]].to_numpy().tolist() == [[1.0, 2.5], [-1.0, -2.5]]


def test_a12_returns_without_a_sale_before_are_kept_and_counted(fill: Fill) -> None:
    rows = ["o1,c1,p1,2024-01-04 10:00,-1,-2.5", GOOD[0], "o2,c9,p1,2024-01-06 10:00,-1,-2"]
    workspace, report = fill(rows, returns={"amount_sign": "negative"})
    assert report.counts["returns_without_an_earlier_sale"] == 2
    assert len(_table(workspace)) == 3


def test_a13_a_sale_without_money_is_counted_and_is_no_purchase(fill: Fill) -> None:
    workspace, report = fill([*GOOD, "o4,c1,p1,2024-01-08 10:00,1,0"])
    assert report.counts["sale_lines_without_money"] == 1
    assert _table(workspace).set_index("order_id")["order_number"].isna()["o4"]


def test_a13_a_sale_without_money_is_a_purchase_where_the_mapping_says_so(fill: Fill) -> None:
    workspace, report = fill([*GOOD, "o4,c1,p1,2024-01-08 10:00,1,0", "o5,c1,p1,2024-01-09 10:00,-1,0"], zero_amount="purchase")
    assert (report.counts["free_lines_that_count_as_purchases"], report.counts["sale_lines_without_money"]) == (1, 0)
    assert _reasons(report) == {"quantity:negative_sale": 1}
    free = _table(workspace).set_index("order_id").loc["o4"]
    assert (free["kind"], free["order_number"], free["order_gap_days"]) == ("free", 3, 1)


def test_a13_a_line_that_is_called_free_costs_nothing(fill: Fill) -> None:
    workspace, report = fill([f"{GOOD[0]},free", f"{GOOD[1]},sale"], header=HEADER + ",kind", columns={"kind": "kind"})
    assert _reasons(report) == {"amount:not_free": 1}
    assert _table(workspace)["kind"].tolist() == ["sale"]


def test_a14_the_future_begins_after_a_day_of_grace(fill: Fill) -> None:
    workspace, report = fill([*GOOD, "o4,c1,p1,2024-06-01 23:59,1,1", "o5,c1,p1,2024-06-02 00:01,1,1"])
    assert _reasons(report) == {"occurred_at:future": 1}
    assert "o4" in set(_table(workspace)["order_id"])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1970-01-01", "occurred_at:absurd"),
        ("0001-01-01", "occurred_at:absurd"),
        ("9999-12-31", "occurred_at:future"),
        ("2024-02-30", "occurred_at:not_a_time"),
        ("2024-13-01", "occurred_at:not_a_time"),
        ("05/01/2024", "occurred_at:not_a_time"),
        ("yesterday", "occurred_at:not_a_time"),
        ("infinity", "occurred_at:not_a_time"),
        ("epoch", "occurred_at:not_a_time"),
    ],
)
def test_a15_dates_that_cannot_be(fill: Fill, text: str, reason: str) -> None:
    _, report = fill([*GOOD, f"o4,c1,p1,{text},1,1"])
    assert _reasons(report) == {reason: 1}


def test_a16_times_without_a_zone_are_refused_unless_one_is_declared(fill: Fill, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="stored_zone"):
        fill(GOOD, stored_zone=None)
    assert not (tmp_path / "workspace" / "tables").exists()
    workspace, _ = fill([row.replace(":00", ":00+02:00") for row in GOOD], stored_zone=None)
    assert str(_table(workspace)["occurred_at"].min()) == "2024-01-05 08:00:00+00:00"


def test_a16_zones_can_be_mixed_and_the_repeated_hour_is_stable(fill: Fill) -> None:
    rows = [
        "o1,c1,p1,2023-10-29 02:30,1,1",
        "o2,c1,p1,2023-10-29T02:30:00+02:00,1,1",
        "o3,c1,p1,2023-10-29T01:30:00Z,1,1",
        "o4,c1,p1,2023-07-01 12:00,1,1",
    ]
    workspace, _ = fill(rows, stored_zone="Europe/Berlin")
    first = _table(workspace).set_index("order_id")["occurred_at"].astype(str).to_dict()
    assert first["o2"] == "2023-10-29 00:30:00+00:00"
    assert first["o3"] == "2023-10-29 01:30:00+00:00"
    assert first["o4"] == "2023-07-01 10:00:00+00:00"
    assert first["o1"] in (first["o2"], first["o3"])
    workspace, _ = fill(rows[::-1], stored_zone="Europe/Berlin")
    assert _table(workspace).set_index("order_id")["occurred_at"].astype(str).to_dict() == first


def test_a16_a_declared_format_is_read(fill: Fill) -> None:
    rows = ["o1,c1,p1,5/1/2024 10:30,1,1", "o2,c1,p1,2024-01-05,1,1"]
    workspace, report = fill(rows, columns={"occurred_at": {"sql": '"at"', "format": "%d/%m/%Y %H:%M", "zone": "Asia/Shanghai"}})
    assert str(_table(workspace)["occurred_at"][0]) == "2024-01-05 02:30:00+00:00"
    assert _reasons(report) == {"occurred_at:not_a_time": 1}


IDS = ["00123", "123", "é", "e\u0301", "A", "Ａ", "😀👩‍👩‍👧", "مرحبا", " x ", "1e5", "12.0", "x" * 256, "字" * 256]


def test_a19_a20_ids_are_kept_byte_by_byte(fill: Fill) -> None:
    rows = [f"o{number},{one},p1,2024-01-05,1,1" for number, one in enumerate(IDS)]
    workspace, report = fill(rows)
    assert _reasons(report) == {}
    assert sorted(_table(workspace)["customer_id"]) == sorted(IDS)
    assert workspace.state().id_types["customer_id"] == "string"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x" * 257, "customer_id:too_long"),
        ("x" * 1_000_000, "customer_id:too_long"),
        ('"a\nb"', "customer_id:control_character"),
        ("a\x00b", "customer_id:control_character"),
        ("a\tb", "customer_id:control_character"),
    ],
)
def test_a21_ids_that_are_none(fill: Fill, text: str, reason: str) -> None:
    _, report = fill([*GOOD, f"o4,{text},p1,2024-01-05,1,1"])
    assert _reasons(report) == {reason: 1}


@pytest.mark.parametrize(
    ("encoding", "text"),
    [("gb18030", "顾客编号一二三四五"), ("gbk", "顾客编号一二三四五"), ("utf-16", "Zoë"), ("utf-16-le", "Zoe"), ("latin-1", "Zoë")],
)
def test_a23_another_encoding_is_refused_with_a_hint_and_read_when_declared(fill: Fill, encoding: str, text: str) -> None:
    content = "\n".join([HEADER, *GOOD, f"o4,{text},p1,2024-01-05,1,1", ""]).encode(encoding)
    hint = {"gbk": "gb18030", "utf-16-le": "utf-16"}.get(encoding, encoding)
    with pytest.raises(DataError, match=rf"sales.csv: is not UTF-8; it looks like {hint}"):
        fill(content)
    workspace, _ = fill(content, sales={"files": {"sales": {"path": "sales.csv", "encoding": encoding}}})
    assert text in set(_table(workspace)["customer_id"])


def test_a23_a_byte_order_mark_is_accepted(fill: Fill) -> None:
    workspace, report = fill("\ufeff".encode() + "\n".join([HEADER, *GOOD, ""]).encode())
    assert report.ignored_columns == {}
    assert len(_table(workspace)) == 3


def test_a24_no_sales_at_all_are_refused_and_an_empty_other_table_is_not(fill: Fill, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no rows are left"):
        fill([])
    with pytest.raises(DataError, match=r"sales.csv: is empty \(0 bytes\)"):
        fill(b"")
    events = {"files": {"clicks": "clicks.csv"}, "columns": {"customer_id": "customer_id", "occurred_at": '"at"', "kind": "'view'"}}
    workspace, report = fill(GOOD, files={"clicks.csv": b"customer_id,at\n"}, tables={"events": events})
    assert report.tables["events"].rows_in == 0
    assert len(_table(workspace, "events")) == 0


def test_a25_one_customer_one_product_one_order(fill: Fill) -> None:
    workspace, report = fill(GOOD[:1])
    assert report.counts["customers"] == 1
    assert _table(workspace)["order_number"].tolist() == [1]


def test_a28_other_currencies_need_a_dated_rate(fill: Fill) -> None:
    header, columns = HEADER + ",currency", {"currency": "currency"}
    rows = [
        GOOD[0] + ",EUR",
        GOOD[1] + ",usd",
        GOOD[2] + ",",
        "o4,c1,p1,2024-01-02,1,10,USD",
        "o5,c1,p1,2024-01-20,1,10,USD",
        "o6,c1,p1,2024-01-20,1,10,CHF",
    ]
    _, report = fill(rows, header=header, columns=columns)
    assert _reasons(report) == {"currency:no_rate": 4}
    rates = {"files": {"rates": "rates.csv"}, "currency": "code", "valid_from": "day", "rate": "rate"}
    files = {"rates.csv": b"code,day,rate\nUSD,2024-01-05,0.5\nUSD,2024-01-15,0.8\n"}
    workspace, report = fill(rows, header=header, columns=columns, rates=rates, files=files)
    assert _reasons(report) == {"currency:no_rate": 2}
    assert _table(workspace).set_index("order_id")["amount"].to_dict() == {"o1": 2.5, "o2": 2.5, "o3": 4.0, "o5": 8.0}
    assert set(_table(workspace)["currency"]) == {"EUR"}


def test_a28_a_rate_is_never_guessed(fill: Fill) -> None:
    rates = {"files": {"rates": "rates.csv"}, "currency": "code", "valid_from": "day", "rate": "rate"}
    with pytest.raises(DataError, match="1 rows lack a currency, a date or a rate"):
        fill(GOOD, rates=rates, files={"rates.csv": b"code,day,rate\nUSD,2024-01-05,\n"})


def test_a30_customers_on_one_side_only_are_counted(fill: Fill) -> None:
    customers = {"files": {"people": "people.csv"}, "columns": {"customer_id": "customer_id", "occurred_at": "timestamp '2024-01-01'"}}
    workspace, report = fill(GOOD, files={"people.csv": b"customer_id\nc1\nc7\nc8\n"}, tables={"customers": customers})
    assert report.counts["customers_with_transactions_and_no_description"] == 1
    assert report.counts["customers_with_a_description_and_no_transactions"] == 2
    assert len(_table(workspace)) == 3


def test_a32_quotes_newlines_and_formulas_are_text(fill: Fill) -> None:
    products = {"files": {"goods": "goods.csv"}, "columns": {"product_id": "id", "occurred_at": "timestamp '2024-01-01'", "text": "words"}}
    goods = b'id,words\np1,"say ""hi"",\nthen go"\np2,"=cmd|\'/c calc\'!A1"\np3,#5\n' + b"p4," + b"x" * 10_000_000 + b"\n"
    workspace, report = fill(GOOD, files={"goods.csv": goods}, tables={"products": products})
    assert report.tables["products"].quarantined == 0
    texts = _table(workspace, "products").set_index("product_id")["text"]
    assert texts["p1"] == 'say "hi",\nthen go'
    assert texts["p2"] == "=cmd|'/c calc'!A1"
    assert texts["p3"] == "#5"
    assert len(texts["p4"]) == 10_000_000


def test_a32_lines_that_are_no_rows_are_quarantined_and_an_open_quote_refuses_the_file(fill: Fill) -> None:
    broken = ["o4,c1,p1", "o5,c1,p1,2024-01-05,1,1,more", '"o6" x,c1,p1,2024-01-05,1,1']
    workspace, report = fill([*GOOD, *broken])
    assert _reasons(report) == {"file:malformed": 3}
    assert set(pd.read_parquet(workspace.quarantine / "transactions.parquet")["line"]) == {
        "o4,c1,p1",
        "o5,c1,p1,2024-01-05,1,1,more",
        '"o6" x,c1,p1,2024-01-05,1,1',
    }
    with pytest.raises(DataError, match=r"sales.csv: line 2 has no end"):
        fill(['"o1,c1,p1,2024-01-05,1,1', *GOOD])


@pytest.mark.parametrize("content", [b"PAR1 but not really", b"PAR1" + b"\x00" * 100 + b"PAR1", b"hello,world\n1,2\n"])
def test_a33_a_broken_parquet_file_is_named(fill: Fill, content: bytes) -> None:
    with pytest.raises(DataError, match=r"sales.parquet: cannot be read as parquet"):
        fill(GOOD, files={"sales.parquet": content}, sales={"files": {"sales": "sales.parquet"}})


@pytest.mark.parametrize("part", [0.3, 0.9, 0.999])
def test_a33_a_parquet_file_that_is_cut_short_or_garbled_is_refused(fill: Fill, tmp_path: Path, part: float) -> None:
    whole = tmp_path / "whole.parquet"
    pq.write_table(pa.table({name: [f"{name}{row}" for row in range(500)] for name in HEADER.split(",")}), whole)
    content = whole.read_bytes()
    cut = int(len(content) * part)
    for broken in (content[:cut], content[:cut] + b"\xff" * (len(content) - cut)):
        with pytest.raises(DataError, match=r"sales.parquet: cannot be read as parquet"):
            fill(GOOD, files={"sales.parquet": broken}, sales={"files": {"sales": "sales.parquet"}})
    assert not (tmp_path / "workspace" / "tables").exists()


def test_a33_a_parquet_file_of_too_many_columns_is_refused(fill: Fill, tmp_path: Path) -> None:
    wide = tmp_path / "wide.parquet"
    pq.write_table(pa.table({f"c{number}": [1] for number in range(10_001)}), wide)
    with pytest.raises(DataError, match="10001 columns; more than 10000 are refused"):
        fill(GOOD, files={"sales.parquet": wide.read_bytes()}, sales={"files": {"sales": "sales.parquet"}})


def test_a33_a_parquet_bomb_is_refused_before_it_is_unpacked(fill: Fill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "_SWOLLEN", 1 << 24)
    swollen, endless = tmp_path / "swollen.parquet", tmp_path / "endless.parquet"
    pq.write_table(pa.table({"order_id": ["a" * (1 << 20)] * 32}), swollen, compression="zstd", use_dictionary=False)
    # Run-length encoding: thirty million equal rows in some hundred bytes, of which nothing is compressed.
    pq.write_table(pa.table({"order_id": pa.repeat(1, 30_000_000)}), endless, row_group_size=30_000_000)
    for path, said in ((swollen, "would unpack to"), (endless, "claims 30,000,000 rows")):
        with pytest.raises(DataError, match=rf"sales.parquet: .*{said}"):
            fill(GOOD, files={"sales.parquet": path.read_bytes()}, sales={"files": {"sales": "sales.parquet"}})


def test_a33_a_header_without_end_is_refused(fill: Fill) -> None:
    with pytest.raises(DataError, match="100000 columns"):
        fill([], header=",".join(f"c{number}" for number in range(100_000)))


@pytest.mark.parametrize("name", ["../secret.csv", "/etc/passwd", "inner/../../secret.csv"])
def test_a34_a_path_that_leads_out_is_refused(fill: Fill, name: str, tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("\n".join([HEADER, *GOOD]))
    with pytest.raises(ConfigError, match="leads out of the folder"):
        fill(GOOD, sales={"files": {"sales": {"path": name, "format": "csv"}}})


def test_a34_links_out_devices_and_folders_are_refused(fill: Fill, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (tmp_path / "secret.csv").write_text("\n".join([HEADER, *GOOD]))
    (data / "link.csv").symlink_to(tmp_path / "secret.csv")
    (data / "zero.csv").symlink_to("/dev/zero")
    (data / "folder.csv").mkdir()
    os.mkfifo(data / "pipe.csv")
    for name in ("link.csv", "zero.csv", "folder.csv", "pipe.csv", "li*.csv"):
        with pytest.raises(DataError, match=r"is a link that leads out|is no regular file"):
            fill(GOOD, sales={"files": {"sales": name}})


@pytest.mark.parametrize(
    "expression",
    [
        "(select content from read_text('{outside}'))",
        "(select count(*)::varchar from read_csv('{outside}'))",
        "getenv('HOME')",
        "customer_id) from sales; select (1",
    ],
)
def test_a34_expressions_reach_nothing_but_the_named_files(fill: Fill, expression: str, tmp_path: Path) -> None:
    outside = tmp_path / "secret.txt"
    outside.write_text("secret")
    with pytest.raises(RetainError, match="cannot be understood"):
        fill(GOOD, columns={"customer_id": expression.format(outside=outside)})


def test_a35_without_consent_nobody_can_be_contacted_unless_one_is_assumed(fill: Fill) -> None:
    customers = {"files": {"people": "people.csv"}, "columns": {"customer_id": "customer_id", "occurred_at": "timestamp '2024-01-01'"}}
    files = {"people.csv": b"customer_id\nc1\nc2\n"}
    workspace, report = fill(GOOD, files=files, tables={"customers": customers})
    assert _table(workspace, "customers")["consents"].isna().all()
    assert workspace.state().assumed == ()
    assert any("consent" in warning for warning in report.warnings)
    basis = "Everybody signed the form at the till."
    workspace, report = fill(
        GOOD, files=files, tables={"customers": customers}, assume={"consent": {"value": "email:marketing,mail:*", "basis": basis}}
    )
    assert [list(one) for one in _table(workspace, "customers")["consents"]] == [["email:marketing", "mail:*"]] * 2
    assert [(one.name, one.basis) for one in workspace.state().assumed] == [("consent", basis)]
    assert basis in report.text()


def test_too_many_unusable_rows_refuse_the_whole_and_leave_what_stood(fill: Fill) -> None:
    workspace, first = fill(GOOD)
    with pytest.raises(DataError, match=r"transactions: 1 of 4 rows are unusable \(amount:not_a_number 1\), more than the 10.0%"):
        fill([*GOOD, "o4,c1,p1,2024-01-08,1,x"], quarantine_share=0.1)
    assert workspace.state().digest == first.digest
    assert len(_table(workspace)) == 3
    assert not [path for path in workspace.root.iterdir() if path.name.startswith(".partial")]
