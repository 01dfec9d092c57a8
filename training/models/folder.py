"""How a ranker lies in a folder: its settings and catalogue as JSON, its arrays as NPZ, no pickle, structure checked before use."""

from __future__ import annotations

import itertools
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from retain.config import validate
from retain.errors import ConfigError, IntegrityError
from retain.files import atomic_path, read_json, write_json

C = TypeVar("C", bound=BaseModel)
ARRAYS, MODEL = "arrays.npz", "model.json"
Shape = tuple[str | int, ...]
"""Axes by number or name; equal names are equal lengths, and ``items`` is the length of the catalogue."""


def write(folder: Path, config: BaseModel, items: NDArray[np.object_], arrays: Mapping[str, NDArray[Any]], parts: Sequence[str] = ()) -> None:
    """Write a fitted ranker into an existing folder; ``parts`` are the kinds of rankers that it keeps in folders of their own."""
    write_json(folder / MODEL, {"config": config.model_dump(mode="json"), "parts": list(parts), "items": items.tolist()})
    with atomic_path(folder / ARRAYS) as partial, partial.open("wb") as handle:
        np.savez(handle, allow_pickle=False, **arrays)


def read(folder: Path, kind: type[C], expected: Mapping[str, tuple[str, Shape]]) -> tuple[C, NDArray[np.object_], dict[str, NDArray[Any]]]:
    """Settings, catalogue and arrays of a folder.

    Raises:
        IntegrityError: an array is missing or unexpected, of another type or shape, not finite, or the catalogue is not sorted.
    """
    model = read_json(folder / MODEL)
    if not isinstance(model, dict) or not isinstance(model.get("items"), list) or not isinstance(model.get("config"), dict):
        raise IntegrityError(f"{folder.name}: {MODEL} holds no settings and items; train the model again")
    items = strings(model["items"])
    if any(not isinstance(item, str) for item in items) or any(left >= right for left, right in itertools.pairwise(items)):
        raise IntegrityError(f"{folder.name}: the items of {MODEL} are not sorted ids; train the model again")
    try:
        with np.load(folder / ARRAYS, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise IntegrityError(f"{folder.name}: {ARRAYS} cannot be read ({error}); train the model again") from error
    if set(arrays) != set(expected):
        raise IntegrityError(f"{folder.name}: {ARRAYS} holds {sorted(arrays)} instead of {sorted(expected)}; train the model again")
    lengths: dict[str, int] = {"items": len(items)}
    for name, (dtype, shape) in expected.items():
        array = arrays[name]
        fits = array.ndim == len(shape) and all(
            length == (axis if isinstance(axis, int) else lengths.setdefault(axis, length)) for axis, length in zip(shape, array.shape, strict=True)
        )
        if array.dtype != np.dtype(dtype) or not fits or not np.isfinite(array).all():
            raise IntegrityError(f"{folder.name}: array {name} is {array.dtype}{array.shape}, not finite {dtype} {shape}; train the model again")
    try:
        return validate(model["config"], kind, f"{folder.name}/{MODEL}"), items, arrays
    except ConfigError as error:
        raise IntegrityError(f"{error.message}; train the model again") from error


def parts(folder: Path) -> list[str]:
    """Kinds of the rankers that a ranker keeps in folders of their own."""
    listed = read_json(folder / MODEL).get("parts")
    if not isinstance(listed, list) or any(not isinstance(kind, str) for kind in listed):
        raise IntegrityError(f"{folder.name}: {MODEL} does not list its parts; train the model again")
    return listed


def strings(values: list[str]) -> NDArray[np.object_]:
    """Strings as an object array, also when there are none."""
    out = np.empty(len(values), dtype=object)
    out[:] = values
    return out
