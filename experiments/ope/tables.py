"""A plain table of logged decisions, CSV or Parquet, as a ``Log``: which column is what is said by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from experiments.ope.log import Log
from retain.errors import ConfigError, DataError
from training.contracts import Floats

if TYPE_CHECKING:
    import pandas as pd

FEW = 20
"""Different values up to which a column's words become columns of a regression, and places where something may be missing."""
_PARTS = 4
"""Parts of a column of numbers, by quantile, to say where something is missing."""


@dataclass(frozen=True)
class Columns:
    """Names of columns."""

    action: str = "action"
    probability: str = "probability"
    reward: str = "reward"
    challenger: str = "challenger"
    """A column with the action it would take, or the front of ``challenger:ACTION`` columns with probabilities. ``always:ACTION`` and ``uniform``
    stand for policies that need no column."""
    champion: str | None = None
    """The same for the policy in place; None is the policy that logged."""
    logging: str | None = None
    """Front of columns with the probability of every action by the policy that logged; None where only that of what was done is known."""
    customer: str | None = "customer_id"
    """Rows of one customer belong together; a table without this column has one row per customer."""
    context: tuple[str, ...] | None = None
    """What was known before the decision; None means every other column."""


def read(path: Path) -> pd.DataFrame:
    """The table in a file.

    Raises:
        ConfigError: no such file, or of another kind.
        DataError: it cannot be parsed.
    """
    import pandas as pd

    if not path.is_file():
        raise ConfigError(f"{path}: there is no such file")
    try:
        if path.suffix.lower() == ".parquet":
            return pd.read_parquet(path)
        if path.suffix.lower() == ".csv":
            return pd.read_csv(path, float_precision="round_trip")
    except Exception as error:
        raise DataError(f"{path}: cannot be read as a table ({' '.join(str(error).split())[:200]})") from error
    raise ConfigError(f"{path}: a .csv or .parquet file is expected")


def log(table: pd.DataFrame, columns: Columns) -> tuple[Log, int]:
    """The log in a table, and how many rows were left out because their reward is not known yet (null).

    Raises:
        ConfigError: a column is missing.
        DataError: a value is not what its column should hold.
    """
    for name in (columns.action, columns.probability, columns.reward):
        if name not in table.columns:
            raise ConfigError(f"there is no column {name!r}; the columns are {', '.join(map(str, table.columns))}", field=name)
    whole = len(table)
    table = table[table[columns.reward].notna()].reset_index(drop=True)
    done = _words(table, columns.action)
    fronts = [front for front in (columns.challenger, columns.champion, columns.logging) if front is not None]
    names = tuple(sorted({*done, *(name for front in fronts for name in _named(table, front))}))
    policies = {front: _policy(table, front, names) for front in fronts}
    known = {columns.action, columns.probability, columns.reward, columns.customer, *fronts}
    known |= {str(name) for name in table.columns if str(name).startswith(tuple(f"{front}:" for front in fronts))}
    context = columns.context if columns.context is not None else tuple(str(name) for name in table.columns if str(name) not in known)
    missing = [name for name in context if name not in table.columns]
    if missing:
        raise ConfigError(f"there is no column {missing[0]!r} to describe the context", field=missing[0])
    has_customers = columns.customer is not None and columns.customer in table.columns
    made = Log(
        actions=names,
        action=np.searchsorted(np.array(names, dtype=str), done.astype(str)).astype(np.int64),
        probability=_numbers(table, columns.probability),
        reward=_numbers(table, columns.reward),
        challenger=policies[columns.challenger],
        champion=None if columns.champion is None else policies[columns.champion],
        logging=None if columns.logging is None else policies[columns.logging],
        x=_features(table, context),
        customer=np.unique(_words(table, str(columns.customer)).astype(str), return_inverse=True)[1].astype(np.int64) if has_customers else None,
        contexts={name: words for name in context if (words := _parts(table, name)) is not None},
    )
    return made, whole - len(table)


def _numbers(table: pd.DataFrame, name: str) -> Floats:
    import pandas as pd

    found = pd.to_numeric(table[name], errors="coerce")
    odd = np.flatnonzero(found.isna())
    if len(odd):
        raise DataError(f"row {odd[0] + 1}: {name} is {table[name].iloc[odd[0]]!r}, not a number", field=name, row=int(odd[0]))
    return np.asarray(found, dtype=np.float64)


def _words(table: pd.DataFrame, name: str) -> NDArray[np.object_]:
    empty = np.flatnonzero(table[name].isna())
    if len(empty):
        raise DataError(f"row {empty[0] + 1}: {name} is empty", field=name, row=int(empty[0]))
    return np.array([str(value) for value in table[name]], dtype=object)


def _named(table: pd.DataFrame, front: str) -> set[str]:
    """Actions that a policy names."""
    if front.startswith("always:"):
        return {front.removeprefix("always:")}
    if front == "uniform":
        return set()
    if front in table.columns:
        return set(_words(table, front))
    named = {str(name).removeprefix(f"{front}:") for name in table.columns if str(name).startswith(f"{front}:")}
    if not named:
        raise ConfigError(
            f"there is neither a column {front!r} with the action that a policy would take nor columns {front}:ACTION with probabilities; "
            "always:ACTION and uniform need no column",
            field=front,
        )
    return named


def _policy(table: pd.DataFrame, front: str, names: Sequence[str]) -> Floats:
    """(rows, actions) probabilities."""
    if front == "uniform":
        return np.full((len(table), len(names)), 1.0 / len(names))
    if front in table.columns or front.startswith("always:"):
        taken = _words(table, front) if front in table.columns else np.full(len(table), front.removeprefix("always:"), dtype=object)
        return np.asarray(taken[:, None] == np.array(names, dtype=object)[None, :], dtype=np.float64)
    return np.stack([_numbers(table, f"{front}:{name}") if f"{front}:{name}" in table.columns else np.zeros(len(table)) for name in names], axis=1)


def _is_number(table: pd.DataFrame, name: str) -> bool:
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    return is_numeric_dtype(table[name]) and not is_bool_dtype(table[name])


def _features(table: pd.DataFrame, context: Sequence[str]) -> Floats:
    """Numbers as they are, with a mark where they are null; few words one by one; many words say nothing."""
    parts: list[Floats] = []
    for name in context:
        if _is_number(table, name):
            values = np.asarray(table[name], dtype=np.float64)
            empty = ~np.isfinite(values)
            parts.append(np.where(empty, values[~empty].mean() if (~empty).any() else 0.0, values))
            if empty.any():
                parts.append(empty.astype(np.float64))
        elif (words := _parts(table, name)) is not None:
            parts += [np.asarray(words == value, dtype=np.float64) for value in sorted(set(words))[1:]]
    return np.stack(parts, axis=1) if parts else np.zeros((len(table), 0))


def _parts(table: pd.DataFrame, name: str) -> NDArray[np.object_] | None:
    """Few words for each row: values, or quarters of numbers; None where a column has too many words."""
    column = table[name]
    if column.nunique() > FEW:
        if not _is_number(table, name):
            return None
        values = np.asarray(column, dtype=np.float64)
        cuts = np.unique(np.nanquantile(values, np.linspace(0, 1, _PARTS + 1)[1:-1]))
        ends = ["", *(f"{cut:.4g}" for cut in cuts)]
        words = [f"below {ends[1]}", *(f"{low} and above" for low in ends[1:])]
        named = np.array(words, dtype=object)[np.searchsorted(cuts, values, "right")]
        return np.where(np.isnan(values), "empty", named)
    return np.array(["empty" if value != value or value is None else str(value) for value in column.astype(object)], dtype=object)
