"""What was learned from some rows is not learned from them again in the same process: several recipes of a task share their members."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from time import process_time
from typing import Any, TypeVar, cast

from pydantic import BaseModel

from retain.config import spec
from training.contracts import Frame

T = TypeVar("T")
MOST_KNOWN = 64
"""Answers kept; the oldest are forgotten first. None is kept where this is zero."""


@dataclass(frozen=True)
class _Answer:
    value: Any
    cpu_s: float
    """Processor seconds it took, of all threads of the process."""


_KNOWN: dict[str, _Answer] = {}
_SPARED = [0.0]


def once(frame: Frame, question: str, answer: Callable[[], T]) -> T:
    """The answer to a question about the rows of a frame, found by ``answer`` the first time it is asked.

    Args:
        frame: What is asked about; equal rows in another order are another frame.
        question: What is asked, with every setting that the answer depends on.
        answer: Finds it; equal frames and questions must give equal answers, and nobody may change one.
    """
    key = hashlib.sha256(f"{frame.digest}/{question}".encode()).hexdigest()
    found = _KNOWN.get(key)
    if found is not None:
        _SPARED[0] += found.cpu_s
        return cast(T, found.value)
    began = process_time() + _SPARED[0]
    value = answer()
    while _KNOWN and len(_KNOWN) >= MOST_KNOWN:
        _KNOWN.pop(next(iter(_KNOWN)), None)
    if MOST_KNOWN:
        _KNOWN[key] = _Answer(value, process_time() + _SPARED[0] - began)
    return value


def asked_of(model: object, frame: Frame, question: str, answer: Callable[[], T]) -> T:
    """The same for what a model says of a frame, if its settings can be written down; else the answer is found each time."""
    return once(frame, f"{question} {spec(model)!r}", answer) if isinstance(model, BaseModel) else answer()


def spared_s() -> float:
    """Processor seconds that were not spent because an answer was known: what a recipe costs by itself is what it took and what it was spared."""
    return _SPARED[0]
