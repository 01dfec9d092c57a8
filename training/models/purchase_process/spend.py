"""Gamma-Gamma (Fader and Hardie, 2013): what a customer spends on a purchase, drawn from few purchases towards what all spend.

Single purchases are gamma(p, own scale), scales gamma(q, v) over customers. How much and how often are taken as independent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from training.contracts import Floats
from training.models.purchase_process.history import grouped
from training.models.purchase_process.search import maximise

LEAST_Q = 1.25
"""Below q = 1 the mean over all customers is infinite, and close to it a handful of customers decides it: this bounds it at 5 p v / q."""


@dataclass(frozen=True)
class GammaGamma:
    """The three numbers."""

    p: float
    q: float
    v: float

    @classmethod
    def fit(cls, purchases: Floats, mean: Floats, most: int = 100_000) -> Self:
        """The most likely parameters, of customers with at least one purchase of more than nothing.

        Where nobody spent anything, nothing is expected.
        """
        spent = (purchases > 0) & (mean > 0)
        rows, count = grouped(purchases[spent], mean[spent], most=most)
        if not len(rows):
            return cls(1.0, 2.0, 0.0)
        x, z = rows.T
        typical = float(np.exp(count @ np.log(z) / count.sum()))
        starts = [(2.0, 1.5, typical), (6.0, 3.0, typical), (1.0, 0.5, typical)]
        found, _ = maximise(lambda values: _slopes(values, x, z / typical, count), [(p, q, v / typical) for p, q, v in starts], float(count.sum()))
        return cls(float(found[0]), LEAST_Q + float(found[1]), float(found[2]) * typical)

    def log_likelihood(self, purchases: Floats, mean: Floats) -> float:
        """Of all customers with a purchase together."""
        spent = (purchases > 0) & (mean > 0)
        return _slopes(np.array([self.p, self.q - LEAST_Q, self.v]), purchases[spent], mean[spent], np.ones(int(spent.sum())))[0]

    def expected(self, purchases: Floats, mean: Floats) -> Floats:
        """Money to expect of a customer's next purchase, given the mean of those seen; that of all customers where none was seen."""
        return np.asarray(self.p * (self.v + purchases * mean) / (self.p * purchases + self.q - 1))


def _slopes(values: Floats, x: Floats, z: Floats, count: Floats) -> tuple[float, Floats]:
    """Log-likelihood and its derivatives by p, q less its bound, and v."""
    from scipy.special import gammaln, psi

    p, q, v = values[0], LEAST_Q + values[1], values[2]
    log_sum = np.log(v + x * z)
    height = gammaln(p * x + q) - gammaln(p * x) - gammaln(q) + q * np.log(v) + (p * x - 1) * np.log(z) + p * x * np.log(x) - (p * x + q) * log_sum
    both = psi(p * x + q)
    slopes = (
        x * (both - psi(p * x) + np.log(z) + np.log(x) - log_sum),
        both - psi(q) + np.log(v) - log_sum,
        q / v - (p * x + q) / (v + x * z),
    )
    return float(count @ height), np.array([count @ slope for slope in slopes])
