"""What the shop's wishes need to know of its items when lists are made: category and margin."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from retain.engine import Engine
from retain.workspace import State
from serving import gather, records
from serving.candidates import Terms
from serving.decisions.facts import Item
from training.contracts import Integers
from training.controls import Controls, relative


def terms(engine: Engine, wishes: Controls, item: str, names: NDArray[np.object_], items: Mapping[str, Item]) -> Terms:
    """The wishes with the categories and margins of ``names``; the views of ``gather.attach_current`` are there."""
    margin = np.array([np.nan if name not in items or items[name].margin is None else float(items[name].margin or 0.0) for name in names])
    return Terms(wishes, kinds(engine, item, names), relative(margin))


def terms_at(engine: Engine, wishes: Controls, item: str, names: NDArray[np.object_], moment: datetime, state: State) -> Terms:
    """The same as it stood at a moment in the past."""
    gather.attach_current(engine, moment)
    items = [records.item(row) for row in gather.items(engine, item, moment, state).to_dict("records")]
    return terms(engine, wishes, item, names, {each.item_id: each for each in items})


def kinds(engine: Engine, item: str, names: NDArray[np.object_]) -> Integers:
    """(names,) the category of each product, or the widest level above each category, as a number; -1 where none is said."""
    key, kind = ("product_id", "category") if item == "product" else ("category", "trim(split_part(category_path, '>', 1))")
    rows = engine.rows(f"select {key}, min({kind}) from products_now where {key} is not null and {kind} <> '' group by {key}")
    said = {str(name): str(kind) for name, kind in rows}
    number = {kind: place for place, kind in enumerate(sorted(set(said.values())))}
    return np.array([number[said[name]] if name in said else -1 for name in names], dtype=np.int64)
