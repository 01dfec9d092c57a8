"""Orders and the next purchase to expect of some customers, from their scores and their usual order."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from serving.decisions.figures import Floats
from serving.decisions.outlook import outlook
from serving.rows import Rows

USUAL = "baskets__amount_per_order_365d"
"""Money of a customer's mean order; the typical one stands in where the customer has none."""


def ahead(rows: Rows, positions: NDArray[np.intp], churn: Floats, clv: Floats) -> list[tuple[float | None, datetime | None]]:
    """Expected orders within the horizon and the moment of the next purchase; None where nothing is predicted, or it lies beyond a year.

    Args:
        rows: published.
        positions: of the customers.
        churn: (customers,) chance of no purchase within the horizon; NaN where none is predicted.
        clv: (customers,) money within it.
    """
    known = rows.features([USUAL], positions).get(USUAL, np.full(len(positions), np.nan))
    usual = np.where(np.isfinite(known), known, rows.card.typical.get(USUAL, np.nan))
    found = outlook(churn, clv, usual, rows.shop.horizon_days)
    return [
        (None if np.isnan(orders) else orders, None if np.isnan(days) else rows.card.moment + timedelta(days=days))
        for orders, days in zip(found.orders.tolist(), found.next_days.tolist(), strict=True)
    ]
