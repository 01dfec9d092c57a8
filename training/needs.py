"""What a training will take of memory: told before where it is more than there is, and again where it was not to be had."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from retain.errors import RetainError
from retain.memory import free_bytes, gigabytes
from retain.terminal import note
from retain.workspace import State
from training.models.enough import MOST_CELLS

BASE_BYTES = 700 * 2**20
"""Libraries and the interpreter, measured on the simulated shop."""
COPIES = 14
"""Of the frame, while models are fitted: 100,000 customers, at the bound, took 4.7 GB for churn."""


@dataclass(frozen=True)
class Need:
    """What a training looks at, and what that takes."""

    customers: int
    cutoffs: int
    features: int

    @property
    def size(self) -> int:
        """Bytes, about."""
        return BASE_BYTES + COPIES * 8 * min(self.customers * self.cutoffs * self.features, MOST_CELLS)

    @property
    def words(self) -> str:
        """What it looks at, for people."""
        about = gigabytes(self.size)
        return f"{self.customers:,} customers at {self.cutoffs} moments with {self.features} features need up to about {about} of memory"


def need(state: State, task: str, cutoffs: int) -> Need:
    """The need of a task; a list learner's history is counted like the features of a scorer."""
    from features import services
    from retain.errors import ConfigError

    try:
        features = len(services.refs(task))
    except ConfigError:
        features = 0
    return Need(state.tables.get("customers", 0), max(cutoffs, 1), features)


@contextmanager
def within(found: Need) -> Iterator[None]:
    """Warn where memory will hardly do; turn the end of it into a sentence.

    Raises:
        RetainError: there was not enough. Nothing was changed, and nobody else was disturbed.
    """
    free = free_bytes()
    if free is not None and free < found.size:
        note(f"warning: {found.words}, and {gigabytes(free)} is free; less history or `--models` with fewer names takes less")
    try:
        yield
    except Exception as error:
        if not isinstance(error, MemoryError) and "bad_alloc" not in str(error):
            raise
        raise RetainError(
            f"training ran out of memory: {found.words}; free memory, raise the limit of the process, or train fewer models. What stood before stands"
        ) from error
