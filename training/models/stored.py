"""How a fitted model that holds another one writes and opens it: a folder with the name of a class of ours and its native files."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from retain.errors import IntegrityError
from retain.files import read_json, write_json
from training.contracts import Fitted, Floats

_CLASS = "class.json"
_ALLOWED = "training.models."
_DEPTH = 8
"""Models inside models at most; ours need two."""


def write(fitted: Fitted, folder: Path) -> None:
    """Write a fitted model and the name of its class into a new folder."""
    folder.mkdir()
    write_json(folder / _CLASS, {"use": f"{type(fitted).__module__}:{type(fitted).__qualname__}"})
    fitted.save(folder)


def read(folder: Path) -> Fitted:
    """Open what ``write`` wrote.

    Raises:
        IntegrityError: the class is none of our models, or models are nested without end.
    """
    use = str(values(folder / _CLASS).get("use", ""))
    module, _, name = use.partition(":")
    if not module.startswith(_ALLOWED) or not name.isidentifier():
        raise IntegrityError(f"{folder.name}/{_CLASS} names {use!r}, which is no model of ours; train the model again")
    if sum(part == folder.name for part in folder.parts) > _DEPTH:
        raise IntegrityError(f"{folder.name}: models are nested more than {_DEPTH} deep; train the model again")
    try:
        kind = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise IntegrityError(f"{folder.name}/{_CLASS} names {use}, which this release does not have; train the model again") from error
    load = getattr(kind, "load", None)
    if not (isinstance(kind, type) and kind.__module__ == module and callable(load)):
        raise IntegrityError(f"{folder.name}/{_CLASS} names {use}, which cannot be opened; train the model again")
    fitted: Fitted = load(folder)
    return fitted


def values(path: Path) -> dict[str, Any]:
    """The JSON object in a model file.

    Raises:
        IntegrityError: the file is missing or holds something else.
    """
    if not path.is_file():
        raise IntegrityError(f"model file {path.name} is missing; restore it or train the model again")
    found = read_json(path)
    if not isinstance(found, dict):
        raise IntegrityError(f"model file {path.name} holds no JSON object; restore it or train the model again")
    return found


def number(found: Mapping[str, Any], name: str, *, least: float = -np.inf, most: float = np.inf) -> float:
    """A finite number of a model file.

    Raises:
        IntegrityError: it is missing, not finite or out of range.
    """
    value = found.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value) or not least <= value <= most:
        raise IntegrityError(f"the model's {name} is {value!r}, a finite number from {least} to {most} is expected; train the model again")
    return float(value)


def numbers(found: Mapping[str, Any], name: str, *, count: int | None = None) -> Floats:
    """A list of finite numbers of a model file.

    Raises:
        IntegrityError: it is missing, of another length, or holds anything else.
    """
    value = found.get(name)
    is_list = isinstance(value, list) and all(isinstance(one, int | float) and not isinstance(one, bool) and np.isfinite(one) for one in value)
    if value is None or not is_list or (count is not None and len(value) != count):
        raise IntegrityError(f"the model's {name} is no list of {'' if count is None else f'{count} '}finite numbers; train the model again")
    return np.array(value, dtype=np.float64)


def names(found: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """A list of distinct texts of a model file.

    Raises:
        IntegrityError: it is missing or holds anything else.
    """
    value = found.get(name)
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value) or len(set(value)) != len(value):
        raise IntegrityError(f"the model's {name} is no list of distinct texts; train the model again")
    return tuple(value)


def checked(x: Floats, columns: tuple[str, ...]) -> Floats:
    """``x`` as rows of float64, or a plain error where its width is not the model's."""
    if x.ndim != 2 or x.shape[1] != len(columns):
        raise ValueError(
            f"predict: x has shape {x.shape}, (rows, {len(columns)}) is expected; take the columns by name, as training.contracts.score does"
        )
    return np.ascontiguousarray(x, dtype=np.float64)
