"""Who bought which item when, before a moment and as known at that moment: the input of collaborative filtering."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Interactions:
    """Purchases before a moment, one row per customer, item and order, sorted by customer, time and item."""

    moment: datetime
    """Everything here happened, and was known, before it."""
    customers: NDArray[np.object_]
    """Customer ids by position, sorted."""
    items: NDArray[np.object_]
    """Item ids by position (the catalogue), sorted."""
    customer: NDArray[np.int32]
    """(rows,) position in ``customers``."""
    item: NDArray[np.int32]
    """(rows,) position in ``items``."""
    order: NDArray[np.int64]
    """(rows,) a number for the order; equal within one order."""
    at: NDArray[np.datetime64]
    """(rows,) datetime64[us], naive UTC."""
    price: NDArray[np.float64]
    """(rows,) amount per unit; NaN where unknown."""

    def __len__(self) -> int:
        return len(self.customer)
