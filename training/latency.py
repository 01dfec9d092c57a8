"""How long a packaged model takes for one customer, measured on its own golden rows."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from retain.files import read_json
from training.contracts import FittedRanker
from training.golden import LENGTH, golden_history, golden_rows
from training.package import Package

CALLS = 200
"""Calls that are timed, after ``WARM`` that are not."""
WARM = 20
SHARE = 0.99


def latency_ms(package: Package) -> float | None:
    """The 99th percentile of the processor time of one answer, in milliseconds; None where there is nothing to ask.

    Processor time, not the clock's: that another program was busy is not the model's fault.
    """
    golden = read_json(package.folder / "golden.json")
    asked = _lists(package.fitted, golden) if isinstance(package.fitted, FittedRanker) else _scores(package, golden)
    if not asked:
        return None
    for number in range(WARM):
        asked[number % len(asked)]()
    took = np.empty(CALLS)
    for number in range(CALLS):
        start = time.thread_time_ns()
        asked[number % len(asked)]()
        took[number] = (time.thread_time_ns() - start) / 1e6
    return float(np.quantile(took, SHARE))


def _scores(package: Package, golden: dict[str, Any]) -> list[Callable[[], object]]:
    rows = golden_rows(golden, len(package.scorer.columns))
    return [partial(package.scorer.predict, rows[place : place + 1]) for place in range(len(rows))]


def _lists(fitted: FittedRanker, golden: dict[str, Any]) -> list[Callable[[], object]]:
    history = golden_history(golden, fitted.items)
    return [partial(fitted.rank, history, np.array([place]), LENGTH, "all") for place in range(len(history.customers))]
