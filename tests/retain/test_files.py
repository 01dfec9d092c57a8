"""Writes are whole or not at all; readers check."""

import ctypes
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from retain.errors import DataError, IntegrityError
from retain.files import (
    MANIFEST,
    alone,
    append_line,
    atomic_folder,
    atomic_path,
    passing_folder,
    read_json,
    remove_partials,
    verify_folder,
    write_json,
    write_text,
)


class _Killed(RuntimeError):
    """Stands for whatever ends a write half-way."""


def _write_then_die(target: Path) -> None:
    with atomic_path(target) as partial:
        partial.write_text("half")
        raise _Killed


def _build(folder: Path, **files: str) -> None:
    with atomic_folder(folder) as partial:
        for name, text in files.items():
            (partial / name).write_text(text)


def _build_then_die(folder: Path) -> None:
    with atomic_folder(folder) as partial:
        (partial / "a").write_text("half")
        raise _Killed


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "file.txt"
    write_text(target, "old")
    with pytest.raises(_Killed):
        _write_then_die(target)
    assert target.read_text() == "old"
    assert [path.name for path in target.parent.iterdir()] == ["file.txt"]


def test_an_interrupted_folder_leaves_the_old_folder(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    _build(folder, a="1")
    with pytest.raises(_Killed):
        _build_then_die(folder)
    assert set(verify_folder(folder)) == {"a"}
    assert (folder / "a").read_text() == "1"


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    _build(folder, a="1", b="2")
    _build(folder, a="3")
    assert set(verify_folder(folder)) == {"a"}
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("damage", ["flip", "remove", "add", "manifest", "shape"])
def test_a_changed_folder_is_refused(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "model"
    _build(folder, a="weights", b="more")
    if damage == "flip":
        content = bytearray((folder / "a").read_bytes())
        content[0] ^= 1
        (folder / "a").write_bytes(content)
    elif damage == "remove":
        (folder / "b").unlink()
    elif damage == "add":
        (folder / "c").write_text("stowaway")
    elif damage == "manifest":
        (folder / MANIFEST).unlink()
    else:
        (folder / MANIFEST).write_text('{"files": []}')
    with pytest.raises(IntegrityError, match="model"):
        verify_folder(folder)


def test_what_an_interrupted_process_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".partial-1-file").write_text("half")
    (tmp_path / ".partial-2-folder").mkdir()
    (tmp_path / "kept").write_text("whole")
    assert remove_partials(tmp_path) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_json_refuses_what_json_cannot_say(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"value": float("nan")})
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(DataError, match="broken.json"):
        read_json(tmp_path / "broken.json")


def test_lines_are_appended(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    append_line(log, "one")
    append_line(log, "two\n")
    assert log.read_text() == "one\ntwo\n"


@pytest.mark.fault("B3")
def test_a_line_for_which_there_is_half_the_room_is_an_error(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    append_line(log, "one")
    before, heard = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, before[1]))
    try:
        with pytest.raises(OSError, match="large"):
            append_line(log, "x" * 40)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, heard)
    assert log.read_text().splitlines()[0] == "one"


class _Old:
    """A C library that cannot exchange names."""


@pytest.fixture(params=["exchange", "renames"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "renames":
        monkeypatch.setattr(ctypes, "CDLL", lambda _: _Old())
    return str(request.param)


@pytest.mark.fault("B1")
def test_a_folder_that_is_replaced_is_there_at_every_moment(tmp_path: Path, way: str) -> None:
    folder, over, missed = tmp_path / "model", threading.Event(), 0
    _build(folder, a="0")

    def look() -> None:
        nonlocal missed
        while not over.is_set():
            missed += not (folder / "a").is_file()

    watcher = threading.Thread(target=look)
    watcher.start()
    for number in range(50):
        _build(folder, a=str(number))
    over.set()
    watcher.join()
    assert (folder / "a").read_text() == "49"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert way == "renames" or missed == 0


def test_a_folder_that_cannot_be_replaced_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, original = tmp_path / "model", Path.rename
    _build(folder, a="1")

    def refuses(self: Path, target: Path) -> Path:
        if target == folder and "-aside-" not in self.name:
            raise OSError("no")
        return original(self, target)

    monkeypatch.setattr(ctypes, "CDLL", lambda _: _Old())
    monkeypatch.setattr(Path, "rename", refuses)
    with pytest.raises(OSError, match="no"):
        _build(folder, a="2")
    assert (folder / "a").read_text() == "1"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_what_only_stood_aside_when_its_process_was_killed_gets_its_name_back(tmp_path: Path) -> None:
    _build(tmp_path / "model", a="1")
    (tmp_path / "model").rename(tmp_path / ".partial-aside-0123456789ab-model")
    (tmp_path / ".partial-ba9876543210-model").mkdir()
    remove_partials(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert (tmp_path / "model" / "a").read_text() == "1"


def test_what_must_go_before_a_folder_stands_goes_only_when_nothing_can_fail_any_more(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.write_text("of the old")

    def refuses(_: object) -> str:
        assert state.exists()
        raise OSError("no key")

    with pytest.raises(OSError, match="no key"), atomic_folder(tmp_path / "tables", refuses, state.unlink):
        pass
    assert state.exists()
    with atomic_folder(tmp_path / "tables", last=state.unlink):
        pass
    assert not state.exists()


def test_what_others_write_under_a_hold_of_their_own_is_left_until_they_let_go(tmp_path: Path) -> None:
    log, theirs = tmp_path / "log.jsonl", tmp_path / ".partial-1-log.head.json"
    held, over = threading.Event(), threading.Event()
    theirs.write_text("half")

    def write() -> None:
        with alone(log):
            held.set()
            over.wait(20)
            theirs.rename(tmp_path / "log.head.json")

    writer = threading.Thread(target=write)
    writer.start()
    held.wait(20)
    threading.Timer(0.2, over.set).start()
    assert remove_partials(tmp_path, {"log.head.json": log}) == 1
    writer.join()
    assert (tmp_path / "log.head.json").read_text() == "half"


HOLDS = (
    "import sys, time\nfrom pathlib import Path\nfrom retain.files import passing_folder\n"
    "with passing_folder(Path(sys.argv[1]), 'sql') as folder:\n    (folder / 'spilled').write_text('much')\n"
    "    print(folder, flush=True)\n    time.sleep(60)\n"
)


@pytest.mark.fault("B1")
def test_what_a_killed_process_spilled_goes_with_the_next_and_what_one_holds_stays(tmp_path: Path, happened: Callable[[str], None]) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "a-file").write_text("no folder")
    holds = [subprocess.Popen([sys.executable, "-c", HOLDS, str(tmp_path)], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        killed, alive = (Path(str(each.stdout and each.stdout.readline()).strip()) for each in holds)
        holds[0].kill()
        holds[0].wait()
        assert (killed / "spilled").is_file()
        with passing_folder(tmp_path, "feast") as mine:
            assert not killed.exists()
            assert (alive / "spilled").is_file()
            with passing_folder(tmp_path, "feast") as other:
                assert mine.is_dir()
                assert mine != other
    finally:
        for each in holds:
            each.kill()
            each.communicate()
    with passing_folder(tmp_path, "sql"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-file", "kept"]
    happened("what a killed process had spilled is removed by the next that spills; what a living one holds stays")
