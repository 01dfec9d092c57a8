"""Is this text a sound LightGBM model? Asked before LightGBM's own parser sees it, because that one trusts what it reads.

A model of ours is a header and trees of numeric splits, nothing behind them. Each tree must be a tree: every node reached once from
the root, every index in its range, every number finite.
"""

from __future__ import annotations

import re

import numpy as np

from retain.errors import IntegrityError
from training.contracts import Floats, Integers

MOST_BYTES = 256 * 1024 * 1024
MOST_TREES = 5000
MOST_LEAVES = 4096
END = "end of trees\n"
_HEADER = (
    "version",
    "num_class",
    "num_tree_per_iteration",
    "label_index",
    "max_feature_idx",
    "objective",
    "feature_names",
    "feature_infos",
    "tree_sizes",
)
_OBJECTIVES = ("binary sigmoid:1", "tweedie", "gamma", "regression", "lambdarank")
_NUMERIC_SPLITS = (0, 2, 4, 6, 8, 10)
"""Decision types without a categorical split; the rest of the bits say where missing values go."""
_NODES = (
    "split_feature",
    "split_gain",
    "threshold",
    "decision_type",
    "left_child",
    "right_child",
    "internal_value",
    "internal_weight",
    "internal_count",
)
_LEAVES = ("leaf_value", "leaf_weight", "leaf_count")
_NUMBER = re.compile(r"-?(?:\d+(?:\.\d+)?(?:e[+-]?\d+)?|inf|nan)", re.ASCII)
"""A number as LightGBM writes it. Python takes more (``1_0``, ``infinity``), on which LightGBM ends the process or reads something else."""
_WHOLE = re.compile(r"-?\d{1,10}", re.ASCII)


def trimmed(text: str) -> str:
    """LightGBM's text without what follows the trees: importances and parameters, among them how many threads there were."""
    return text[: text.index(END) + len(END)]


def check(text: str, columns: tuple[str, ...]) -> None:
    """Raise where the text is no sound model of these columns.

    Raises:
        IntegrityError: says which part is unsound.
    """
    if len(text) > MOST_BYTES:
        raise _unsound(f"it has {len(text)} characters, {MOST_BYTES} are the most")
    if not text.isascii() or "\r" in text or "\0" in text:
        raise _unsound("it holds characters that LightGBM never writes")
    head, gap, body = text.partition("\n\n")
    if not gap or not body.endswith(END):
        raise _unsound("it is cut short")
    sizes = _check_header(head, columns)
    start = 0
    for number, size in enumerate(sizes):
        block = body[start : start + size]
        start += size
        lines = block.rstrip("\n").split("\n")
        if lines[0] != f"Tree={number}" or not block.endswith("\n"):
            raise _unsound(f"tree {number} does not begin where its size says")
        _check_tree(number, _fields(lines[1:], f"tree {number}"), len(columns))
    if body[start:] != END:
        raise _unsound("something stands between the last tree and the end")


def _check_header(head: str, columns: tuple[str, ...]) -> list[int]:
    first, _, rest = head.partition("\n")
    fields = _fields(rest.split("\n"), "header")
    directions = fields.pop("monotone_constraints", None)
    if first != "tree" or set(fields) != set(_HEADER):
        raise _unsound("its header is not LightGBM's")
    if (fields["version"], fields["num_class"], fields["num_tree_per_iteration"], fields["label_index"]) != ("v4", "1", "1", "0"):
        raise _unsound("its version, classes or trees per iteration are not what this release writes")
    if fields["objective"] not in _OBJECTIVES:
        raise _unsound(f"its objective is {fields['objective'][:40]!r}, one of {', '.join(_OBJECTIVES)} is expected")
    if fields["feature_names"].split(" ") != list(columns) or fields["max_feature_idx"] != str(len(columns) - 1):
        raise _unsound("its features are not those that the model folder names")
    if len(fields["feature_infos"].split(" ")) != len(columns):
        raise _unsound("it does not describe each feature once")
    if directions is not None and not np.isin(_integers(directions, "monotone_constraints", len(columns)), (-1, 0, 1)).all():
        raise _unsound("a direction is neither up nor down nor none")
    sizes = _integers(fields["tree_sizes"], "tree_sizes")
    if not 1 <= len(sizes) <= MOST_TREES:
        raise _unsound(f"it has {len(sizes)} trees, 1 to {MOST_TREES} are expected")
    return [int(size) for size in sizes]


def _check_tree(number: int, fields: dict[str, str], features: int) -> None:
    place = f"tree {number}"
    missing = {"num_leaves", "num_cat", "is_linear", "shrinkage", *_NODES, *_LEAVES} ^ set(fields)
    if missing:
        raise _unsound(f"{place}: {sorted(missing)[0]} is missing or unknown")
    leaves = _whole(fields["num_leaves"], place)
    if not 1 <= leaves <= MOST_LEAVES or fields["num_cat"] != "0" or fields["is_linear"] != "0":
        raise _unsound(
            f"{place}: {fields['num_leaves'][:20]} leaves, categorical or linear parts; up to {MOST_LEAVES} leaves with numeric splits are expected"
        )
    _finite(fields["shrinkage"], 1, f"{place} shrinkage")
    _finite(fields["leaf_value"], leaves, f"{place} leaf_value")
    if leaves == 1:
        # A stump holds one value; LightGBM leaves the other lists empty.
        if any(fields[name] for name in (*_NODES, "leaf_weight")):
            raise _unsound(f"{place}: one leaf and yet splits")
        return
    _finite(fields["leaf_weight"], leaves, f"{place} leaf_weight")
    _integers(fields["leaf_count"], f"{place} leaf_count", leaves)
    # A threshold may be infinite: such a split parts what is missing from what is not.
    if np.isnan(_values(fields["threshold"], leaves - 1, f"{place} threshold")).any():
        raise _unsound(f"{place}: a threshold is no number")
    for name in ("split_gain", "internal_value", "internal_weight"):
        _finite(fields[name], leaves - 1, f"{place} {name}")
    _integers(fields["internal_count"], f"{place} internal_count", leaves - 1)
    feature, kind = (_integers(fields[name], f"{place} {name}", leaves - 1) for name in ("split_feature", "decision_type"))
    if feature.min() < 0 or feature.max() >= features:
        raise _unsound(f"{place}: a split names a feature outside 0 to {features - 1}")
    if not np.isin(kind, _NUMERIC_SPLITS).all():
        raise _unsound(f"{place}: a split is of an unknown kind")
    children = np.concatenate([_integers(fields[name], f"{place} {name}", leaves - 1) for name in ("left_child", "right_child")])
    # Every node but the root and every leaf is somebody's child once, and a child comes after its parent: no cycle can close.
    if sorted(children.tolist()) != [*range(-leaves, 0), *range(1, leaves - 1)]:
        raise _unsound(f"{place}: its nodes do not form a tree")
    parents = np.tile(np.arange(leaves - 1), 2)
    if (children[children > 0] <= parents[children > 0]).any():
        raise _unsound(f"{place}: a node is its own ancestor")


def _fields(lines: list[str], place: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in lines:
        name, equals, value = line.partition("=")
        if not equals or name in found:
            raise _unsound(f"{place}: the line {line[:40]!r} is not a name and a value, or stands twice")
        found[name] = value
    return found


def _whole(text: str, place: str) -> int:
    if not (text.isascii() and text.isdecimal()) or len(text) > 9:
        raise _unsound(f"{place}: {text[:20]!r} is no count")
    return int(text)


def _integers(text: str, place: str, count: int | None = None) -> Integers:
    values = np.array(_parts(text, _WHOLE, count, place, "whole numbers are expected"), dtype=np.int64)
    if (np.abs(values) >= 2**31).any():
        raise _unsound(f"{place}: whole numbers are expected, none so large")
    return values


def _finite(text: str, count: int | None, place: str) -> Floats:
    values = _values(text, count, place)
    if not np.isfinite(values).all():
        raise _unsound(f"{place}: a value is not finite")
    return values


def _values(text: str, count: int | None, place: str) -> Floats:
    return np.array(_parts(text, _NUMBER, count, place, "something is no number"), dtype=np.float64)


def _parts(text: str, form: re.Pattern[str], count: int | None, place: str, otherwise: str) -> list[str]:
    parts = text.split(" ")
    if not all(map(form.fullmatch, parts)):
        raise _unsound(f"{place}: {otherwise}")
    if count is not None and len(parts) != count:
        raise _unsound(f"{place}: {len(parts)} values, {count} are expected")
    return parts


def _unsound(what: str) -> IntegrityError:
    return IntegrityError(f"model.txt is no sound LightGBM model: {what}; restore it or train the model again")
