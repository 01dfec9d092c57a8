"""Churn: who of the active customers will buy nothing in the horizon, or who of the contract holders will hold none at its end?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from retain.engine import Engine
from retain.workspace import State
from training import labels, metrics
from training.contracts import Floats
from training.metrics import Direction, Metric


class Churn(BaseModel):
    """Per customer with a purchase in the year before the cutoff, or with a running contract: the chance of leaving within the horizon.

    Who left for a cause that nobody chose (moved away, closed, died) was not lost by dissatisfaction: such rows are neither learned from
    nor judged. Without a recorded cause nothing is presumed.

    Judged by log loss, because a decision uses the chance itself and not only the order; AUC and lift say how good the order is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    horizon_days: int | None = Field(default=None, ge=1)
    """Calendar days that no purchase must last; None is the source's own."""
    leaving: Literal["purchases", "subscriptions"] | None = None
    """What leaving means: no purchase, or the end of a contract; None is the source's own."""

    name: ClassVar[Literal["churn"]] = "churn"
    kind: ClassVar[Literal["chance"]] = "chance"
    output: ClassVar[str] = "p_churn"
    primary: ClassVar[str] = "log_loss"
    metrics: ClassVar[Mapping[str, tuple[Metric, Direction | None]]] = {
        "log_loss": (metrics.log_loss, "lower"),
        "auc": (metrics.auc, "higher"),
        "pr_auc": (metrics.pr_auc, "higher"),
        "brier": (metrics.brier, "lower"),
        "ece": (metrics.ece, "lower"),
        "lift": (metrics.lift, "higher"),
        "mean_predicted": (metrics.mean_predicted, None),
        "mean_actual": (metrics.mean_actual, None),
    }
    """Each metric with the direction that is better; None where it only describes."""

    def is_contractual(self, state: State) -> bool:
        """Whether leaving is the end of a contract."""
        return (self.leaving or state.churn) == "subscriptions"

    def after(self, engine: Engine, cutoffs: Sequence[datetime], horizon_days: int, state: State, now: datetime) -> pd.DataFrame:
        """Active customers and whether they bought again, or contract holders and whether they still hold one."""
        zone = state.stored_zone
        if self.is_contractual(state):
            return labels.contracts(engine, cutoffs, horizon_days, zone, now)
        found = labels.after(engine, cutoffs, horizon_days, zone, now)
        return found.assign(is_involuntary=labels.involuntary(engine, found, horizon_days, zone))

    def outcome(self, after: pd.DataFrame) -> Floats:
        """1 where a customer did not return, 0 where it did; NaN where it left and nobody had chosen that."""
        gone = 1.0 - after["returned"].to_numpy(dtype=np.float64)
        return np.where(after["is_involuntary"] & (gone == 1), np.nan, gone) if "is_involuntary" in after else gone

    def evaluate(self, y: Floats, p: Floats) -> dict[str, float]:
        """Every metric on rows with closed windows."""
        return {name: metric(y, p) for name, (metric, _) in self.metrics.items()}
