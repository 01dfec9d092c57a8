"""Counters that a person on call reads; no ids in labels. prometheus_client is imported late: BentoML must choose its folder first."""

from __future__ import annotations

from typing import Any


class Metrics:
    """What was asked, and how it was answered."""

    def __init__(self, *, shared: bool = False) -> None:
        from prometheus_client import REGISTRY, CollectorRegistry, Counter

        self.registry: Any = REGISTRY if shared else CollectorRegistry()
        """The process-wide registry where the runner owns it, else one of our own."""
        self._answers = Counter("retain_answers", "Answers by what was asked and how it was answered.", ("asked", "answered"), registry=self.registry)

    def count(self, asked: str, answered: str) -> None:
        """Count one answer."""
        self._answers.labels(asked, answered).inc()

    def page(self) -> tuple[bytes, str]:
        """All figures in Prometheus' text format, and its content type."""
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        return generate_latest(self.registry), CONTENT_TYPE_LATEST
