"""What the shop says of its customers in words: the categories of the profile view, as known at a moment. Protected columns are not among them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from features import catalog, query
from retain.engine import Engine, identifier

VIEW = "profile"


@dataclass(frozen=True)
class Profiles:
    """Words of each customer that the shop describes."""

    customers: NDArray[np.object_]
    """Ids, sorted."""
    words: Mapping[str, NDArray[np.object_]]
    """Column -> (customers,) a word, or None where nothing is said; columns that say nothing of anybody are left out."""

    def of(self, ids: NDArray[np.object_]) -> dict[str, NDArray[np.object_]]:
        """Column -> (ids,) the words of other customers' ids; None also for whom nobody describes."""
        if not len(self.customers):
            return {}
        place = np.minimum(np.searchsorted(self.customers, ids), len(self.customers) - 1)
        is_there = self.customers[place] == ids
        found = {column: words[place] for column, words in self.words.items()}
        for words in found.values():
            words[~is_there] = None
        return found


def columns() -> tuple[str, ...]:
    """The columns of the profile view that hold words."""
    return tuple(each.name for each in catalog.view(VIEW).columns if each.dtype == "String")


def load(engine: Engine, moment: datetime) -> Profiles:
    """Customers as described at a moment, in the newest version then known."""
    at = query.clock(moment)
    listed = ", ".join(identifier(name) for name in columns())
    found = engine.arrow(
        query.preceded(
            query.parts(["customer_versions"]),
            f"select customer_id, {listed} from customer_versions where visible_at < {at} and superseded_at >= {at} order by customer_id",
        )
    )
    said = {name: _words(found[name].to_pylist()) for name in columns()}
    return Profiles(_words(found["customer_id"].to_pylist()), {name: words for name, words in said.items() if (words != None).any()})  # noqa: E711


def _words(values: list[str | None]) -> NDArray[np.object_]:
    words = np.empty(len(values), dtype=object)
    words[:] = values
    return words
