"""Rows of customers that were made again since publication, because something came in of them. Read first, beside the published rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from serving.rows import Row

MOST = 50_000
"""Customers whose rows are held so; those who were made first go first, and are answered by their published rows and what came in."""
KEPT = ("lists", "band", "cause")
"""What stays as of the published rows: ranked lists need the model of lists, bands all customers, causes other tables."""


@dataclass(frozen=True)
class Made:
    """A row that was made again."""

    row: Row
    facts: int
    """Facts that had come in by then."""
    known_at: datetime
    """When the last of them did: nobody who asks about a moment before may be answered by it."""


class Overlay:
    """Rows by customer; one thread puts, another reads."""

    def __init__(self) -> None:
        self._made: dict[str, Made] = {}

    def __len__(self) -> int:
        return len(self._made)

    def get(self, customer_id: str) -> Made | None:
        """The row of a customer, where it was made again."""
        return self._made.get(customer_id)

    def put(self, made: Mapping[str, Made]) -> None:
        """Take rows in."""
        for customer_id, each in made.items():
            self._made.pop(customer_id, None)
            self._made[customer_id] = each
        while len(self._made) > MOST:
            self._made.pop(next(iter(self._made)))
