"""Long lists, and lists that are cut short: bounded memory, a checksum that fits, and nothing half-written under the name."""

from __future__ import annotations

import csv
import hashlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from retain.files import PARTIAL, sha256

Happened = Callable[[str], None]
WRITE = """
import resource, sys
from datetime import UTC, datetime
from pathlib import Path
from serving.export import write_table
rows = ((number, f"C{number:08d}", "=cmd|x", number / 7) for number in range(int(sys.argv[2])))
write_table(Path(sys.argv[1]), ("rank", "customer_id", "reason", "risk"), rows, datetime(2026, 1, 1, tzinfo=UTC))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
LIMIT = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))\n"


def written(path: Path, rows: int, before: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", before + WRITE, str(path), str(rows)], capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.fault("D3")
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_million_rows_take_no_more_memory_than_a_tenth_of_them(tmp_path: Path, kind: str, happened: Happened) -> None:
    few, many = written(tmp_path / f"few.{kind}", 100_000), written(tmp_path / f"many.{kind}", 1_000_000)
    assert (few.returncode, many.returncode) == (0, 0), many.stderr
    grown_mb = (int(many.stdout) - int(few.stdout)) / 1024
    assert grown_mb < 60
    path = tmp_path / f"many.{kind}"
    if kind == "csv":
        with path.open(encoding="utf-8-sig", newline="") as handle:
            rows = sum(1 for _ in csv.reader(handle)) - 1
    else:
        rows = pq.ParquetFile(path).metadata.num_rows
    assert rows == 1_000_000
    assert sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    happened(f"{kind}: a million rows, {path.stat().st_size / 1e6:.0f} MB, {max(grown_mb, 0):.0f} MB more memory than a tenth of them")


@pytest.mark.fault("D4")
@pytest.mark.parametrize("kind", ["csv", "parquet", "xlsx"])
def test_a_full_disk_leaves_the_old_list(tmp_path: Path, kind: str) -> None:
    pytest.importorskip("xlsxwriter") if kind == "xlsx" else None
    path = tmp_path / f"list.{kind}"
    path.write_text("the list of before")
    done = written(path, 400_000 if kind != "xlsx" else 60_000, LIMIT.replace("3_000_000", "300_000") if kind == "xlsx" else LIMIT)
    assert done.returncode != 0
    assert "File too large" in done.stderr
    assert path.read_text() == "the list of before"
    assert not list(tmp_path.glob(f"{PARTIAL}*"))


@pytest.mark.fault("D4")
def test_killed_while_a_list_is_written_the_old_one_stands(tmp_path: Path, happened: Happened) -> None:
    path = tmp_path / "list.csv"
    path.write_text("the list of before")
    for after in (0.0, 0.05, 0.2):
        process = subprocess.Popen([sys.executable, "-c", WRITE, str(path), "3000000"], stdout=subprocess.DEVNULL)
        end = time.monotonic() + 60
        while not any(half.stat().st_size for half in tmp_path.glob(f"{PARTIAL}*")):
            assert time.monotonic() < end
            time.sleep(0.005)
        time.sleep(after)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert path.read_text() == "the list of before"
        for half in tmp_path.glob(f"{PARTIAL}*"):
            half.unlink()
    happened("killed three times and three times out of disk: the list of before stood under the name")


def test_the_summary_holds_the_hash_of_the_list(tmp_path: Path) -> None:
    from datetime import UTC, datetime

    from serving.export import write
    from serving.schemas import ChurnList, Freshness, Models

    at = datetime(2026, 1, 1, tzinfo=UTC)
    empty = ChurnList([], {}, 0, 28, "EUR", at, [], False, Models("c", "v", None, "r"), "fresh", [], Freshness(at, None, []))
    summary = json.loads(write(empty, tmp_path / "list.csv").read_text())
    assert summary["sha256"] == sha256(tmp_path / "list.csv")
