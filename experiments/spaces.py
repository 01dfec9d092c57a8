"""Which settings of which model a search may choose, and in which range: declared once, by class. Pure.

A recipe that wraps others is searched with what it wraps: the settings of a model inside are found wherever it stands in the spec.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from retain.config import build


@dataclass(frozen=True)
class Number:
    """A number of a range."""

    low: float
    high: float
    is_log: bool = False
    """Whether a factor of two means the same anywhere in the range."""
    is_whole: bool = False


@dataclass(frozen=True)
class Choice:
    """One of a few values."""

    values: tuple[Any, ...]


Setting = Number | Choice
MODELS = "training.models."

SPACES: Mapping[str, Mapping[str, Setting]] = {
    "logistic:Logistic": {"c": Number(1e-4, 10, is_log=True)},
    "lightgbm:LightGBM": {
        "trees": Number(40, 800, is_log=True, is_whole=True),
        "learning_rate": Number(0.01, 0.2, is_log=True),
        "num_leaves": Number(3, 48, is_log=True, is_whole=True),
        "min_rows_in_leaf": Number(10, 300, is_log=True, is_whole=True),
        "feature_share": Number(0.2, 1.0),
        "row_share": Number(0.4, 1.0),
        "ridge": Number(0.1, 100, is_log=True),
    },
    "linear:Linear": {"ridge": Number(0.1, 10_000, is_log=True)},
    "constant:Prevalence": {"weight": Number(0.1, 100, is_log=True)},
    "popular:Popularity": {"window_days": Number(7, 365, is_log=True)},
    "personal:Personal": {
        "half_life_days": Number(7, 365, is_log=True),
        "floor": Number(0.0, 0.5),
        "mix": Number(0.02, 2.0, is_log=True),
        "window_days": Number(7, 180, is_log=True),
    },
    "als:Als": {
        "factors": Number(16, 128, is_log=True, is_whole=True),
        "regularization": Number(0.1, 100, is_log=True),
        "alpha": Number(0.5, 40, is_log=True),
    },
    "staged:Staged": {"depth": Number(15, 60, is_whole=True), "windows": Number(1, 3, is_whole=True)},
    "item_item:ItemItem": {
        "half_life_days": Number(7, 365, is_log=True),
        "neighbours": Number(20, 500, is_log=True, is_whole=True),
    },
}
"""Class below ``training.models`` to its settings."""


def settings(spec: Mapping[str, Any]) -> dict[str, Setting]:
    """What may be chosen in a recipe, by path: ``inner.members.0.trees``."""
    found: dict[str, Setting] = {}
    for path, inner in _models(spec):
        known = SPACES.get(str(inner["use"]).removeprefix(MODELS), {})
        fields = type(build(inner, "spec")).model_fields
        found |= {f"{path}{name}": setting for name, setting in known.items() if name in fields}
    return found


def standing(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The values of those settings as the recipe has them, its classes' defaults where it says nothing."""
    found: dict[str, Any] = {}
    for path, inner in _models(spec):
        model = build(inner, "spec")
        names = SPACES.get(str(inner["use"]).removeprefix(MODELS), {})
        found |= {f"{path}{name}": getattr(model, name) for name in names if name in type(model).model_fields}
    return found


def holds(setting: Setting, value: Any) -> bool:
    """Whether a value lies in the range."""
    return value in setting.values if isinstance(setting, Choice) else setting.low <= value <= setting.high


def chosen(spec: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe with other values at these paths."""
    result = deepcopy(dict(spec))
    for path, value in values.items():
        *way, last = path.split(".")
        place: Any = result
        for step in way:
            place = place[int(step)] if isinstance(place, list) else place[step]
        place[last] = value
    return result


def _models(spec: Any, path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every model in a spec with the path before its fields."""
    if isinstance(spec, Mapping):
        if "use" in spec:
            yield path, spec
        for name, value in spec.items():
            yield from _models(value, f"{path}{name}.")
    elif isinstance(spec, list):
        for place, value in enumerate(spec):
            yield from _models(value, f"{path}{place}.")
