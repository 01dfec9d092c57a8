"""Writes are whole or not at all; readers check."""

from pathlib import Path

import pytest

from retain.errors import DataError, IntegrityError
from retain.files import MANIFEST, append_line, atomic_folder, atomic_path, read_json, remove_partials, verify_folder, write_json, write_text


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
