"""Recent popularity by segment: what customers of the same habits buy lately, small segments drawn towards everybody."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from features.interactions import Interactions
from training.contracts import Floats, Integers, Purpose, Ranking
from training.models.folder import read, write
from training.models.lists import ranked
from training.models.purchases import Block, ages, buyers, catalogue, distinct, everybody
from training.models.tifu import order_places


class Segmented(BaseModel):
    """Customers in cells of how often they order and how dear what they buy is; buyers in a window counted per cell."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    window_days: float = Field(default=30, gt=0)
    bands: int = Field(default=3, ge=1)
    """Bands of orders, and of price level, of about equally many customers."""
    strength: float = Field(default=50, gt=0)
    """Customers of the whole shop that each cell is filled up with: a cell of so many says half itself, half everybody."""
    min_customers: int = Field(default=1, ge=1)

    def fit(self, history: Interactions) -> FittedSegmented:
        """Cut the bands and count buyers."""
        kept = catalogue(history, self.min_customers)
        level = price_levels(kept)
        whole = everybody(kept)
        orders, dear = habits(whole, level)
        known = orders > 0
        shares = np.arange(1, self.bands) / self.bands
        cuts = np.stack([np.quantile(values[known], shares) if known.any() else np.zeros(self.bands - 1) for values in (orders, dear)])
        cell = cells_of(orders, dear, cuts)
        return FittedSegmented(self, kept.items, level, cuts, shrunk(kept, cell, self.bands**2 + 1, self.window_days, self.strength))


@dataclass(frozen=True)
class FittedSegmented:
    """Where the bands are cut, and the share of each cell that buys an item."""

    config: Segmented
    items: NDArray[np.object_]
    level: Floats
    """(items,) how dear an item is among the shop's, 0 to 1."""
    cuts: Floats
    """(2, bands - 1) of orders and of price level."""
    table: Floats
    """(cells, items); the last cell is of customers without history."""

    def scores(self, block: Block, purpose: Purpose) -> Floats:  # noqa: ARG002 - the same for all purposes
        """The row of the customer's cell."""
        return self.table[cells_of(*habits(block, self.level), self.cuts)]

    def rank(self, history: Interactions, customers: Integers, k: int, purpose: Purpose) -> Ranking:
        """See ``FittedRanker``."""
        return ranked(self, history, customers, k, purpose)

    def save(self, folder: Path) -> None:
        """Write bands, counts and catalogue."""
        write(folder, self.config, self.items, {"level": self.level, "cuts": self.cuts, "table": self.table})

    @classmethod
    def load(cls, folder: Path) -> FittedSegmented:
        """Read what ``save`` wrote, checked."""
        shapes = {"level": ("float64", ("items",)), "cuts": ("float64", (2, "cuts")), "table": ("float64", ("cells", "items"))}
        config, items, arrays = read(folder, Segmented, shapes)
        return cls(config, items, arrays["level"], arrays["cuts"], arrays["table"])


def shrunk(history: Interactions, segment: Integers, segments: int, window_days: float, strength: float) -> Floats:
    """(segments, items) share of a segment's customers who bought the item in the window, drawn towards everybody's share.

    Also for segments that are known of a customer before the first order, such as a country: their rows rank for new customers.

    Args:
        history: purchases.
        segment: (customers,) the segment of each.
        segments: how many there are; one without customers says what everybody says.
        window_days: days before the moment.
        strength: customers of the whole shop that each segment is filled up with.
    """
    width, recent = max(len(history.items), 1), ages(history) <= window_days
    pairs = distinct(history.customer[recent].astype(np.int64) * width + history.item[recent])
    table = np.bincount(segment[pairs // width] * width + pairs % width, minlength=segments * width).reshape(segments, width)[:, : len(history.items)]
    known = np.unique(history.customer)
    size = np.bincount(segment[known], minlength=segments)[:, None]
    everyone = table.sum(axis=0) + buyers(history) / (1.0 + len(history.customers))
    return np.asarray((table + strength * everyone / max(len(known), 1)) / (size + strength), dtype=np.float64)


def price_levels(history: Interactions) -> Floats:
    """(items,) rank of an item's mean price among all, 0 to 1; one half where no price is known."""
    known = np.isfinite(history.price) & (history.price > 0)
    count = np.bincount(history.item[known], minlength=len(history.items))
    total = np.bincount(history.item[known], history.price[known], len(history.items))
    mean = total / np.maximum(count, 1)
    order = np.argsort(mean, kind="stable")
    level = np.empty(len(mean))
    level[order] = (np.arange(len(mean)) + 0.5) / max(len(mean), 1)
    return np.where(count > 0, level, 0.5)


def habits(block: Block, level: Floats) -> tuple[Floats, Floats]:
    """Orders of each customer, and the mean price level of what they bought."""
    lines = np.bincount(block.row, minlength=block.customers)
    dear = np.bincount(block.row, level[block.item], block.customers) / np.maximum(lines, 1)
    return order_places(block)[1].astype(np.float64), dear


def cells_of(orders: Floats, dear: Floats, cuts: Floats) -> Integers:
    """The cell of each customer; the last one where there is no history."""
    bands = cuts.shape[1] + 1
    cell = np.searchsorted(cuts[0], orders, side="left") * bands + np.searchsorted(cuts[1], dear, side="left")
    return np.asarray(np.where(orders > 0, cell, bands**2), dtype=np.int64)
