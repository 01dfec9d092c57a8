"""What a prediction is worth, as plain functions: (outcomes, predictions) in, one float out.

Each also takes ``weights`` of shape (resamples, rows), counts of a bootstrap, and then gives one value per resample: nothing is
sorted twice, so that an interval costs little more than a value.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Literal, Protocol, cast, overload

import numpy as np
from numpy.typing import ArrayLike

from training.contracts import Floats, Integers

Direction = Literal["higher", "lower", "zero"]
"""Which value is better; ``zero`` means the smaller absolute value."""

CLIP = 1e-6
"""Probabilities are kept this far from 0 and 1 in the log loss."""


class Metric(Protocol):
    """A metric as its callers see it."""

    __name__: str

    @overload
    def __call__(self, y: ArrayLike, p: ArrayLike) -> float: ...
    @overload
    def __call__(self, y: ArrayLike, p: ArrayLike, weights: Floats) -> Floats: ...


def _metric(core: Callable[[Floats, Floats, Floats], Floats]) -> Metric:
    """One value without weights, one per resample with them."""

    @wraps(core)
    def measured(y: ArrayLike, p: ArrayLike, weights: Floats | None = None) -> float | Floats:
        outcome, predicted = np.asarray(y, dtype=np.float64), np.asarray(p, dtype=np.float64)
        if outcome.shape != predicted.shape or outcome.ndim != 1 or not len(outcome):
            raise ValueError(f"{core.__name__}: {outcome.shape} outcomes and {predicted.shape} predictions; equal and not empty is needed")
        if not (np.isfinite(outcome).all() and np.isfinite(predicted).all()):
            raise ValueError(f"{core.__name__}: an outcome or a prediction is not finite; leave rows with open windows out")
        with np.errstate(invalid="ignore", divide="ignore"):
            if weights is None:
                return float(core(outcome, predicted, np.ones((1, len(outcome))))[0])
            return core(outcome, predicted, weights)

    return cast(Metric, measured)


class _Ties:
    """Rows sorted by a score, equal scores as one group."""

    def __init__(self, score: Floats, *, falling: bool) -> None:
        keyed = -score if falling else score
        self.order = np.argsort(keyed, kind="stable")
        self.start = np.r_[0, np.flatnonzero(np.diff(keyed[self.order])) + 1]

    def sums(self, values: Floats) -> Floats:
        """(resamples, rows) -> (resamples, groups)."""
        return np.asarray(np.add.reduceat(values[:, self.order], self.start, axis=1), dtype=np.float64)

    def back(self, values: Floats) -> Floats:
        """(resamples, groups) -> (resamples, rows), each row the value of its group."""
        sizes = np.diff(np.r_[self.start, len(self.order)])
        result = np.empty((len(values), len(self.order)))
        result[:, self.order] = np.repeat(values, sizes, axis=1)
        return result


def _first(groups: Floats, values: Floats, share: float) -> Floats:
    """Sum of ``values`` over the first ``share`` of the weight in ``groups``, a tied group taken in proportion."""
    zero = np.zeros((len(groups), 1))
    reached, total = np.hstack([zero, np.cumsum(groups, axis=1)]), np.hstack([zero, np.cumsum(values, axis=1)])
    return np.array([np.interp(share * r[-1], r, t) for r, t in zip(reached, total, strict=True)])


# ---------------------------------------------------------------------------------------------------------------- chances


@_metric
def auc(y: Floats, p: Floats, w: Floats) -> Floats:
    """Chance that a positive scores above a negative, ties counting half.

    >>> auc([0, 0, 1, 1], [0.1, 0.4, 0.4, 0.8])
    0.875
    """
    ties = _Ties(p, falling=True)
    total, positive = ties.sums(w), ties.sums(w * y)
    negative = total - positive
    positives, negatives = positive.sum(axis=1), negative.sum(axis=1)
    below = negatives[:, None] - np.cumsum(negative, axis=1)
    return np.asarray((positive * (below + negative / 2)).sum(axis=1) / (positives * negatives))


@_metric
def pr_auc(y: Floats, p: Floats, w: Floats) -> Floats:
    """Average precision: the sum of precision x gain in recall from the highest score down, ties as one step.

    >>> round(pr_auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]), 4)
    0.8333
    """
    ties = _Ties(p, falling=True)
    total, positive = ties.sums(w), ties.sums(w * y)
    reached = np.cumsum(total, axis=1)
    steps = np.divide(positive * np.cumsum(positive, axis=1), reached, out=np.zeros_like(reached), where=reached > 0)
    return np.asarray(steps.sum(axis=1) / positive.sum(axis=1))


@_metric
def log_loss(y: Floats, p: Floats, w: Floats) -> Floats:
    """Mean of -(y log p + (1 - y) log(1 - p)), p clipped to [1e-6, 1 - 1e-6].

    >>> round(log_loss([1, 0], [0.8, 0.4]), 4)
    0.367
    """
    clipped = np.clip(p, CLIP, 1 - CLIP)
    return _mean(-(y * np.log(clipped) + (1 - y) * np.log1p(-clipped)), w)


@_metric
def brier(y: Floats, p: Floats, w: Floats) -> Floats:
    """Mean of (p - y) squared.

    >>> round(brier([1, 0], [0.8, 0.4]), 4)
    0.1
    """
    return _mean((np.clip(p, CLIP, 1 - CLIP) - y) ** 2, w)


@_metric
def ece(y: Floats, p: Floats, w: Floats) -> Floats:
    """Expected calibration error: |mean p - mean y| averaged over ten equal-count bins of p, ties never split.

    >>> round(ece([0, 1, 0, 1], [0.5, 0.5, 0.25, 0.75]), 4)
    0.125
    """
    clipped = np.clip(p, CLIP, 1 - CLIP)
    edges = np.unique(np.quantile(clipped, np.arange(1, 10) / 10))
    gaps = _bins(w * (y - clipped), np.searchsorted(edges, clipped, side="left"), len(edges) + 1)
    return np.asarray(np.abs(gaps).sum(axis=1) / w.sum(axis=1))


@_metric
def lift(y: Floats, p: Floats, w: Floats) -> Floats:
    """Share of positives in the highest tenth of scores over the share among all; ties shared in proportion.

    >>> lift([1, 0, 0, 0, 0, 0, 0, 0, 0, 1], [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05])
    5.0
    """
    ties, rows = _Ties(p, falling=True), w.sum(axis=1)
    top = _first(ties.sums(w), ties.sums(w * y), 0.1) / (0.1 * rows)
    return np.asarray(top / _mean(y, w))


# ----------------------------------------------------------------------------------------------------------------- amounts


@_metric
def mae(y: Floats, p: Floats, w: Floats) -> Floats:
    """Mean of |p - y|.

    >>> mae([10, 0], [7, 1])
    2.0
    """
    return _mean(np.abs(p - y), w)


@_metric
def rmse(y: Floats, p: Floats, w: Floats) -> Floats:
    """Root of the mean of (p - y) squared.

    >>> round(rmse([10, 0], [7, 1]), 4)
    2.2361
    """
    return np.sqrt(_mean((p - y) ** 2, w))


@_metric
def spearman(y: Floats, p: Floats, w: Floats) -> Floats:
    """Correlation of ranks, ties at their mean rank; 0 where one side does not vary.

    >>> spearman([1, 2, 3], [10, 20, 15])
    0.5
    """
    a, b = _ranks(p, w), _ranks(y, w)
    rows = w.sum(axis=1, keepdims=True)
    a, b = a - (w * a).sum(axis=1, keepdims=True) / rows, b - (w * b).sum(axis=1, keepdims=True) / rows
    spread = (w * a * a).sum(axis=1) * (w * b * b).sum(axis=1)
    return np.asarray(np.divide((w * a * b).sum(axis=1), np.sqrt(spread), out=np.zeros(len(w)), where=spread > 0))


@_metric
def gini_norm(y: Floats, p: Floats, w: Floats) -> Floats:
    """Gini of the outcomes ordered by the prediction over that of the outcomes ordered by themselves; 1 is a perfect order.

    >>> gini_norm([0, 1, 5], [0.1, 0.2, 0.3])
    1.0
    """
    return np.asarray(_gini(y, p, w) / _gini(y, y, w))


@_metric
def bias(y: Floats, p: Floats, w: Floats) -> Floats:
    """Percent by which the sum of predictions exceeds the sum of outcomes.

    >>> bias([10, 30], [20, 24])
    10.0
    """
    return np.asarray(100 * (w * (p - y)).sum(axis=1) / (w * y).sum(axis=1))


@_metric
def decile_wape(y: Floats, p: Floats, w: Floats) -> Floats:
    """Percent: sum of |predicted - actual| over ten equal-count tenths of the prediction, over the sum of |actual| of the tenths.

    >>> decile_wape([1, 3], [2, 3])
    25.0
    """
    tenth = tenths(p)
    actual, gap = _bins(w * y, tenth, 10), _bins(w * (p - y), tenth, 10)
    return np.asarray(100 * np.abs(gap).sum(axis=1) / np.abs(actual).sum(axis=1))


@_metric
def top10(y: Floats, p: Floats, w: Floats) -> Floats:
    """Share of the outcome that is held by the tenth of customers with the highest predictions.

    >>> top10([5, 1, 1, 1, 1, 1, 0, 0, 0, 0], [9, 8, 7, 6, 5, 4, 3, 2, 1, 0])
    0.5
    """
    return _top(y, p, w, 0.1)


@_metric
def top20(y: Floats, p: Floats, w: Floats) -> Floats:
    """Share of the outcome that is held by the fifth of customers with the highest predictions.

    >>> top20([5, 1, 1, 1, 1, 1, 0, 0, 0, 0], [9, 8, 7, 6, 5, 4, 3, 2, 1, 0])
    0.6
    """
    return _top(y, p, w, 0.2)


# ----------------------------------------------------------------------------------------------------------------- any


@_metric
def mean_actual(y: Floats, p: Floats, w: Floats) -> Floats:  # noqa: ARG001 - every metric has the same form
    """Mean of the outcomes; for churn the base rate.

    >>> mean_actual([0, 1], [0.3, 0.4])
    0.5
    """
    return _mean(y, w)


@_metric
def mean_predicted(y: Floats, p: Floats, w: Floats) -> Floats:  # noqa: ARG001 - every metric has the same form
    """Mean of the predictions.

    >>> mean_predicted([0, 1], [0.25, 0.75])
    0.5
    """
    return _mean(p, w)


def tenths(p: Floats) -> Integers:
    """The equal-count tenth of each row by prediction, 0 the lowest; rows with equal predictions stay in the order they stand.

    >>> tenths(np.array([3.0, 1.0])).tolist()
    [5, 0]
    """
    rank = np.empty(len(p), dtype=np.int64)
    rank[np.argsort(p, kind="stable")] = np.arange(len(p))
    return rank * 10 // max(len(p), 1)


def _mean(values: Floats, w: Floats) -> Floats:
    return np.asarray((w * values).sum(axis=1) / w.sum(axis=1))


def _bins(values: Floats, place: Integers, count: int) -> Floats:
    """(resamples, rows) summed into ``count`` bins."""
    return np.stack([values[:, place == k].sum(axis=1) for k in range(count)], axis=1)


def _ranks(values: Floats, w: Floats) -> Floats:
    ties = _Ties(values, falling=True)
    groups = ties.sums(w)
    return ties.back(np.cumsum(groups, axis=1) - groups / 2)


def _gini(y: Floats, score: Floats, w: Floats) -> Floats:
    ties = _Ties(score, falling=True)
    groups, values = ties.sums(w), ties.sums(w * y)
    zero = np.zeros((len(w), 1))
    rows = np.hstack([zero, np.cumsum(groups, axis=1) / groups.sum(axis=1, keepdims=True)])
    held = np.hstack([zero, np.cumsum(values, axis=1) / values.sum(axis=1, keepdims=True)])
    return np.asarray(np.trapezoid(held, rows, axis=1) - 0.5)


def _top(y: Floats, p: Floats, w: Floats, share: float) -> Floats:
    ties = _Ties(p, falling=True)
    return np.asarray(_first(ties.sums(w), ties.sums(w * y), share) / (w * y).sum(axis=1))
