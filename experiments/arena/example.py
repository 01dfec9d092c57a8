"""A policy of your own in 20 lines: the newest customers get the cheapest offer.

retain arena --policy experiments.arena.example:Newest
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from experiments.arena.play import COLUMNS, Month, Played


@dataclass(frozen=True)
class Newest:
    """Who came last comes first."""

    name: str = "newest first"

    def play(self, month: Month) -> Played:
        """Down the order of joining, until the budget is spent."""
        order = np.argsort(month.x[:, COLUMNS.index("tenure")], kind="stable").astype(np.int64)
        return month.fill(order, np.full(len(order), month.costs.argmin(), dtype=np.int16))
