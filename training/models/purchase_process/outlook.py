"""What a process expects of each customer: chance of no purchase, purchases, money and the next date, all of one history.

They cannot contradict one another: the chance of no purchase, the purchases and the wait are of one fitted process, money is purchases times
what one is worth. The next purchase is expected beyond the horizon exactly where no purchase within it is likelier than one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from training.contracts import Floats
from training.models.purchase_process.history import History
from training.models.purchase_process.spend import GammaGamma


class Process(Protocol):
    """How customers buy and stop buying. Times are in the process's own unit."""

    def alive(self, history: History) -> Floats:
        """Chance that a customer has not stopped."""

    def none_if_alive(self, history: History, horizon: float | Floats) -> Floats:
        """Chance of no purchase within ``horizon`` of one who has not."""

    def expected_if_alive(self, history: History, horizon: float) -> Floats:
        """Purchases to expect within ``horizon`` of one who has not."""

    def wait_if_alive(self, history: History, chance: Floats, most: float) -> Floats:
        """Time within which one who has not buys nothing with this chance; infinite beyond ``most``."""


@dataclass(frozen=True)
class Outlook:
    """Customers, row-aligned."""

    none: Floats
    """(rows,) chance of no purchase within the horizon."""
    purchases: Floats
    """(rows,) purchases to expect within it."""
    money: Floats
    """(rows,) money to expect of them."""
    next: Floats
    """(rows,) time until the next purchase, as likely to come before as after it; infinite where it lies beyond the limit or never comes."""


def none_within(process: Process, history: History, horizon: float) -> Floats:
    """Chance of no purchase within ``horizon``: stopped already, or not stopped and still none. Rises to one as the horizon shrinks."""
    return np.asarray(np.clip(1 - process.alive(history) * (1 - process.none_if_alive(history, horizon)), 0.0, 1.0))


def purchases_within(process: Process, history: History, horizon: float) -> Floats:
    """Purchases to expect within ``horizon``."""
    return np.asarray(process.alive(history) * process.expected_if_alive(history, horizon))


def next_purchase(process: Process, history: History, most: float) -> Floats:
    """Median time until the next purchase; infinite beyond ``most``, and where half of such customers never buy again."""
    alive = process.alive(history)
    return process.wait_if_alive(history, np.where(alive > 0.5, 1 - 0.5 / np.maximum(alive, 0.5), 0.0), most)


def outlook(process: Process, spend: GammaGamma, history: History, mean: Floats, horizon: float, most: float) -> Outlook:
    """Everything at once.

    Args:
        process: how they buy.
        spend: what they spend.
        history: what is known of each.
        mean: (rows,) mean money of the repeats seen; whatever where there are none.
        horizon: how far to look.
        most: how far the next purchase may lie.
    """
    purchases = purchases_within(process, history, horizon)
    money = purchases * spend.expected(history.repeats, mean)
    return Outlook(none_within(process, history, horizon), purchases, money, next_purchase(process, history, most))
