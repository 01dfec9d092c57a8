"""Which rows a wrapper holds out, and in which order every model sees them; no model depends on the order of its frame."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from training.contracts import Frame, Integers

Rows = NDArray[np.intp]


def canonical(frame: Frame) -> Frame:
    """The frame sorted by cutoff and customer, so that equal rows in any order give an equal model."""
    return frame.take(np.lexsort((frame.customer_id.astype(str), frame.cutoff)))


def later_window(frame: Frame) -> tuple[Rows, Rows] | None:
    """(rows whose windows closed before the newest cutoff, rows of the newest cutoff); None where nothing closed before it."""
    newest = frame.cutoff.max()
    # A day of slack: windows are calendar days, and a day with a clock change has 23 or 25 hours.
    until = newest - np.timedelta64(frame.horizon_days * 24 - 2, "h")
    early, late = np.flatnonzero(frame.cutoff <= until), np.flatnonzero(frame.cutoff == newest)
    return (early, late) if len(early) else None


def folds(frame: Frame, count: int) -> Integers:
    """The fold of each row, from a hash of the customer: all rows of a customer fall together, whatever the frame holds besides."""
    unique, place = np.unique(frame.customer_id.astype(str), return_inverse=True)
    of = np.array([int.from_bytes(hashlib.sha256(customer.encode()).digest()[:8], "big") % count for customer in unique], dtype=np.int64)
    return of[place] if len(unique) else np.empty(0, dtype=np.int64)
