"""Who pulled which list: every change of the log is named, and no list goes out unseen."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from retain.cli import main
from retain.errors import IntegrityError, NotReadyError
from retain.workspace import Workspace
from serving import pull_log
from serving.desk import Desk
from serving.pull_log import HEAD, START, entries, keep, pulled

AT = datetime(2026, 3, 10, 12, tzinfo=UTC)
Change = Callable[[list[str]], list[str]]


def fill(root: Path, count: int = 5) -> Path:
    path = Workspace.at(root).pulls
    for number in range(count):
        keep(path, pulled("key 0123 crm", "churn", {"top": number}, ["ann", "bob"][: number % 3], {"churn": "c"}, AT))
    return path


def test_each_pull_follows_from_the_one_before_and_names_nobody(tmp_path: Path) -> None:
    path = fill(tmp_path)
    found = entries(path)
    assert [(each.sequence, each.rows, each.asked["top"]) for each in found] == [(1, 0, 0), (2, 1, 1), (3, 2, 2), (4, 0, 3), (5, 1, 4)]
    assert found[0].content == found[3].content != found[1].content
    assert "ann" not in path.read_text()
    assert entries(path, found[2].chain) == found
    assert entries(tmp_path / "nothing" / "pulls.jsonl") == []


@pytest.mark.fault("E7")
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lines: [*lines[:2], lines[2].replace('"rows":2', '"rows":1'), *lines[3:]], "line 3"),
        (lambda lines: [*lines[:2], *lines[3:]], "line 3"),
        (lambda lines: [*lines[:2], lines[1], *lines[2:]], "line 3"),
        (lambda lines: [lines[1], lines[0], *lines[2:]], "line 1"),
        (lambda lines: lines[:-1], "1 lines are missing"),
        (lambda _: [], "5 lines are missing"),
        (lambda lines: [*lines[:4], "{}"], "line 5"),
    ],
)
def test_every_change_is_named_and_no_list_goes_out_behind_it(tmp_path: Path, change: Change, said: str) -> None:
    path = fill(tmp_path)
    path.write_text("".join(line + "\n" for line in change(path.read_text().splitlines())))
    with pytest.raises(IntegrityError, match=said):
        entries(path)
    if "missing" in said or said == "line 5":
        with pytest.raises(IntegrityError, match="retain pulls verify"):
            keep(path, entries_of(AT))


def entries_of(at: datetime) -> pull_log.Pulled:
    return pulled("this machine", "churn", {}, [], {}, at)


@pytest.mark.fault("E7")
def test_a_bit_anywhere_is_missed(tmp_path: Path) -> None:
    path = fill(tmp_path)
    whole = path.read_bytes()
    for place in range(0, len(whole) - 1, 41):
        changed = bytearray(whole)
        changed[place] ^= 1
        path.write_bytes(changed)
        with pytest.raises(IntegrityError):
            entries(path)


def test_a_log_written_anew_is_told_by_a_head_that_was_noted(tmp_path: Path) -> None:
    noted = entries(fill(tmp_path / "one"))[-1].chain
    anew = fill(tmp_path / "other", 3)
    assert entries(anew, START)
    with pytest.raises(IntegrityError, match="written anew"):
        entries(anew, noted)


def test_a_crash_between_line_and_head_or_within_a_line_is_healed(tmp_path: Path) -> None:
    path = fill(tmp_path)
    head = path.with_name(HEAD)
    before = head.read_text()
    keep(path, entries_of(AT))
    head.write_text(before)
    assert len(entries(path)) == 6
    with path.open("a") as file:
        file.write('{"who":"cut sh')
    assert len(entries(path)) == 6
    keep(path, entries_of(AT))
    assert [each.sequence for each in entries(path)] == [1, 2, 3, 4, 5, 6, 7]


def test_the_service_hands_no_list_over_that_it_cannot_write_down(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    result = desk.churn_list("key 0123 crm", 2, None, "en")
    path = desk.ledger.folder.parent / "pulls.jsonl"
    last = entries(path)[-1]
    assert (last.who, last.rows, last.asked) == ("key 0123 crm", len(result.rows), {"top": 2, "channel": None, "language": "en"})
    path.unlink()
    path.mkdir()
    with pytest.raises((NotReadyError, IntegrityError)):
        desk.churn_list("key 0123 crm", 2, None, "en")


def test_the_command_shows_and_verifies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, where = fill(tmp_path), ["--workspace", str(tmp_path)]
    assert main(["pulls", "list", *where]) == 0
    assert capsys.readouterr().out.count("key 0123 crm") == 5
    assert main(["pulls", "verify", "--json", *where]) == 0
    assert json.loads(capsys.readouterr().out)["head"] == entries(path)[-1].chain
    path.write_text(path.read_text().replace("0123", "0124", 1))
    assert main(["pulls", "verify", *where]) == 7
    assert "line 1" in capsys.readouterr().err
