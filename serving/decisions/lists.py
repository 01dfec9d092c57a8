"""Lists for marketers: who belongs on one, in which order, and who must be left out. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEFT_OUT = ("not_scored", "inactive", "minor", "refuses_profiling", "do_not_contact", "no_consent", "no_contact_group", "involuntary")
"""Why a customer is not on a contact list; the first that holds is counted."""


@dataclass(frozen=True)
class Picked:
    """A list as positions of customers, best first."""

    order: NDArray[np.intp]
    loss: NDArray[np.float64]
    """(customers,) expected loss; NaN where nothing is scored."""
    left_out: dict[str, int]
    """Customers left out, by why."""
    apart: NDArray[np.intp]
    """Customers who are left out as involuntary and for nothing else, in the same order; the counts include them."""


def churn(
    ids: NDArray[Any],
    risk: NDArray[np.float64],
    value: NDArray[np.float64],
    barred: dict[str, NDArray[np.bool_]],
    top: int,
) -> Picked:
    """The customers whose leaving would cost most: risk x predicted value, equal losses by smaller id.

    Args:
        ids: of customers.
        risk: of leaving.
        value: predicted; a negative one is nothing to lose.
        barred: by a name of ``LEFT_OUT``, who must not be on the list.
        top: at most so many.
    """
    loss = risk * np.maximum(value, 0.0)
    masks = {**barred, "not_scored": ~np.isfinite(loss) | barred.get("not_scored", np.zeros(len(ids), dtype=bool))}
    why = why_left_out(masks, len(ids))
    free = why < 0
    counts = {name: int((why == place).sum()) for place, name in enumerate(LEFT_OUT) if name in masks}
    others = np.logical_or.reduce([np.zeros(len(ids), dtype=bool), *(mask for name, mask in masks.items() if name != "involuntary")])
    apart = masks.get("involuntary", np.zeros(len(ids), dtype=bool)) & ~others
    order, beside = (rows[np.lexsort((ids[rows], -loss[rows]))][: max(top, 0)] for rows in (np.flatnonzero(free), np.flatnonzero(apart)))
    return Picked(order, loss, {name: count for name, count in counts.items() if count}, beside)


def why_left_out(barred: dict[str, NDArray[np.bool_]], customers: int) -> NDArray[np.int8]:
    """(customers,) place in ``LEFT_OUT`` of the first reason that holds; -1 where none does."""
    result = np.full(customers, -1, dtype=np.int8)
    for place, name in reversed(list(enumerate(LEFT_OUT))):
        if name in barred:
            result[barred[name]] = place
    return result
