"""Why served features differ from those that the tables give: each hypothesis is computed, and one that gives the served bits is the cause.

A view that serving read with another definition, an older snapshot than training would read, columns in another order, a moment on another
clock, rows that were counted before they were known or that came after: in this order, and what none of them gives is unexplained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, Protocol, TypeAlias
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from training.contracts import Floats

Moments: TypeAlias = NDArray[np.int64]
Name = Literal["version skew", "stale store", "permuted columns", "time zone", "late rows", "unexplained"]
PROBE = 200
"""Differing readings that a hypothesis is tried on before it is computed for all."""
HOUR = 3_600_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Block:
    """What was served of one view."""

    view: str
    names: tuple[str, ...]
    served: Floats
    """(readings, columns of the view)"""
    at: Moments
    """(readings,) event time that the receipt names."""
    expected: Moments
    """(readings,) event time that training would have read."""
    version: str
    """Version of the view when the rows were made."""
    version_now: str | None
    """Version now; None where there is no such view any more."""


@dataclass(frozen=True)
class Cause:
    """One cause of differences."""

    name: Name
    view: str
    detail: str
    decisions: int
    values: int


class Offline(Protocol):
    """Features from the tables."""

    def values(self, view: str, customers: NDArray[np.object_], at: Moments, *, known: bool = True) -> Floats:
        """(readings, columns of the view) at the moments."""


def differs(a: Floats, b: Floats) -> NDArray[np.bool_]:
    """Where bits differ; two nulls are equal, -0.0 and 0.0 are not."""
    return np.asarray((a.view(np.uint64) != b.view(np.uint64)) & ~(np.isnan(a) & np.isnan(b)), dtype=np.bool_)


@dataclass
class Search:
    """The search for causes in the readings of one group."""

    customers: NDArray[np.object_]
    times: NDArray[np.int64]
    offline: Offline
    causes: list[Cause]

    def explain(self, blocks: Sequence[Block], truths: Sequence[Floats], zones: Sequence[str], *, is_other_data: bool) -> None:
        """Name the cause of every difference between blocks and truths."""
        left = [np.asarray(differs(block.served, truth).any(axis=1)) for block, truth in zip(blocks, truths, strict=True)]
        for number, block in enumerate(blocks):
            if left[number].any() and block.version != block.version_now:
                self._name("version skew", block, truths[number], left[number], f"served by {block.version}, now {block.version_now or 'gone'}")
                left[number][:] = False
            self._stale(block, truths[number], left[number])
        self._permuted(blocks, truths, left)
        for block, truth, rows in zip(blocks, truths, left, strict=True):
            self._zone(block, truth, rows, zones)
            self._known(block, truth, rows)
            if rows.any():
                name: Name = "late rows" if is_other_data else "unexplained"
                detail = "the tables hold other rows than when it was decided" if is_other_data else "no hypothesis gives what was served"
                self._name(name, block, truth, rows, detail)

    def _name(self, name: Name, block: Block, truth: Floats, rows: NDArray[np.bool_], detail: str) -> None:
        odd = differs(block.served[rows], truth[rows])
        times = self.times[rows]
        self.causes.append(Cause(name, block.view, detail, int(times.sum()), int((times[:, None] * odd).sum())))

    def _same(self, block: Block, rows: NDArray[np.intp], at: Moments, *, known: bool = True) -> NDArray[np.bool_]:
        """Which of the readings are what the tables give at other moments."""
        made = self.offline.values(block.view, self.customers[rows], at, known=known)
        return np.asarray(~differs(block.served[rows], made).any(axis=1))

    def _take(self, name: Name, block: Block, truth: Floats, left: NDArray[np.bool_], rows: NDArray[np.intp], detail: str) -> None:
        found = np.zeros(len(left), dtype=bool)
        found[rows] = True
        if found.any():
            self._name(name, block, truth, found, detail)
            left &= ~found

    def _stale(self, block: Block, truth: Floats, left: NDArray[np.bool_]) -> None:
        rows = np.flatnonzero(left & ((block.at < block.expected) | (block.expected < 0)))
        if len(rows):
            hit = rows[self._same(block, rows, block.at[rows])]
            for at in np.unique(block.at[hit]):
                chosen = hit[block.at[hit] == at]
                newer = int(block.expected[chosen[0]])
                why = f"of {_day(int(at))}, {'older than its time to live' if newer < 0 else f'{_day(newer)} was there'}"
                self._take("stale store", block, truth, left, chosen, why)

    def _permuted(self, blocks: Sequence[Block], truths: Sequence[Floats], left: list[NDArray[np.bool_]]) -> None:
        """Columns that hold what others should, over all views at once."""
        names = [name for block in blocks for name in block.names]
        served, truth = np.concatenate([block.served for block in blocks], axis=1), np.concatenate(truths, axis=1)
        view_of = np.repeat(np.arange(len(blocks)), [len(block.names) for block in blocks])
        odd = differs(served, truth) & np.stack(left, axis=1)[:, view_of]
        rows = np.flatnonzero(odd.any(axis=1))
        held = _held(served[rows[: 10 * PROBE]], truth[rows[: 10 * PROBE]], odd[rows[: 10 * PROBE]])
        if not held:
            return
        order = np.arange(len(names))
        order[list(held)] = list(held.values())
        same = ~differs(served[rows], truth[rows][:, order])
        for number, (block, one) in enumerate(zip(blocks, truths, strict=True)):
            mine = view_of == number
            moved = [column for column in held if mine[column]]
            if moved:
                hit = rows[same[:, mine].all(axis=1) & left[number][rows]]
                detail = ", ".join(f"{names[column].partition('__')[2]} holds {names[held[column]]}" for column in moved)
                self._take("permuted columns", block, one, left[number], hit, detail)

    def _zone(self, block: Block, truth: Floats, left: NDArray[np.bool_], zones: Sequence[str]) -> None:
        """Moments that were read on another clock."""
        for _ in range(3):
            rows = np.flatnonzero(left)[:PROBE]
            if not len(rows):
                return
            shifts = _shifts(int(block.expected[rows[0]]), zones)
            asked = np.tile(rows, len(shifts))
            at = block.expected[asked] + np.repeat(np.array(shifts, dtype=np.int64), len(rows))
            hits = self._same(block, asked, at).reshape(len(shifts), len(rows)).sum(axis=1)
            if not hits.any():
                return
            best = [shift for shift, count in zip(shifts, hits.tolist(), strict=True) if count == hits.max()]
            shift = best[0]
            every = np.flatnonzero(left)
            hit = every[self._same(block, every, block.expected[every] + shift)]
            self._take("time zone", block, truth, left, hit, f"as of {_hours(best)}")

    def _known(self, block: Block, truth: Floats, left: NDArray[np.bool_]) -> None:
        rows = np.flatnonzero(left)
        if len(rows):
            hit = rows[self._same(block, rows, block.expected[rows], known=False)]
            self._take("late rows", block, truth, left, hit, "counted before they were known")


def _held(served: Floats, truth: Floats, odd: NDArray[np.bool_]) -> dict[int, int]:
    """Column -> the column whose values it holds, where such pairs close to a permutation of columns that differ."""
    columns = np.flatnonzero(odd.any(axis=0))
    best: dict[int, int] = {}
    for column in [int(each) for each in columns]:
        rows = odd[:, column]
        held, others = np.repeat(served[rows, column : column + 1], len(columns), axis=1), np.ascontiguousarray(truth[rows][:, columns])
        hits = (~differs(held, others)).mean(axis=0)
        hits[columns == column] = 0.0
        if hits.size and hits.max() >= 0.5:
            best[column] = int(columns[hits.argmax()])
    # What does not close to a circle is no permutation.
    while loose := [one for one in best if one not in best.values() or best[one] not in best]:
        best = {one: other for one, other in best.items() if one not in loose}
    return best if len(set(best.values())) == len(best) else {}


def _shifts(at: int, zones: Sequence[str]) -> list[int]:
    """How far a moment is off when it is read on another clock: the source's zones first, then every whole hour."""
    moment = EPOCH + timedelta(microseconds=at)
    own = [moment.astimezone(ZoneInfo(zone)).utcoffset() or timedelta() for zone in zones]
    named = [sign * (offset // timedelta(microseconds=1)) for offset in own for sign in (1, -1)]
    return [shift for shift in dict.fromkeys([*named, *(hour * HOUR for hour in range(-14, 15))]) if shift]


def _hours(shifts: Sequence[int]) -> str:
    """One shift, or the range of those that give the same values."""
    low, high = min(shifts) / HOUR, max(shifts) / HOUR
    return f"{low:+g} h" if low == high else f"{low:+g} h to {high:+g} h, which give the same"


def _day(micros: int) -> str:
    return f"{EPOCH + timedelta(microseconds=micros):%Y-%m-%d %H:%M}"
