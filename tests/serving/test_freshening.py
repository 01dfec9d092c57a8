"""The thread that makes rows again outlives whatever fails in it; meanwhile every answer, readiness and the page of metrics say so."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from retain.errors import IntegrityError
from retain.workspace import Workspace
from serving import freshening
from serving.desk import Desk
from serving.freshening import NOT_MADE, Freshener
from serving.incoming import Fact
from serving.logs import in_lines
from serving.schemas import DecisionRequest

PATIENCE_S = 10.0


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freshening, "LISTEN_S", 0.01)
    monkeypatch.setattr(freshening, "AGAIN_S", 0.02)


@pytest.fixture
def waiting() -> list[int]:
    return []


@pytest.fixture
def freshener(desk: Desk, tmp_path: Path, waiting: list[int]) -> Iterator[Freshener]:
    freshener = Freshener(desk, Workspace.at(tmp_path), waiting.append)
    yield freshener
    freshener.stop()


def until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.005)


def came_in(desk: Desk, now: datetime) -> None:
    row = json.dumps({"event_id": "e1", "customer_id": "ann", "occurred_at": now.isoformat(), "kind": "visit"}).encode()
    desk.answers.fresh.happened(Fact("events", "e1", "-", "ann", now.isoformat(), now.isoformat(), row))
    desk.came_in()


def made(desk: Desk) -> Callable[[], int]:
    """A round that works."""

    def work() -> int:
        return len(desk.answers.fresh.next(10))

    return work


@pytest.mark.parametrize("place", ["listen", "round", "_warm"])
@pytest.mark.parametrize("error", [IntegrityError("tombstones: they cannot be read"), ValueError("secret words")])
def test_whatever_fails_it_goes_on_and_says_so(
    desk: Desk,
    freshener: Freshener,
    waiting: list[int],
    place: str,
    error: Exception,
    now: datetime,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    is_broken, tries = True, []
    on: Any = desk if place == "listen" else freshener
    works: Callable[[], Any] = made(desk) if place == "round" else getattr(on, place)

    def fails() -> Any:
        tries.append(1)
        if is_broken:
            raise error
        return works()

    monkeypatch.setattr(freshener, "round", made(desk))
    monkeypatch.setattr(on, place, fails)
    came_in(desk, now)
    freshener.start()
    until(lambda: len(tries) > 3)
    assert NOT_MADE in desk.answers.codes
    assert NOT_MADE in json.loads(desk.answered(DecisionRequest("ann", dry_run=True))[0])["degraded"]
    assert waiting[-1] == desk.waiting == 1, "who waits goes on waiting, and is counted"
    assert [record.levelname for record in caplog.records] == ["ERROR"], "told once"
    assert "secret words" not in caplog.text
    is_broken = False
    until(lambda: desk.waiting == 0 and NOT_MADE not in desk.answers.codes)
    until(lambda: waiting[-1] == 0)


def test_a_thread_that_ends_is_told_in_a_line_without_its_words(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    logger = logging.getLogger("retain")
    before, spread = logger.handlers, logger.propagate

    def ends() -> None:
        raise ValueError("/where/it/lies: secret words")

    try:
        in_lines("retain")
        thread = threading.Thread(target=ends, name="looking")
        thread.start()
        thread.join()
    finally:
        logger.handlers, logger.propagate = before, spread
    (line,) = capsys.readouterr().err.splitlines()
    said = json.loads(line)
    assert (said["level"], said["message"], said["error"]) == ("critical", "the thread looking ended by an error", "ValueError")
    assert said["places"][0].startswith("ends:")
    assert "secret" not in line
