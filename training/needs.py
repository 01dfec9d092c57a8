"""What a training will take of memory: told before where it is more than there is, and again where it was not to be had."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
_HEARD = """trap '' INT TERM TTOU; read -r begun || exit 0; read -r done || printf '%s\\n' "$1" >&2"""
"""From the first line on it hears a second one, or the end of whom it listens to."""
PATIENCE_S = 2.0
"""A witness that somebody has stopped is not waited for."""


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
    """Warn where memory will hardly do; turn the end of it into a sentence, also where the process is not left to say one.

    Raises:
        RetainError: there was not enough. No model was left half-written, and nobody else was disturbed.
    """
    free = free_bytes()
    if free is not None and free < found.size:
        note(f"warning: {found.words}, and {gigabytes(free)} is free; less history or `--models` with fewer names takes less")
    told = f"ran out of memory: {found.words}; free memory, raise the limit of the process, or train fewer models. No model was left half-written"
    with _witness(f"training was ended before it could say why; most likely it {told}"):
        try:
            yield
        except Exception as error:
            if not isinstance(error, MemoryError) and "bad_alloc" not in str(error):
                raise
            raise RetainError(f"training {told}") from error


@contextmanager
def _witness(sentence: str) -> Iterator[None]:
    """Somebody beside us who says ``sentence`` on standard error if this process ends inside of the block.

    The system kills who takes the memory of a machine, and a library that gets none may abort: neither leaves a moment for words.
    A shell needs next to nothing, so that it is not the one to be killed. Where none can be started, there is none; nor is one left where all
    are killed together (the first process of a container, a control group that ends as one).
    """
    try:
        # In a group of its own, so that neither a stop nor an interrupt of the terminal is meant for it.
        witness = subprocess.Popen(
            ["env", "LC_ALL=C", "sh", "-c", _HEARD, "sh", sentence],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            bufsize=0,
            process_group=0,
        )
    except (OSError, MemoryError):
        witness = None
    try:
        _tell(witness, b"begun\n")
        yield
    finally:
        _tell(witness, b"done\n")
        _leave(witness)


def _tell(witness: subprocess.Popen[bytes] | None, line: bytes) -> None:
    if witness is not None and witness.stdin is not None:
        # One that was killed hears nothing.
        with suppress(OSError):
            witness.stdin.write(line)


def _leave(witness: subprocess.Popen[bytes] | None) -> None:
    if witness is None or witness.stdin is None:
        return
    witness.stdin.close()
    try:
        witness.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        witness.kill()
        witness.wait()
