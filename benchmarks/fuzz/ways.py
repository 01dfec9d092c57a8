"""Where inputs go: through the application in this process, both ways to the routes, and to a service of its own on a socket."""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
import json
import logging
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from benchmarks.fuzz.inputs import MARK, Input, as_bytes, made
from benchmarks.serving.servers import free_port
from retain.workspace import Workspace, computer_time
from serving.access import Access
from serving.app import POSTS, application
from serving.desk import Desk
from serving.guard import App, Guard, Hosts
from serving.keys import Keyring, add, minted
from serving.metrics import Metrics
from serving.runner import whole

WAIT_S = 20.0
"""Whoever takes longer hangs."""


@dataclass
class Found:
    """What came of it."""

    sent: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    slowest_s: float = 0.0

    def wrong(self, number: int, why: str) -> None:
        """Something that must not be."""
        self.problems.append(f"input {number}: {why}")


async def asked(app: App, sent: Input) -> tuple[int, dict[bytes, bytes], bytes]:
    """What an application answers."""
    size = max(1, -(-len(sent.body) // sent.pieces))
    waiting = [sent.body[at : at + size] for at in range(0, len(sent.body), size)] or [b""]
    answer: list[Any] = []
    is_answered = asyncio.Event()

    async def receive() -> Any:
        if not waiting:
            # Whoever asked stays until the answer is whole.
            await is_answered.wait()
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting)}

    async def send(message: Any) -> None:
        answer.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            is_answered.set()

    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": sent.method,
        "scheme": "http",
        "path": sent.path,
        "raw_path": sent.raw_path,
        "query_string": sent.query,
        "root_path": "",
        "headers": sent.headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "state": {},
    }
    await asyncio.wait_for(app(scope, receive, send), WAIT_S)
    return answer[0]["status"], dict(answer[0]["headers"]), b"".join(message.get("body", b"") for message in answer[1:])


def judge(found: Found, number: int, status: int, headers: dict[bytes, bytes], body: bytes, method: str = "POST") -> None:
    """One answer."""
    found.statuses[status] += 1
    if status >= 500:
        found.wrong(number, f"status {status}")
    if status >= 400:
        if MARK.encode() in body or any(MARK.encode() in value for value in headers.values()):
            found.wrong(number, f"a name stands in the error {body[:200]!r}")
        if method != "HEAD":
            try:
                error = json.loads(body)["error"]
                whole_error = set(error) == {"code", "message", "field", "row"} and headers.get(b"content-type") == b"application/json"
            except (ValueError, KeyError, TypeError):
                whole_error = False
            if not whole_error:
                found.wrong(number, f"status {status} without the shape of an error: {body[:120]!r}")


@contextlib.contextmanager
def listening() -> Iterator[io.StringIO]:
    """Everything that anybody logs, at every level."""
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield said
    finally:
        root.removeHandler(handler)
        root.setLevel(before)


def in_process(workspace: Workspace, count: int, seed: int, first: int = 0) -> Found:
    """So many inputs through both ways to the routes, half of them with a key."""
    found, metrics = Found(), Metrics()
    desk = Desk.open(workspace, metrics.count)
    with tempfile.TemporaryDirectory() as folder, listening() as said:
        keys = Path(folder) / "keys.json"
        minted_key, key = minted(os.urandom(64), "fuzz", ("admin",), computer_time(), days=2, per_minute=60_000)
        add(keys, minted_key, computer_time())
        closed, open_ = Keyring(keys), Keyring(Path(folder) / "none.json")
        short, framework = whole(desk, metrics), application()
        framework.state.desk = desk
        guarded = Guard(cast(App, framework), POSTS, desk.answers.policy.body_cap)

        def door(app: App, ring: Keyring) -> Hosts:
            # A minute goes by with every request, so that no key and no address has to wait.
            return Hosts(Access(app, lambda: ring, metrics.count, tick=itertools.count(0, 60).__next__))

        doors = {held: (door(short, ring), door(guarded, ring)) for held, ring in (("", open_), (key, closed))}

        async def all_of_them() -> None:
            for number in range(first, first + count):
                sent = made(seed, number, key if number % 2 else "")
                start = time.monotonic()
                answers = []
                for way in doors[key if number % 2 else ""]:
                    try:
                        answers.append(await asked(way, sent))
                    except Exception as error:
                        found.wrong(number, f"{type(error).__name__} got out: {str(error)[:100]}")
                        answers.append((599, {}, b""))
                found.slowest_s = max(found.slowest_s, time.monotonic() - start)
                found.sent += 1
                judge(found, number, *answers[0], sent.method)
                # Health and metrics are the runner's, and only before the short way.
                is_ours = sent.path.startswith("/v1/")
                if is_ours and (answers[0][0] != answers[1][0] or (answers[0][0] >= 400 and answers[0][2] != answers[1][2])):
                    found.wrong(number, f"two ways, two answers: {answers[0][0]} {answers[0][2][:100]!r} and {answers[1][0]} {answers[1][2][:100]!r}")

        asyncio.run(all_of_them())
        quiet(found, said.getvalue(), metrics.page()[0].decode())
    desk.close()
    return found


def quiet(found: Found, logged: str, page: str) -> None:
    """No name in logs or metrics, no line that a name forged, and no label for each."""
    for where, text in (("a log", logged), ("the metrics", page)):
        if MARK in text:
            at = text.index(MARK)
            found.problems.append(f"a name stands in {where}: {text[max(0, at - 80) : at + 40]!r}")
        if "\x1b" in text:
            found.problems.append(f"{where} holds an escape")
    # A histogram is one, however many classes it has.
    series = [line for line in page.splitlines() if line and not line.startswith("#") and "_bucket{" not in line and "_created{" not in line]
    if len(series) > 300:
        found.problems.append(f"{len(series)} series of metrics: a label is made of what came in")


def on_sockets(workspace: Workspace, count: int, seed: int) -> Found:
    """So many inputs as bytes to a service of its own: whole requests, and what is no HTTP."""
    found = Found()
    port = free_port()
    with tempfile.TemporaryFile() as log:
        command = [sys.executable, "-m", "retain", "serve", "--port", str(port), "--workspace", str(workspace.root)]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            end = time.monotonic() + 120
            while _one(port, b"GET /readyz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")[:12] != b"HTTP/1.1 200":
                if time.monotonic() > end or process.poll() is not None:
                    raise SystemExit("the service did not start")
                time.sleep(0.2)
            for number in range(count):
                sent = as_bytes(random.Random(f"{seed}-socket-{number}"), made(seed + 1, number))
                start = time.monotonic()
                said = _one(port, sent)
                found.slowest_s = max(found.slowest_s, time.monotonic() - start)
                found.sent += 1
                if said[:9] == b"HTTP/1.1 ":
                    status = int(said[9:12])
                    found.statuses[status] += 1
                    if status >= 500:
                        found.wrong(number, f"status {status} on a socket")
                else:
                    found.statuses[0] += 1
                if time.monotonic() - start > WAIT_S:
                    found.wrong(number, "the connection hung")
            page = _one(port, b"GET /metrics HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n").decode(errors="replace")
            if not page.startswith("HTTP/1.1 200"):
                found.problems.append("the service does not answer afterwards")
        finally:
            process.terminate()
            process.wait(30)
        log.seek(0)
        quiet(found, log.read().decode(errors="replace"), page)
    return found


def _one(port: int, sent: bytes) -> bytes:
    """Send and end; what comes back until the other side ends."""
    said = b""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), WAIT_S) as line:
        line.settimeout(WAIT_S)
        line.sendall(sent)
        line.shutdown(socket.SHUT_WR)
        while piece := line.recv(65536):
            said += piece
    return said
