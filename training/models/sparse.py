"""Sparse matrices of rankers: built cell by cell, picked from, and as arrays that a folder holds without a pickle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retain.errors import IntegrityError
from training.contracts import Floats, Integers


def cells(values: Floats, row: Integers, column: Integers, shape: tuple[int, int]) -> Any:
    """CSR with the sum of values in each cell; columns rise within a row, so that sums along it do not depend on how rows are blocked."""
    from scipy.sparse import csr_matrix

    matrix = csr_matrix((values, (row, column)), shape=shape)
    matrix.sum_duplicates()
    return matrix


def picks(chosen: Integers, columns: int, rows: NDArray[np.bool_]) -> Any:
    """CSR that takes the mean of the chosen columns' rows; empty where ``rows`` is False."""
    from scipy.sparse import csr_matrix

    width = chosen.shape[1]
    picked = np.sort(chosen[rows], axis=1)
    start = np.concatenate([[0], np.cumsum(np.where(rows, width, 0))])
    return csr_matrix((np.full(picked.size, 1.0 / max(width, 1)), picked.ravel(), start), shape=(len(rows), columns))


def smallest(values: Floats, count: int) -> Integers:
    """(rows, count) positions of the smallest values of each row; where the bar cuts through equals, the earlier ones."""
    if values.shape[1] <= count:
        return np.tile(np.arange(values.shape[1]), (len(values), 1))
    bar = np.partition(values, count - 1, axis=1)[:, count - 1, None]
    below = values < bar
    equal = values == bar
    equal &= np.cumsum(equal, axis=1) <= count - below.sum(axis=1, keepdims=True)
    return np.nonzero(below | equal)[1].reshape(len(values), count)


def row_sums(matrix: Any) -> Floats:
    """(rows,) sums along each row."""
    return np.asarray(matrix.sum(axis=1), dtype=np.float64).ravel()


def to_arrays(matrix: Any, name: str) -> dict[str, NDArray[Any]]:
    """A CSR as three arrays."""
    return {name: matrix.data.astype(np.float64), f"{name}_column": matrix.indices.astype(np.int32), f"{name}_start": matrix.indptr.astype(np.int64)}


def expected(name: str) -> dict[str, tuple[str, tuple[str | int, ...]]]:
    """What ``training.models.folder.read`` is to expect of those arrays."""
    return {
        name: ("float64", (f"{name}_cells",)),
        f"{name}_column": ("int32", (f"{name}_cells",)),
        f"{name}_start": ("int64", (f"{name}_starts",)),
    }


def from_arrays(arrays: Mapping[str, NDArray[Any]], name: str, rows: int | None, columns: int, place: str) -> Any:
    """The CSR again; any number of rows where ``rows`` is None.

    Raises:
        IntegrityError: the arrays are no matrix of that shape.
    """
    from scipy.sparse import csr_matrix

    values, column, start = arrays[name], arrays[f"{name}_column"], arrays[f"{name}_start"]
    sound = len(start) >= 1 and start[0] == 0 and start[-1] == len(column) and bool((np.diff(start) >= 0).all())
    if not sound or (rows is not None and len(start) != rows + 1) or (len(column) and (column.min() < 0 or column.max() >= columns)):
        raise IntegrityError(f"{place}: the matrix {name} points outside the catalogue of {columns} items; train the model again")
    return csr_matrix((values, column, start), shape=(len(start) - 1, columns))
