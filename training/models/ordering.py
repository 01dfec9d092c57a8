"""Trees that learn to order a customer's candidates (LambdaRank), and the proof that they do it better than the blend."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from retain.errors import IntegrityError
from training.contracts import Floats, Integers
from training.models.parallel import together
from training.models.trees import check, trimmed

_PLACES = 10
"""Places of a list that are judged."""
_PARTS = 4
_BINS = {"verbosity": -1, "feature_pre_filter": False, "max_bin": 63}


class Ordering(BaseModel):
    """Settings of the trees. They are small and many, and each sees a part of the rows and columns: there are few customers to learn from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trees: int = Field(default=120, ge=1, le=5000)
    learning_rate: float = Field(default=0.06, gt=0, le=1)
    num_leaves: int = Field(default=7, ge=2, le=255)
    min_pairs_in_leaf: int = Field(default=100, ge=1)
    column_share: float = Field(default=0.5, gt=0, le=1)
    row_share: float = Field(default=0.7, gt=0, le=1)
    ridge: float = Field(default=10.0, ge=0)
    least_customers: int = Field(default=100, ge=2)
    """Customers with something to learn from; with fewer the blend answers."""
    sureness: float = 1.96
    """Standard errors that the gain over the blend must lie above zero."""
    seed: int = 7

    def fit(self, lessons: Lessons, columns: tuple[str, ...]) -> Trees:
        """Learn from pairs, customer by customer."""
        return self.grown(binned(lessons, columns), len(lessons.hit), columns)

    def grown(self, data: Any, pairs: int, columns: tuple[str, ...]) -> Trees:
        """Learn from so many pairs that are put into bins already."""
        import lightgbm

        parameters = {
            "objective": "lambdarank", "learning_rate": self.learning_rate, "num_leaves": self.num_leaves,
            "min_data_in_leaf": max(1, min(self.min_pairs_in_leaf, pairs // 20)), "feature_fraction": self.column_share,
            "bagging_fraction": self.row_share, "bagging_freq": 1 if self.row_share < 1 else 0, "lambda_l2": self.ridge,
            "lambdarank_truncation_level": 2 * _PLACES, "seed": self.seed, "deterministic": True, "force_col_wise": True,
            "num_threads": 1, **_BINS,
        }  # fmt: skip
        return _from_text(trimmed(lightgbm.train(parameters, data, num_boost_round=self.trees).model_to_string()), columns)


def binned(lessons: Lessons, columns: tuple[str, ...]) -> Any:
    """Pairs as LightGBM holds them."""
    import lightgbm

    group = np.bincount(lessons.row)
    return lightgbm.Dataset(
        lessons.x, label=lessons.hit.astype(np.float64), group=group[group > 0], feature_name=list(columns), params=dict(_BINS), free_raw_data=True
    ).construct()


@dataclass(frozen=True)
class Lessons:
    """Pairs of customers who bought something in a window, and whether they bought this."""

    x: NDArray[np.float32]
    """(pairs, columns)"""
    hit: NDArray[np.bool_]
    row: Integers
    """(pairs,) position of the customer, rising."""
    size: Integers
    """(customers,) items bought in the window, among the pairs or not."""
    names: NDArray[np.object_]
    """(customers,) ids."""

    def with_column(self, values: Floats) -> Lessons:
        """The same pairs with one more column, the first."""
        return replace(self, x=np.hstack([values[:, None].astype(np.float32), self.x]))

    def of(self, customers: Integers) -> Lessons:
        """The pairs of some customers, given by rising positions."""
        place = np.full(len(self.size), -1, dtype=np.int64)
        place[customers] = np.arange(len(customers))
        kept = place[self.row] >= 0
        return Lessons(self.x[kept], self.hit[kept], place[self.row[kept]], self.size[customers], self.names[customers])

    def useful(self) -> Lessons:
        """The customers with at least one hit among their pairs: the others teach no order."""
        return self.of(np.flatnonzero(np.bincount(self.row, self.hit, len(self.size)) > 0))

    @classmethod
    def together(cls, parts: Sequence[Lessons]) -> Lessons:
        """Several as one; a customer of two of them stands there twice."""
        shift = np.cumsum([0, *(len(part.size) for part in parts)])
        return cls(
            np.concatenate([part.x for part in parts]), np.concatenate([part.hit for part in parts]),
            np.concatenate([part.row + offset for part, offset in zip(parts, shift, strict=False)]),
            np.concatenate([part.size for part in parts]), np.concatenate([part.names for part in parts]),
        )  # fmt: skip

    def ndcg(self, score: Floats) -> Floats:
        """(customers,) NDCG of the lists that these scores make; equal ones by their order."""
        order = np.lexsort((-score, self.row))
        count = np.bincount(self.row, minlength=len(self.size))
        place = np.arange(len(order)) - np.repeat(np.cumsum(count) - count, count)
        gain = np.where(self.hit[order] & (place < _PLACES), 1.0 / np.log2(place + 2), 0.0)
        ideal = np.cumsum(1.0 / np.log2(np.arange(2, _PLACES + 2)))
        return np.asarray(np.bincount(self.row[order], gain, len(self.size)) / ideal[np.minimum(self.size, _PLACES) - 1], dtype=np.float64)


@dataclass(frozen=True)
class Trees:
    """Trees in LightGBM's text form, and the booster that reads them."""

    text: str
    _booster: Any = field(repr=False, compare=False)

    def predict(self, x: NDArray[np.float32]) -> Floats:
        """One number per pair; more is better. One thread: threads that wait for a busy core cost a thousand times a row."""
        return np.asarray(self._booster.predict(x, num_threads=1), dtype=np.float64) if len(x) else np.empty(0)


def proof(windows: Sequence[Lessons], ordering: Ordering, columns: tuple[str, ...]) -> tuple[Trees | None, str]:
    """Trees of all customers, or None where trees of three quarters of them did not clearly beat the blend for the others; and why, in words.

    Args:
        windows: What was to be learned in each window, the newest first; the newest judges. Their first column is the blend's score.
        ordering: Settings.
        columns: Names of the columns.
    """
    newest = windows[0]
    able = [len(window.useful().size) for window in windows]
    if able[0] < ordering.least_customers:
        return (
            None,
            f"the blend answers: {able[0]} customers found something among the candidates, {ordering.least_customers} are needed to learn from",
        )
    part = parts_of(newest.names)
    asked = [np.flatnonzero(part == number) for number in range(_PARTS)]

    whole = Lessons.together([window.useful() for window in windows])
    of_pair = parts_of(whole.names)[whole.row]
    # Put into bins once: where the bins of a column end is all that those who teach know of those who judge.
    data = binned(whole, columns)

    def learned(without: int | None) -> Trees | None:
        if without is None:
            return ordering.grown(data, len(whole.hit), columns)
        chosen = np.flatnonzero(of_pair != without)
        return ordering.grown(data.subset(chosen.tolist()), len(chosen), columns) if whole.hit[chosen].any() else None

    # The trees of everybody are learned beside those that prove them: mostly they are wanted, and else a core would wait.
    *provers, trees = together([partial(learned, without) for without in (*range(_PARTS), None)])
    gain = np.zeros(len(newest.size))
    for customers, prover in zip(asked, provers, strict=True):
        if prover is None or not len(customers):
            return None, "the blend answers: the customers are too few to be parted into those that teach and those that judge"
        held = newest.of(customers)
        gain[customers] = held.ndcg(prover.predict(held.x)) - held.ndcg(held.x[:, 0].astype(np.float64))
    mean, error = float(gain.mean()), float(gain.std(ddof=1) / np.sqrt(len(gain)))
    low, high = mean - 1.96 * error, mean + 1.96 * error
    figures = f"{mean:+.4f} [{low:+.4f}, {high:+.4f}] NDCG@{_PLACES} against the blend on {len(gain)} customers"
    if mean - ordering.sureness * error <= 0:
        return None, f"the blend answers: ordered by trees that had not learned from them, {figures}"
    return trees, f"trees order: {figures} they had not learned from"


def opened(path: Path, columns: tuple[str, ...]) -> Trees:
    """Trees from a file, their structure checked before LightGBM reads them.

    Raises:
        IntegrityError: the file is missing or holds no sound trees of these columns.
    """
    if not path.is_file():
        raise IntegrityError(f"model file {path.name} is missing; restore it or train the model again")
    try:
        return _from_text(path.read_text(encoding="utf-8"), columns)
    except UnicodeDecodeError as error:
        raise IntegrityError(f"{path.name} is not text; restore it or train the model again") from error


def parts_of(names: NDArray[np.object_]) -> Integers:
    """The part that each customer judges in, from a hash of the id."""
    return np.array([hashlib.sha256(str(name).encode()).digest()[0] % _PARTS for name in names], dtype=np.int64)


def _from_text(text: str, columns: tuple[str, ...]) -> Trees:
    import lightgbm

    check(text, columns)
    try:
        return Trees(text, lightgbm.Booster(model_str=text))
    except lightgbm.basic.LightGBMError as error:
        raise IntegrityError(f"LightGBM cannot read the trees ({error}); restore them or train the model again") from error
