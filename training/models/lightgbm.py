"""Gradient-boosted trees for a few thousand to a hundred thousand rows: shallow, slow, regularised, without class weights.

The defaults were chosen by log loss and Gini on windows of the shipped sources that close before the dates they are reported at.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from retain.errors import IntegrityError
from retain.files import write_json, write_text
from training.contracts import Floats, Frame
from training.models import stored
from training.models.rates import Rates
from training.models.rows import canonical
from training.models.rules import AMOUNT, ORDERS, RECENCY, TENURE
from training.models.trees import check, trimmed

Objective = Literal["binary", "tweedie", "gamma", "regression"]


@dataclass(frozen=True)
class FittedLightGBM:
    """Trees in LightGBM's text form, and the booster that reads them."""

    columns: tuple[str, ...]
    rates: Rates
    text: str
    _booster: Any = field(repr=False, compare=False)

    @classmethod
    def from_text(cls, columns: tuple[str, ...], rates: Rates, text: str) -> Self:
        """Open trees whose structure has been checked.

        Raises:
            IntegrityError: the text is no sound model of these columns and rates.
        """
        import lightgbm

        check(text, rates.names(columns))
        try:
            return cls(columns, rates, text, lightgbm.Booster(model_str=text))
        except lightgbm.basic.LightGBMError as error:
            raise IntegrityError(f"model.txt: LightGBM cannot read it ({error}); restore it or train the model again") from error

    def predict(self, x: Floats) -> Floats:
        """The chance or the amount. One thread: threads that wait for a busy core cost a thousand times the row."""
        values = self.rates.extend(stored.checked(x, self.columns), self.columns)
        if not len(values):
            return np.empty(0)
        return np.asarray(self._booster.predict(values, num_threads=1), dtype=np.float64)

    def contributions(self, x: Floats) -> Floats:
        """(rows, columns + 1) what each feature adds to the score before the link, the last column the base (SHAP values of trees).

        What a rate adds is counted with the feature that was divided.
        """
        values = self.rates.extend(stored.checked(x, self.columns), self.columns)
        width = len(self.columns)
        if not len(values):
            return np.empty((0, width + 1))
        parts = np.asarray(self._booster.predict(values, pred_contrib=True, num_threads=1), dtype=np.float64)
        result = np.hstack([parts[:, :width], parts[:, -1:]])
        for number, place in enumerate(self.rates.places(self.columns)):
            result[:, place] += parts[:, width + number]
        return result

    def save(self, folder: Path) -> None:
        """Write ``model.txt`` and ``columns.json``."""
        write_text(folder / "model.txt", self.text)
        write_json(folder / "columns.json", {"columns": list(self.columns), "rates": self.rates.to_json()})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote; the structure is checked before LightGBM sees it."""
        found = stored.values(folder / "columns.json")
        columns = stored.names(found, "columns")
        rates = Rates.from_json(found["rates"] if isinstance(found.get("rates"), dict) else {}, columns)
        path = folder / "model.txt"
        if not path.is_file():
            raise IntegrityError("model file model.txt is missing; restore it or train the model again")
        try:
            return cls.from_text(columns, rates, path.read_text(encoding="utf-8"))
        except UnicodeDecodeError as error:
            raise IntegrityError("model.txt is not text; restore it or train the model again") from error


class LightGBM(BaseModel):
    """Boosted trees. Equal rows, settings and seed give an equal model, whatever the threads and the order of rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    objective: Objective = "binary"
    """``tweedie`` is for money: many zeros and a long tail; net spend below zero counts as zero in learning. ``gamma`` is for money of those
    who spent, ``regression`` for anything by squared error."""
    trees: int = Field(default=300, ge=1, le=5000)
    learning_rate: float = Field(default=0.03, gt=0, le=1)
    num_leaves: int = Field(default=4, ge=2, le=255)
    min_rows_in_leaf: int = Field(default=40, ge=1)
    feature_share: float = Field(default=0.5, gt=0, le=1)
    """Share of the features that each tree may look at."""
    row_share: float = Field(default=0.7, gt=0, le=1)
    """Share of the rows that each tree learns from."""
    ridge: float = Field(default=10.0, ge=0)
    tweedie_power: float = Field(default=1.5, gt=1, lt=2)
    per_day: tuple[str, ...] = (RECENCY, ORDERS, AMOUNT, "breadth__products_365d")
    """Columns that are also given per day observed; those that the frame lacks are left out."""
    observed: str = TENURE
    """Days that a customer was seen in the window of those columns."""
    least_days: float = Field(default=28.0, ge=1)
    """Fewer days observed count as this many."""
    seed: int = 7
    threads: int = Field(default=1, ge=1)
    """More pay from some hundred thousand rows on cores of their own; waiting for a core that is taken costs far more than it brings."""

    def fit(self, frame: Frame) -> FittedLightGBM:
        """Boost."""
        import lightgbm

        ordered = canonical(frame)
        y = np.maximum(ordered.y, 0.0) if self.objective == "tweedie" else ordered.y
        # LightGBM wants at least one row per leaf; with few rows the leaves shrink with the data.
        leaf = max(1, min(self.min_rows_in_leaf, len(ordered) // 20))
        parameters: dict[str, Any] = {
            "objective": self.objective,
            "learning_rate": self.learning_rate,
            "num_leaves": self.num_leaves,
            "min_data_in_leaf": leaf,
            "feature_fraction": self.feature_share,
            "bagging_fraction": self.row_share,
            "bagging_freq": 1 if self.row_share < 1 else 0,
            "lambda_l2": self.ridge,
            "seed": self.seed,
            "deterministic": True,
            "force_row_wise": True,
            "num_threads": self.threads,
            "feature_pre_filter": False,
            "verbosity": -1,
        }
        if self.objective == "tweedie":
            parameters["tweedie_variance_power"] = self.tweedie_power
        rates = Rates.among(ordered.columns, self.per_day, self.observed, self.least_days)
        names = list(rates.names(ordered.columns))
        data = lightgbm.Dataset(
            rates.extend(ordered.x, ordered.columns),
            label=y,
            weight=ordered.weight,
            feature_name=names,
            params={"verbosity": -1, "feature_pre_filter": False},
        )
        booster = lightgbm.train(parameters, data, num_boost_round=self.trees)
        return FittedLightGBM.from_text(ordered.columns, rates, trimmed(booster.model_to_string()))
