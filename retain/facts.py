"""What counts as a purchase, an interaction and a sellable product: once, as SQL predicates, for every floor.

``t`` is a row of ``transactions``, ``p`` the row of ``products`` joined to it from the left.
"""

from __future__ import annotations

PURCHASE = "((t.kind = 'sale' and t.amount > 0 or t.kind = 'free') and t.customer_id is not null)"
"""What churn counts: a known customer paid for something, or took it free where the mapping says that this counts. Gifts, returns, fees and
adjustments are none."""

INTERACTION = "(t.kind in ('sale', 'free') and t.quantity > 0 and t.customer_id is not null)"
"""What recommendation learns from: a known customer took something, at whatever price. Postage and fees fall to ``SELLABLE``."""

VALUED = "(t.customer_id is not null)"
"""What value sums: every line of a known customer; returns are negative, postage and adjustments are money too."""

SELLABLE = "(p.is_sellable is distinct from false)"
"""Whether the product may be proposed. One that ``products`` does not know is sellable, and it has no category."""
