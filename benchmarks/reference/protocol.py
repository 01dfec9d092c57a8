"""What a row may know: nothing stamped at or after the cut, and outcomes of windows only that had closed by then."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

DAY = pd.Timedelta(days=1)
STEP_DAYS = 14
"""Between two training cuts."""
LEAST_HISTORY_DAYS = 90
MOST_CUTS = 11
STRETCHED = (0.5, 0.447, 0.396)
"""Where history has no room for a window: shares of it after which it is cut for training, with a window of the same length after each."""
LOOK_BACK = 365 * DAY


class OpenWindowError(ValueError):
    """A training cut's window had not closed by the moment that is asked about."""


@dataclass(frozen=True)
class Moment:
    """A cut, the horizon after it, and a ledger of what had happened until ``until``, all on one clock."""

    ledger: pd.DataFrame
    """``customer_id``, ``ts``, ``order_id``, ``value``, ``purchase``, ``item``; one row per line."""
    at: pd.Timestamp
    horizon_days: int
    until: pd.Timestamp
    """Every row of ``ledger`` lies before it: the cut that is asked about."""

    def before(self) -> pd.DataFrame:
        """What features may be made of."""
        return self.ledger[self.ledger.ts < self.at]

    def population(self) -> pd.Index:
        """Customers with a purchase in the year before the cut."""
        rows = self.before()
        return pd.Index(np.sort(rows.customer_id[rows.purchase & (rows.ts >= self.at - LOOK_BACK)].unique()), name="customer_id")

    def outcome(self) -> pd.DataFrame:
        """``churn`` (1: no purchase in the window) and ``spend`` of the population.

        Raises:
            OpenWindowError: the window ends after ``until``.
        """
        end = self.at + self.horizon_days * DAY
        if end > self.until:
            raise OpenWindowError(f"the window from {self.at} ends at {end}, after {self.until}: its outcome is not known yet")
        window = self.ledger[(self.ledger.ts >= self.at) & (self.ledger.ts < end)]
        people = self.population()
        bought = window.customer_id[window.purchase].unique()
        return pd.DataFrame(
            {"churn": (~people.isin(bought)).astype(float), "spend": window.groupby("customer_id").value.sum().reindex(people, fill_value=0.0)}
        )


def asked(ledger: pd.DataFrame, cut: pd.Timestamp, horizon_days: int) -> Moment:
    """The moment that is asked about; later rows are dropped here, before anything is computed."""
    return Moment(ledger[ledger.ts < cut].reset_index(drop=True), cut, horizon_days, cut)


def lessons(test: Moment) -> list[Moment]:
    """Earlier cuts with closed windows, the newest first; where none has room, shorter histories stretched to the length of the whole one."""
    first = test.ledger.ts.min().floor("D")
    newest = test.at - test.horizon_days * DAY
    room = (newest - first) // DAY - LEAST_HISTORY_DAYS
    if room >= 0:
        count = min(room // STEP_DAYS + 1, MOST_CUTS)
        return [Moment(test.ledger, newest - number * STEP_DAYS * DAY, test.horizon_days, test.until) for number in range(count)]
    length = (test.at - first) // DAY
    return [stretched(test, first, int(length * share)) for share in STRETCHED]


def stretched(test: Moment, first: pd.Timestamp, days: int) -> Moment:
    """The history cut after so many days, on a clock on which it is as long as the whole: a stated assumption, where nothing better is to be had."""
    length = (test.at - first) // DAY
    factor = length / days
    ledger = test.ledger.assign(ts=first + (test.ledger.ts - first) * factor)
    return Moment(ledger, first + length * DAY, length, first + (test.until - first) * factor)
