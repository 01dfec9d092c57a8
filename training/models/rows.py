"""Which rows a wrapper holds out, and in which order every model sees them; no model depends on the order of its frame."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from training.contracts import Frame, Integers

Rows = NDArray[np.intp]
FOLDS = 5
"""Parts that customers are split into where some are held out."""


def canonical(frame: Frame) -> Frame:
    """The frame sorted by cutoff and customer, so that equal rows in any order give an equal model."""
    return frame.take(np.lexsort((frame.customer_id.astype(str), frame.cutoff)))


def folds(frame: Frame, count: int, purpose: str = "") -> Integers:
    """The fold of each row, from a hash of the customer: all rows of a customer fall together, whatever the frame holds besides.

    Folds within folds need a purpose of their own: by one hash those who are left would all fall together.
    """
    unique, place = np.unique(frame.customer_id.astype(str), return_inverse=True)
    of = np.array(
        [int.from_bytes(hashlib.sha256(f"{purpose}{customer}".encode()).digest()[:8], "big") % count for customer in unique], dtype=np.int64
    )
    return of[place] if len(unique) else np.empty(0, dtype=np.int64)
