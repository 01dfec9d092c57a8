"""What counts as a purchase, an interaction and a sellable product, and what no fact can say: once, for every floor.

Predicates are SQL: ``t`` is a row of ``transactions``, ``p`` the row of ``products`` joined to it from the left.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

PURCHASE = "((t.kind = 'sale' and t.amount > 0 or t.kind = 'free') and t.customer_id is not null)"
"""What churn counts: a known customer paid for something, or took it free where the mapping says that this counts. Gifts, returns, fees and
adjustments are none."""

INTERACTION = "(t.kind in ('sale', 'free') and t.quantity > 0 and t.customer_id is not null)"
"""What recommendation learns from: a known customer took something, at whatever price. Postage and fees fall to ``SELLABLE``."""

VALUED = "(t.customer_id is not null)"
"""What value sums: every line of a known customer; returns are negative, postage and adjustments are money too."""

SELLABLE = "(p.is_sellable is distinct from false)"
"""Whether the product may be proposed. One that ``products`` does not know is sellable, and it has no category."""

LONGEST_ID = 256
LARGEST = 1e15
"""Larger numbers are refused, so that sums stay finite and exact to the cent."""
EARLIEST_FACT = "1971-01-01"
"""Facts before it are a clock that was never set."""
GRACE = timedelta(hours=24)
"""Clocks differ: a fact this far ahead of now is kept and not yet seen, one further ahead is unusable."""


@dataclass(frozen=True)
class Sign:
    """What a figure of an order line of some kinds cannot be."""

    kinds: tuple[str, ...]
    column: Literal["amount", "quantity"]
    wrong: Literal["<", ">", "<>"]
    """Compared with zero."""
    reason: str

    @property
    def sql(self) -> str:
        """The condition over a row of ``transactions``."""
        kinds = ", ".join(f"'{kind}'" for kind in self.kinds)
        return f"kind in ({kinds}) and {self.column} {self.wrong} 0"

    def is_broken(self, kind: str, value: float) -> bool:
        """The same of one row."""
        return kind in self.kinds and _COMPARED[self.wrong](value, 0)


_COMPARED = {"<": operator.lt, ">": operator.gt, "<>": operator.ne}

SIGNS = (
    Sign(("sale",), "amount", "<", "amount:negative_sale"),
    Sign(("sale", "free"), "quantity", "<", "quantity:negative_sale"),
    Sign(("free",), "amount", "<>", "amount:not_free"),
    Sign(("return",), "amount", ">", "amount:positive_return"),
)
