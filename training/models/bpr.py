"""BPR: factors that put what a customer bought before what they did not (Rendle and others, 2009); one thread, so that it can be repeated."""

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
from training.models.products import one_blas_thread
from training.models.purchases import Block, catalogue, everybody

_STEPS = 30
"""Steps in which a customer's factors are found."""


class Bpr(BaseModel):
    """Item factors and a bias of each item, learned from pairs of a bought item and another one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    factors: int = Field(default=64, ge=1)
    learning_rate: float = Field(default=0.05, gt=0)
    regularization: float = Field(default=0.01, gt=0)
    iterations: int = Field(default=100, ge=1)
    pull: float = Field(default=1.0, gt=0)
    """How strongly a customer's factors are held to zero when they are found from a history."""
    seed: int = 7
    min_customers: int = Field(default=1, ge=1)

    def fit(self, history: Interactions) -> FittedBpr:
        """Learn item factors; customers' factors are found when they are asked for."""
        from implicit.bpr import BayesianPersonalizedRanking

        kept = catalogue(history, self.min_customers)
        bought = everybody(kept).sparse("binary", 1.0).astype(np.float32)
        if not bought.nnz:
            return FittedBpr(self, kept.items, np.zeros((len(kept.items), self.factors)), np.zeros(len(kept.items)))
        with one_blas_thread():
            learner = BayesianPersonalizedRanking(
                factors=self.factors, learning_rate=self.learning_rate, regularization=self.regularization, iterations=self.iterations,
                verify_negative_samples=True, random_state=self.seed, num_threads=1, use_gpu=False,
            )  # fmt: skip
            learner.fit(bought, show_progress=False)
        # Its last column is the item's bias.
        learned = np.asarray(learner.item_factors, dtype=np.float64)
        return FittedBpr(self, kept.items, np.ascontiguousarray(learned[:, :-1]), np.ascontiguousarray(learned[:, -1]))


@dataclass(frozen=True)
class FittedBpr:
    """Item factors and biases, and how a customer's factors are found from a history."""

    config: Bpr
    items: NDArray[np.object_]
    factors: Floats
    """(items, factors)"""
    bias: Floats
    """(items,)"""

    def scores(self, block: Block, purpose: Purpose) -> Floats:  # noqa: ARG002 - the same for all purposes
        """The chance that the item would be put before a middling one; zero for a customer without history."""
        bought = block.sparse("binary", 1.0)
        customers = self.fold_in(bought)
        with one_blas_thread():
            # One product per customer: a product of many rows would give a row other last bits than alone.
            linear = np.matmul(customers[:, None, :], np.ascontiguousarray(self.factors.T))[:, 0, :] + self.bias
        scores = 1.0 / (1.0 + np.exp(-np.clip(linear, -30.0, 30.0)))
        scores[np.diff(bought.indptr) == 0] = 0.0
        return np.asarray(scores, dtype=np.float64)

    def fold_in(self, bought: Any) -> Floats:
        """(customers, factors) that best put each customer's own items before the mean item, by steps of a fixed length."""
        row = np.repeat(np.arange(bought.shape[0]), np.diff(bought.indptr))
        ahead = self.factors - self.factors.mean(axis=0) if len(self.factors) else self.factors
        lead = self.bias - self.bias.mean() if len(self.bias) else self.bias
        own, edge = ahead[bought.indices], lead[bought.indices]
        starts = bought.indptr[:-1][np.diff(bought.indptr) > 0]
        some = np.flatnonzero(np.diff(bought.indptr))
        found = np.zeros((bought.shape[0], self.factors.shape[1]))
        if not len(some):
            return found
        # The slope of the logistic is at most a quarter: steps of the inverse of the largest curvature never overshoot.
        length = 1.0 / (self.config.pull + 0.25 * np.add.reduceat((own**2).sum(axis=1), starts))
        for _ in range(_STEPS):
            wrong = 1.0 / (1.0 + np.exp(np.clip((found[row] * own).sum(axis=1) + edge, -30.0, 30.0)))
            slope = np.add.reduceat(wrong[:, None] * own, starts, axis=0) - self.config.pull * found[some]
            found[some] += length[:, None] * slope
        return found

    def rank(self, history: Interactions, customers: Integers, k: int, purpose: Purpose) -> Ranking:
        """See ``FittedRanker``."""
        return ranked(self, history, customers, k, purpose)

    def save(self, folder: Path) -> None:
        """Write item factors, biases and catalogue."""
        write(folder, self.config, self.items, {"factors": self.factors, "bias": self.bias})

    @classmethod
    def load(cls, folder: Path) -> FittedBpr:
        """Read what ``save`` wrote, checked."""
        config, items, arrays = read(folder, Bpr, {"factors": ("float64", ("items", "factors")), "bias": ("float64", ("items",))})
        return cls(config, items, arrays["factors"], arrays["bias"])
