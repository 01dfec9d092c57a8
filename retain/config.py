"""YAML to checked objects.

Defaults live in the code, files say what differs. A model or task in a file names its class: ``use: training.models.lightgbm:LightGBM``.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from retain.errors import ConfigError

T = TypeVar("T", bound=BaseModel)
ALLOWED = ("training.", "experiments.", "features.", "serving.")
"""Only our own floors can be named in a ``use``: a config file cannot call into anything else."""


class _Loader(yaml.SafeLoader):
    """Safe YAML that refuses a key written twice."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is written twice", key_node.start_mark)
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        ConfigError: no such file, not YAML, or not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: there is no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as UTF-8 text ({error})") from error
    try:
        value = yaml.load(text, Loader=_Loader)  # noqa: S506 - _Loader is a SafeLoader
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: a mapping of keys to values is expected at the top")
    return value


def read(path: Path, kind: type[T]) -> T:
    """A checked object from a YAML file.

    Raises:
        ConfigError: names the file, the field and what is wrong with it.
    """
    return validate(read_yaml(path), kind, str(path))


def validate(values: Mapping[str, Any], kind: type[T], place: str) -> T:
    """A checked object from values that stood at ``place``."""
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{place}: {field}: {first['msg']}", field=field) from error


def build(spec: Mapping[str, Any], place: str = "config") -> Any:
    """The object that ``{use: module:Class, ...}`` describes.

    Raises:
        ConfigError: ``use`` is missing, outside our floors, not found, or its arguments are wrong.
    """
    values = dict(spec)
    use = values.pop("use", None)
    if not isinstance(use, str) or ":" not in use:
        raise ConfigError(f"{place}: `use: module:Class` is missing", field="use")
    if not use.startswith(ALLOWED):
        raise ConfigError(f"{place}: use: {use} is outside {', '.join(ALLOWED)}", field="use")
    module, _, name = use.partition(":")
    try:
        kind = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{place}: use: {use} cannot be found ({error})", field="use") from error
    if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
        raise ConfigError(f"{place}: use: {use} is no configurable class", field="use")
    return validate(values, kind, place)


def spec(value: BaseModel) -> dict[str, Any]:
    """The inverse of ``build``: ``{use: ..., fields that differ from the defaults}``."""
    kind = type(value)
    return {"use": f"{kind.__module__}:{kind.__name__}", **value.model_dump(mode="json", exclude_defaults=True)}


def shipped(*parts: str) -> Path:
    """Path of a shipped configuration file: ``configs/`` of the checkout, or its copy inside the wheel."""
    checkout = Path(str(files("retain"))).parent / "configs"
    inside = Path(str(files("retain"))) / "configs"
    return (checkout if checkout.is_dir() else inside).joinpath(*parts)
