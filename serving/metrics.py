"""Counters that a person on call reads; no ids in labels. prometheus_client is imported late: BentoML must choose its folder first."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from retain.errors import DataError
from retain.files import read_json


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

    def __init__(self, *, shared: bool = False, drift: Path | None = None) -> None:
        from prometheus_client import REGISTRY, CollectorRegistry, Counter

        self.registry: Any = REGISTRY if shared else CollectorRegistry()
        """The process-wide registry where the runner owns it, else one of our own."""
        self._answers = Counter("retain_answers", "Answers by what was asked and how it was answered.", ("asked", "answered"), registry=self.registry)
        if drift is not None:
            self.registry.register(Looked(drift))

    def count(self, asked: str, answered: str) -> None:
        """Count one answer."""
        self._answers.labels(asked, answered).inc()

    def page(self) -> tuple[bytes, str]:
        """All figures in Prometheus' text format, and its content type."""
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        return generate_latest(self.registry), CONTENT_TYPE_LATEST
