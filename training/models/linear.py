"""Linear regression on signed logs of features, standardised, with a ridge."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from training.contracts import Floats, Frame
from training.models.logistic import FittedLogistic, standardised
from training.models.rows import canonical


@dataclass(frozen=True)
class FittedLinear(FittedLogistic):
    """The same weights without a link."""

    def predict(self, x: Floats) -> Floats:
        """The sum of the terms."""
        return self.total(x)


class Linear(BaseModel):
    """Ridge regression."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ridge: float = Field(default=100.0, gt=0)
    """Strength of the ridge on standardised features, in rows."""

    def fit(self, frame: Frame) -> FittedLinear:
        """Solve the normal equations; one thread adds up in one order."""
        from threadpoolctl import threadpool_limits

        ordered = canonical(frame)
        mean, scale, design = standardised(ordered.x)
        share = np.ones(len(ordered)) if ordered.weight is None else ordered.weight / max(float(ordered.weight.mean()), 1e-300)
        centre = np.average(design, axis=0, weights=share) if len(design) else np.zeros(design.shape[1])
        bias = float(np.average(ordered.y, weights=share)) if len(ordered) else 0.0
        with threadpool_limits(1, "blas"):
            root = np.sqrt(share)
            shifted = np.multiply(np.subtract(design, centre, out=design), root[:, None], out=design)
            gram = shifted.T @ shifted + self.ridge * np.eye(design.shape[1])
            weight = np.asarray(np.linalg.solve(gram, shifted.T @ ((ordered.y - bias) * root)), dtype=np.float64)
            bias -= float(centre @ weight)
        width = len(ordered.columns)
        return FittedLinear(ordered.columns, mean, scale, weight[:width], weight[width:], bias)
