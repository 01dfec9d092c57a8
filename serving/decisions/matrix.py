"""The strategy matrix: existing or new customer by existing or new product, as a tag on every action. Pure.

An existing customer has bought before. To an existing customer a product is existing if they bought it; to a new one, if it has been on the
market for longer than ``LAUNCH_DAYS``. What covers no product belongs to the relation that there is: for cross-selling it is new, else existing.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Literal

from serving.decisions.facts import Item, Lens

Strategy = Literal["loyalty", "extension", "acquisition", "diversification"]
LAUNCH_DAYS = 90
"""So long after its launch a product is called new."""


def strategy(is_customer: bool, owned: Collection[str], item: Item | None, lens: Lens, at: datetime) -> Strategy:
    """The field of the matrix.

    Args:
        is_customer: whether anything was bought before.
        owned: items that the customer has bought.
        item: what the proposal covers; None where it covers nothing in particular.
        lens: how the proposal is looked at.
        at: the moment.
    """
    if is_customer:
        is_existing = item.item_id in owned if item is not None else lens != "cross_sell"
        return "loyalty" if is_existing else "extension"
    is_new = item is not None and item.launched_at is not None and at - item.launched_at < timedelta(days=LAUNCH_DAYS)
    return "diversification" if is_new else "acquisition"


__all__ = ["LAUNCH_DAYS", "Strategy", "strategy"]
