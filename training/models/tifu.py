"""TIFU-KNN: a customer's own orders, fading in groups, mixed with those of the customers most like them (Hu and others, 2020)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from features.interactions import Interactions
from training.contracts import Floats, Integers, Purpose, Ranking
from training.models import sparse
from training.models.folder import read, write
from training.models.lists import ranked
from training.models.purchases import Block, catalogue, everybody


class Tifu(BaseModel):
    """Orders are cut into groups from the newest back; an order fades within its group, a group with its age.

    Both kinds of fading count orders, not days: who comes weekly and who comes yearly are described alike.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    groups: int = Field(default=7, ge=1)
    """Groups of equal size that a customer's orders are cut into."""
    within: float = Field(default=0.9, gt=0, le=1)
    """Weight of an order against the next newer one of its group."""
    between: float = Field(default=0.7, gt=0, le=1)
    """Weight of a group against the next newer one."""
    neighbours: int = Field(default=300, ge=1)
    mix: float = Field(default=0.7, ge=0, le=1)
    """Share of the customer's own orders; the rest is the mean of the neighbours."""
    members: int = Field(default=5000, ge=1)
    """Customers among whom neighbours are looked for, at most; drawn with the seed."""
    seed: int = 7
    min_customers: int = Field(default=1, ge=1)

    def fit(self, history: Interactions) -> FittedTifu:
        """Describe the customers who can be neighbours."""
        kept = catalogue(history, self.min_customers)
        described = self.described(everybody(kept))
        with_any = np.flatnonzero(np.diff(described.indptr))
        if len(with_any) > self.members:
            with_any = np.sort(np.random.default_rng(self.seed).choice(with_any, self.members, replace=False))
        return FittedTifu(self, kept.items, described[with_any])

    def described(self, block: Block) -> Any:
        """CSR (customers, items): each customer's orders as one row, the mean over groups of the mean over their orders."""
        place, count = order_places(block)
        size = np.ceil(count / self.groups)[block.row]
        group = place // size
        in_group = np.minimum(size, count[block.row] - group * size)
        used = np.ceil(count[block.row] / size)
        weight = self.within ** (place - group * size) / in_group * self.between**group / used
        return sparse.cells(weight, block.row, block.item, (block.customers, block.items))


@dataclass(frozen=True)
class FittedTifu:
    """The customers who can be neighbours, each as a row."""

    config: Tifu
    items: NDArray[np.object_]
    members: Any
    """CSR (members, items)."""
    _columns: Any = field(init=False, repr=False, compare=False)
    _lengths: Floats = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_columns", self.members.T.tocsr())
        object.__setattr__(self, "_lengths", sparse.row_sums(self.members.multiply(self.members)))

    def scores(self, block: Block, purpose: Purpose) -> Floats:  # noqa: ARG002 - the same for all purposes
        """Own orders and the neighbours' mean; zero for a customer without history."""
        own = self.config.described(block)
        known = np.diff(own.indptr) > 0
        result = self.config.mix * own.toarray()
        nearest = self._nearest(own)
        if nearest.shape[1]:
            pick = sparse.picks(nearest, self.members.shape[0], known)
            result += (1.0 - self.config.mix) * (pick @ self.members).toarray()
        return np.asarray(result, dtype=np.float64)

    def _nearest(self, own: Any) -> Integers:
        """(customers, neighbours) members by Euclidean distance; where the bar cuts through equals, the earlier members."""
        count = min(self.config.neighbours, self.members.shape[0])
        if not count:
            return np.empty((own.shape[0], 0), dtype=np.int64)
        # The customer's own length is the same for all members and decides nothing.
        distance = self._lengths[None, :] - 2.0 * (own @ self._columns).toarray()
        return sparse.smallest(distance, count)

    def rank(self, history: Interactions, customers: Integers, k: int, purpose: Purpose) -> Ranking:
        """See ``FittedRanker``."""
        return ranked(self, history, customers, k, purpose)

    def save(self, folder: Path) -> None:
        """Write members and catalogue."""
        write(folder, self.config, self.items, sparse.to_arrays(self.members, "member"))

    @classmethod
    def load(cls, folder: Path) -> FittedTifu:
        """Read what ``save`` wrote, checked."""
        config, items, arrays = read(folder, Tifu, sparse.expected("member"))
        return cls(config, items, sparse.from_arrays(arrays, "member", None, len(items), folder.name))


def order_places(block: Block) -> tuple[Integers, Integers]:
    """Place of each purchase's order among its customer's, the newest 0, and each customer's number of orders.

    Rows of a customer are in order of time; an order that was entered over several moments is one order.
    """
    if not len(block.row):
        return np.empty(0, dtype=np.int64), np.zeros(block.customers, dtype=np.int64)
    key = np.lexsort((block.order, block.row))
    row, order = block.row[key], block.order[key]
    opens = np.concatenate([[True], (row[1:] != row[:-1]) | (order[1:] != order[:-1])])
    which = np.cumsum(opens) - 1
    owner = row[opens]
    age = np.minimum.reduceat(block.age_days[key], np.flatnonzero(opens))
    count = np.bincount(owner, minlength=block.customers)
    newest = np.lexsort((order[opens], age, owner))
    place = np.empty(len(owner), dtype=np.int64)
    place[newest] = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
    result = np.empty(len(block.row), dtype=np.int64)
    result[key] = place[which]
    return result, count
