"""The log: whole records or none, whoever dies; what is written twice stands once, whoever writes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from retain.errors import IntegrityError
from serving import journal as module
from serving import segments
from serving.journal import Journal

WRITER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from serving.entries import Entry, Outcome
from serving.ledger import Ledger, stamp
folder, me, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
now = datetime(2026, 3, 10, tzinfo=UTC)
ledger = Ledger(folder)
won = 0
for number in range(count):
    name = f"d{number}"
    entry = Entry(name, name, "hash", me, stamp(now), b"{}", me.encode() * 50, '{"*": "2027"}')
    won += ledger.record(entry, now) is entry
    outcome = Outcome(f"o{number}", "hash", name, None, "shown", stamp(now), None, None, None, None, stamp(now), True)
    if not ledger.add(outcome, b"{}").is_duplicate:
        ledger.journal.sync()
        print(f"o{number}", flush=True)
print(won, flush=True)
ledger.close()
"""


def filled(folder: Path, count: int = 5) -> Journal:
    journal = Journal(folder)
    for number in range(count):
        journal.append(1, number, (number, 1000), f"body {number}".encode())
    return journal


def bodies(journal: Journal) -> list[bytes]:
    return [record.body for record in journal.records((1,))]


def test_what_was_written_is_found_by_key_and_in_order_also_by_the_next_process(tmp_path: Path) -> None:
    journal = filled(tmp_path)
    journal.append(2, 9, (3,), b"another kind")
    for _ in range(2):
        assert bodies(journal) == [f"body {number}".encode() for number in range(5)]
        assert [record.body for record in journal.find(3, 1)] == [b"body 3"]
        assert [record.at for record in journal.find(1000, 1)] == [4, 3, 2, 1, 0]
        assert list(journal.find(7, 1)) == []
        journal.close()
        journal = Journal(tmp_path)
    journal.close()


@pytest.mark.parametrize("lost", [1, 7, 20, 30])
def test_a_torn_tail_is_cut_counted_and_kept_aside(tmp_path: Path, lost: int) -> None:
    journal = filled(tmp_path)
    whole = journal.end.offset
    journal.append(1, 9, (9,), b"the last one, never whole")
    journal.close()
    path = tmp_path / "00000001.log"
    os.truncate(path, path.stat().st_size - lost)
    left = path.stat().st_size - whole
    reader = Journal(tmp_path, read_only=True)
    assert len(bodies(reader)) == 5
    reader.close()
    again = Journal(tmp_path)
    assert [(torn.place.offset, torn.bytes) for torn in again.torn] == [(whole, left)]
    assert len(bodies(again)) == 5
    assert path.stat().st_size == whole
    assert next(tmp_path.glob("*.torn")).stat().st_size == left
    again.append(1, 10, (10,), b"after")
    assert bodies(again)[-1] == b"after"
    again.close()


def test_another_writer_cuts_what_one_left_torn_while_it_was_open(tmp_path: Path) -> None:
    journal = filled(tmp_path)
    with (tmp_path / "00000001.log").open("ab") as half:
        half.write(b"\x99\x00\x00\x00half a record")
    journal.append(1, 9, (9,), b"behind it")
    assert len(journal.torn) == 1
    assert bodies(journal)[-1] == b"behind it"
    journal.close()


def test_full_segments_are_looked_up_on_disk_and_a_changed_one_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SEGMENT_RECORDS", 10)
    journal = filled(tmp_path, 35)
    journal.sync()
    journal.close()
    assert len(list(tmp_path.glob("*.log"))) == 4
    (tmp_path / "00000002.index").unlink(missing_ok=True)
    again = Journal(tmp_path)
    assert [record.at for record in again.find(1000, 1)] == list(range(34, -1, -1))
    assert [record.at for record in again.records((1,))] == list(range(35))
    assert [record.at for record in again.records((1,), again.end)] == []
    assert all(sealed.index is None and not sealed.rows for sealed in again._sealed)
    again.close()
    path = tmp_path / "00000002.log"
    content = bytearray(path.read_bytes())
    content[40] ^= 1
    path.write_bytes(content)
    changed = Journal(tmp_path)
    with pytest.raises(IntegrityError, match=r"00000002\.log"):
        list(changed.records((1,)))
    changed.close()


def test_the_index_in_memory_is_laid_down_as_it_would_be_made_from_the_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SEGMENT_RECORDS", 30)
    journal = Journal(tmp_path)
    for number in range(100):
        journal.append(1 + number % 3, number, (number % 7, 2**64 - 1 - number, 5), b"x" * number)
    journal.sync()
    journal.close()
    laid = {path.name: path.read_bytes() for path in tmp_path.glob("*.index")}
    for name in laid:
        segments.build(tmp_path, int(name.split(".")[0]))
    assert laid == {path.name: path.read_bytes() for path in tmp_path.glob("*.index")}
    assert len(laid) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="what of a map is in memory is read from /proc")
def test_an_index_that_nobody_looks_into_takes_no_memory_and_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SEGMENT_RECORDS", 2_000)

    def held() -> list[int]:
        """Bytes of each map of an index that are in memory of this process."""
        lines, found, is_index = Path("/proc/self/smaps").read_text().splitlines(), list[int](), False
        for line in lines:
            if not line[0].isupper():
                is_index = line.endswith(".index") and str(tmp_path) in line
            elif is_index and line.startswith("Rss:"):
                found.append(1024 * int(line.split()[1]))
        return found

    for _ in range(2):
        journal = Journal(tmp_path)
        for number in range(9_000):
            journal.append(1, number, (number, number + 2**40), b"x" * 40)
        journal.close()
    journal = Journal(tmp_path)
    assert len(held()) == len(list(tmp_path.glob("*.index"))) >= 8
    assert not any(held())
    files = [os.readlink(each) for each in Path("/proc/self/fd").iterdir() if each.is_symlink()]
    assert not [each for each in files if each.endswith(".index")], "a process that lives for years fills more segments than it may open files"
    assert next(journal.find(5, 1)).body == b"x" * 40
    assert any(held()), "a look maps what it looks at"
    journal.close()


def test_who_writes_waits_for_no_disk_at_the_end_of_a_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SEGMENT_RECORDS", 10)
    journal = filled(tmp_path)
    journal.sync()
    real, goes_on, synced = os.fdatasync, threading.Event(), list[int]()

    def stuck(file: int) -> None:
        goes_on.wait()
        synced.append(os.fstat(file).st_ino)
        real(file)

    monkeypatch.setattr(os, "fdatasync", stuck)
    for number in range(5, 15):
        journal.append(1, number, (number,), b"x")
    # The segment ended and another began; an index would say that the full one is on disk.
    assert (journal.end.segment, list(tmp_path.glob("*.index"))) == (2, [])
    assert [record.at for record in journal.records((1,))] == list(range(15))
    more = threading.Thread(target=lambda: [journal.append(1, number, (number,), b"x") for number in range(15, 25)])
    more.start()
    more.join(0.3)
    assert more.is_alive(), "a second full segment that is not on disk has to wait"
    goes_on.set()
    more.join()
    journal.sync()
    full, behind = ((tmp_path / f"0000000{number}.log").stat().st_ino for number in (1, 2))
    assert full in synced[: synced.index(behind)], "what is behind a segment is on disk after it"
    journal.close()
    assert len(list(tmp_path.glob("*.index"))) == 2
    again = Journal(tmp_path)
    assert ([record.at for record in again.records((1,))], again.torn) == (list(range(25)), [])
    again.close()


def test_a_power_loss_at_the_end_of_a_segment_costs_no_more_than_what_was_not_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SEGMENT_RECORDS", 10)
    filled(tmp_path, 25).close()
    last = tmp_path / "00000002.log"
    os.truncate(last, last.stat().st_size - 40)
    with pytest.raises(IntegrityError, match=r"00000002\.log"):
        # Its index lies beside it, so it was on disk: no power loss took this.
        Journal(tmp_path)
    (tmp_path / "00000002.index").unlink()
    behind = (tmp_path / "00000003.log").stat().st_size
    again = Journal(tmp_path)
    assert (again.torn[0].place.segment, again.torn[0].bytes) == (3, behind)
    assert (tmp_path / "00000003-0.torn").stat().st_size == behind
    kept = [record.at for record in again.records((1,))]
    assert kept == list(range(len(kept)))
    assert 15 < len(kept) < 20
    again.append(1, 99, (99,), b"after")
    again.close()
    third = Journal(tmp_path)
    assert [record.at for record in third.records((1,))] == [*kept, 99]
    third.close()


def test_threads_that_wait_share_a_sync(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    syncs = []
    real = os.fdatasync

    def counted(file: int) -> None:
        syncs.append(file)
        real(file)

    def write(start: int) -> None:
        for number in range(start, start + 25):
            journal.append(1, number, (number,), b"x")
            journal.sync()

    os.fdatasync = counted
    try:
        threads = [threading.Thread(target=write, args=(100 * place,)) for place in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        os.fdatasync = real
    assert sorted(record.at for record in journal.records((1,))) == sorted(100 * place + number for place in range(8) for number in range(25))
    assert len(syncs) < 200
    journal.close()


@pytest.mark.fault("C16")
def test_two_processes_never_lose_and_never_double(tmp_path: Path) -> None:
    from serving.ledger import Ledger

    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    both = [subprocess.Popen([*command, name, "300"], stdout=subprocess.PIPE, text=True) for name in ("one", "two")]
    said = [process.communicate()[0].split() for process in both]
    acknowledged = [name for lines in said for name in lines[:-1]]
    assert sorted(acknowledged) == sorted(f"o{number}" for number in range(300)), "each was acknowledged as new by one of the two"
    assert sum(int(lines[-1]) for lines in said) == 300, "each decision is that of one of the two"
    ledger = Ledger(tmp_path)
    assert sorted(entry.decision_id for entry in ledger.decisions()) == sorted(f"d{number}" for number in range(300))
    assert sorted(outcome.outcome_id for outcome in ledger.everything()) == sorted(acknowledged)
    ledger.close()


@pytest.mark.fault("C16")
@pytest.mark.parametrize("trials", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_writers_lose_nothing_that_they_acknowledged(tmp_path: Path, trials: int) -> None:
    from serving.ledger import Ledger

    acknowledged: set[str] = set()
    for trial in range(trials):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), str(trial), "100000"], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        lines = [process.stdout.readline().strip() for _ in range(20 + 13 * (trial % 5))]
        process.kill()
        lines += [line.strip() for line in process.stdout if line.endswith("\n")]
        process.wait()
        process.stdout.close()
        assert len(lines) >= 20
        acknowledged |= set(lines)
    ledger = Ledger(tmp_path)
    kept = [outcome.outcome_id for outcome in ledger.everything()]
    decided = [entry.decision_id for entry in ledger.decisions()]
    assert acknowledged <= set(kept)
    assert len(kept) == len(set(kept))
    assert len(decided) == len(set(decided)) >= len(kept)
    ledger.close()
