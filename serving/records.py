"""Rows of SQL as items and offers of the shop: nulls as None, times aware, lists sorted."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd

from serving.decisions.facts import Item, Offer


def item(row: Mapping[Any, Any], not_offered: Collection[str] = ()) -> Item:
    """An item of ``gather.items``; ``not_offered`` are those that the source declares to be no wares to propose."""
    value: dict[str, Any] = {str(name): None if not isinstance(each, str) and pd.isna(each) else each for name, each in row.items()}
    for name in ("launched_at", "retired_at"):
        value[name] = None if value[name] is None else value[name].to_pydatetime()
    value["minimum_age"] = None if value["minimum_age"] is None else int(value["minimum_age"])
    return Item(**value, is_offerable=value["item_id"] not in not_offered)


def offer(row: Mapping[Any, Any]) -> Offer:
    """An offer of ``gather.offers``."""
    value: dict[str, Any] = {
        str(name): each if isinstance(each, (str, list, np.ndarray)) else (None if pd.isna(each) else each) for name, each in row.items()
    }
    for name in ("valid_from", "valid_to"):
        value[name] = None if value[name] is None else value[name].to_pydatetime()
    for name in ("channels", "regions", "audience"):
        value[name] = None if value[name] is None else tuple(sorted(map(str, value[name])))
    for name in ("minimum_age", "outcome_days"):
        value[name] = None if value[name] is None else int(value[name])
    value["items"] = () if value["items"] is None else tuple(sorted(map(str, value["items"])))
    return Offer(**value)
