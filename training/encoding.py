"""How raw features become numbers: categories get the codes learned in training, numbers become floats."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from retain.errors import DataError
from retain.files import read_json, write_json
from training.contracts import Floats

UNSEEN = -1.0
"""Code of a category that training never saw. A missing value is NaN."""
MOST = 1000
"""Categories a column may have; the rarest beyond it are coded as unseen."""


@dataclass(frozen=True)
class Encoder:
    """Categories of each text column by code, in the order of the text."""

    categories: Mapping[str, tuple[str, ...]]

    @classmethod
    def learn(cls, raw: pd.DataFrame, text: Collection[str]) -> Encoder:
        """The categories of the columns in ``text``."""
        learned: dict[str, tuple[str, ...]] = {}
        for name in text:
            place, found = pd.factorize(raw[name].to_numpy(dtype=object))
            counts = np.bincount(place[place >= 0], minlength=len(found)).tolist()
            most = sorted((-count, str(category)) for category, count in zip(found, counts, strict=True))[:MOST]
            learned[name] = tuple(sorted(category for _, category in most))
        return cls(learned)

    def encode(self, raw: pd.DataFrame) -> Floats:
        """(rows, columns) float64 in the order of ``raw``'s columns.

        Raises:
            DataError: a column that was numbers in training holds something else.
        """
        result = np.empty((len(raw), raw.shape[1]), dtype=np.float64)
        for position, name in enumerate(raw.columns):
            column = raw[name]
            if name in self.categories:
                code = {category: float(k) for k, category in enumerate(self.categories[name])}
                place, found = pd.factorize(column.to_numpy(dtype=object))
                # What is missing has the place -1, the last of the table.
                result[:, position] = np.array([*(code.get(str(value), UNSEEN) for value in found), np.nan])[place]
                continue
            try:
                result[:, position] = column.to_numpy(dtype=np.float64, na_value=np.nan)
            except (TypeError, ValueError) as error:
                raise DataError(
                    f"feature {name} holds {column.dropna().iloc[0]!r}, training knew it as a number; train again", field=str(name)
                ) from error
        return result

    def to_json(self) -> dict[str, Any]:
        """Plain values for a file."""
        return {"categories": {name: list(values) for name, values in self.categories.items()}}

    @classmethod
    def from_json(cls, values: Any) -> Encoder:
        """The inverse of ``to_json``.

        Raises:
            DataError: the values describe no encoder.
        """
        categories = values.get("categories") if isinstance(values, dict) else None
        if not isinstance(categories, dict) or not all(
            isinstance(name, str)
            and isinstance(each, list)
            and len(each) <= MOST
            and len(set(map(repr, each))) == len(each)
            and all(isinstance(one, str) for one in each)
            for name, each in categories.items()
        ):
            raise DataError("encoder.json describes no encoder: lists of distinct texts by column are expected; train the model again")
        return cls({name: tuple(each) for name, each in categories.items()})

    def save(self, path: Path) -> None:
        """Write to one JSON file."""
        write_json(path, self.to_json())

    @classmethod
    def load(cls, path: Path) -> Encoder:
        """Read what ``save`` wrote.

        Raises:
            DataError: the file describes no encoder.
        """
        return cls.from_json(read_json(path))
