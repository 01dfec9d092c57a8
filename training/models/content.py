"""Content: items described like what a customer bought, by the words of names, categories and brands; also what nobody has bought yet."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from features.descriptions import Descriptions
from features.interactions import Interactions
from training.contracts import Floats, Integers, Purpose, Ranking
from training.models import sparse
from training.models.folder import read, write
from training.models.lists import ranked
from training.models.purchases import Block, Weight, align, everybody


class Content(BaseModel):
    """Cosine between an item's words and those of a customer's purchases; a rare word says more (inverse frequency)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weight: Weight = "recency"
    half_life_days: float = Field(default=90, gt=0)
    usual: float = Field(default=0.2, ge=0, le=1)
    """Share of the shop's average taste in everybody's: it answers for a customer without history."""

    def fit(self, history: Interactions, described: Descriptions | None = None) -> FittedContent:
        """Weigh the words; the catalogue is every described item, bought or not.

        Args:
            history: purchases; what was bought and is not described takes no part.
            described: the words; without them nothing is similar to anything.
        """
        from scipy.sparse import csr_matrix

        if described is None:
            described = Descriptions(history.items, (), np.zeros(len(history.items) + 1, dtype=np.int64), np.empty(0, dtype=np.int32))
        items, words = len(described.items), len(described.words)
        count = np.bincount(described.word, minlength=words)
        rarity = np.log((1.0 + items) / (1.0 + count))
        vectors = _unit(csr_matrix((rarity[described.word], described.word, described.start), shape=(items, words)))
        fitted = FittedContent(self, described.items, vectors, np.zeros(words))
        kept = align(history, described.items)
        usual = np.asarray(_unit(everybody(kept).sparse(self.weight, self.half_life_days) @ vectors).sum(axis=0), dtype=np.float64).ravel()
        return FittedContent(self, described.items, vectors, usual / max(float(np.sqrt((usual**2).sum())), 1e-12)) if len(kept) else fitted


@dataclass(frozen=True)
class FittedContent:
    """Words of each item, and the shop's average taste."""

    config: Content
    items: NDArray[np.object_]
    vectors: Any
    """CSR (items, words), each row of length one."""
    usual: Floats
    """(words,) of length one; zero where nothing was bought."""
    _columns: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_columns", self.vectors.T.tocsr())

    def scores(self, block: Block, purpose: Purpose) -> Floats:  # noqa: ARG002 - the same for all purposes
        """Cosine with the customer's own words, and with everybody's."""
        return self._near(block, self.vectors, self._columns)

    def near(self, block: Block, items: Integers) -> Floats:
        """(customers, items) the same for some items alone: what is new is a small part of a catalogue."""
        chosen = self.vectors[items]
        return self._near(block, chosen, chosen.T.tocsr())

    def _near(self, block: Block, vectors: Any, columns: Any) -> Floats:
        own = _unit(block.sparse(self.config.weight, self.config.half_life_days) @ self.vectors)
        everybody_s = np.asarray(vectors @ self.usual, dtype=np.float64)
        return np.asarray((1.0 - self.config.usual) * (own @ columns).toarray() + self.config.usual * everybody_s, dtype=np.float64)

    def rank(self, history: Interactions, customers: Integers, k: int, purpose: Purpose) -> Ranking:
        """See ``FittedRanker``."""
        return ranked(self, history, customers, k, purpose)

    def save(self, folder: Path) -> None:
        """Write words and catalogue."""
        write(folder, self.config, self.items, {"usual": self.usual, **sparse.to_arrays(self.vectors, "vectors")})

    @classmethod
    def load(cls, folder: Path) -> FittedContent:
        """Read what ``save`` wrote, checked."""
        config, items, arrays = read(folder, Content, {"usual": ("float64", ("words",)), **sparse.expected("vectors")})
        return cls(config, items, sparse.from_arrays(arrays, "vectors", len(items), len(arrays["usual"]), folder.name), arrays["usual"])


def _unit(matrix: Any) -> Any:
    length = np.sqrt(sparse.row_sums(matrix.multiply(matrix)))
    return matrix.multiply(1.0 / np.maximum(length, 1e-12)[:, None]).tocsr()
