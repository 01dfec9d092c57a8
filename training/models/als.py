"""Implicit ALS: customers and items as factors; a customer's factors are solved from whatever history is handed over."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from features.interactions import Interactions
from training.contracts import Floats, Integers, Purpose, Ranking
from training.models.folder import read, write
from training.models.lists import ranked
from training.models.products import best_products, one_blas_thread
from training.models.purchases import Block, Weight, align, block, catalogue, everybody

_CUSTOMERS = 20_000
"""Customers whose factors are held at once."""
_FOLD_CELLS = 4_000_000
"""Gathered item factors held at once while customers are folded in (32 MB)."""


class Als(BaseModel):
    """Weighted matrix factorisation of who bought what (Hu, Koren, Volinsky 2008)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    factors: int = Field(default=64, ge=1)
    regularization: float = Field(default=20.0, gt=0)
    alpha: float = Field(default=1.0, gt=0)
    """Confidence of a pair is 1 + alpha * weight."""
    iterations: int = Field(default=10, ge=1)
    weight: Weight = "recency"
    half_life_days: float = Field(default=90, gt=0)
    seed: int = 7
    min_customers: int = Field(default=1, ge=1)

    def fit(self, history: Interactions) -> FittedAls:
        """Learn item factors; customers' factors are solved when they are asked for."""
        from implicit.als import AlternatingLeastSquares

        kept = catalogue(history, self.min_customers)
        if not len(kept):
            return FittedAls(self, kept.items, np.zeros((len(kept.items), self.factors)))
        confidence = self.confidence(everybody(kept)).astype(np.float32)
        # One BLAS thread: with more, the sums of a product differ in their last bits from run to run, and it is slower.
        with one_blas_thread():
            learner = AlternatingLeastSquares(
                factors=self.factors, regularization=self.regularization, alpha=1.0, iterations=self.iterations,
                random_state=self.seed, num_threads=0, use_gpu=False,
            )  # fmt: skip
            learner.fit(confidence, show_progress=False)
        return FittedAls(self, kept.items, np.asarray(learner.item_factors, dtype=np.float64))

    def confidence(self, block: Block) -> Any:
        """CSR (customers, items) of 1 + alpha * weight where something was bought."""
        matrix = block.sparse(self.weight, self.half_life_days)
        matrix.data = 1.0 + self.alpha * matrix.data
        return matrix


@dataclass(frozen=True)
class FittedAls:
    """Item factors, and how a customer's are solved from them."""

    config: Als
    items: NDArray[np.object_]
    factors: Floats
    """(items, factors)"""

    def scores(self, block: Block, purpose: Purpose) -> Floats:  # noqa: ARG002 - the same for all purposes
        """Predicted preference; zero for a customer without history."""
        with one_blas_thread():
            # One product per customer, all of the same shape: a product of many rows would give a row other last bits than alone.
            scores = np.matmul(self.fold_in(block)[:, None, :], np.ascontiguousarray(self.factors.T))
        return np.asarray(scores[:, 0, :], dtype=np.float64)

    def fold_in(self, block: Block) -> Floats:
        """(customers, factors) solved exactly from each customer's own purchases, without a loop over customers.

        Customers are grouped by the number of their items, rounded up to a power of two; the gap is filled with a weight of zero. So each
        customer's equations are summed over a length of its own, whoever else is asked for.
        """
        confidence = self.config.confidence(block)
        count = np.diff(confidence.indptr)
        length = np.where(count > 0, 1 << np.ceil(np.log2(np.maximum(count, 1))).astype(np.int64), 0)
        size = self.factors.shape[1]
        base = np.matmul(self.factors.T, self.factors) + self.config.regularization * np.eye(size)
        solved = np.zeros((block.customers, size))
        for padded in np.unique(length[length > 0]):
            group = np.flatnonzero(length == padded)
            step = max(1, _FOLD_CELLS // (int(padded) * size))
            for start in range(0, len(group), step):
                rows = group[start : start + step]
                slot = np.arange(padded)
                real = slot < count[rows, None]
                cell = np.where(real, confidence.indptr[rows, None] + slot, 0)
                gathered = self.factors[confidence.indices[cell]]
                weight = np.where(real, confidence.data[cell], 0.0)
                extra = np.where(real, weight - 1.0, 0.0)
                left = base + np.matmul(gathered.transpose(0, 2, 1), gathered * extra[:, :, None])
                right = np.matmul(weight[:, None, :], gathered)[:, 0, :]
                solved[rows] = np.linalg.solve(left, right[:, :, None])[:, :, 0]
        return solved

    def rank(self, history: Interactions, customers: Integers, k: int, purpose: Purpose) -> Ranking:
        """See ``FittedRanker``; what was bought before is few, all else goes through the blocked products."""
        if purpose == "repeat":
            return ranked(self, history, customers, k, purpose)
        aligned = align(history, self.items)
        items, scores = np.full((len(customers), k), -1, dtype=np.int32), np.full((len(customers), k), np.nan)
        for start in range(0, len(customers), _CUSTOMERS):
            part = slice(start, start + _CUSTOMERS)
            asked = block(aligned, customers[part])
            skip = asked.sparse("binary", 1.0) if purpose == "new" else None
            items[part], scores[part] = best_products(self.fold_in(asked), self.factors, k, skip=skip)
        return Ranking(items, scores)

    def save(self, folder: Path) -> None:
        """Write item factors and catalogue."""
        write(folder, self.config, self.items, {"factors": self.factors})

    @classmethod
    def load(cls, folder: Path) -> FittedAls:
        """Read what ``save`` wrote, checked."""
        config, items, arrays = read(folder, Als, {"factors": ("float64", ("items", "factors"))})
        return cls(config, items, arrays["factors"])
