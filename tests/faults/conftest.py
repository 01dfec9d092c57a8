"""Callers who ask a service at a steady rate and remember what they were told."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest


@dataclass(frozen=True)
class Asked:
    """One request, and what came of it."""

    number: int
    path: str
    body: dict[str, Any]
    status: int | None
    """None where there was no answer."""
    answer: Any
    seconds: float
    at: float
    """When it was answered or lost, on the monotonic clock."""


def decision(number: int) -> tuple[str, dict[str, Any]]:
    return "/v1/decisions", {"customer_id": f"C{number % 300 + 1:08d}", "placement": "inbound_end", "request_id": f"t{number}"}


def outcome(number: int) -> tuple[str, dict[str, Any]]:
    return "/v1/outcomes", {"outcome_id": f"o{number}", "decision_id": f"d{number}", "type": "shown", "occurred_at": "2026-01-01T00:00:00Z"}


def mixed(number: int) -> tuple[str, dict[str, Any]]:
    return (outcome if number % 4 == 3 else decision)(number)


@dataclass
class Traffic:
    """So many requests a second from several callers with connections that stay open."""

    port: int
    rate: float = 200.0
    callers: int = 8
    make: Callable[[int], tuple[str, dict[str, Any]]] = mixed
    told: list[Asked] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._sent = 0
        self._threads = [threading.Thread(target=self._call, daemon=True) for _ in range(self.callers)]

    def start(self) -> Traffic:
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def stop(self) -> list[Asked]:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
        return sorted(self.told, key=lambda each: each.number)

    def reach(self, count: int, within_s: float = 60.0) -> None:
        """Wait until so many were answered."""
        end = time.monotonic() + within_s
        while len(self.told) < count:
            assert time.monotonic() < end, f"{len(self.told)} of {count} answers after {within_s:g} s"
            time.sleep(0.01)

    def _call(self) -> None:
        line: http.client.HTTPConnection | None = None
        while not self._stop.is_set():
            with self._lock:
                number, self._sent = self._sent, self._sent + 1
            due = self._began + number / self.rate
            if self._stop.wait(max(0.0, due - time.monotonic())):
                break
            path, body = self.make(number)
            start = time.monotonic()
            try:
                if line is None:
                    line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
                    line.connect()
                    line.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                line.request("POST", path, json.dumps(body), {"content-type": "application/json"})
                response = line.getresponse()
                status, answer = response.status, json.loads(response.read())
                if response.will_close:
                    line.close()
                    line = None
            except (OSError, http.client.HTTPException, ValueError):
                status, answer = None, None
                if line is not None:
                    line.close()
                line = None
                time.sleep(0.005)
            end = time.monotonic()
            self.told.append(Asked(number, path, body, status, answer, end - start, end))
        if line is not None:
            line.close()


@pytest.fixture
def traffic() -> type[Traffic]:
    """Callers: ``traffic(port, rate).start()``, then ``stop()`` for what they were told."""
    return Traffic
