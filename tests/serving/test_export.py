"""Lists as files: cells that no spreadsheet runs, numbers untouched, whole or not at all."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retain.errors import ConfigError
from serving import export
from serving.answers import Answers
from serving.decisions.facts import Reason
from serving.schemas import CauseOut, ChurnList, ChurnRow, Freshness, Models

UNKNOWN = CauseOut("unknown", "none", "Nothing is recorded, and no rule holds.", "Ask for the reason.", False)


def made(*ids: str, reason: str = "No purchase for 40 days.") -> ChurnList:
    rows = [
        ChurnRow(rank, each, 0.5, -1.25, 0.0, "vip", "mature", ["email"], [Reason("SILENT", reason)], UNKNOWN, {"purchase": -1.25})
        for rank, each in enumerate(ids, start=1)
    ]
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    said = (Models("c", "v", None, "r"), "fresh", ["rows_of_older_tables"], Freshness(moment, 60.0, ["features"]))
    return ChurnList(rows, {"minor": 2}, 9, 28, "EUR", moment, ["consent = *:*: declared"], False, *said)


def read(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline="")))


@pytest.mark.fault("D1")
@pytest.mark.parametrize(
    "cell", ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "\nx", "＝1", "＋1", "－1", "＠x", " =1", "　=1", "\u200b=1", "|calc", "%x"]
)
def test_cells_that_would_run_are_neutralised(cell: str, tmp_path: Path) -> None:
    export.write(made(cell, reason=cell), tmp_path / "list.csv")
    (row,) = read(tmp_path / "list.csv")
    assert row["customer_id"] == row["reason_1"] == f"'{cell}"


@pytest.mark.fault("D1")
def test_numbers_are_untouched_also_negative_ones(tmp_path: Path) -> None:
    export.write(made("a"), tmp_path / "list.csv")
    (row,) = read(tmp_path / "list.csv")
    assert (row["risk"], row["value"], row["expected_loss"]) == ("0.5", "-1.25", "0.0")


@pytest.mark.fault("D2")
@settings(deadline=None)
@given(st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), min_size=1, max_size=20))
def test_every_text_comes_back_but_for_the_quote(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("list") / "list.csv"
    export.write(made(text), path)
    (row,) = read(path)
    assert row["customer_id"] == export.safe(text)
    assert export.safe(text).removeprefix("'") == text.removeprefix("'")
    assert row["customer_id"].lstrip(" \u3000\ufeff\u200b")[:1] not in export.DANGEROUS


@pytest.mark.fault("D2")
@pytest.mark.parametrize("text", ["00123", 'a,"b"', "two\nlines", "😀 ü", "客户"])
def test_ids_and_awkward_texts_round_trip(text: str, tmp_path: Path) -> None:
    export.write(made(text), tmp_path / "list.csv")
    export.write(made(text), tmp_path / "list.parquet")
    assert read(tmp_path / "list.csv")[0]["customer_id"] == text
    assert pq.read_table(tmp_path / "list.parquet")["customer_id"].to_pylist() == [text]


def test_the_summary_counts_who_was_left_out_and_says_what_is_assumed(tmp_path: Path) -> None:
    summary = json.loads(export.write(made("a", "b"), tmp_path / "list.csv").read_text())
    assert summary["left_out"] == {"minor": 2}
    assert summary["assumed"] == ["consent = *:*: declared"]
    assert summary["rows"] == 2
    assert (summary["source"], summary["degraded"], summary["freshness"]["stale"]) == ("fresh", ["rows_of_older_tables"], ["features"])
    assert summary["evidence"] == "D"


@pytest.mark.fault("D7")
def test_an_empty_list_is_a_file_with_a_header(tmp_path: Path) -> None:
    export.write(made(), tmp_path / "list.csv")
    export.write(made(), tmp_path / "list.parquet")
    assert read(tmp_path / "list.csv") == []
    assert pq.read_table(tmp_path / "list.parquet").column_names == list(export.COLUMNS)


@pytest.mark.fault("D4")
def test_a_write_that_fails_leaves_the_old_list_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "list.csv"
    export.write(made("old"), path)
    before = path.read_bytes()
    with pytest.raises(UnicodeEncodeError):
        export.write(made(*["new"] * 5000, "\ud800"), path)
    assert path.read_bytes() == before
    assert sorted(each.name for each in tmp_path.iterdir()) == ["list.csv", "list.csv.json", "list.involuntary.csv"]


@pytest.mark.fault("D8")
@pytest.mark.parametrize("name", ["list.txt", "list", "li\nst.csv", "folder.csv"])
def test_names_that_are_no_list_are_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ConfigError):
        export.kind_of(tmp_path / name)


def test_the_list_leaves_out_who_must_not_be_contacted_and_counts_them(make: Callable[..., Answers]) -> None:
    result = make().churn_list(10)
    assert [(row.customer_id, row.expected_loss) for row in result.rows] == [("bob", pytest.approx(45.0)), ("ann", pytest.approx(20.0))]
    assert result.left_out == {"not_scored": 1, "minor": 1, "refuses_profiling": 1, "do_not_contact": 1, "no_consent": 1}
    assert [row.customer_id for row in make().churn_list(10, "sms").rows] == ["ann"]
    assert make().churn_list(0).rows == []
    assert [reason.text for reason in result.rows[0].reasons] == ["Last purchase 40 days ago; the average gap between two is 7 days."]
