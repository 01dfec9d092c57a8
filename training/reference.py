"""What a model's inputs looked like on the day it was trained, kept beside its card so that drift can be seen. Shares of bins; no row."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.interactions import Interactions
from retain.errors import IntegrityError, NotReadyError
from retain.files import atomic_path
from training.contracts import FittedRanker, Frame
from training.drift import BINS, edges, psi_of, shares
from training.habits import NAMES, RECENT_DAYS, active, habits

FILE = "reference.npz"
TOP = 30
"""Items whose shares are kept one by one; the others are one group."""
LISTED = 500
"""Customers whose lists are counted, at most."""
PLACES = 10
"""Places of each of those lists."""
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Reference:
    """Inputs by name, each with where its bins part and how much lies in them."""

    rows: int
    """Customers, or purchases, behind the shares."""
    names: tuple[str, ...]
    """Features; for a ranker the items bought most, which are bins of one input."""
    cuts: Array
    """(names, 9) where bins part, NaN beyond; no columns for a ranker."""
    shares: Array
    """(names, 11) of a scorer's features; (names + 1,) of a ranker's items, the last one all others."""
    habits: Reference | None = None
    """Beside a ranker's items: how its customers bought, as features are kept."""
    listed: Reference | None = None
    """Beside a ranker's items: which items its lists were made of, as the items bought are kept."""

    def drift(self, frame: Frame) -> dict[str, float]:
        """Feature to its stability index on other customers; columns are taken by name."""
        return self.drift_of(frame.select(self.names).x)

    def drift_of(self, x: Array) -> dict[str, float]:
        """The same for (rows, names) values."""
        found = {}
        for place, name in enumerate(self.names):
            cuts = self.cuts[place][~np.isnan(self.cuts[place])]
            found[name] = psi_of(self.shares[place][: len(cuts) + 2], shares(x[:, place], cuts))
        return found

    def bins(self, name: str) -> int:
        """Bins of a feature, the missing one included."""
        return int((~np.isnan(self.cuts[self.names.index(name)])).sum()) + 2

    def save(self, folder: Path) -> None:
        """Write ``reference.npz`` into a folder."""
        arrays = self._arrays("")
        for name, part in (("habits", self.habits), ("listed", self.listed)):
            if part is not None:
                arrays |= part._arrays(f"{name}/")
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        with atomic_path(folder / FILE) as partial:
            partial.write_bytes(buffer.getvalue())

    @classmethod
    def load(cls, folder: Path) -> Reference:
        """Read what ``save`` wrote.

        Raises:
            NotReadyError: the model was made by a release that kept none.
            IntegrityError: the file is broken.
        """
        if not (folder / FILE).is_file():
            raise NotReadyError(f"{folder.name}: nothing is kept of what its inputs looked like; train it again with this release")
        try:
            with np.load(folder / FILE, allow_pickle=False) as file:
                arrays: dict[str, NDArray[Any]] = {name: file[name] for name in file.files}
            habits, listed = (cls._of(arrays, f"{name}/") if f"{name}/rows" in arrays else None for name in ("habits", "listed"))
            return replace(cls._of(arrays, ""), habits=habits, listed=listed)
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise IntegrityError(f"{folder.name}: {FILE} cannot be read ({error}); train the model again") from error

    def _arrays(self, prefix: str) -> dict[str, NDArray[Any]]:
        own = {"rows": np.array(self.rows), "names": np.array(self.names, dtype=np.str_), "cuts": self.cuts, "shares": self.shares}
        return {prefix + name: array for name, array in own.items()}

    @classmethod
    def _of(cls, arrays: Mapping[str, NDArray[Any]], prefix: str) -> Reference:
        rows, names, cuts, parts = (arrays[prefix + name] for name in ("rows", "names", "cuts", "shares"))
        return cls(int(rows), tuple(str(name) for name in names), cuts.astype(float), parts.astype(float))


def of_rows(frame: Frame) -> Reference:
    """What the features of some customers look like."""
    return _of_columns(frame.columns, frame.x)


def of_history(history: Interactions, fitted: FittedRanker) -> Reference:
    """How the purchases of the last days fall on items, how customers buy, and which items lists are made of."""
    count = item_counts(history)
    top = np.argsort(-count, kind="stable")[:TOP]
    listed = list_counts(fitted, history)
    most = np.argsort(-listed, kind="stable")[:TOP]
    return replace(
        _of_items(history.items[top], int(count.sum()), item_shares(history, history.items[top])),
        habits=_of_columns(NAMES, habits(history)),
        listed=_of_items(fitted.items[most], int(listed.sum()), share_of(fitted.items, listed, fitted.items[most])),
    )


def _of_columns(names: tuple[str, ...], x: Array) -> Reference:
    cuts, parts = np.full((len(names), BINS - 1), np.nan), np.zeros((len(names), BINS + 1))
    for place in range(len(names)):
        found = edges(x[:, place])
        cuts[place, : len(found)] = found
        parts[place, : len(found) + 2] = shares(x[:, place], found) if len(x) else 0.0
    return Reference(len(x), names, cuts, parts)


def _of_items(items: NDArray[np.object_], rows: int, parts: Array) -> Reference:
    return Reference(rows, tuple(str(item) for item in items), np.empty((len(items), 0)), parts)


def list_counts(fitted: FittedRanker, history: Interactions) -> Array:
    """(catalogue,) how often each item stands on the lists of some of the customers who bought lately."""
    who = active(history)
    sample = who[:: max(1, -(-len(who) // LISTED))]
    found = fitted.rank(history, sample, PLACES, "all").items
    return np.bincount(found[found >= 0], minlength=len(fitted.items)).astype(np.float64)


def item_shares(history: Interactions, items: NDArray[np.object_]) -> Array:
    """Share of the purchases of the last days on each of the items, and on all others."""
    return share_of(history.items, item_counts(history), items)


def share_of(catalogue: NDArray[np.object_], count: Array, items: NDArray[np.object_]) -> Array:
    """Share of what is counted by item that falls on some items, and on all others."""
    known = dict(zip(catalogue.astype(str), count, strict=True))
    own = np.array([known.get(str(item), 0.0) for item in items])
    total = max(float(count.sum()), 1.0)
    return np.append(own, count.sum() - own.sum()) / total


def item_counts(history: Interactions) -> Array:
    """Purchases of each item in the last days before the moment."""
    moment = np.datetime64(history.moment.replace(tzinfo=None), "us")
    recent = history.at >= moment - np.timedelta64(RECENT_DAYS, "D")
    return np.bincount(history.item[recent], minlength=len(history.items)).astype(np.float64)
