"""What the shop says of its products: words of names, categories and brands, also of products that nobody has bought yet."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from retain.engine import Engine

_WORD = re.compile(r"\w\w+")


@dataclass(frozen=True)
class Descriptions:
    """Words of each item, as a sparse matrix of (items, words) that holds ones."""

    items: NDArray[np.object_]
    """Item ids, sorted: every product that may be proposed."""
    words: tuple[str, ...]
    """The vocabulary, sorted; levels of the category and brands are words of their own."""
    start: NDArray[np.int64]
    """(items + 1,) where an item's words begin."""
    word: NDArray[np.int32]
    """Positions in ``words``, rising within an item."""


def load(engine: Engine, moment: datetime) -> Descriptions:
    """Products on sale at a moment, as then known."""
    rows = engine.arrow(
        f"""
        select
            p.product_id, arg_max(p.name, p.occurred_at) as name, arg_max(p.category_path, p.occurred_at) as category_path,
            arg_max(p.brand, p.occurred_at) as brand, arg_max(p.is_sellable, p.occurred_at) as is_sellable
        from products as p
        where greatest(p.occurred_at, p.known_at) < timestamptz '{moment.isoformat()}'
        group by p.product_id
        having is_sellable is distinct from false
        order by p.product_id
        """
    )
    return describe(*(rows[name].to_pylist() for name in ("product_id", "name", "category_path", "brand")))


def describe(items: list[str], names: list[str | None], categories: list[str | None], brands: list[str | None]) -> Descriptions:
    """Words of items given in the order of their ids."""
    said = [
        {
            *_WORD.findall((name or "").lower()),
            *(f"category: {level.strip().lower()}" for level in (category or "").split(">") if level.strip()),
            *([f"brand: {brand.lower()}"] if brand else []),
        }
        for name, category, brand in zip(names, categories, brands, strict=True)
    ]
    words = sorted(set().union(*said))
    place = {word: position for position, word in enumerate(words)}
    positions = [sorted(place[word] for word in each) for each in said]
    ids = np.empty(len(items), dtype=object)
    ids[:] = items
    flat = np.array([position for each in positions for position in each], dtype=np.int32)
    return Descriptions(ids, tuple(words), np.cumsum([0, *(len(each) for each in positions)]).astype(np.int64), flat)
