"""May this frame train a model? Too little data, one class and leaking labels are refused; columns that say nothing are dropped."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from retain.errors import RefusedError
from training.contracts import Floats, Frame
from training.metrics import auc

LEAST_CUSTOMERS = 50
"""Customers with a closed window below which nothing is trained."""
LEAST_OF_EACH = 10
"""Rows of each kind of outcome (bought or not, spent or not) below which nothing is trained."""
LEAK = 0.98
"""A single feature that orders the outcomes this well (AUC, either way round) holds the outcome."""
CANARY = "canary"


@dataclass(frozen=True)
class Sound:
    """A frame that may train, and what was left out of it."""

    frame: Frame
    dropped: tuple[str, ...]
    """Columns that were constant or empty in all rows."""
    open_rows: int
    """Rows left out because their window is not closed yet."""


def sound(frame: Frame, what: str) -> Sound:
    """The rows with closed windows and the columns that vary.

    Raises:
        RefusedError: too few customers or outcomes (with the counts), or a feature that holds the outcome (with its name).
    """
    closed = frame.take(np.flatnonzero(~np.isnan(frame.y)))
    _enough(closed, len(frame) - len(closed), what)
    kept = tuple(name for position, name in enumerate(closed.columns) if _varies(closed.x[:, position]))
    dropped = tuple(name for name in closed.columns if name not in set(kept))
    if not kept:
        raise RefusedError(f"{what}: none of the {len(closed.columns)} features varies; check the source with `retain features audit`")
    result = closed.select(kept)
    for position, name in enumerate(kept):
        _no_leak(result, position, name, what)
    return Sound(result, dropped, len(frame) - len(closed))


def prove(frame: Frame, what: str) -> str:
    """Set a canary, a column that was written after the cutoff, and see that the leak is found; return what held.

    Raises:
        RefusedError: the guard let it pass.
    """
    closed = frame.take(np.flatnonzero(~np.isnan(frame.y)))
    canary = np.where(closed.y > 0, 1.0, 0.0)
    leaking = Frame(closed.customer_id, closed.cutoff, (CANARY,), canary[:, None], closed.y, closed.horizon_days)
    try:
        _no_leak(leaking, 0, CANARY, what)
    except RefusedError:
        return f"leaks: a canary column that knows the outcome was found; no feature alone reaches AUC {LEAK}"
    raise RefusedError(f"{what}: a column that holds the outcome passed as a feature, so leaks would pass too; mend training/guards.py", field=CANARY)


def _enough(closed: Frame, open_rows: int, what: str) -> None:
    customers = len(np.unique(closed.customer_id.astype(str)))
    if customers < LEAST_CUSTOMERS:
        raise RefusedError(
            f"{what}: {customers} customers have a closed window ({open_rows} rows are still open), at least {LEAST_CUSTOMERS} are needed; "
            "ingest more history or choose a shorter horizon"
        )
    positive = int((closed.y > 0).sum())
    is_yes_or_no = bool(np.isin(closed.y, (0.0, 1.0)).all())
    rarer = min(positive, len(closed) - positive) if is_yes_or_no else positive
    if rarer < LEAST_OF_EACH:
        raise RefusedError(
            f"{what}: {positive} of {len(closed)} outcomes are above zero and {len(closed) - positive} are not, at least {LEAST_OF_EACH} "
            f"{'of each' if is_yes_or_no else 'above zero'} are needed; choose another horizon or ingest more history"
        )


def _varies(column: Floats) -> bool:
    known = column[~np.isnan(column)]
    return len(known) > 0 and (len(known) < len(column) or bool((known != known[0]).any()))


def _no_leak(frame: Frame, position: int, name: str, what: str) -> None:
    column = frame.x[:, position]
    if not np.isfinite(column[~np.isnan(column)]).all():
        raise RefusedError(f"{what}: feature {name} holds infinite values; mend its query in features/sql and build the features again", field=name)
    lowest = np.nanmin(column) - 1
    found = auc((frame.y > 0).astype(np.float64), np.where(np.isnan(column), lowest, column))
    if max(found, 1 - found) > LEAK:
        raise RefusedError(
            f"{what}: feature {name} alone tells the outcome (AUC {max(found, 1 - found):.3f}, above {LEAK}), so it was written after the cutoff; "
            "take it out of the features or mend its times",
            field=name,
        )
