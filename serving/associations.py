"""Association rules for marketers: what is bought together in one order more often than chance would have it.

For a pair of items A and B over all orders: support = share of orders with both; confidence = support / share of orders with A;
lift = confidence / share of orders with B. The p value is Fisher's exact test, one-sided, of "no more often than chance", corrected by
Holm over all pairs that were tested, so that noise alone gives any rule at all one time in twenty.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.interactions import Interactions
from training.contracts import Floats, Integers

COLUMNS = ("first", "first_name", "second", "second_name", "orders", "support", "confidence", "lift", "p", "p_corrected")


@dataclass(frozen=True)
class Rules:
    """Who buys the first buys the second, the strongest first. Row-aligned."""

    items: NDArray[np.object_]
    """Item ids by position."""
    first: Integers
    second: Integers
    orders: Integers
    """Orders with both."""
    support: Floats
    confidence: Floats
    lift: Floats
    p: Floats
    p_corrected: Floats
    tested: int
    """Pairs that were tested, and corrected for."""
    baskets: int
    """Orders with at least one item."""

    def __len__(self) -> int:
        return len(self.first)

    def take(self, rows: NDArray[np.intp]) -> Rules:
        """Some rules, in the given order."""
        columns = {name: getattr(self, name)[rows] for name in ("first", "second", "orders", "support", "confidence", "lift", "p", "p_corrected")}
        return Rules(self.items, tested=self.tested, baskets=self.baskets, **columns)


def rules(history: Interactions, *, least_orders: int = 10, least_lift: float = 1.0, most_p: float = 0.05, max_items: int = 5000) -> Rules:
    """Rules of pairs of items in one order.

    Args:
        history: purchases.
        least_orders: orders that must hold both items; chosen before looking, so only such pairs are tested.
        least_lift: rules below are left out.
        most_p: corrected p above is left out.
        max_items: of the most bought items only.
    """
    from scipy.sparse import csr_matrix
    from scipy.stats import hypergeom

    bought = np.bincount(history.item, minlength=len(history.items))
    chosen = np.sort(np.argsort(-bought, kind="stable")[:max_items])
    place = np.full(len(history.items), -1, dtype=np.int64)
    place[chosen] = np.arange(len(chosen))
    _, order = np.unique(history.order, return_inverse=True)
    baskets = int(order.max(initial=-1)) + 1
    kept = place[history.item] >= 0
    matrix = csr_matrix((np.ones(int(kept.sum())), (order[kept], place[history.item[kept]])), shape=(baskets, len(chosen)))
    matrix.data[:] = 1.0
    matrix.sum_duplicates()
    matrix.data[:] = 1.0
    together = (matrix.T @ matrix).tocoo()
    alone = np.asarray(matrix.sum(axis=0)).ravel()
    enough = (together.row < together.col) & (together.data >= least_orders)
    a, b, both = together.row[enough].astype(np.int64), together.col[enough].astype(np.int64), together.data[enough]
    p = hypergeom.sf(both - 1, baskets, alone[a], alone[b]) if len(both) else np.empty(0)
    corrected = _holm(np.asarray(p, dtype=np.float64))
    first, second = np.concatenate([a, b]), np.concatenate([b, a])
    both, p, corrected = np.tile(both, 2), np.tile(p, 2), np.tile(corrected, 2)
    confidence = both / alone[first] if len(first) else np.empty(0)
    lift = confidence / (alone[second] / max(baskets, 1)) if len(first) else np.empty(0)
    found = Rules(
        history.items, chosen[first], chosen[second], both.astype(np.int64), both / max(baskets, 1), confidence, lift, p, corrected, len(a), baskets
    )
    kept_rules = np.flatnonzero((lift >= least_lift) & (corrected <= most_p))
    strongest = np.lexsort((found.second[kept_rules], found.first[kept_rules], -confidence[kept_rules], -lift[kept_rules]))
    return found.take(kept_rules[strongest])


def rows(found: Rules, names: Mapping[str, str]) -> list[list[Any]]:
    """The rules as rows of ``COLUMNS``; an item without a name is called by its id."""
    first, second = found.items[found.first].tolist(), found.items[found.second].tolist()
    numbers = zip(found.orders.tolist(), found.support.tolist(), found.confidence.tolist(), found.lift.tolist(), found.p.tolist(), strict=True)
    return [
        [a, names.get(a, a), b, names.get(b, b), *each, corrected]
        for a, b, each, corrected in zip(first, second, numbers, found.p_corrected.tolist(), strict=True)
    ]


def _holm(p: Floats) -> Floats:
    """Holm's corrected p.

    >>> _holm(np.array([0.01, 0.04, 0.03])).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p, kind="stable")
    steps = np.minimum(p[order] * np.arange(len(p), 0, -1), 1.0)
    corrected = np.empty(len(p))
    corrected[order] = np.maximum.accumulate(steps) if len(p) else steps
    return corrected
