"""What a model's inputs looked like on the day it was trained, kept beside its card so that drift can be seen. Shares of bins; no row."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.interactions import Interactions
from retain.errors import IntegrityError, NotReadyError
from retain.files import atomic_path
from training.contracts import Frame
from training.drift import BINS, edges, psi_of, shares

FILE = "reference.npz"
TOP = 30
"""Items whose shares are kept one by one; the others are one group."""
RECENT_DAYS = 28
"""Days of purchases whose items are counted."""
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

    def drift(self, frame: Frame) -> dict[str, float]:
        """Feature to its stability index on other customers; columns are taken by name."""
        chosen = frame.select(self.names)
        found = {}
        for place, name in enumerate(self.names):
            cuts = self.cuts[place][~np.isnan(self.cuts[place])]
            found[name] = psi_of(self.shares[place][: len(cuts) + 2], shares(chosen.x[:, place], cuts))
        return found

    def bins(self, name: str) -> int:
        """Bins of a feature, the missing one included."""
        return int((~np.isnan(self.cuts[self.names.index(name)])).sum()) + 2

    def save(self, folder: Path) -> None:
        """Write ``reference.npz`` into a folder."""
        buffer = io.BytesIO()
        np.savez(buffer, rows=np.array(self.rows), names=np.array(self.names, dtype=np.str_), cuts=self.cuts, shares=self.shares)
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
                arrays: dict[str, NDArray[Any]] = {name: file[name] for name in ("rows", "names", "cuts", "shares")}
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise IntegrityError(f"{folder.name}: {FILE} cannot be read ({error}); train the model again") from error
        return cls(int(arrays["rows"]), tuple(str(name) for name in arrays["names"]), arrays["cuts"].astype(float), arrays["shares"].astype(float))


def of_rows(frame: Frame) -> Reference:
    """What the features of some customers look like."""
    cuts, parts = np.full((len(frame.columns), BINS - 1), np.nan), np.zeros((len(frame.columns), BINS + 1))
    for place in range(len(frame.columns)):
        found = edges(frame.x[:, place])
        cuts[place, : len(found)] = found
        parts[place, : len(found) + 2] = shares(frame.x[:, place], found) if len(frame) else 0.0
    return Reference(len(frame), frame.columns, cuts, parts)


def of_history(history: Interactions) -> Reference:
    """How the purchases of the last days fall on items."""
    count = item_counts(history)
    top = np.argsort(-count, kind="stable")[:TOP]
    return Reference(
        int(count.sum()), tuple(str(item) for item in history.items[top]), np.empty((len(top), 0)), item_shares(history, history.items[top])
    )


def item_shares(history: Interactions, items: NDArray[np.object_]) -> Array:
    """Share of the purchases of the last days on each of the items, and on all others."""
    count = item_counts(history)
    known = dict(zip(history.items.astype(str), count, strict=True))
    own = np.array([known.get(str(item), 0.0) for item in items])
    total = max(float(count.sum()), 1.0)
    return np.append(own, count.sum() - own.sum()) / total


def item_counts(history: Interactions) -> Array:
    """Purchases of each item in the last days before the moment."""
    moment = np.datetime64(history.moment.replace(tzinfo=None), "us")
    recent = history.at >= moment - np.timedelta64(RECENT_DAYS, "D")
    return np.bincount(history.item[recent], minlength=len(history.items)).astype(np.float64)
