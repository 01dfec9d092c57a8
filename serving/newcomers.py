"""What customers without history are served: what their segments buy, gathered when rows are published.

A segment is a column of the customer's profile and its word. What it buys is drawn towards what everybody buys, and of several segments
of one customer the mean is taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from features.interactions import Interactions
from serving.decisions.facts import Liking
from serving.decisions.scoring import wilson
from training.contracts import Floats
from training.models.lists import top
from training.models.segmented import shrunk

STRENGTH = 50.0
"""Customers of the whole shop that a segment is filled up with."""
WORDS = 30
"""Words of a column that are segments of their own, the most frequent ones."""
POOL = 50
"""Best items of each segment that are kept; every segment's share of each of them is."""


@dataclass(frozen=True)
class Segments:
    """Which segments there are, by row of the published table of shares."""

    cells: dict[str, dict[str, int]] = field(default_factory=dict)
    """Column -> word -> row of the table; row 0 is of everybody."""
    items: tuple[str, ...] = ()
    """Item ids by column of the table."""
    customers: tuple[int, ...] = ()
    """Customers behind each row."""

    def rows(self, words: Mapping[str, str]) -> dict[str, int]:
        """Column -> row of the table, for the words that are segments."""
        return {column: self.cells[column][word] for column, word in words.items() if word in self.cells.get(column, {})}

    def words(self, rows: Sequence[int]) -> dict[str, str]:
        """Column -> word, of rows given column by column; -1 is none."""
        word = self._word
        return {column: word[row] for column, row in zip(self.cells, rows, strict=True) if row >= 0}

    @cached_property
    def _word(self) -> dict[int, str]:
        """Word by row."""
        return {row: word for cells in self.cells.values() for word, row in cells.items()}


def tabled(words: Mapping[str, NDArray[np.object_]], history: Interactions, window_days: float) -> tuple[Segments, NDArray[np.float32]]:
    """The segments of a shop, and (segments, items) the share of each one's customers who bought an item within the window.

    Args:
        words: column -> (customers of ``history``,) a word, or None where nothing is said.
        history: purchases before now.
        window_days: days before now that count: the horizon, so that a share is a chance within it.
    """
    cells: dict[str, dict[str, int]] = {}
    everybody = np.zeros(len(history.customers), dtype=np.int64)
    tables, sizes = [shrunk(history, everybody, 1, window_days, STRENGTH)], [np.array([len(np.unique(history.customer))])]
    for column, said in sorted(words.items()):
        names, counts = np.unique(said[said != None].astype(str), return_counts=True)  # noqa: E711 - elementwise
        frequent = names[np.lexsort((names, -counts))][:WORDS]
        if len(frequent) < 2:
            continue
        number = {str(name): place for place, name in enumerate(frequent)}
        code = np.array([len(number) if word is None else number.get(str(word), len(number)) for word in said], dtype=np.int64)
        start = sum(len(each) for each in tables)
        cells[column] = {name: start + place for name, place in number.items()}
        tables.append(shrunk(history, code, len(number) + 1, window_days, STRENGTH)[:-1])
        sizes.append(np.bincount(code[np.unique(history.customer)], minlength=len(number) + 1)[:-1])
    table = np.concatenate(tables) if len(history.items) else np.zeros((sum(len(each) for each in tables), 0))
    kept = np.unique(top(table, POOL)[0])
    kept = kept[kept >= 0]
    customers = tuple(int(size) for each in sizes for size in each)
    return Segments(cells, tuple(str(name) for name in history.items[kept]), customers), table[:, kept].astype(np.float32)


def coded(segments: Segments, words: Mapping[str, NDArray[np.object_]], customers: int) -> NDArray[np.int32]:
    """(customers, columns of the segments) row of the table behind each word; -1 where a customer's word is no segment."""
    code = np.full((customers, len(segments.cells)), -1, dtype=np.int32)
    for place, (column, rows) in enumerate(segments.cells.items()):
        if column in words:
            code[:, place] = [-1 if word is None else rows.get(str(word), -1) for word in words[column]]
    return code


def likings(segments: Segments, table: NDArray[np.float32], rows: Sequence[int], most: int) -> tuple[Liking, ...]:
    """What somebody of these segments, without history, may like, best first; what everybody buys where there is no segment."""
    chosen = list(rows) or [0]
    share: Floats = np.asarray(table[chosen], dtype=np.float64).mean(axis=0)
    n = sum(segments.customers[row] for row in chosen) / len(chosen) + STRENGTH
    order = np.argsort(-share, kind="stable")[:most]
    best = enumerate(zip(order.tolist(), share[order].tolist(), strict=True), start=1)
    return tuple([Liking(segments.items[item], rank, wilson(min(each, 1.0) * n, n)) for rank, (item, each) in best if each > 0])
