"""How trees are boosted: their settings, rows as bins that several kinds of trees can be grown on, and trees that are compared.

The defaults were chosen by log loss and Gini on windows of the shipped sources that close before the dates they are reported at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from training.contracts import Floats, Frame
from training.models import shapes
from training.models.rates import Rates
from training.models.rules import AMOUNT, ORDERS, RECENCY, TENURE
from training.models.shapes import Shape

Objective = Literal["binary", "tweedie", "gamma", "regression"]


class Settings(BaseModel):
    """Hyperparameters of boosted trees."""

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
    per_day: tuple[str, ...] = (
        RECENCY, ORDERS, AMOUNT, "breadth__products_365d", "days__order_days_365d", "purchases__orders_180d", "purchases__amount_180d",
    )  # fmt: skip
    """Columns that are also given per day observed in their window; those that the frame lacks are left out."""
    observed: str = TENURE
    """Days that a customer was seen in the window of those columns."""
    least_days: float = Field(default=28.0, ge=1)
    """Fewer days observed count as this many."""
    seed: int = 7
    threads: int = Field(default=1, ge=1)
    """More pay from some hundred thousand rows on cores of their own; waiting for a core that is taken costs far more than it brings."""

    rising: tuple[str, ...] = ()
    """Columns with which the answer never falls; those that the frame lacks are left out."""
    falling: tuple[str, ...] = ()
    """Columns with which it never rises."""
    pairs: tuple[tuple[str, str], ...] | None = None
    """Columns, rates among them, that may act together in a tree; None: any."""

    def parameters(self, rows: int, columns: tuple[str, ...], rates: Rates) -> dict[str, Any]:
        """LightGBM's own, for so many rows of these columns."""
        names = rates.names(columns)
        found: dict[str, Any] = {
            "objective": self.objective,
            "learning_rate": self.learning_rate,
            "num_leaves": self.num_leaves,
            # LightGBM wants at least one row per leaf; with few rows the leaves shrink with the data.
            "min_data_in_leaf": max(1, min(self.min_rows_in_leaf, rows // 20)),
            "feature_fraction": self.feature_share,
            "bagging_fraction": self.row_share,
            "bagging_freq": 1 if self.row_share < 1 else 0,
            "lambda_l2": self.ridge,
            "seed": self.seed,
            "deterministic": True,
            "force_col_wise": True,
            "num_threads": self.threads,
            "feature_pre_filter": False,
            "verbosity": -1,
        }
        if self.objective == "tweedie":
            found["tweedie_variance_power"] = self.tweedie_power
        if self.rising or self.falling:
            divided = (*columns, *rates.columns)
            found["monotone_constraints"] = [1 if name in self.rising else -1 if name in self.falling else 0 for name in divided]
        if self.pairs is not None:
            place = {name: position for position, name in enumerate(names)}
            kept = [[place[a], place[b]] for a, b in self.pairs if a in place and b in place]
            found["interaction_constraints"] = [*([position] for position in range(len(names))), *kept]
        return found


@dataclass(frozen=True)
class Boosting:
    """Rows as LightGBM's bins, made once for trees of several shapes."""

    model: Settings
    columns: tuple[str, ...]
    rates: Rates
    rows: int
    data: Any

    @classmethod
    def of(cls, model: Settings, frame: Frame) -> Self:
        """Bin the rows of a frame in canonical order."""
        import lightgbm

        rates = Rates.among(frame.columns, model.per_day, model.observed, model.least_days)
        x, y = rates.extend(frame.x, frame.columns), np.maximum(frame.y, 0.0) if model.objective == "tweedie" else frame.y
        names = list(rates.names(frame.columns))
        data = lightgbm.Dataset(x, label=y, weight=frame.weight, feature_name=names, params={"verbosity": -1, "feature_pre_filter": False})
        return cls(model, frame.columns, rates, len(frame), data)

    def train(self, model: Settings) -> Any:
        """LightGBM's booster by the settings of a model."""
        import lightgbm

        return lightgbm.train(model.parameters(self.rows, self.columns, self.rates), self.data, num_boost_round=model.trees)

    def __call__(self, shape: Shape) -> Candidate:
        """Trees of a shape."""
        held = self.model.model_copy(update={"rising": shape.rising, "falling": shape.falling, "pairs": shape.pairs})
        return Candidate(self.columns, self.rates, self.train(held))


@dataclass(frozen=True)
class Candidate:
    """Trees to compare, see ``Boosted``."""

    columns: tuple[str, ...]
    rates: Rates
    booster: Any

    def predict(self, x: Floats) -> Floats:
        """(rows,) chances or amounts."""
        return np.asarray(self.booster.predict(self.rates.extend(x, self.columns), num_threads=1), dtype=np.float64)

    def meetings(self) -> dict[tuple[str, str], float]:
        """What columns gained below each other."""
        return shapes.met(self.booster.dump_model()["tree_info"], self.rates.names(self.columns))
