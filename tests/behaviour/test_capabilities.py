"""Every field that the capabilities name has its place in the tables."""

import re
from pathlib import Path

import pytest

from retain.tables import TABLES

PAGE = Path(__file__).resolve().parents[2] / "docs" / "capabilities.md"
ROWS = [line.split("|")[1:-1] for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| S")]
COLUMN = re.compile(rf"`({'|'.join(TABLES)})\.(\w+)`")


def test_all_95_capabilities_are_there() -> None:
    assert [row[0].strip() for row in ROWS] == [f"S{number}" for number in range(1, 96)]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].strip())
def test_named_columns_and_files_exist(row: list[str]) -> None:
    columns = COLUMN.findall(row[3])
    for table, column in columns:
        assert column in TABLES[table].names, f"{table}.{column}"
    if "DATA" in row[2]:
        assert columns, "a DATA row names at least one column"
    for file in re.findall(r"`([\w/]+\.(?:py|yaml))`", row[3]):
        assert (PAGE.parents[1] / file).is_file(), file
