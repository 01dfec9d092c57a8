"""Which rows tell the level of the window to come: those of the same season of earlier years, where history holds it."""

from __future__ import annotations

import numpy as np

from training.contracts import Floats, Frame
from training.models.rows import Rows

YEAR_DAYS = 364
"""52 weeks: the same day of the week."""
SLACK_DAYS = 10
"""A window that begins so near to the same day of an earlier year is of its season."""
MOST_YEARS = 3


def anniversaries(frame: Frame) -> Rows:
    """Rows of the cutoffs that lie whole years before the moment to come; none where that is not said, or history is shorter."""
    if frame.asked_at is None:
        return np.empty(0, dtype=np.intp)
    days = (frame.asked_at - frame.cutoff) / np.timedelta64(1, "D")
    years = np.round(days / YEAR_DAYS)
    return np.flatnonzero((np.abs(days - years * YEAR_DAYS) <= SLACK_DAYS) & (years >= 1) & (years <= MOST_YEARS))


def is_unseen(frame: Frame) -> bool:
    """Whether the season of the moment to come lies in none of the windows; not known where no moment is said."""
    return frame.asked_at is not None and len(frame) > 0 and not len(anniversaries(frame))


def move(said: Floats, y: Floats) -> float:
    """Log of the total that came over the total that was said, believed as far as its own error lets it be.

    Args:
        said: (rows,) amounts that models of other customers gave.
        y: (rows,) amounts that came.
    """
    total, expected = float(y.sum()), float(said.sum())
    if total <= 0 or expected <= 0:
        return 0.0
    ratio = total / expected
    error = float(((y - ratio * said) ** 2).sum()) / total**2
    found = float(np.log(ratio))
    return found * found**2 / (found**2 + error) if found else 0.0
