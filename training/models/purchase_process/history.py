"""What a purchase process knows of a customer: repeats, when the last was, how long it was watched, and what was spent on repeats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from training.contracts import Floats

ORDER_DAYS = "days__order_days_365d"
SPAN = "days__span_days_365d"
OBSERVED = "days__observed_days_365d"
REPEAT_AMOUNT = "days__repeat_amount_365d"
COLUMNS = (ORDER_DAYS, SPAN, OBSERVED, REPEAT_AMOUNT)
"""The features that say it."""
LOOK_BACK_DAYS = 365.0


@dataclass(frozen=True)
class History:
    """Customers, row-aligned. Time runs from the first purchase, in any one unit."""

    repeats: Floats
    """(rows,) purchases after the first; whole numbers."""
    last: Floats
    """(rows,) time of the last of them; zero without one."""
    watched: Floats
    """(rows,) time until the moment."""

    @classmethod
    def of_days(cls, order_days: Floats, span_days: Floats, observed_days: Floats) -> Self:
        """Histories in days, from features that count days.

        Purchases are counted by day, so the day of the first is over before the watch begins: it lasts a day less than the moment lies
        after that day. Who has bought nothing within the window is taken for somebody who bought once, just before it.
        """
        days = np.nan_to_num(order_days, nan=0.0)
        last = np.where(days > 1, np.nan_to_num(span_days, nan=0.0), 0.0)
        watched = np.where(days >= 1, np.nan_to_num(observed_days, nan=LOOK_BACK_DAYS) - 1, LOOK_BACK_DAYS)
        return cls(np.maximum(days - 1, 0.0), last, np.maximum(np.maximum(watched, last), 0.0))

    def __len__(self) -> int:
        return len(self.repeats)

    def over(self, unit: float) -> History:
        """The same in a unit that is ``unit`` times as long."""
        return History(self.repeats, self.last / unit, self.watched / unit)

    def distinct(self, most: int) -> tuple[History, Floats]:
        """Each history once, and how many customers have it; of at most about ``most`` customers."""
        rows, count = grouped(self.repeats, self.last, self.watched, most=most)
        return History(*rows.T), count

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> History:
        """Some customers."""
        return History(self.repeats[rows], self.last[rows], self.watched[rows])


def rough(history: History, count: Floats) -> tuple[float, float]:
    """Mean time between purchases and mean time watched, for the start of a search."""
    watched = float(count @ history.watched)
    return (watched + 1) / (float(count @ history.repeats) + 1), (watched + 1) / (float(count.sum()) + 1)


def grouped(*columns: Floats, most: int) -> tuple[Floats, Floats]:
    """Distinct rows, sorted, and how many customers each stands for; what is learned from them does not depend on the order of customers.

    Beyond ``most`` customers every so-manieth in that order is taken: parameters of a handful of numbers gain nothing from more.
    """
    rows = np.column_stack(columns)
    if not len(rows):
        return rows, np.zeros(0)
    rows = rows[np.lexsort(rows.T[::-1])]
    rows = rows[:: max(1, -(-len(rows) // most))]
    first = np.flatnonzero(np.concatenate([[True], (rows[1:] != rows[:-1]).any(axis=1)]))
    return rows[first], np.diff(np.append(first, len(rows))).astype(np.float64)
