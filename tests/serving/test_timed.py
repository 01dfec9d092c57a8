"""Times of requests: every request is counted once, by a route of the table and never by what a caller wrote; logs are lines of JSON."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from dataclasses import dataclass, field

import pytest

from serving.access import OPEN, ROUTES, named
from serving.guard import Arrival, Message, Receive, Scope, Send
from serving.logs import Lines
from serving.metrics import Metrics
from serving.timed import GONE, Timed, Watch


async def _nothing() -> Message:
    return {"type": "http.disconnect"}


async def _dropped(_: Message) -> None:
    """Nobody reads."""


@dataclass
class Told:
    """What is told of requests, in order."""

    lines: list[float | None] = field(default_factory=list)
    ends: list[tuple[str, str, float]] = field(default_factory=list)

    def began(self, line_s: float | None) -> None:
        self.lines.append(line_s)

    def ended(self, asked: str, status: str, seconds: float) -> None:
        self.ends.append((asked, status, seconds))


def ask(watch: Watch, method: str, path: str, status: int | None = 200, arrival: Arrival | None = None) -> None:
    async def app(_: Scope, __: Receive, send: Send) -> None:
        if status is None:
            raise ConnectionError
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    scope = {"type": "http", "method": method, "path": path, "headers": [], **({} if arrival is None else {Arrival.KEY: arrival})}
    asyncio.run(Timed(app, lambda: watch, lambda: 10.0)(scope, _nothing, _dropped))


def test_every_request_is_told_once_from_when_it_was_whole() -> None:
    told = Told()
    ask(told, "POST", "/v1/decisions", arrival=Arrival(9.75))
    ask(told, "POST", "/v1/decisions", 503, arrival=Arrival(9.5))
    ask(told, "GET", "/v1/lists/churn")
    assert told.lines == [0.25, 0.5, None], "where nobody noted when it was whole, nobody says how long it stood in line"
    assert told.ends == [("/v1/decisions", "200", 0.25), ("/v1/decisions", "503", 0.5), ("/v1/lists/churn", "200", 0.0)]


def test_who_goes_away_leaves_nothing_in_flight() -> None:
    told = Told()
    with pytest.raises(ConnectionError):
        ask(told, "GET", "/v1/lists/churn", None)
    assert told.ends == [("/v1/lists/churn", GONE, 0.0)]


def test_metrics_count_what_they_are_told() -> None:
    metrics = Metrics()
    named_so = {"asked": "/v1/decisions", "status": "418"}

    def values() -> list[float]:
        # Whoever counts in files finds there what others of this process counted.
        names = ("retain_request_seconds_count", "retain_request_seconds_sum")
        found = [metrics.registry.get_sample_value(name, named_so) or 0.0 for name in names]
        return [
            *found,
            metrics.registry.get_sample_value("retain_line_seconds_count"),
            metrics.registry.get_sample_value("retain_requests_in_flight"),
        ]

    before = values()
    metrics.began(0.5)
    assert values()[3] == before[3] + 1
    metrics.ended("/v1/decisions", "418", 0.25)
    assert values() == pytest.approx([before[0] + 1, before[1] + 0.25, before[2] + 1, before[3]])


@pytest.mark.fault("C35")
def test_no_word_of_a_caller_becomes_a_label() -> None:
    metrics = Metrics()
    for number in range(200):
        ask(metrics, "GET", f"/v1/decisions/C{number:08d}", 404)
        ask(metrics, "GET", f"/C{number:08d}", 403)
        ask(metrics, f"M{number}", "/v1/decisions", 405)
    page = metrics.page()[0].decode()
    assert "C0000" not in page
    asked = set(re.findall(r'retain_request_seconds_count{asked="([^"]*)"', page))
    assert {"other", "/v1/decisions/{decision_id}"} <= asked <= {"other", *(pattern for _, pattern in (*ROUTES, *OPEN))}
    table = {pattern for _, pattern in (*ROUTES, *OPEN)}
    assert {named(method, pattern.replace("{decision_id}", "d_1")) for method, pattern in (*ROUTES, *OPEN)} == table


@pytest.mark.fault("C35", "E12")
def test_a_log_is_lines_of_json_that_nobody_can_forge() -> None:
    try:
        raise ValueError("C00000001")
    except ValueError as error:
        record = logging.LogRecord("retain.serving", logging.ERROR, "x.py", 1, "a\nb \x1b[31m %s", ("c",), (type(error), error, error.__traceback__))
    line = Lines().format(record)
    said = json.loads(line)
    assert "\n" not in line
    assert "\x1b" not in line
    assert (said["level"], said["message"], said["error"]) == ("error", "a\nb \x1b[31m c", "ValueError")
    assert said["at"].endswith("+00:00")
    assert "C00000001" not in line, "the words of an error may be what somebody sent"
