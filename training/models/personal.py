"""Personal frequency: what this customer buys often and lately, then what everybody buys lately."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from features.interactions import Interactions
from training.contracts import Floats, Integers, Purpose, Ranking
from training.models.folder import read, write
from training.models.lists import ranked
from training.models.popular import popularity
from training.models.purchases import Block, catalogue


class Personal(BaseModel):
    """Own orders of an item, each fading with age down to a floor, plus a share of recent popularity.

    Popularity orders what the customer bought equally often, and fills the list of a customer without history.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    half_life_days: float = Field(default=60, gt=0)
    """Age at which the part of an order's weight above the floor is halved."""
    shape: Literal["exponential", "power"] = "exponential"
    """2 ** (-age / half-life), or 1 / (1 + age / half-life), which forgets more slowly."""
    floor: float = Field(default=0.1, ge=0, le=1)
    """Weight that an order never falls below: an old habit still counts."""
    mix: float = Field(default=0.3, gt=0)
    """Weight of the most popular item, in orders of today."""
    window_days: float = Field(default=30, gt=0)
    """Window in which popularity is counted."""
    min_customers: int = Field(default=1, ge=1)

    def fit(self, history: Interactions) -> FittedPersonal:
        """Learn the popularity; what is personal is read from the history that is handed to ``rank``."""
        kept = catalogue(history, self.min_customers)
        return FittedPersonal(self, kept.items, popularity(kept, self.window_days))

    def weight(self, age_days: Floats) -> Floats:
        """Weight of an order by its age.

        >>> Personal(half_life_days=10, floor=0.2).weight(np.array([0.0, 10.0])).round(3).tolist()
        [1.0, 0.6]
        """
        faded = np.exp2(-age_days / self.half_life_days) if self.shape == "exponential" else 1.0 / (1.0 + age_days / self.half_life_days)
        return self.floor + (1.0 - self.floor) * faded


@dataclass(frozen=True)
class FittedPersonal:
    """How much an order of some age counts, and what everybody buys."""

    config: Personal
    items: NDArray[np.object_]
    popularity: Floats
    """(items,) in (0, 1]."""

    def scores(self, block: Block, purpose: Purpose) -> Floats:  # noqa: ARG002 - the same for all purposes
        """Faded orders plus popularity."""
        return block.dense(self.config.weight(block.age_days)) + self.config.mix * self.popularity

    def rank(self, history: Interactions, customers: Integers, k: int, purpose: Purpose) -> Ranking:
        """See ``FittedRanker``."""
        return ranked(self, history, customers, k, purpose)

    def save(self, folder: Path) -> None:
        """Write settings, popularity and catalogue."""
        write(folder, self.config, self.items, {"popularity": self.popularity})

    @classmethod
    def load(cls, folder: Path) -> FittedPersonal:
        """Read what ``save`` wrote, checked."""
        config, items, arrays = read(folder, Personal, {"popularity": ("float64", ("items",))})
        return cls(config, items, arrays["popularity"])
