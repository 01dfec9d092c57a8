"""Who pulled which list: every change of the log is named, and no list goes out unseen."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from retain.cli import main
from retain.errors import IntegrityError, NotReadyError
from retain.workspace import Workspace
from serving import batches, pull_log
from serving.answers import Answers
from serving.desk import LISTS, BusyError, Desk
from serving.direct import Caller
from serving.keys import Key
from serving.metrics import Metrics
from serving.pull_log import HEAD, START, TOGETHER, entries, keep, keep_all, pulled
from serving.runner import whole
from serving.schemas import DecisionRequest, DecisionsRequest, ScoresRequest

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


@pytest.mark.fault("C28")
def test_more_lists_than_can_be_made_soon_are_refused_and_none_is_noted_for_who_is_gone(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    makes, go_on = threading.Event(), threading.Event()
    makers: list[str] = []
    original = Answers.churn_list

    def slowly(answers: Answers, *asked: Any) -> Any:
        makers.append(threading.current_thread().name)
        makes.set()
        assert go_on.wait(10)
        return original(answers, *asked)

    monkeypatch.setattr(Answers, "churn_list", slowly)
    gone: set[int] = set()

    def call(number: int) -> Any:
        return desk.pulled(f"key {number}", 2, None, "en", lambda: number in gone)

    async def many() -> list[Any]:
        waiting = [asyncio.ensure_future(call(number)) for number in range(LISTS)]
        await asyncio.to_thread(makes.wait, 10)
        with pytest.raises(BusyError, match="wait and ask again"):
            await call(LISTS)
        # One hangs up while its list is made, one while it waits for it.
        gone.update((0, 2))
        go_on.set()
        found = await asyncio.gather(*waiting, return_exceptions=True)
        return [*found, await call(LISTS + 1)]

    found = asyncio.run(many())
    assert [isinstance(each, BusyError) for each in found] == [True, False, True, False, False]
    assert [each.who for each in entries(desk.ledger.folder.parent / "pulls.jsonl")] == ["key 1", "key 3", f"key {LISTS + 1}"]
    assert len(makers) == 4, "for who was gone before it was begun none is made"


def test_over_http_who_hangs_up_pulls_nothing_and_who_comes_too_much_is_told_when_to_come(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    app, original, go_on = whole(desk, Metrics()), Answers.churn_list, threading.Event()

    def slowly(answers: Answers, *asked: Any) -> Any:
        assert go_on.wait(10)
        return original(answers, *asked)

    monkeypatch.setattr(Answers, "churn_list", slowly)

    async def call(*, hangs_up: bool = False) -> tuple[int, dict[bytes, bytes]]:
        sent: list[Any] = []
        came = iter([{"type": "http.request", "body": b"", "more_body": False}])

        async def receive() -> Any:
            for each in came:
                return each
            if not hangs_up:
                await asyncio.sleep(60)
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"host", b"127.0.0.1")]
        about = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http", "root_path": ""}
        where = {"path": "/v1/lists/churn", "raw_path": b"/v1/lists/churn", "query_string": b"top=2"}
        await app({**about, **where, "headers": headers, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2)}, receive, send)
        return sent[0]["status"], dict(sent[0]["headers"])

    async def many() -> list[Any]:
        waiting = [asyncio.ensure_future(call(hangs_up=number % 2 == 0)) for number in range(LISTS)]
        await asyncio.sleep(0.1)
        refused = await call()
        go_on.set()
        return [*(await asyncio.gather(*waiting)), refused]

    found = asyncio.run(many())
    assert [status for status, _ in found] == [503, 200, 503, 200, 503]
    assert found[-1][1][b"retry-after"] == b"1"
    assert len(entries(desk.ledger.folder.parent / "pulls.jsonl")) == 2


def test_many_go_down_with_one_sync_and_a_crash_before_their_head_is_healed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = fill(tmp_path, 3)
    before = path.with_name(HEAD).read_text()
    syncs: list[int] = []
    original = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (syncs.append(handle), original(handle))[1])
    keep(path, entries_of(AT))
    one = len(syncs)
    keep_all(path, [entries_of(AT)] * (TOGETHER - 1))
    assert len(syncs) == 2 * one
    path.with_name(HEAD).write_text(before)
    assert [each.sequence for each in entries(path)] == list(range(1, TOGETHER + 4))
    keep(path, entries_of(AT))
    assert entries(path)[-1].sequence == TOGETHER + 4
    # What does not follow, within what a crash may leave, is no crash.
    lines = path.read_text().splitlines()
    path.with_name(HEAD).write_text(before)
    path.write_text("".join(f"{line}\n" for line in (*lines[:20], *lines[21:])))
    with pytest.raises(IntegrityError, match="retain pulls verify"):
        keep(path, entries_of(AT))


@pytest.mark.fault("E7")
def test_who_looks_while_a_list_goes_out_sees_no_forgery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, original = fill(tmp_path), pull_log._lines
    writer = threading.Thread(target=keep, args=(path, entries_of(AT)))

    def meanwhile(place: Path) -> list[str]:
        found = original(place)
        writer.start()
        writer.join(0.3)
        return found

    with monkeypatch.context() as patched:
        patched.setattr(pull_log, "_lines", meanwhile)
        assert len(entries(path)) == 5
    writer.join()
    assert len(entries(path)) == 6


@pytest.mark.fault("E7")
def test_who_only_reads_makes_no_lock_and_needs_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock made by an account that may read everything could not be opened by the service, and no list would go out any more."""
    lock, path, original = tmp_path / ".pulls.jsonl.lock", tmp_path / "pulls.jsonl", pull_log._head
    assert entries(path) == []
    assert list(tmp_path.iterdir()) == []
    assert fill(tmp_path) == path
    lock.unlink()
    assert len(entries(path)) == 5
    assert not lock.exists()

    def meanwhile(place: Path) -> tuple[int, str]:
        found = original(place)
        monkeypatch.setattr(pull_log, "_head", original)
        keep(path, entries_of(AT))
        return found

    monkeypatch.setattr(pull_log, "_head", meanwhile)
    assert len(entries(path)) == 6, "without a lock a pull may come between head and lines"


@pytest.mark.fault("C23")
def test_a_head_that_could_not_be_written_for_long_closes_nothing_for_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, original = fill(tmp_path, 3), pull_log.write_json

    def full(_place: Path, _value: Any) -> None:
        raise OSError("no room")

    monkeypatch.setattr(pull_log, "write_json", full)
    for _ in range(5):
        with pytest.raises(OSError, match="no room"):
            keep_all(path, [entries_of(AT)] * TOGETHER)
    monkeypatch.setattr(pull_log, "write_json", original)
    keep(path, entries_of(AT))
    assert [each.sequence for each in entries(path)] == list(range(1, 3 + TOGETHER + 2))


def test_a_log_that_is_longer_than_its_tail_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pull_log, "TAIL", 1000)
    path = fill(tmp_path, 12)
    assert len(entries(path)) == 12


def test_answers_about_several_customers_are_noted_once_each_and_of_one_nothing(desk: Desk, wait: Callable[[Any], Any]) -> None:
    crm = Key(key_id="0123456789ab", name="crm", hash="0" * 64, scopes=("crm",), created_at=AT, expires_at=AT, per_minute=60)
    caller, path = Caller(time.monotonic(), key=crm), desk.ledger.folder.parent / "pulls.jsonl"
    many = DecisionsRequest([DecisionRequest("ann", dry_run=True), DecisionRequest("bob", placement="inbound_end")])

    async def asks() -> None:
        await batches.scores(desk, ScoresRequest(["ann"], explain=True), caller)
        await batches.decisions(desk, DecisionsRequest(many.requests[:1]), caller)
        assert not path.exists()
        await batches.scores(desk, ScoresRequest(["ann", "nobody"], explain=True), caller)
        await batches.decisions(desk, many, caller)
        await batches.whole(desk, ScoresRequest(["bob", "ann"]))

    wait(asks())
    found = entries(path)
    assert [(each.who, each.list, each.rows) for each in found] == [
        ("key 0123456789ab crm", "scores", 2),
        ("key 0123456789ab crm", "decisions", 2),
        ("this machine", "scores", 2),
    ]
    assert [each.asked for each in found] == [{"explain": True, "language": "en"}, {"dry_run": 1}, {"explain": False, "language": "en"}]
    assert found[0].models["churn"] == "churn-hand"
    assert "ann" not in path.read_text()


def test_many_callers_at_once_are_noted_together_and_none_is_told_where_it_cannot_be(desk: Desk, wait: Callable[[Any], Any]) -> None:
    caller, path = Caller(time.monotonic()), desk.ledger.folder.parent / "pulls.jsonl"

    async def asks(count: int) -> list[Any]:
        asked = ScoresRequest(["ann", "bob"])
        return await asyncio.gather(*(batches.scores(desk, asked, caller) for _ in range(count)), return_exceptions=True)

    assert not [each for each in wait(asks(100)) if isinstance(each, Exception)]
    assert len(entries(path)) == 100
    path.unlink()
    path.mkdir()
    assert all(isinstance(each, NotReadyError | IntegrityError) for each in wait(asks(5)))
    path.rmdir()


def test_the_command_shows_and_verifies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, where = fill(tmp_path), ["--workspace", str(tmp_path)]
    assert main(["pulls", "list", *where]) == 0
    assert capsys.readouterr().out.count("key 0123 crm") == 5
    assert main(["pulls", "verify", "--json", *where]) == 0
    assert json.loads(capsys.readouterr().out)["head"] == entries(path)[-1].chain
    path.write_text(path.read_text().replace("0123", "0124", 1))
    assert main(["pulls", "verify", *where]) == 7
    assert "line 1" in capsys.readouterr().err
