"""Several fits at the same time: each is learned by one thread, so that its sums come in one order, and two cores hold two of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
WORKERS = 2
_inside = threading.local()


def together(jobs: Sequence[Callable[[], T]]) -> list[T]:
    """The answers of jobs, in their order. Jobs within jobs run one after the other.

    The libraries that fit release Python's lock while they work. The limit on BLAS is one for the whole process, so it is set here, around
    all threads: a job that set it for itself would lift it for its neighbour when it ends.
    """
    if len(jobs) < 2 or getattr(_inside, "is_job", False):
        return [job() for job in jobs]
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, "blas"), ThreadPoolExecutor(WORKERS, initializer=_mark) as pool:
        return list(pool.map(lambda job: job(), jobs))


def _mark() -> None:
    _inside.is_job = True
