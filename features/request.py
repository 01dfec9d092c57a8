"""Features that exist only during a request: what is in the basket, what time it is for the customer, what is wanted. Pure.

Training and serving call these same functions, so the only door through which they could differ is shut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

INTENTS = ("browse", "buy", "renew", "complain", "cancel", "ask")
"""Reasons for which a customer turns to us, by code."""


@dataclass(frozen=True)
class Line:
    """One line of a basket."""

    product_id: str
    quantity: float = 1.0
    price: float | None = None
    """Money per unit; None if unknown."""
    category: str | None = None


def basket(lines: Sequence[Line]) -> dict[str, float]:
    """Size of a basket: lines, units, money of the lines with a known price, distinct products and categories.

    >>> basket([Line("milk", 2, 1.5, "dairy"), Line("tape", 1)])
    {'basket_lines': 2.0, 'basket_units': 3.0, 'basket_amount': 3.0, 'basket_products': 2.0, 'basket_categories': 1.0}
    """
    return {
        "basket_lines": float(len(lines)),
        "basket_units": float(sum(line.quantity for line in lines)),
        "basket_amount": float(sum(line.quantity * line.price for line in lines if line.price is not None)),
        "basket_products": float(len({line.product_id for line in lines})),
        "basket_categories": float(len({line.category for line in lines if line.category is not None})),
    }


def clock(at: datetime, zone: str) -> dict[str, float]:
    """Hour and weekday (Monday is 1) of a request where the customer lives, as on transactions.

    >>> from datetime import UTC
    >>> clock(datetime(2026, 1, 1, 23, 30, tzinfo=UTC), "Europe/Berlin")
    {'request_hour': 0.0, 'request_weekday': 5.0}
    """
    local = at.astimezone(ZoneInfo(zone))
    return {"request_hour": float(local.hour), "request_weekday": float(local.isoweekday())}


def intent(word: str | None) -> dict[str, float]:
    """Code of what the customer wants; -1 for what we have no word for.

    >>> intent("cancel"), intent(None)
    ({'request_intent': 4.0}, {'request_intent': -1.0})
    """
    return {"request_intent": float(INTENTS.index(word)) if word in INTENTS else -1.0}
