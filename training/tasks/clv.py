"""Customer value: how much will each active customer bring in the horizon?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from retain.engine import Engine
from retain.errors import RefusedError
from retain.workspace import State
from training import labels, metrics
from training.contracts import Floats
from training.metrics import Direction, Metric


class Clv(BaseModel):
    """Per customer with a purchase in the year before the cutoff: net money of all lines in the horizon, returns subtracted.

    Judged by the normalised Gini, the order of value that bands and lists are made of. The mean absolute error rewards totals that are
    too low (the median customer spends nothing), so it is read beside the bias and never alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    horizon_days: int | None = Field(default=None, ge=1)
    """Calendar days in which money is counted; None is the source's own."""
    measure: Literal["spend", "margin"] = "spend"
    """Money received, or margin where every line has one."""

    name: ClassVar[Literal["clv"]] = "clv"
    kind: ClassVar[Literal["amount"]] = "amount"
    output: ClassVar[str] = "expected_value"
    primary: ClassVar[str] = "gini_norm"
    metrics: ClassVar[Mapping[str, tuple[Metric, Direction | None]]] = {
        "gini_norm": (metrics.gini_norm, "higher"),
        "mae": (metrics.mae, "lower"),
        "rmse": (metrics.rmse, "lower"),
        "spearman": (metrics.spearman, "higher"),
        "bias": (metrics.bias, "zero"),
        "decile_wape": (metrics.decile_wape, "lower"),
        "top10": (metrics.top10, "higher"),
        "top20": (metrics.top20, "higher"),
        "mean_actual": (metrics.mean_actual, None),
    }
    """Each metric with the direction that is better; None where it only describes."""

    def after(self, engine: Engine, cutoffs: Sequence[datetime], horizon_days: int, state: State, now: datetime) -> pd.DataFrame:
        """Active customers and their money."""
        return labels.after(engine, cutoffs, horizon_days, state.stored_zone, now)

    def outcome(self, after: pd.DataFrame) -> Floats:
        """Net money in the horizon.

        Raises:
            RefusedError: margin is asked for and a line of a window has none.
        """
        value = np.asarray(after[self.measure], dtype=np.float64)
        unknown = int(np.isnan(value).sum())
        if unknown:
            raise RefusedError(
                f"clv: {self.measure} is unknown for lines of {unknown} of {len(value)} windows; give the source a margin rate or "
                "choose `measure: spend`",
                field="measure",
            )
        return value

    def evaluate(self, y: Floats, p: Floats) -> dict[str, float]:
        """Every metric on rows with closed windows."""
        return {name: metric(y, p) for name, (metric, _) in self.metrics.items()}
