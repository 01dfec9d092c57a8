"""Items too new for the ranker to know, and what of a customer's purchases resembles them, by content; gathered when rows are published."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from features import descriptions
from features.interactions import Interactions
from retain.engine import Engine
from retain.facts import INTERACTION
from training.contracts import Integers
from training.models.content import Content, FittedContent
from training.models.lists import top
from training.models.purchases import CELLS, align, blocks, buyers

NEW_DAYS = 60
"""An item is new for so many days after its launch, or after it was first described; nothing is new in a shop that is as young."""
MOST_BUYERS = 4
"""Of an item that more have bought, the ranker itself knows enough."""


@dataclass(frozen=True)
class NewItems:
    """Items on sale that are too new for the ranker, and what of a customer's purchases resembles them."""

    content: FittedContent
    where: Integers
    """Positions of the new items in the content's catalogue."""

    @property
    def items(self) -> NDArray[np.object_]:
        """Their ids, sorted."""
        return self.content.items[self.where]

    def nearest(self, history: Interactions, customers: Integers, k: int) -> NDArray[np.int32]:
        """(customers, k) positions in ``items`` of those that resemble what a customer bought, of what was never bought; -1 where fewer do."""
        aligned = align(history, self.content.items)
        found = np.full((len(customers), k), -1, dtype=np.int32)
        for place, block in blocks(aligned, customers, CELLS):
            found[place] = top(self.content.near(block, self.where), k, ~block.bought[:, self.where])[0]
        return found


def new_items(engine: Engine, history: Interactions) -> NewItems | None:
    """What is new at the moment of a history of products; None where nothing is."""
    # The newest row says what holds, also where it says nothing: arg_max alone would pass over its nulls and keep an item retired for ever.
    moment = f"timestamptz '{history.moment.isoformat()}'"
    since = f"timestamptz '{(history.moment - timedelta(days=NEW_DAYS)).isoformat()}'"
    rows = engine.rows(
        f"""
        with opened as (select min(occurred_at) as at from transactions as t where {INTERACTION})
        select product_id from products, opened
        where greatest(occurred_at, known_at) < {moment} and opened.at < {since}
        group by product_id
        having coalesce(min(launched_at), min(occurred_at)) >= {since}
            and coalesce(min(launched_at), min(occurred_at)) <= {moment}
            and coalesce(arg_max(struct_pack(at := retired_at), occurred_at).at > {moment}, true)
            and coalesce(arg_max(struct_pack(held := stock), occurred_at).held > 0, true)
        """
    )
    young = {str(name) for (name,) in rows}
    count = dict(zip(history.items.tolist(), buyers(history).tolist(), strict=True))
    unknown = {name for name in young if count.get(name, 0) <= MOST_BUYERS}
    if not unknown:
        return None
    described = descriptions.load(engine, history.moment)
    where = np.flatnonzero([name in unknown for name in described.items])
    return NewItems(Content().fit(history, described), where) if len(where) else None
