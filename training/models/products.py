"""The exact best of many products: each customer's factors against every item's, in blocks, with a bar per customer that only rises.

Single precision finds who can still be among the best, with room for its own rounding; double precision then orders those few. So the
answer is that of double precision, at the speed of single, and a customer's list does not depend on who else is asked for.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.contracts import Floats, Integers
from training.models.lists import bar, best_of_pairs

ROWS = 512
ITEMS = 4096
"""Customers and items of a block: their products (8 MB) stay near the cache."""
_ROUNDING = float(np.finfo(np.float32).eps)


def best_products(
    left: Floats, right: Floats, k: int, *, skip: Any = None, threads: int = 1, rows: int = ROWS, items: int = ITEMS
) -> tuple[NDArray[np.int32], Floats]:
    """Positions and products of the best ``k`` items per customer: above zero, equal ones by smaller position; -1 and NaN where fewer are left.

    Args:
        left: (customers, factors).
        right: (items, factors).
        k: places of a list.
        skip: CSR (customers, items) of pairs that are not to be listed; None skips nothing.
        threads: blocks of customers worked on at once; each block has one BLAS thread.
        rows: customers of a block.
        items: items of a block.

    >>> best_products(np.array([[1.0, 0.0]]), np.array([[0.5, 9.0], [-1.0, 0.0], [2.0, 0.0]]), 3)[0].tolist()
    [[2, 0, -1]]
    """
    positions = np.full((len(left), k), -1, dtype=np.int32)
    best = np.full((len(left), k), np.nan)
    shelf = _Shelf.of(right)
    starts = range(0, len(left) if len(right) else 0, rows)

    def work(start: int) -> None:
        part = slice(start, start + rows)
        positions[part], best[part] = _block(left[part], shelf, k, None if skip is None else skip[part], items)

    with one_blas_thread():
        if threads == 1:
            for start in starts:
                work(start)
        else:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(work, starts))
    return positions, best


@dataclass(frozen=True)
class _Shelf:
    """Items, the longest first: a bar rises soonest on those, and what comes after them may be too short for it."""

    factors: Floats
    """(items, factors) in the caller's order."""
    single: NDArray[np.float32]
    """(factors, items) in the order of ``order``."""
    order: Integers
    place: Integers
    """Where an item of the caller's order stands."""
    length: Floats

    @classmethod
    def of(cls, factors: Floats) -> _Shelf:
        length = np.sqrt((factors**2).sum(axis=1))
        order = np.argsort(-length, kind="stable")
        place = np.empty(len(order), dtype=np.int64)
        place[order] = np.arange(len(order))
        return cls(factors, np.ascontiguousarray(factors[order].T, dtype=np.float32), order, place, length[order])


def _block(left: Floats, shelf: _Shelf, k: int, skip: Any, width: int) -> tuple[NDArray[np.int32], Floats]:
    single, own = left.astype(np.float32), np.sqrt((left**2).sum(axis=1))
    # Twice the most that a sum of so many products can be off in single precision.
    slack = 2.0 * (left.shape[1] + 2) * _ROUNDING * own * (shelf.length[0] if len(shelf.length) else 0.0)
    least = -slack
    skipped = _skipped(skip, shelf)
    row, item, value = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
    waiting = 0
    room = np.empty(len(left) * min(width, len(shelf.order)), dtype=np.float32)
    mark = np.empty(len(room), dtype=np.bool_)
    for start in range(0, len(shelf.order), width):
        if (own * shelf.length[start] + slack < least).all():
            break
        factors = shelf.single[:, start : start + width]
        cells = len(left) * factors.shape[1]
        scores = np.matmul(single, factors, out=room[:cells].reshape(len(left), -1))
        if skipped is not None:
            first, last = np.searchsorted(skipped[0], [start, start + width])
            scores[skipped[1][first:last], skipped[0][first:last] - start] = -np.inf
        if not start and scores.shape[1] > k:
            least = np.maximum(least, bar(scores, k)[:, 0] - slack)
        found = np.flatnonzero(np.greater_equal(scores, _below(least)[:, None], out=mark[:cells].reshape(scores.shape)))
        row = np.concatenate([row, found // scores.shape[1]])
        item = np.concatenate([item, found % scores.shape[1] + start])
        value = np.concatenate([value, scores.ravel()[found]])
        waiting += len(found)
        if waiting > len(left) * k:
            row, item, value, least = _thinned(row, item, value, least, slack, k, len(left))
            waiting = 0
    row, item, value, least = _thinned(row, item, value, least, slack, k, len(left))
    item = shelf.order[item]
    exact = (left[row] * shelf.factors[item]).sum(axis=1)
    return best_of_pairs(row, item, exact, len(left), k)


def _skipped(skip: Any, shelf: _Shelf) -> tuple[Integers, Integers] | None:
    """Place on the shelf and row of each pair to be left out, by place."""
    if skip is None or not skip.nnz:
        return None
    row, place = np.repeat(np.arange(skip.shape[0]), np.diff(skip.indptr)), shelf.place[skip.indices]
    order = np.argsort(place, kind="stable")
    return place[order], row[order]


def _below(least: Floats) -> NDArray[np.float32]:
    """Bars in single precision, never above what they are in double."""
    return np.nextafter(least.astype(np.float32), np.float32(-np.inf))


def _thinned(
    row: Integers, item: Integers, value: NDArray[np.float32], least: Floats, slack: Floats, k: int, rows: int
) -> tuple[Integers, Integers, NDArray[np.float32], Floats]:
    """The pairs that can still be among the best ``k``, and the risen bars."""
    order = np.lexsort((-value, row))
    row, item, value = row[order], item[order], value[order]
    count = np.bincount(row, minlength=rows)
    start = np.cumsum(count) - count
    full = np.flatnonzero(count >= k)
    least = least.copy()
    least[full] = np.maximum(least[full], value[start[full] + k - 1] - slack[full])
    kept = value >= _below(least)[row]
    return row[kept], item[kept], value[kept], least


def one_blas_thread() -> Any:
    """A context in which BLAS has one thread: a product's last bits must not depend on how many cores were free."""
    return _blas().limit(limits=1, user_api="blas")


@cache
def _blas() -> Any:
    """The switch for BLAS threads; finding the libraries of a process takes longer than ranking for one customer."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
