"""Lists as files: whole or not at all, with cells that no spreadsheet takes for a formula, and a summary beside them."""

from __future__ import annotations

import csv
import math
from collections.abc import Container, Iterable, Sequence
from datetime import datetime
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

from msgspec import to_builtins

from retain.errors import ConfigError
from retain.files import atomic_path, sha256, write_json
from serving.decisions.value_parts import PARTS
from serving.schemas import ChurnList, ChurnRow

DANGEROUS = frozenset("=+-@\t\r\n＝＋－＠|%")
"""First characters that make a spreadsheet run a cell, full-width variants included."""
VALUES = tuple(f"value_{name}" for name in PARTS)
"""What ``value`` is made of; empty where a part is off or has no data."""
COLUMNS = (
    "rank", "customer_id", "risk", "value", "expected_loss", "band", "stage", "channels", "reason_1", "reason_2", "reason_3",
    "cause", "cause_by", "cause_basis", "remedy", "coupon", *VALUES, "expected_orders", "next_purchase",
)  # fmt: skip
NUMBERS = frozenset({"risk", "value", "expected_loss", *VALUES, "expected_orders"})
WHOLE = frozenset({"rank"})
Kind = Literal["csv", "parquet", "xlsx"]
SHEET_ROWS = 1_048_575
"""Most rows of a sheet below its header."""
_BLOCK = 20_000
"""Rows of a Parquet row group."""


def safe(text: str) -> str:
    """A text cell that a spreadsheet shows and does not run: a quote before it where it would.

    >>> safe("=1+1"), safe("plain"), safe(" @x")
    ("'=1+1", 'plain', "' @x")
    """
    first = text.lstrip(" \u3000\ufeff\u200b")[:1]
    return f"'{text}" if first in DANGEROUS and first else text


def kind_of(path: Path) -> Kind:
    """The format that a file name says.

    Raises:
        ConfigError: neither CSV, Parquet nor XLSX, or the name is no plain file name.
    """
    kinds: dict[str, Kind] = {".csv": "csv", ".parquet": "parquet", ".xlsx": "xlsx"}
    kind = kinds.get(path.suffix.lower())
    if kind is None:
        raise ConfigError(f"--out {path.name}: a list is written as .csv, .parquet or .xlsx; name the file so", field="out")
    if any(ord(each) < 32 or ord(each) == 127 for each in str(path)) or path.is_symlink() or path.is_dir():
        raise ConfigError(f"--out {path.name!r}: not a plain file name; choose another", field="out")
    return kind


def write(result: ChurnList, path: Path) -> Path:
    """Write a list and its summary (``<name>.json``: rows, who was left out, models, what is assumed, checksum); return the summary's path.

    Who is likely to leave for reasons outside what is sold lies in a file of its own beside it, so that no campaign takes them along.
    CSV is UTF-8 with a mark for spreadsheets and neutralised cells; Parquet holds the values as they are.
    """
    apart = beside(path)
    for place, rows in ((path, result.rows), (apart, result.involuntary)):
        write_table(place, COLUMNS, map(_values, rows), result.as_of)
    summary = path.with_name(f"{path.name}.json")
    files = {"file": path.name, "sha256": sha256(path), "involuntary_file": apart.name, "involuntary_sha256": sha256(apart)}
    write_json(summary, {**files, **describe(result)})
    return summary


def write_rows(path: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write any table as CSV, whole or not at all, text cells neutralised."""
    with atomic_path(path) as partial, partial.open("w", encoding="utf-8-sig", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(columns)
        writer.writerows([safe(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)


def beside(path: Path) -> Path:
    """Where the customers go who are listed apart as involuntary.

    >>> beside(Path("churn.csv")).name
    'churn.involuntary.csv'
    """
    return path.with_name(f"{path.stem}.involuntary{path.suffix}")


def describe(result: ChurnList) -> dict[str, Any]:
    """A list in words and counts, without its rows."""
    return {
        "rows": len(result.rows),
        "customers": result.customers,
        "left_out": result.left_out,
        "value_parts": to_builtins(result.value_parts),
        "involuntary": len(result.involuntary),
        "causes": result.causes,
        "causes_by": "recorded, else the first declared rule that holds (a guess, not a finding), else unknown",
        "recorded_causes": to_builtins(result.recorded_causes),
        "as_of": result.as_of.isoformat(),
        "source": result.source,
        "degraded": result.degraded,
        "freshness": to_builtins(result.freshness),
        "horizon_days": result.horizon_days,
        "currency": result.currency,
        "order": "expected_loss = risk x value, falling; equal losses by customer_id; value = purchases and the parts that are on",
        "reasons_by": "what the churn model says each feature adds (SHAP)" if result.reasons_by == "model" else "declared rules",
        "typical": "the median of all customers whose features are known",
        "evidence": "D",
        "synthetic": result.synthetic,
        "assumed": result.assumed,
        "models": {"churn": result.models.churn, "clv": result.models.clv, "rows": result.models.rows},
    }


def _values(row: ChurnRow) -> list[Any]:
    texts = [reason.text for reason in row.reasons[:3]]
    reasons = [*texts, *[""] * (3 - len(texts))]
    cause = [row.cause.cause, row.cause.by, row.cause.basis, row.cause.remedy, "yes" if row.cause.coupon else "no"]
    values = [row.value_parts.get(name) for name in PARTS]
    figures = [row.rank, row.customer_id, row.risk, row.value, row.expected_loss]
    ahead = [row.expected_orders, None if row.next_purchase_at is None else f"{row.next_purchase_at:%Y-%m-%d}"]
    return [*figures, row.band, row.stage, " ".join(row.channels), *reasons, *cause, *values, *ahead]


def write_table(
    path: Path,
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    made_at: datetime,
    numbers: Container[str] = NUMBERS,
    whole: Container[str] = WHOLE,
) -> None:
    """Write rows as they come, in the format that the name says, whole or not at all.

    Args:
        path: the file.
        columns: its header.
        rows: cells in that order.
        made_at: stands in a workbook as its date, so that equal lists are equal files.
        numbers: columns of numbers; the others hold text.
        whole: columns of whole numbers.
    """
    kind = kind_of(path)
    with atomic_path(path) as partial:
        if kind == "csv":
            _csv(columns, rows, partial)
        elif kind == "xlsx":
            _xlsx(columns, rows, partial, made_at)
        else:
            _parquet(columns, rows, partial, numbers, whole)


def _csv(columns: Sequence[str], rows: Iterable[Sequence[Any]], path: Path) -> None:
    with path.open("w", encoding="utf-8-sig", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\r\n")
        writer.writerow(columns)
        writer.writerows([safe(value) if isinstance(value, str) else value for value in row] for row in rows)


def _parquet(columns: Sequence[str], rows: Iterable[Sequence[Any]], path: Path, numbers: Container[str], whole: Container[str]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(name, pa.int64() if name in whole else pa.float64() if name in numbers else pa.string()) for name in columns])
    waiting = iter(rows)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        while block := list(islice(waiting, _BLOCK)):
            writer.write_table(
                pa.table([pa.array(cells, kind.type) for cells, kind in zip(zip(*block, strict=True), schema, strict=True)], schema=schema)
            )


def _xlsx(columns: Sequence[str], rows: Iterable[Sequence[Any]], path: Path, made_at: datetime) -> None:
    """Text is written as text, so no cell is a formula and none is changed."""
    try:
        import xlsxwriter
    except ImportError as error:
        raise ConfigError("a workbook needs XlsxWriter: `pip install 'retain[excel]'`, or name the file .csv", field="out") from error
    with xlsxwriter.Workbook(str(path), {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False}) as book:
        book.set_properties({"created": made_at.replace(tzinfo=None)})
        sheet = book.add_worksheet("list")
        sheet.freeze_panes(1, 0)
        for count, row in enumerate(chain([columns], rows)):
            if count > SHEET_ROWS:
                raise ConfigError(f"a sheet holds {SHEET_ROWS} rows and this list has more; name the file .csv or .parquet", field="out")
            for place, value in enumerate(row):
                if isinstance(value, str):
                    sheet.write_string(count, place, value)
                elif value is not None and math.isfinite(value):
                    sheet.write_number(count, place, value)
