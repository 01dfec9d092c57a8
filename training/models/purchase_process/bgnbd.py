"""BG/NBD (Fader, Hardie and Lee, 2005): purchases at a rate of the customer's own; after each repeat the customer stops with a chance of the own.

Rates are gamma(r, alpha) over customers, chances beta(a, b). Time is in the unit of alpha.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import numpy as np

from training.contracts import Floats
from training.models.purchase_process.history import History, rough
from training.models.purchase_process.search import maximise

NODES = 32
"""Points at which the integral over stopping chances is evaluated."""

ROUND = 512
"""Rules are made for so many counts of repeats at once; a year has fewer days."""


@dataclass(frozen=True)
class BgNbdProcess:
    """The four numbers."""

    r: float
    alpha: float
    a: float
    b: float

    @classmethod
    def fit(cls, history: History, most: int = 100_000) -> Self:
        """The most likely parameters; those of a start where there is nobody to learn from."""
        distinct, count = history.distinct(most)
        gap, _ = rough(distinct, count)
        starts = [(0.5, 0.5 * gap, 0.5, 1.0), (1.0, gap, 1.0, 5.0), (0.3, 0.2 * gap, 0.1, 5.0)]
        if not len(distinct):
            return cls(*starts[0])
        found, _ = maximise(lambda values: _slopes(values, distinct, count), starts, float(count.sum()))
        return cls(*map(float, found))

    def log_likelihood(self, history: History) -> float:
        """Of all customers together."""
        return _slopes(np.array([self.r, self.alpha, self.a, self.b]), history, np.ones(len(history)))[0]

    def alive(self, history: History) -> Floats:
        """Chance that a customer has not stopped. Certain for all who bought once: never take it for a churn score."""
        x = history.repeats
        fade = (self.r + x) * (np.log(self.alpha + history.watched) - np.log(self.alpha + history.last))
        with np.errstate(over="ignore"):
            stopped = np.where(x > 0, self.a / np.where(x > 0, self.b + x - 1, 1.0) * np.exp(fade), 0.0)
        return np.asarray(1 / (1 + stopped))

    def none_if_alive(self, history: History, horizon: float | Floats) -> Floats:
        """Chance of no purchase within ``horizon`` of one who has not stopped."""
        return np.asarray(np.exp(-(self.r + history.repeats) * np.log1p(horizon / (self.alpha + history.watched))))

    def expected_if_alive(self, history: History, horizon: float) -> Floats:
        """Purchases to expect within ``horizon`` of one who has not stopped.

        The closed form subtracts two nearly equal numbers where hardly anybody stops. The mean over stopping chances p, which are
        beta(a, b + x), of (1 - (1 + p h)^-(r + x)) / p with h = horizon / (alpha + T) does not, and is as exact.
        """
        x = history.repeats
        which = x.astype(np.int64)
        points, weights = _rules(self.a, self.b, ROUND * (int(which.max(initial=0)) // ROUND + 1))
        ahead, total = horizon / (self.alpha + history.watched), np.zeros(len(x))
        for k in range(NODES):
            p = points[which, k]
            total += weights[which, k] * -np.expm1(-(self.r + x) * np.log1p(p * ahead)) / p
        return total

    def wait_if_alive(self, history: History, chance: Floats, most: float) -> Floats:
        """Time within which one who has not stopped buys nothing with this chance; infinite where that is more than ``most``."""
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            time = (self.alpha + history.watched) * np.expm1(-np.log(np.where(chance > 0, chance, np.nan)) / (self.r + history.repeats))
        return np.asarray(np.where(time <= most, time, np.inf))


@lru_cache(maxsize=16)
def _rules(a: float, b: float, most: int) -> tuple[Floats, Floats]:
    """The rules of 0, 1, ... repeats, made once: a single customer is answered as quickly as one of many."""
    return beta_rule(a, b + np.arange(most, dtype=np.float64), NODES)


def beta_rule(a: float, b: Floats, nodes: int) -> tuple[Floats, Floats]:
    """(rows, nodes) points in (0, 1) and weights: a weighted sum over them is the mean under beta(a, b), one row for each ``b``.

    Eigenvalues of the Jacobi matrix (Golub and Welsch, 1969); no gamma function that could overflow.
    """
    from threadpoolctl import threadpool_limits

    n = np.arange(nodes, dtype=np.float64)
    low, high = a - 1, np.asarray(b, dtype=np.float64)[:, None] - 1
    both = 2 * n + low + high
    with np.errstate(divide="ignore", invalid="ignore"):
        middle = (low**2 - high**2) / (both * (both + 2))
        k, top = n[1:], both[:, 1:]
        beside = 4 * k * (k + low) * (k + high) * (k + low + high) / (top**2 * (top + 1) * (top - 1))
    middle[:, 0] = ((low - high) / (low + high + 2))[:, 0]
    beside[:, 0] = (4 * (1 + low) * (1 + high) / ((2 + low + high) ** 2 * (3 + low + high)))[:, 0]
    matrix = np.zeros((len(middle), nodes, nodes))
    matrix[:, np.arange(nodes), np.arange(nodes)] = middle
    matrix[:, np.arange(1, nodes), np.arange(nodes - 1)] = np.sqrt(beside)
    # Many small matrices: threads would only wait for one another.
    with threadpool_limits(1, "blas"):
        values, vectors = np.linalg.eigh(matrix)
    return np.clip((1 + values) / 2, 1e-15, 1.0), vectors[:, 0, :] ** 2


def _slopes(values: Floats, history: History, count: Floats) -> tuple[float, Floats]:
    """Log-likelihood and its derivatives."""
    from scipy.special import gammaln, psi

    r, alpha, a, b = values
    x, log_watched, log_last = history.repeats, np.log(alpha + history.watched), np.log(alpha + history.last)
    stops = np.where(x > 0, b + x - 1, 1.0)
    still = -(r + x) * log_watched
    gone = np.where(x > 0, np.log(a) - np.log(stops) - (r + x) * log_last, -np.inf)
    either = np.logaddexp(still, gone)
    p, q = np.exp(still - either), np.exp(gone - either)
    height = (
        gammaln(r + x) - gammaln(r) + r * np.log(alpha) + gammaln(a + b) + gammaln(b + x) - gammaln(b) - gammaln(a + b + x) + either
    )  # fmt: skip
    together = psi(a + b) - psi(a + b + x)
    slopes = (
        psi(r + x) - psi(r) + np.log(alpha) - p * log_watched - q * log_last,
        r / alpha - (r + x) * (p / (alpha + history.watched) + q / (alpha + history.last)),
        together + q / a,
        together + psi(b + x) - psi(b) - np.where(x > 0, q / stops, 0.0),
    )
    return float(count @ height), np.array([count @ slope for slope in slopes])
