"""Who bought which item when, before a moment and as known at that moment: the input of collaborative filtering."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features import query
from retain.engine import Engine
from retain.facts import INTERACTION, SELLABLE
from retain.workspace import shift_days


@dataclass(frozen=True)
class Interactions:
    """Purchases before a moment, one row per customer, item and order, sorted by customer, time and item."""

    moment: datetime
    """Everything here happened, and was known, before it."""
    customers: NDArray[np.object_]
    """Customer ids by position, sorted."""
    items: NDArray[np.object_]
    """Item ids by position (the catalogue), sorted."""
    customer: NDArray[np.int32]
    """(rows,) position in ``customers``."""
    item: NDArray[np.int32]
    """(rows,) position in ``items``."""
    order: NDArray[np.int64]
    """(rows,) a number for the order; equal within one order."""
    at: NDArray[np.datetime64]
    """(rows,) datetime64[us], naive UTC."""
    price: NDArray[np.float64]
    """(rows,) amount per unit; NaN where unknown."""

    def __len__(self) -> int:
        return len(self.customer)


def load(
    engine: Engine,
    moment: datetime,
    item: Literal["product", "category"],
    zone: str = "UTC",
    days: int | None = None,
    ready: Collection[str] = (),
) -> Interactions:
    """What was bought before a moment, as then known, of what may be proposed.

    Args:
        engine: has the contract tables attached.
        moment: the cutoff.
        item: what an item is; what has no category is left out of ``category``.
        zone: the clock on which ``days`` are counted.
        days: only so many calendar days before the moment; all of history if None.
        ready: intermediate tables that are attached too.
    """
    versions = query.parts(["product_versions"], ready)
    at = query.clock(moment)
    name = {"product": "t.product_id", "category": "p.category"}[item]
    known = [INTERACTION, SELLABLE, f"{name} is not null", f"greatest(t.occurred_at, t.known_at) < {_zoned(moment)}"]
    if days is not None:
        known.append(f"t.occurred_at >= {_zoned(shift_days(moment, -days, zone))}")
    # Money and units are added as decimals: the price does not depend on the order of rows.
    rows = engine.arrow(
        query.preceded(
            versions,
            f"""
            select
                t.customer_id as customer, {name} as item, t.order_id as placed, min(t.occurred_at) as bought_at,
                cast(sum(cast(t.amount as decimal(18, 4))) as double) / nullif(cast(sum(cast(t.quantity as decimal(18, 4))) as double), 0) as price
            from transactions as t
            left join product_versions as p
                on p.product_id = t.product_id and p.visible_at < {at} and p.superseded_at >= {at}
            where {" and ".join(known)}
            group by t.customer_id, {name}, t.order_id
            order by customer, bought_at, item, placed
            """,
        )
    )
    customers, customer = _positions(rows["customer"])
    items, position = _positions(rows["item"])
    return Interactions(
        moment=moment,
        customers=customers,
        items=items,
        customer=customer,
        item=position,
        order=_positions(rows["placed"])[1].astype(np.int64),
        at=rows["bought_at"].cast(pa.timestamp("us")).to_numpy().astype("datetime64[us]"),
        price=rows["price"].to_numpy().astype(np.float64),
    )


def _positions(names: pa.ChunkedArray) -> tuple[NDArray[np.object_], NDArray[np.int32]]:
    """Distinct names in order, and the position of each row's name among them."""
    encoded = names.combine_chunks().dictionary_encode()
    distinct = np.array(encoded.dictionary.to_pylist(), dtype=object)
    order = np.argsort(distinct, kind="stable")
    place = np.empty(len(distinct), dtype=np.int32)
    place[order] = np.arange(len(distinct), dtype=np.int32)
    return distinct[order], place[encoded.indices.to_numpy()]


def _zoned(moment: datetime) -> str:
    return f"timestamptz '{moment.isoformat()}'"
