"""The part of a row that every decision reads: numbers and flags in fixed places of one record, so that one read gives all of it."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.decisions import drivers
from serving.decisions.facts import HABITS, WORDS

NAME = "fixed"
"""Of the array of records, among those of the rows."""
COUNTS = "counts"
RAGGED = ("owned", "contacts", "taken")
"""Tables with any number of entries per customer; a record says how many there are (``counts``, in this order)."""
_LAYOUT: tuple[tuple[str, str, tuple[int, ...]], ...] = (
    ("flags", "?", (5,)),
    ("is_known", "?", ()),
    ("is_stale", "?", ()),
    ("cause", "h", ()),
    ("sign", "h", (drivers.MOST,)),
    *((name, "i", ()) for name in WORDS),
    ("consents", "i", ()),
    ("unsubscribed", "i", ()),
    ("birth_year", "i", ()),
    ("band", "i", ()),
    ("stage", "i", ()),
    (COUNTS, "i", (len(RAGGED),)),
    ("complaint", "q", ()),
    ("credit_limit", "d", ()),
    ("age_s", "d", ()),
    ("scores", "d", (2,)),
    ("habits", "d", (len(HABITS),)),
    ("sign_weight", "d", (drivers.MOST,)),
    ("sign_figures", "d", (drivers.MOST, drivers.WIDTH)),
)
"""Array of the rows, code of its numbers (``struct``), and how many there are of each customer."""
FIELDS = tuple(name for name, *_ in _LAYOUT if name != COUNTS)
"""Arrays of the rows that the records hold."""
_DTYPE = np.dtype([(name, f"<{code}", shape) for name, code, shape in _LAYOUT])
_RECORD = struct.Struct("<" + "".join(f"{prod(shape)}{code}" for _, code, shape in _LAYOUT))
assert _RECORD.size == _DTYPE.itemsize  # noqa: S101 - the layout is said to both alike
read = _RECORD.unpack_from
"""The numbers of one record: of a buffer (``buffer``), from an offset on (the position times ``SIZE``)."""
SIZE = _RECORD.size


def _places() -> dict[str, slice]:
    found, start = {}, 0
    for name, _, shape in _LAYOUT:
        end = start + prod(shape)
        found[name] = slice(start, end)
        start = end
    return found


PLACES = _places()
"""Where the numbers of each array stand in what is read."""


def place(name: str) -> int:
    """Where the one number of an array, or the first of several, stands."""
    return int(PLACES[name].start)


def packed(arrays: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """(customers,) records of arrays of rows."""
    records = np.zeros(len(arrays["ids"]), dtype=_DTYPE)
    for name in FIELDS:
        records[name] = arrays[name]
    records[COUNTS] = np.stack([np.diff(arrays[f"{table}.start"]) for table in RAGGED], axis=1)
    return records


def stored(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Arrays of rows as they lie in files: what the records hold stands nowhere else."""
    if NAME in arrays:
        return dict(arrays)
    return {**{name: array for name, array in arrays.items() if name not in FIELDS}, NAME: packed(arrays)}


def opened(arrays: Mapping[str, NDArray[Any]]) -> tuple[dict[str, NDArray[Any]], memoryview]:
    """All arrays of rows by name, and the bytes of their records; from files, or made here for rows that lie in no file.

    Raises:
        ValueError: the records are laid out otherwise, as another release does.
    """
    records = np.asarray(arrays[NAME]) if NAME in arrays else packed(arrays)
    if records.dtype != _DTYPE:
        raise ValueError(f"{NAME}.npy is laid out otherwise")
    # Plain views of the maps: indexing a memmap object costs three times as much.
    found = {name: np.asarray(array) for name, array in arrays.items() if name != NAME}
    return found | {name: records[name] for name in FIELDS}, records.view(np.uint8).data


__all__ = ["COUNTS", "FIELDS", "NAME", "PLACES", "RAGGED", "SIZE", "opened", "packed", "place", "read", "stored"]
