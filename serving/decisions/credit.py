"""Who may be proposed something that is sold on credit. Pure; what is not known counts against the proposal."""

from __future__ import annotations

from serving.decisions.facts import Customer, Offer


def objection(offer: Offer, price: float | None, customer: Customer | None) -> str | None:
    """Why an offer that is sold on credit may not be proposed; None where it may.

    Args:
        offer: the offer.
        price: what one order of it costs; None where nobody knows, and then a limit cannot be held against it.
        customer: None is somebody unknown.
    """
    if not offer.needs_credit:
        return None
    if customer is None or customer.is_credit_blocked:
        return "credit"
    if customer.credit_limit is not None and price is not None and price > customer.credit_limit:
        return "credit_limit"
    return None


__all__ = ["objection"]
