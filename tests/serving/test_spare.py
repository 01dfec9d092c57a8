"""Room for the next segment is made before it is needed, is used, is given back, and nobody fails where there is none."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from serving import spare
from serving.journal import Journal

FULL = 1 << 20


@pytest.fixture(autouse=True)
def has_room(tmp_path: Path) -> None:
    probe = spare.Spare(tmp_path)
    if not probe.make(1):
        pytest.skip("this file system makes no room beyond a file's end")
    probe.close()


def spares(folder: Path) -> list[Path]:
    return list(folder.glob("*.spare"))


def held(path: Path) -> int:
    return path.stat().st_blocks * 512


def half_full(folder: Path) -> Journal:
    """A log whose first segment is a little more than half full, after a sync, which is when room is looked for."""
    journal = Journal(folder, segment_bytes=FULL)
    fill(journal, 0.6)
    return journal


def fill(journal: Journal, share: float) -> None:
    for number in range(int(share * 100)):
        journal.append(1, number, (number,), bytes(FULL // 100))
    journal.sync()


def awaited(folder: Path) -> Path | None:
    """The spare file, once it has its room; None where it does not come."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        found = next((path for path in spares(folder) if held(path) >= FULL), None)
        if found is not None:
            return found
        time.sleep(0.01)
    return None


def test_the_next_segment_is_the_file_that_has_its_room_and_gives_back_what_it_did_not_need(tmp_path: Path) -> None:
    journal = half_full(tmp_path)
    made = awaited(tmp_path)
    assert made is not None
    inode, size = made.stat().st_ino, made.stat().st_size
    fill(journal, 0.5)
    second = tmp_path / "00000002.log"
    assert (second.stat().st_ino, size, journal.end.segment) == (inode, 0, 2)
    assert second.stat().st_size < FULL // 2 < FULL <= held(second), "no byte of it is taken for a record, and its blocks are there"
    other = Journal(tmp_path, segment_bytes=FULL // 20)
    other.append(1, 999, (999,), b"ends this segment early")
    other.close()
    assert journal.is_behind()
    with journal.alone():
        journal.catch_up()
    journal.sync()
    assert journal.end.segment == 3
    assert held(second) < second.stat().st_size + 2 * second.stat().st_blksize
    journal.close()
    assert spares(tmp_path) == []
    again = Journal(tmp_path, segment_bytes=FULL)
    assert [record.at for record in again.records((1,))] == [*range(60), *range(50), 999]
    again.close()


def test_a_log_that_is_little_used_holds_no_room(tmp_path: Path) -> None:
    journal = Journal(tmp_path, segment_bytes=FULL)
    fill(journal, 0.4)
    time.sleep(0.1)
    assert spares(tmp_path) == []
    assert held(tmp_path / "00000001.log") < FULL // 2
    journal.close()


def test_what_the_dead_left_goes_and_who_loses_one_begins_as_before(tmp_path: Path) -> None:
    dead = tmp_path / "0123456789ab.spare"
    dead.write_bytes(b"")
    journal = half_full(tmp_path)
    made = awaited(tmp_path)
    assert made is not None
    assert not dead.exists()
    Journal(tmp_path, segment_bytes=FULL).close()
    assert spares(tmp_path) == [made], "who lives keeps it"
    made.unlink()
    files = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else 0
    fill(journal, 0.5)
    assert journal.end.segment == 2
    assert (len(os.listdir("/proc/self/fd")) if files else -1) <= files - (files > 0), "its file is closed"
    journal.close()
    again = Journal(tmp_path, segment_bytes=FULL)
    assert [record.at for record in again.records((1,))] == [*range(60), *range(50)]
    again.close()


def test_where_no_room_can_be_made_nothing_is_missing_and_it_is_asked_for_once_a_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def full(file: int, flag: int, start: int, size: int) -> int:
        asked.append(size)
        return -1

    monkeypatch.setattr(spare, "_call", full)
    journal = half_full(tmp_path)
    fill(journal, 0.1)
    fill(journal, 0.1)
    fill(journal, 0.3)
    time.sleep(0.1)
    assert (journal.end.segment, journal.failed, spares(tmp_path), len(asked)) == (2, None, [], 1)
    assert FULL * 0.9 < asked[0] < FULL * 1.1
    journal.close()
