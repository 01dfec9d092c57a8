"""Item-item: what goes with what this customer bought, by co-purchase (BM25, cosine), by the linear model EASE or by walks (RP3beta)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from features.interactions import Interactions
from training.contracts import Floats, Integers, Purpose, Ranking
from training.models import sparse
from training.models.folder import read, write
from training.models.lists import ranked
from training.models.purchases import Block, Weight, buyers, catalogue, everybody


class ItemItem(BaseModel):
    """Neighbours of each item; a customer's score of an item is the sum over what was bought, times how near it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    nearness: Literal["bm25", "cosine", "ease", "walks"] = "bm25"
    """Co-purchases weighted as BM25 weights words, by cosine, the closed-form linear model of Steck (2019), or RP3beta: three random steps
    from customer to item to customer to item, popular ends held back (Paudel and others, 2017)."""
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
    steps: float = Field(default=1.0, gt=0)
    """Walks: the power that the chance of each step is raised to."""
    held_back: float = Field(default=0.3, ge=0)
    """Walks: the power of an item's popularity that its score is divided by."""
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
        if self.nearness == "walks":
            columns, weighted = _steps(bought, self.steps, self.held_back)
        else:
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
        write(folder, self.config, self.items, sparse.to_arrays(self.near, "near"))

    @classmethod
    def load(cls, folder: Path) -> FittedItemItem:
        """Read what ``save`` wrote, checked."""
        config, items, arrays = read(folder, ItemItem, sparse.expected("near"))
        return cls(config, items, sparse.from_arrays(arrays, "near", len(items), len(items), folder.name))


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


def _steps(bought: Any, power: float, held_back: float) -> tuple[Any, Any]:
    """CSR (items, customers) and (customers, items): the chance of each step to a power, ends divided by a power of their popularity."""
    by_customer, by_item = sparse.row_sums(bought), sparse.row_sums(bought.T)
    to_item = bought.multiply(1.0 / np.maximum(by_customer, 1e-12)[:, None]).power(power)
    to_customer = bought.T.multiply(1.0 / np.maximum(by_item, 1e-12)[:, None]).power(power)
    return to_customer.tocsr(), to_item.multiply(1.0 / np.maximum(by_item, 1e-12)[None, :] ** held_back).tocsr()


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
