"""Recommend: what will a customer buy in the horizon? Three questions, never mixed: anything, what is new, what was bought before."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from features.interactions import Interactions
from training.contracts import PURPOSES, FittedRanker, Floats, Integers, Purpose, Ranker, Ranking
from training.models.purchases import align, buyers, distinct
from training.ranking_metrics import average_precision, coverage, hit_rate, hits, ndcg, precision, recall

MEASURES = {"ndcg": ndcg, "recall": recall, "hit": hit_rate, "map": average_precision, "precision": precision}


@dataclass(frozen=True)
class Targets:
    """Distinct pairs of customer and item bought in the horizon, by customers and items known before it."""

    customers: NDArray[np.object_]
    """Customer ids by position, as in the history."""
    items: NDArray[np.object_]
    """The catalogue."""
    customer: Integers
    """(pairs,) position in ``customers``, rising."""
    item: Integers
    """(pairs,) position in ``items``."""
    is_known: NDArray[np.bool_]
    """(pairs,) the customer bought the item before the moment."""

    def of(self, purpose: Purpose) -> Targets:
        """The pairs that a purpose asks for."""
        if purpose == "all":
            return self
        rows = self.is_known if purpose == "repeat" else ~self.is_known
        return replace(self, customer=self.customer[rows], item=self.item[rows], is_known=self.is_known[rows])

    def eligible(self, purpose: Purpose) -> Integers:
        """Positions of the customers with something to find: those that a purpose is judged on."""
        return np.unique(self.of(purpose).customer)


@dataclass(frozen=True)
class Judged:
    """How good the lists of one purpose are, customer by customer."""

    purpose: Purpose
    customers: NDArray[np.object_]
    """(eligible,) ids: the unit of resampling."""
    values: dict[str, Floats]
    """Measure -> (eligible,); an eligible customer without a list has zero."""
    coverage: float
    """Share of the catalogue in at least one list."""

    def means(self) -> dict[str, float]:
        """Measure -> mean over eligible customers; NaN where there is none."""
        return {name: float(value.mean()) if len(value) else float("nan") for name, value in self.values.items()}


class Recommend(BaseModel):
    """Rank the catalogue for each customer with a purchase before the moment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ClassVar[str] = "recommend"
    main_metric: ClassVar[str] = "ndcg@10"
    is_higher_better: ClassVar[bool] = True

    item: Literal["product", "category"] | None = None
    """What is ranked; None is what the source says."""
    horizon_days: int | None = Field(default=None, ge=1)
    """None is what the source says."""
    k: int = Field(default=10, ge=1)
    """Places that are judged."""
    min_customers: int | None = Field(default=None, ge=1)
    """Buyers that an item needs to be in the catalogue; None decides by the size of the catalogue."""
    large_catalogue: int = Field(default=5000, ge=1)
    """A catalogue of more items is large: an item there needs five buyers, because one bought once says nothing of anybody else."""

    def history(self, history: Interactions) -> Interactions:
        """The history on the catalogue that is ranked."""
        count = buyers(history)
        least = self.min_customers or (5 if int((count > 0).sum()) > self.large_catalogue else 1)
        return align(history, history.items[count >= least])

    def ready(self, model: Ranker, horizon_days: int) -> Ranker:
        """The model, told the horizon where it learns on windows of that length."""
        if isinstance(model, BaseModel) and "horizon_days" in type(model).model_fields:
            return model.model_copy(update={"horizon_days": horizon_days})
        return model

    def targets(self, history: Interactions, later: Interactions) -> Targets:
        """What customers of ``history`` bought after its moment, of its catalogue.

        Args:
            history: what is known at the moment, on the catalogue.
            later: purchases up to the end of the horizon; those before the moment of ``history`` are not looked at.
        """
        moment = np.datetime64(history.moment.replace(tzinfo=None), "us")
        place, known = _places(later.customers, history.customers)
        known &= np.isin(place, history.customer)
        after = align(later, history.items)
        rows = (after.at >= moment) & known[after.customer]
        width = max(len(history.items), 1)
        pairs = distinct(place[after.customer[rows]] * width + after.item[rows])
        is_known = np.isin(pairs, history.customer.astype(np.int64) * width + history.item)
        return Targets(history.customers, history.items, pairs // width, pairs % width, is_known)

    def evaluate(self, ranking: Ranking, customers: Integers, targets: Targets, purpose: Purpose) -> Judged:
        """Judge lists made for ``customers`` (positions in the history); an eligible customer who was not asked for has no list."""
        wanted = targets.of(purpose)
        eligible = targets.eligible(purpose)
        listed = np.full((len(eligible), ranking.items.shape[1]), -1, dtype=np.int32)
        place = np.searchsorted(eligible, customers)
        asked = place < len(eligible)
        asked[asked] = eligible[place[asked]] == customers[asked]
        listed[place[asked]] = ranking.items[asked]
        row = np.searchsorted(eligible, wanted.customer)
        hit = hits(listed, row, wanted.item, len(targets.items))
        size = np.bincount(row, minlength=len(eligible))
        values = {f"{name}@{self.k}": measure(hit, size, self.k) for name, measure in MEASURES.items()}
        return Judged(purpose, targets.customers[eligible], values, coverage(listed, len(targets.items), self.k))

    def judge(self, fitted: FittedRanker, history: Interactions, targets: Targets) -> dict[Purpose, Judged]:
        """Rank for everybody who is eligible, purpose by purpose, and judge."""
        judged: dict[Purpose, Judged] = {}
        for purpose in PURPOSES:
            customers = targets.eligible(purpose)
            judged[purpose] = self.evaluate(fitted.rank(history, customers, self.k, purpose), customers, targets, purpose)
        return judged


def _places(values: NDArray[np.object_], known: NDArray[np.object_]) -> tuple[Integers, NDArray[np.bool_]]:
    """Position of each value in the sorted ``known``, and whether it is there at all."""
    place = np.minimum(np.searchsorted(known, values), max(len(known) - 1, 0))
    is_there = known[place] == values if len(known) else np.zeros(len(values), dtype=bool)
    return place.astype(np.int64), np.asarray(is_there, dtype=bool)
