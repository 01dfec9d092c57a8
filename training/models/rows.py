"""Which rows a wrapper holds out, and in which order every model sees them; no model depends on the order of its frame."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from training.contracts import Frame, Integers
from training.models.enough import FOLDS_ROWS

Rows = NDArray[np.intp]
FOLDS = 5
"""Parts that customers are split into where some are held out."""
_SMALLEST = 0.25
"""Share of the customers that a half must hold to pass for one."""


def canonical(frame: Frame) -> Frame:
    """The frame sorted by cutoff and customer, so that equal rows in any order give an equal model; itself where it is."""
    customers = frame.customer_id.astype(str)
    same, later = frame.cutoff[1:] == frame.cutoff[:-1], frame.cutoff[1:] > frame.cutoff[:-1]
    if bool((later | (same & (customers[1:] >= customers[:-1]))).all()):
        return frame
    return frame.take(np.lexsort((customers, frame.cutoff)))


def folds(frame: Frame, count: int, purpose: str = "") -> Integers:
    """The fold of each row, from a hash of the customer: all rows of a customer fall together, whatever the frame holds besides.

    Folds within folds need a purpose of their own: by one hash those who are left would all fall together.
    """
    marks, place = _marks(frame, purpose)
    return (marks % np.uint64(count)).astype(np.int64)[place]


def asked_apart(frame: Frame) -> tuple[Rows, ...]:
    """Rows that are asked of a model which did not learn from their customers, fold by fold: five folds, or halves of very many rows.

    Halves are parted by the first bit of the hash that parts these customers about evenly: the halves of a half are parted by another one.
    """
    fold = folds(frame, FOLDS) if len(frame) <= FOLDS_ROWS else _halves(frame)
    return tuple(np.flatnonzero(fold == k) for k in range(FOLDS))


def _halves(frame: Frame) -> Integers:
    marks, place = _marks(frame, "")
    for shift in range(63, -1, -1):
        half = (marks >> np.uint64(shift)) & np.uint64(1)
        if _SMALLEST <= float(half.mean()) <= 1 - _SMALLEST:
            return half.astype(np.int64)[place]
    return np.zeros(len(frame), dtype=np.int64)


def _marks(frame: Frame, purpose: str) -> tuple[NDArray[np.uint64], NDArray[np.intp]]:
    """A hash of each customer, and the position of each row's customer among them."""
    unique, place = np.unique(frame.customer_id.astype(str), return_inverse=True)
    found = [int.from_bytes(hashlib.sha256(f"{purpose}{customer}".encode()).digest()[:8], "big") for customer in unique]
    return np.array(found, dtype=np.uint64), place.astype(np.intp)
