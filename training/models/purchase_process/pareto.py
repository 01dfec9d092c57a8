"""Pareto/NBD (Schmittlein, Morrison and Colombo, 1987): purchases at a rate of the customer's own, until a lifetime of the own has passed.

Purchase rates are gamma(r, alpha) over customers, rates of stopping gamma(s, beta). Time is in the unit of alpha and beta. Where the
literature has differences of hypergeometric functions, the integral that they stand for is summed here: nothing cancels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Self

import numpy as np

from training.contracts import Floats
from training.models.purchase_process.history import History, rough
from training.models.purchase_process.search import maximise

NODES = 48
"""Points at which the integral over the time of stopping is evaluated."""
STEPS = 30


@dataclass(frozen=True)
class ParetoNbdProcess:
    """The four numbers."""

    r: float
    alpha: float
    s: float
    beta: float

    @classmethod
    def fit(cls, history: History, most: int = 100_000) -> Self:
        """The most likely parameters; those of a start where there is nobody to learn from."""
        distinct, count = history.distinct(most)
        gap, life = rough(distinct, count)
        starts = [(0.5, 0.5 * gap, 0.5, life), (1.0, gap, 1.0, 2 * life), (2.0, 2 * gap, 0.3, 0.5 * life)]
        if not len(distinct):
            return cls(*starts[0])
        found, _ = maximise(lambda values: _slopes(values, distinct, count), starts, float(count.sum()))
        return cls(*map(float, found))

    def log_likelihood(self, history: History) -> float:
        """Of all customers together."""
        return _slopes(np.array([self.r, self.alpha, self.s, self.beta]), history, np.ones(len(history)))[0]

    def alive(self, history: History) -> Floats:
        """Chance that a customer's lifetime goes on. It says nothing of when the next purchase comes: never take it for a churn score."""
        with np.errstate(over="ignore"):
            return np.asarray(1 / (1 + self._stopping(history, history.last, history.watched)))

    def none_if_alive(self, history: History, horizon: float | Floats) -> Floats:
        """Chance of no purchase within ``horizon`` of one whose lifetime goes on at the moment."""
        end = history.watched + horizon
        through = np.exp(self._log_still(history, end) - self._log_still(history, history.watched))
        return np.asarray(np.minimum(through + self._stopping(history, history.watched, end), 1.0))

    def expected_if_alive(self, history: History, horizon: float) -> Floats:
        """Purchases to expect within ``horizon`` of one whose lifetime goes on at the moment."""
        rate = (self.r + history.repeats) / (self.alpha + history.watched)
        log_growth = np.log1p(horizon / (self.beta + history.watched))
        # (beta + T) (1 - growth^(1 - s)) / (s - 1), which at s = 1 is (beta + T) log growth.
        fall = (self.s - 1) * log_growth
        share = np.where(np.abs(fall) > 1e-12, -np.expm1(-fall) / np.where(np.abs(fall) > 1e-12, fall, 1.0), 1.0)
        return np.asarray(rate * (self.beta + history.watched) * log_growth * share)

    def wait_if_alive(self, history: History, chance: Floats, most: float) -> Floats:
        """Time within which one whose lifetime goes on buys nothing with this chance; infinite where that is more than ``most``.

        The logarithm of the chance of no purchase is convex in time, so Newton's steps from zero rise to the solution and never pass it.
        """
        time = np.zeros(len(history))
        # Who has arrived, or will not arrive within ``most``, is left out of the next step.
        going = np.flatnonzero(chance > 0)
        for _ in range(STEPS):
            own, now = history.take(going), time[going]
            none, end = self.none_if_alive(own, now), own.watched + now
            still = np.exp(self._log_still(own, end) - self._log_still(own, own.watched))
            fall = (self.r + own.repeats) / (self.alpha + end) * still / none
            with np.errstate(divide="ignore"):
                step = np.maximum(np.log(none) - np.log(chance[going]), 0.0) / fall
            time[going] = now + step
            going = going[(step > 1e-10 * (now + step)) & (now + step <= most)]
        return np.asarray(np.where((chance > 0) & (time <= most), time, np.inf))

    def _log_still(self, history: History, at: Floats) -> Floats:
        """Log of what no stopping until ``at`` contributes to the likelihood."""
        return np.asarray(-(self.r + history.repeats) * np.log(self.alpha + at) - self.s * np.log(self.beta + at))

    def _stopping(self, history: History, start: Floats, end: Floats) -> Floats:
        """What stopping between two times contributes, over what no stopping until the moment does."""
        still = self._log_still(history, history.watched)
        points, weights = _rule(NODES)
        least = min(self.alpha, self.beta)
        length = np.log1p((end - start) / (least + start))
        total = np.zeros(len(history))
        for point, weight in zip(points, weights, strict=True):
            past = (least + start) * np.exp(point * length)
            at = past - least
            density = np.log(past) - (self.r + history.repeats) * np.log(self.alpha + at) - (self.s + 1) * np.log(self.beta + at)
            total += weight * np.exp(density - still)
        return np.asarray(self.s * length * total)


@cache
def _rule(nodes: int) -> tuple[Floats, Floats]:
    """Gauss-Legendre points and weights on (0, 1)."""
    points, weights = np.polynomial.legendre.leggauss(nodes)
    return (points + 1) / 2, weights / 2


def _slopes(values: Floats, history: History, count: Floats) -> tuple[float, Floats]:
    """Log-likelihood and its derivatives: s times the integral of (alpha + y)^-(r + x) (beta + y)^-(s + 1) from the last purchase to now.

    The integral runs over log(least + y), in which its integrand is smooth however the parameters differ.
    """
    from scipy.special import gammaln, psi

    r, alpha, s, beta = values
    x, watched = history.repeats, history.watched
    log_alpha, log_beta = np.log(alpha + watched), np.log(beta + watched)
    still = -(r + x) * log_alpha - s * log_beta
    points, weights = _rule(NODES)
    least = min(alpha, beta)
    length = np.log1p((watched - history.last) / (least + history.last))
    past = (least + history.last)[:, None] * np.exp(points * length[:, None])
    at = past - least
    log_a, log_b = np.log(alpha + at), np.log(beta + at)
    with np.errstate(divide="ignore"):
        parts = np.log(s * weights) + np.log(length)[:, None] + np.log(past) - (r + x)[:, None] * log_a - (s + 1) * log_b
    highest = np.maximum(parts.max(axis=1), still)
    p, q = np.exp(still - highest), np.exp(parts - highest[:, None])
    total = p + q.sum(axis=1)
    p, q = p / total, q / total[:, None]
    height = gammaln(r + x) - gammaln(r) + r * np.log(alpha) + s * np.log(beta) + highest + np.log(total)
    slopes = (
        psi(r + x) - psi(r) + np.log(alpha) - p * log_alpha - (q * log_a).sum(axis=1),
        r / alpha - (r + x) * (p / (alpha + watched) + (q / (alpha + at)).sum(axis=1)),
        np.log(beta) - p * log_beta + (q * (1 / s - log_b)).sum(axis=1),
        s / beta - s * p / (beta + watched) - (s + 1) * (q / (beta + at)).sum(axis=1),
    )
    return float(count @ height), np.array([count @ slope for slope in slopes])
