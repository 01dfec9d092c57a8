"""Prediction files: one row per customer, or per customer and rank, with ids in the source's own type."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from features.interactions import Interactions
from retain.errors import DataError
from retain.files import atomic_path
from retain.workspace import State, naive
from training.contracts import PROMISED, FittedRanker, Floats, Purpose

BLOCK = 20_000
"""Customers ranked at once."""


BOUNDS = tuple(f"{side}{round(share * 100)}" for share in PROMISED for side in ("lo", "hi"))
"""Columns of the intervals, in the order of ``training.contracts.Bounding``."""


def scores(
    path: Path, column: str, customers: NDArray[np.object_], predicted: Floats, as_of: datetime, state: State, intervals: Floats | None = None
) -> int:
    """Write ``customer_id``, ``as_of`` (the source's naive clock), one prediction and its intervals; return the number of rows."""
    clock = pa.array([naive(as_of, state.stored_zone)] * len(customers), pa.timestamp("us"))
    columns = {"customer_id": ids(customers, "customer_id", state), "as_of": clock, column: pa.array(predicted, pa.float64())}
    if intervals is not None:
        columns |= {name: pa.array(intervals[:, side], pa.float64()) for side, name in enumerate(BOUNDS)}
    return _write(path, [pa.table(columns)])


def lists(path: Path, fitted: FittedRanker, history: Interactions, purpose: Purpose, k: int, item: str, state: State) -> int:
    """Write ``user_id``, ``item_id`` and ``rank`` (1 is best) for every customer with a history; return the number of rows."""
    everyone = np.unique(history.customer).astype(np.int64)
    kind = "product_id" if item == "product" else ""
    parts = []
    for start in range(0, len(everyone), BLOCK):
        customers = everyone[start : start + BLOCK]
        ranking = fitted.rank(history, customers, k, purpose)
        row, place = np.nonzero(ranking.items >= 0)
        columns = {
            "user_id": ids(history.customers[customers[row]], "customer_id", state),
            "item_id": ids(fitted.items[ranking.items[row, place]], kind, state),
            "rank": pa.array(place + 1, pa.int32()),
        }
        parts.append(pa.table(columns))
    return _write(path, parts)


def ids(values: NDArray[np.object_], column: str, state: State) -> pa.Array:
    """Ids in the type that the source's own files hold them in; text where it does not say."""
    text = pa.array([str(value) for value in values], pa.string())
    kind = state.id_types.get(column, "string")
    try:
        return text.cast(pa.type_for_alias(kind))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        raise DataError(f"{column}: the source's own type is {kind}, but an id cannot be written in it ({error}); ingest again") from error


def _write(path: Path, parts: Sequence[pa.Table]) -> int:
    whole = (
        pa.concat_tables(parts)
        if parts
        else pa.table({"user_id": pa.array([], pa.string()), "item_id": pa.array([], pa.string()), "rank": pa.array([], pa.int32())})
    )
    with atomic_path(path) as partial:
        pq.write_table(whole, partial, compression="zstd")
    return int(whole.num_rows)
