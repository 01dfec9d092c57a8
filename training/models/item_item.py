"""Item-item: what goes with what this customer bought, by co-purchase (BM25, cosine) or by the linear model EASE."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from features.interactions import Interactions
from retain.errors import IntegrityError
from training.contracts import Floats, Integers, Purpose, Ranking
from training.models.folder import read, write
from training.models.lists import ranked
from training.models.purchases import Block, Weight, buyers, catalogue, everybody


class ItemItem(BaseModel):
    """Neighbours of each item; a customer's score of an item is the sum over what was bought, times how near it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    nearness: Literal["bm25", "cosine", "ease"] = "bm25"
    """Co-purchases weighted as BM25 weights words, by cosine, or the closed-form linear model of Steck (2019)."""
    weight: Weight = "binary"
    """What a purchase counts: once, by log of orders, or fading with age."""
    half_life_days: float = Field(default=60, gt=0)
    neighbours: int = Field(default=200, ge=1)
    """Nearest items kept for each item."""
    k1: float = Field(default=0.2, ge=0)
    b: float = Field(default=1.0, ge=0, le=1)
    """BM25: how soon repetition stops counting, and how far a broad basket is discounted."""
    ridge: float = Field(default=400, gt=0)
    """EASE: the penalty on its weights."""
    max_items: int = Field(default=4000, ge=1)
    """Neighbours are learned for so many of the most bought items: the work grows with the square of their number, for EASE with the cube."""
    min_customers: int = Field(default=1, ge=1)

    def fit(self, history: Interactions) -> FittedItemItem:
        """Learn the neighbours of each item."""
        from scipy.sparse import csr_matrix
        from threadpoolctl import threadpool_limits

        kept = catalogue(history, self.min_customers)
        bought = everybody(kept).sparse(self.weight, self.half_life_days)
        # One thread: the last bits of a product must not depend on how many cores were free.
        with threadpool_limits(1, "blas"):
            chosen = np.sort(np.argsort(-buyers(kept), kind="stable")[: self.max_items])
            near = (self._ease if self.nearness == "ease" else self._copurchase)(bought[:, chosen]).tocoo()
        items = len(kept.items)
        whole = csr_matrix((near.data, (chosen[near.row], chosen[near.col])), shape=(items, items))
        whole.sort_indices()
        return FittedItemItem(self, kept.items, whole)

    def _copurchase(self, bought: Any) -> Any:
        weighted = _bm25(bought, self.k1, self.b) if self.nearness == "bm25" else _unit_columns(bought)
        columns = weighted.T.tocsr()
        blocks = []
        size = max(1, 4_000_000 // max(bought.shape[1], 1))
        for start in range(0, bought.shape[1], size):
            blocks.append(_strongest((columns[start : start + size] @ weighted).toarray(), self.neighbours))
        return _stacked(blocks, bought.shape[1])

    def _ease(self, bought: Any) -> Any:
        from scipy.linalg.lapack import dpotrf, dpotri

        gram = (bought.T @ bought).toarray()
        gram[np.diag_indices_from(gram)] += self.ridge
        # The inverse from the Cholesky factor takes half of the work of a general one; it fills the lower triangle only. The matrix
        # is positive definite because of the ridge, so both steps succeed.
        lower = np.tril(dpotri(dpotrf(gram, lower=1)[0], lower=1)[0]) if len(gram) else gram
        diagonal = np.diag(lower).copy()
        weights = (lower + lower.T) / -diagonal
        np.fill_diagonal(weights, 0.0)
        return _strongest(weights, self.neighbours)


@dataclass(frozen=True)
class FittedItemItem:
    """Neighbours of each item."""

    config: ItemItem
    items: NDArray[np.object_]
    near: Any
    """CSR (items, items): what a purchase of the row's item says for the column's."""

    def scores(self, block: Block, purpose: Purpose) -> Floats:  # noqa: ARG002 - the same for all purposes
        """Nearness summed over what each customer bought; zero for a customer without history."""
        product = block.sparse(self.config.weight, self.config.half_life_days) @ self.near
        return np.asarray(product.toarray(), dtype=np.float64)

    def rank(self, history: Interactions, customers: Integers, k: int, purpose: Purpose) -> Ranking:
        """See ``FittedRanker``."""
        return ranked(self, history, customers, k, purpose)

    def save(self, folder: Path) -> None:
        """Write neighbours and catalogue."""
        parts = {"near": self.near.data, "neighbour": self.near.indices.astype(np.int32), "start": self.near.indptr.astype(np.int64)}
        write(folder, self.config, self.items, parts)

    @classmethod
    def load(cls, folder: Path) -> FittedItemItem:
        """Read what ``save`` wrote, checked."""
        from scipy.sparse import csr_matrix

        config, items, arrays = read(
            folder, ItemItem, {"near": ("float64", ("cells",)), "neighbour": ("int32", ("cells",)), "start": ("int64", ("starts",))}
        )
        start, neighbour, count = arrays["start"], arrays["neighbour"], len(items)
        sound = len(start) == count + 1 and start[0] == 0 and start[-1] == len(neighbour) and (np.diff(start) >= 0).all()
        if not sound or (len(neighbour) and (neighbour.min() < 0 or neighbour.max() >= count)):
            raise IntegrityError(f"{folder.name}: neighbours point outside the catalogue of {count} items; train the model again")
        return cls(config, items, csr_matrix((arrays["near"], neighbour, start), shape=(count, count)))


def _bm25(bought: Any, k1: float, b: float) -> Any:
    """Purchases weighted as BM25 weights words: customers are documents, items are terms."""
    from scipy.sparse import csr_matrix

    customers = max(bought.shape[0], 1)
    cells = bought.tocoo()
    frequency = np.log(customers) - np.log1p(np.bincount(cells.col, minlength=bought.shape[1]))
    length = np.asarray(bought.sum(axis=1)).ravel()
    discount = (1.0 - b) + b * length / max(float(length.mean()), 1e-12) if customers else length
    data = cells.data * (k1 + 1.0) / (k1 * discount[cells.row] + cells.data) * frequency[cells.col]
    return csr_matrix((data, (cells.row, cells.col)), shape=bought.shape)


def _unit_columns(bought: Any) -> Any:
    norm = np.sqrt(np.asarray(bought.multiply(bought).sum(axis=0)).ravel())
    return bought.multiply(1.0 / np.maximum(norm, 1e-12)).tocsr()


def _strongest(rows: Floats, count: int) -> Any:
    """CSR of the ``count`` largest absolute values of each row, zeros left out."""
    from scipy.sparse import csr_matrix

    if rows.shape[1] > count:
        size = np.abs(rows)
        bar = np.partition(size, rows.shape[1] - count, axis=1)[:, rows.shape[1] - count, None]
        rows = np.where(size >= bar, rows, 0.0)
    return csr_matrix(rows)


def _stacked(blocks: list[Any], items: int) -> Any:
    from scipy.sparse import csr_matrix, vstack

    return vstack(blocks, format="csr") if blocks else csr_matrix((0, items))
