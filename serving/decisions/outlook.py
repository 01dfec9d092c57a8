"""What the chance of no purchase and the predicted money say together: orders to expect, and when the next purchase is. Pure.

The figures of one customer cannot contradict one another, because they are made of the same two predictions: at least as many orders are
expected as a purchase is likely; money is orders times what one is worth; the next purchase lies beyond the horizon exactly where no
purchase within it is likelier than one; where no purchase is certain there are no orders, no money and no date.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from serving.decisions.figures import Floats

MOST_DAYS = 365.0
"""A next purchase that lies further away is not named."""


@dataclass(frozen=True)
class Outlook:
    """Customers, row-aligned; NaN where nothing is predicted."""

    orders: Floats
    """Orders to expect within the horizon."""
    per_order: Floats
    """Money of one of them; NaN where none is expected."""
    next_days: Floats
    """Days until the next purchase, as likely to come before as after; NaN where it lies beyond ``MOST_DAYS``."""


def outlook(none: Floats, money: Floats, usual: Floats, horizon_days: float) -> Outlook:
    """Everything at once.

    Args:
        none: chance of no purchase within the horizon.
        money: predicted within it; a negative prediction counts as nothing.
        usual: money of the customer's usual order; NaN where nothing is known of it.
        horizon_days: how far the two look.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        at_usual = np.where(usual > 0, np.maximum(money, 0.0) / usual, 0.0)
        orders = np.where(none >= 1, 0.0, np.maximum(1 - none, at_usual))
        orders = np.where(np.isfinite(none) & np.isfinite(money), orders, np.nan)
        per_order = np.where(orders > 0, np.maximum(money, 0.0) / orders, np.nan)
        # With a pace that stays the same, the chance of none within d days is none ** (d / horizon); the next purchase is where it is a half.
        days = horizon_days * np.log(0.5) / np.log(np.clip(none, 1e-12, 1.0))
    return Outlook(orders, per_order, np.where((days > 0) & (days <= MOST_DAYS), days, np.nan))
