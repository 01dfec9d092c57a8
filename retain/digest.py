"""The data version: one hash over the values of the eight tables, the same for the same sorted rows whatever wrote their files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from retain.tables import TABLES

_ROWS = 100_000


def digest(folder: Path) -> str:
    """Hash of the contract tables in ``folder``: names, types and values, not compression or layout of the files."""
    whole = hashlib.sha256()
    for name in TABLES:
        file = pq.ParquetFile(folder / f"{name}.parquet")
        columns = {field.name: _Column() for field in file.schema_arrow}
        for batch in file.iter_batches(batch_size=_ROWS):
            for field, values in zip(batch.schema, batch.columns, strict=True):
                columns[field.name].add(values)
        for field in file.schema_arrow:
            whole.update(f"{name}.{field.name} {field.type} {columns[field.name].hexdigest()}\n".encode())
    return whole.hexdigest()


class _Column:
    """Hash of one column's values; where batches begin and end makes no difference."""

    def __init__(self) -> None:
        self._present, self._lengths, self._values = hashlib.sha256(), hashlib.sha256(), hashlib.sha256()

    def add(self, values: pa.Array) -> None:
        self._present.update(np.ascontiguousarray(pc.is_valid(values).to_numpy(zero_copy_only=False)).view(np.uint8).data)
        given = values.drop_null()
        if pa.types.is_list(values.type):
            self._lengths.update(pc.list_value_length(given).to_numpy(zero_copy_only=False).astype(np.int64).data)
            given = given.flatten()
            self._present.update(np.ascontiguousarray(pc.is_valid(given).to_numpy(zero_copy_only=False)).view(np.uint8).data)
            given = given.drop_null()
        if pa.types.is_string(given.type) or pa.types.is_large_string(given.type):
            self._lengths.update(pc.binary_length(given).to_numpy(zero_copy_only=False).astype(np.int64).data)
            self._values.update(b"".join(_text(given)))
        elif pa.types.is_boolean(given.type):
            self._values.update(given.to_numpy(zero_copy_only=False).view(np.uint8).data)
        else:
            self._values.update(given.to_numpy(zero_copy_only=False).view(np.int64).data)

    def hexdigest(self) -> str:
        return f"{self._present.hexdigest()} {self._lengths.hexdigest()} {self._values.hexdigest()}"


def _text(values: pa.Array) -> list[bytes]:
    """The bytes of all texts, one after the other."""
    compact = pa.concat_arrays([values]).cast(pa.large_binary())
    if len(compact) == 0:
        return []
    offsets = np.frombuffer(compact.buffers()[1], dtype=np.int64)[compact.offset : compact.offset + len(compact) + 1]
    data = compact.buffers()[2]
    return [] if data is None else [data.slice(int(offsets[0]), int(offsets[-1] - offsets[0])).to_pybytes()]
