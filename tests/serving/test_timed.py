"""Times of requests: every request is counted once, by a route of the table and never by what a caller wrote; logs are lines of JSON."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest

from serving.access import OPEN, ROUTES, named
from serving.guard import Arrival, Message, Receive, Scope, Send
from serving.logs import Lines
from serving.metrics import Metrics
from serving.timed import GONE, Timed


async def _nothing() -> Message:
    return {"type": "http.disconnect"}


async def _dropped(_: Message) -> None:
    """Nobody reads."""


def ask(metrics: Metrics, method: str, path: str, status: int | None = 200, **more: Any) -> None:
    async def app(_: Scope, __: Receive, send: Send) -> None:
        assert metrics.registry.get_sample_value("retain_requests_in_flight") == 1
        if status is None:
            raise ConnectionError
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    scope = {"type": "http", "method": method, "path": path, "headers": [], **more}
    asyncio.run(Timed(app, lambda: metrics, lambda: 10.0)(scope, _nothing, _dropped))


def test_every_request_is_counted_once_from_when_it_was_whole() -> None:
    metrics = Metrics()
    ask(metrics, "POST", "/v1/decisions", **{Arrival.KEY: Arrival(9.7)})
    ask(metrics, "POST", "/v1/decisions", 503, **{Arrival.KEY: Arrival(9.9)})
    value = metrics.registry.get_sample_value
    assert value("retain_request_seconds_sum", {"asked": "/v1/decisions", "status": "200"}) == pytest.approx(0.3)
    assert value("retain_request_seconds_count", {"asked": "/v1/decisions", "status": "503"}) == 1
    assert (value("retain_line_seconds_count"), value("retain_line_seconds_sum")) == (2, pytest.approx(0.4))
    assert value("retain_requests_in_flight") == 0


def test_who_goes_away_leaves_nothing_in_flight() -> None:
    metrics = Metrics()
    with pytest.raises(ConnectionError):
        ask(metrics, "GET", "/v1/lists/churn", None)
    value = metrics.registry.get_sample_value
    assert value("retain_request_seconds_count", {"asked": "/v1/lists/churn", "status": GONE}) == 1
    assert value("retain_requests_in_flight") == 0
    assert value("retain_line_seconds_count") == 0, "where nobody noted when it was whole"


@pytest.mark.fault("C35")
def test_no_word_of_a_caller_becomes_a_label() -> None:
    metrics = Metrics()
    for number in range(200):
        ask(metrics, "GET", f"/v1/decisions/C{number:08d}", 404)
        ask(metrics, "GET", f"/C{number:08d}", 403)
        ask(metrics, f"M{number}", "/v1/decisions", 405)
    page = metrics.page()[0].decode()
    assert "C0000" not in page
    assert page.count("retain_request_seconds_count") == 3, "a route, and two statuses of what is none"
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
