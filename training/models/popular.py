"""Popularity: what most customers bought lately, the same list for everybody."""

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
from training.models.purchases import Block, buyers, catalogue


class Popularity(BaseModel):
    """Distinct buyers in a recent window; equal counts by buyers of all time."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    window_days: float = Field(default=30, gt=0)
    min_customers: int = Field(default=1, ge=1)
    """An item is in the catalogue when at least so many customers bought it."""

    def fit(self, history: Interactions) -> FittedPopularity:
        """Count buyers."""
        kept = catalogue(history, self.min_customers)
        return FittedPopularity(self, kept.items, popularity(kept, self.window_days))


@dataclass(frozen=True)
class FittedPopularity:
    """Counts of buyers."""

    config: Popularity
    items: NDArray[np.object_]
    popularity: Floats
    """(items,) in (0, 1], the most popular item 1."""

    def scores(self, block: Block, purpose: Purpose) -> Floats:  # noqa: ARG002 - the same for all purposes
        """The same row for every customer."""
        return np.repeat(self.popularity[None, :], block.customers, axis=0)

    def rank(self, history: Interactions, customers: Integers, k: int, purpose: Purpose) -> Ranking:
        """See ``FittedRanker``."""
        return ranked(self, history, customers, k, purpose)

    def save(self, folder: Path) -> None:
        """Write counts and catalogue."""
        write(folder, self.config, self.items, {"popularity": self.popularity})

    @classmethod
    def load(cls, folder: Path) -> FittedPopularity:
        """Read what ``save`` wrote, checked."""
        config, items, arrays = read(folder, Popularity, {"popularity": ("float64", ("items",))})
        return cls(config, items, arrays["popularity"])


def popularity(history: Interactions, window_days: float) -> Floats:
    """(items,) buyers in the window as a share of the most popular item's; buyers of all time decide between equals."""
    always = buyers(history)
    count = buyers(history, window_days) + always / (1.0 + len(history.customers))
    return count / max(float(count.max(initial=0.0)), 1.0)
