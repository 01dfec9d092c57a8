"""Rules that people use without a model, given a level: how long ago, how often, and the four numbers of RFM."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from training.contracts import Frame
from training.models.logistic import FittedLogistic, Logistic

RECENCY = "purchases__days_since_order_365d"
ORDERS = "purchases__orders_365d"
AMOUNT = "purchases__amount_365d"
TENURE = "purchases__days_since_first_order_365d"


class RecencyRule(BaseModel):
    """The longer ago the last purchase, the likelier is none: one variable, log of days."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    column: str = RECENCY

    def fit(self, frame: Frame) -> FittedLogistic:
        """Learn a level and a slope."""
        return Logistic(columns=(self.column,), c=100.0).fit(frame)


class RfmLogistic(BaseModel):
    """Recency, frequency, money and tenure in logs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: tuple[str, ...] = (RECENCY, ORDERS, AMOUNT, TENURE)
    newest_only: bool = True
    """Learn from the newest cutoff alone: counts of a year grow with a history that is shorter than that, so an older cutoff has another level."""

    def fit(self, frame: Frame) -> FittedLogistic:
        """Learn a level and four slopes."""
        rows = frame.take((frame.cutoff == frame.cutoff.max()).nonzero()[0]) if self.newest_only and len(frame) else frame
        return Logistic(columns=self.columns, c=100.0).fit(rows)
