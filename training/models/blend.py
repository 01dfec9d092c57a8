"""The blend: several rankers weighed for each purpose, with weights that it learns itself on the horizon before the moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_serializer, field_validator

from features.interactions import Interactions
from retain.config import build, spec
from retain.errors import IntegrityError
from training.contracts import PURPOSES, Floats, Integers, Purpose, Ranking
from training.models.als import Als, FittedAls
from training.models.bpr import Bpr, FittedBpr
from training.models.folder import parts, read, write
from training.models.item_item import FittedItemItem, ItemItem
from training.models.lists import allowed, ranked
from training.models.personal import FittedPersonal, Personal
from training.models.popular import FittedPopularity, Popularity, popularity
from training.models.purchases import Block, before, catalogue
from training.models.segmented import FittedSegmented, Segmented
from training.models.tifu import FittedTifu, Tifu
from training.models.weighing import Weighing, shares

Candidate = Popularity | Segmented | Personal | Tifu | ItemItem | Als | Bpr
FittedCandidate = FittedPopularity | FittedSegmented | FittedPersonal | FittedTifu | FittedItemItem | FittedAls | FittedBpr
_FITTED: dict[str, type[FittedCandidate]] = {
    "Popularity": FittedPopularity, "Segmented": FittedSegmented, "Personal": FittedPersonal, "Tifu": FittedTifu,
    "ItemItem": FittedItemItem, "Als": FittedAls, "Bpr": FittedBpr,
}  # fmt: skip
_FALLBACK = 1e-6
"""Weight of all-time popularity: it only orders and fills what the candidates leave open."""

CANDIDATES: tuple[Candidate, ...] = (
    Popularity(window_days=7),
    Popularity(window_days=30),
    Popularity(window_days=365),
    Personal(half_life_days=60, shape="power", floor=0.1, mix=0.3),
    Personal(half_life_days=365, floor=0.3, mix=1.0),
    Personal(half_life_days=30, floor=0.1, mix=0.3),
    ItemItem(nearness="ease", ridge=400),
    ItemItem(nearness="ease", ridge=3200),
    ItemItem(nearness="ease", ridge=30, weight="recency", half_life_days=90),
    ItemItem(nearness="bm25", weight="recency", half_life_days=60),
    ItemItem(nearness="walks", weight="recency", half_life_days=90),
    Tifu(),
    Als(),
)


class Blend(BaseModel):
    """Candidates, and how to weigh them.

    Fitting holds back the last horizon, learns every candidate on what was known before it, weighs them for each purpose by the lists they
    would have made, and then learns the chosen ones again on everything. Nothing later than the history's moment is ever seen.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    candidates: tuple[Candidate, ...] = Field(default=CANDIDATES, min_length=1)
    """In a file, each as ``{use: training.models.personal:Personal, half_life_days: 30}``."""
    horizon_days: int = Field(default=28, ge=1)
    """Length of the window on which weights are learned: the task's horizon."""
    weighing: Weighing = Weighing()
    otherwise: tuple[Popularity, Personal, ItemItem] = (Popularity(), Personal(), ItemItem())
    """Used where the history is too short to learn weights: equal parts of personal frequency and popularity, co-purchase for what is new."""
    min_customers: int = Field(default=1, ge=1)

    @field_validator("candidates", mode="before")
    @classmethod
    def _built(cls, value: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(build(one, "candidates") if isinstance(one, Mapping) else one for one in value)

    @field_serializer("candidates")
    def _spelled(self, value: tuple[Candidate, ...]) -> list[dict[str, Any]]:
        return [spec(one) for one in value]

    def fit(self, history: Interactions) -> FittedBlend:
        """Weigh, then learn."""
        kept = catalogue(history, self.min_customers)
        past = catalogue(before(kept, self.horizon_days), self.min_customers)
        weights = self.weighing.learn(self.learned(past).parts, past, kept) if len(past) else None
        if weights is None:
            return self.unlearned(kept)
        used = np.flatnonzero(np.sum([weights[purpose] for purpose in PURPOSES], axis=0) > 0)
        fitted = tuple(self.candidates[place].fit(kept) for place in used)
        return FittedBlend(self, kept.items, fitted, {purpose: weights[purpose][used] for purpose in PURPOSES}, popularity(kept, np.inf))

    def learned(self, kept: Interactions, weights: Mapping[Purpose, Floats] | None = None) -> FittedBlend:
        """Every candidate learned on a history, under given weights; equal ones where there are none yet."""
        equal = np.full(len(self.candidates), 1.0 / len(self.candidates))
        fitted = tuple(config.fit(kept) for config in self.candidates)
        return FittedBlend(self, kept.items, fitted, weights or dict.fromkeys(PURPOSES, equal), popularity(kept, np.inf))

    def unlearned(self, kept: Interactions) -> FittedBlend:
        """What answers where the history is too short to learn weights."""
        weights: dict[Purpose, Floats] = {"all": np.array([0.1, 0.9, 0.0]), "new": np.array([0.2, 0.0, 0.8]), "repeat": np.array([0.1, 0.9, 0.0])}
        return FittedBlend(self, kept.items, tuple(config.fit(kept) for config in self.otherwise), weights, popularity(kept, np.inf))


@dataclass(frozen=True)
class FittedBlend:
    """The chosen candidates and their weights for each purpose."""

    config: Blend
    items: NDArray[np.object_]
    parts: tuple[FittedCandidate, ...]
    weights: Mapping[Purpose, Floats]
    """Purpose -> (parts,), summing to one."""
    popularity: Floats
    """(items,) the fallback for customers and items of which the parts know nothing."""

    def scores(self, block: Block, purpose: Purpose) -> Floats:
        """Weighted sum of the parts, each as a share of the customer's best allowed score."""
        mask = allowed(block, purpose)
        weighty = [place for place, weight in enumerate(self.weights[purpose]) if weight > 0]
        return self.mixed({place: shares(self.parts[place].scores(block, purpose), mask) for place in weighty}, block.customers, purpose)

    def mixed(self, said: Mapping[int, Floats], customers: int, purpose: Purpose) -> Floats:
        """The weighted sum of what parts, by their place, say as shares."""
        total = np.repeat(_FALLBACK * self.popularity[None, :], customers, axis=0)
        for place, share in said.items():
            if self.weights[purpose][place] > 0:
                total += self.weights[purpose][place] * share
        return total

    def rank(self, history: Interactions, customers: Integers, k: int, purpose: Purpose) -> Ranking:
        """See ``FittedRanker``."""
        return ranked(self, history, customers, k, purpose)

    def save(self, folder: Path) -> None:
        """Write weights and catalogue, and each part into a folder of its own."""
        arrays = {"popularity": self.popularity, **{f"weights_{purpose}": self.weights[purpose] for purpose in PURPOSES}}
        write(folder, self.config, self.items, arrays, [type(part.config).__name__ for part in self.parts])
        for number, part in enumerate(self.parts):
            (folder / f"part_{number}").mkdir(exist_ok=True)
            part.save(folder / f"part_{number}")

    @classmethod
    def load(cls, folder: Path) -> FittedBlend:
        """Read what ``save`` wrote, checked."""
        expected = {"popularity": ("float64", ("items",)), **{f"weights_{purpose}": ("float64", ("parts",)) for purpose in PURPOSES}}
        config, items, arrays = read(folder, Blend, expected)
        kinds = parts(folder)
        if len(kinds) != len(arrays["weights_all"]) or any(kind not in _FITTED for kind in kinds):
            raise IntegrityError(f"{folder.name}: parts {kinds!r} do not fit the weights; train the model again")
        loaded = tuple(_FITTED[kind].load(folder / f"part_{number}") for number, kind in enumerate(kinds))
        if any(not np.array_equal(part.items, items) for part in loaded):
            raise IntegrityError(f"{folder.name}: a part ranks another catalogue than the blend; train the model again")
        return cls(config, items, loaded, {purpose: arrays[f"weights_{purpose}"] for purpose in PURPOSES}, arrays["popularity"])
