"""Counters that a person on call reads; no ids in labels. prometheus_client is imported late: BentoML must choose its folder first."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime
from functools import cache, partial
from pathlib import Path
from typing import Any

from retain.errors import DataError
from retain.files import read_json
from serving.answers import Answers
from serving.champions import SCORED

SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 30.0)
"""Upper ends of the classes that times are counted in."""

PUBLISHED = ("recommend", "uplift")
"""Tasks whose models answer by what was published, not when they are asked."""


class Looked:
    """What `retain drift` last found, read anew each time the page is asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterator[Any]:
        """Gauges by task and kind; a file that is missing or broken gives none."""
        from prometheus_client.core import GaugeMetricFamily

        moved = GaugeMetricFamily("retain_drift_moved", "Things of a kind that have moved since the champion was trained.", labels=("task", "kind"))
        worst = GaugeMetricFamily("retain_drift_worst", "The largest change of a kind, in its own measure.", labels=("task", "kind"))
        at = GaugeMetricFamily("retain_drift_looked_at", "When drift was last looked at, in seconds since 1970.", labels=("task",))
        for file in sorted(self._folder.glob("*.json")):
            try:
                found = read_json(file)
                seconds = datetime.fromisoformat(found["now"]).timestamp()
                rows = [(kind, float(count), found["worst"][kind]) for kind, count in found["moved"].items()]
            except (DataError, OSError, KeyError, TypeError, ValueError):
                continue
            at.add_metric((file.stem,), seconds)
            for kind, count, value in rows:
                moved.add_metric((file.stem, kind), count)
                if isinstance(value, int | float):
                    worst.add_metric((file.stem, kind), float(value))
        yield from (moved, worst, at)


class Metrics:
    """What was asked, and how it was answered."""

    def __init__(self, *, shared: bool = False, drift: Path | None = None, several: bool = False) -> None:
        from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

        self.registry: Any = REGISTRY if shared else CollectorRegistry()
        """The process-wide registry where the runner owns it, else one of our own."""
        self._answers = Counter("retain_answers", "Answers by what was asked and how it was answered.", ("asked", "answered"), registry=self.registry)
        self._counter = cache(self._answers.labels)
        seconds = partial(Histogram, registry=self.registry, buckets=SECONDS)
        words = "From a whole request to the last byte of its answer, by route and status; gone: nobody waited for it."
        self._seconds = cache(seconds("retain_request_seconds", words, ("asked", "status")).labels)
        self._line = seconds("retain_line_seconds", "How long whole requests stood in line before anybody looked at them (uvicorn).")
        # Gauges and no collectors: in BentoML several processes write, and only what each wrote is shown.
        gauge = partial(Gauge, registry=self.registry, multiprocess_mode="livemax")
        self._degraded = gauge("retain_degraded", "1 while answers carry the code in their field degraded: an alarm.", ("code",))
        self._serving = gauge("retain_serving", "1 for the version that answers, by part: rows, or a task.", ("part", "version"))
        self._rows_at = gauge("retain_rows_at", "When the serving rows were made, in seconds since 1970 on the workspace's clock.")
        self._waiting = gauge("retain_rows_waiting", "Customers of whom something came in that their rows do not know of yet.")
        self._on_their_way = gauge("retain_requests_in_flight", "Requests that are on their way.", multiprocess_mode="livesum")
        self._apart: Any = None
        self._gauge, self._lock = gauge, threading.Lock()
        self._told: set[tuple[str, str]] = set()
        self._several, self._looked = several, None if drift is None else Looked(drift)
        if self._looked is not None:
            self.registry.register(self._looked)

    def told(self, answers: Answers) -> None:
        """Say what is answered from now on, and what is degraded about it."""
        card = answers.rows.card
        asked = {task: answers.champions.model_id(task) for task in SCORED}
        named = {"rows": card.version, **asked, **{task: card.models.get(task) for task in PUBLISHED}}
        parts = {(part, version) for part, version in named.items() if version is not None}
        codes = {("code", code) for code in answers.codes}
        with self._lock:
            for gone in self._told - parts - codes:
                (self._degraded.labels(gone[1]) if gone[0] == "code" else self._serving.labels(*gone)).set(0)
            for part, version in parts:
                self._serving.labels(part, version).set(1)
            for _, code in codes:
                self._degraded.labels(code).set(1)
            self._told = parts | codes
        self._rows_at.set(card.moment.timestamp())

    def exchanged(self, answers: Answers, is_apart: bool, unheard: int, lag_s: float) -> None:
        """Say how it stands between the machines of the shop, where there are several."""
        if self._apart is None:
            self._apart = self._gauge("retain_machines_apart", "1 while contacts that we start wait for the other machines: an alarm.")
            self._unheard = self._gauge("retain_machines_unheard", "Machines that are known and not heard, this one among them.")
            self._lag = self._gauge("retain_machines_lag_seconds", "Since when not all was told and heard.")
        if is_apart != (("code", "machines_apart") in self._told):
            self.told(answers)
        self._apart.set(is_apart)
        self._unheard.set(unheard)
        self._lag.set(lag_s)

    def waiting(self, customers: int) -> None:
        """Say how many customers wait for rows that know what came in."""
        self._waiting.set(customers)

    def count(self, asked: str, answered: str) -> None:
        """Count one answer."""
        self._counter(asked, answered).inc()

    def began(self, line_s: float | None) -> None:
        """A request is on its way; it stood in line for so long, where that is known."""
        self._on_their_way.inc()
        if line_s is not None:
            self._line.observe(line_s)

    def ended(self, asked: str, status: str, seconds: float) -> None:
        """A request was answered whole, or given up."""
        self._on_their_way.dec()
        self._seconds(asked, status).observe(seconds)

    def page(self) -> tuple[bytes, str]:
        """All figures in Prometheus' text format, and its content type; of all processes, where there are several."""
        from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

        registry = self.registry
        if self._several:
            from prometheus_client.multiprocess import MultiProcessCollector

            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
            if self._looked is not None:
                registry.register(self._looked)
        return generate_latest(registry), CONTENT_TYPE_LATEST


def forget(pid: int) -> None:
    """What a process that ended said of itself does not hold any more; what it counted does."""
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(pid)  # type: ignore[no-untyped-call]
