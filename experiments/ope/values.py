"""The value of a policy per decision by three estimators, and the difference to the policy it would replace, with 95 % intervals.

IPS is the mean of weighted rewards (Horvitz and Thompson, 1952), SNIPS divides by the mean weight (Hájek, 1971; Swaminathan and Joachims,
2015), DR adds weighted surprises to what a regression expects (Robins, Rotnitzky and Zhao, 1994; Dudík, Langford and Li, 2011). The fourth takes
off weighted rewards whatever is nothing on average (weights less one, and weighted less expected rewards of the regression), by as much as makes
it surest (control variates; Vlassis et al., 2019): IPS, SNIPS and DR are special cases of it. A difference to the champion is estimated on
the same decisions. All are ratios of sums over customers, so one jackknife gives their intervals and those of differences. Weights are cut at
the square root of the number of decisions (Ionides, 2008); what that moves is told beside each value.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Literal

import numpy as np

from experiments.ope import direct
from experiments.ope.log import Log
from retain.errors import DataError
from training.contracts import Floats, Integers
from training.intervals import LEVEL, Interval

Name = Literal["ips", "snips", "dr", "controlled"]
NAMES: tuple[Name, ...] = ("ips", "snips", "dr", "controlled")


@dataclass(frozen=True)
class Estimate:
    """What one estimator says."""

    value: Interval
    """Reward per decision."""
    difference: Interval
    """To the champion, on the same decisions."""
    least: float
    """Lower end of the difference on one side: it lies below with a chance of 5 %. What a gate asks."""
    error: float
    """Standard error of the difference."""
    clipping: float
    """How far cutting the weights moved the difference."""


@dataclass(frozen=True)
class Values:
    """Everything the log says about a policy."""

    champion: Interval
    """Reward per decision of the policy it would replace."""
    estimates: dict[Name, Estimate]
    direct: float
    """By the regression alone: shown, never decided by."""
    effective: float
    """Decisions of the challenger that its weighted decisions are worth."""
    decisions: int
    customers: int
    clip: float
    """Weights were cut here."""
    clipped: float
    """Share of decisions whose weight was cut."""
    highest: float
    """Largest weight before cutting."""

    def needed(self, gain: float, chance: float = 0.7) -> float:
        """Decisions like these from which a policy that is so much better would be launched with a chance, by the error of the gain.

        The error falls with the root of the number of decisions (Neyman and Pearson's power of a one-sided test).

        Args:
            gain: share of the champion's value.
            chance: of being launched.
        """
        from scipy.stats import norm

        aim = gain * abs(self.champion.value)
        steps = float(norm.ppf(LEVEL) + norm.ppf(chance))
        return self.decisions * (steps * self.estimates["controlled"].error / aim) ** 2 if aim > 0 else float("inf")


@dataclass(frozen=True)
class _Ratio:
    """A ratio of sums over customers, and what each customer moves it by."""

    value: float
    moved: Floats

    def minus(self, other: _Ratio) -> _Ratio:
        return _Ratio(self.value - other.value, self.moved - other.moved)

    def interval(self, freedom: float) -> Interval:
        reach = self._reach(0.5 + LEVEL / 2, freedom)
        return Interval(self.value, self.value - reach, self.value + reach)

    def least(self, freedom: float) -> float:
        return self.value - self._reach(LEVEL, freedom)

    @property
    def error(self) -> float:
        """Jackknife standard error."""
        count = len(self.moved)
        return sqrt((count - 1) / count * float(((self.moved - self.moved.mean()) ** 2).sum()))

    def _reach(self, quantile: float, freedom: float) -> float:
        from scipy.stats import t

        away = self.moved - self.moved.mean()
        square, fourth = float((away**2).sum()), float((away**4).sum())
        # A spread that rests on a few large customers is itself unsure: Satterthwaite's degrees of freedom say how much (1946).
        steady = 2 * square**2 / fourth if fourth > 0 else freedom
        return float(t.ppf(quantile, max(1.0, min(freedom, steady)))) * self.error


def judge(log: Log, clip: float | None = None, seed: int = 7, expected: Floats | None = None) -> Values:
    """The value of the challenger and its difference to the champion.

    Args:
        log: Decisions and what the policies would have done.
        clip: Weights are cut here; None is the square root of the number of decisions, ``inf`` cuts nothing.
        seed: Of the parts for cross-fitting.
        expected: From ``direct.rewards``, where it was computed for another policy on the same log.

    Raises:
        DataError: all decisions are of one customer.
    """
    limit = sqrt(len(log)) if clip is None else clip
    owner = log.owner
    if owner.max() == 0:
        raise DataError(f"all {len(log)} decisions are of one customer, which says nothing of others")
    expected = direct.rewards(log, seed) if expected is None else expected
    whole = log.weights(log.challenger)
    weights = np.minimum(whole, limit)
    mine = _ratios(log, log.challenger, weights, expected, owner)
    uncut = _ratios(log, log.challenger, whole, expected, owner) if (whole > limit).any() else mine
    other, other_free = _champion(log, limit, expected, owner)
    effective = _effective(weights, owner)
    freedom = min(effective, float(owner.max() + 1)) - 1
    gaps: dict[Name, _Ratio] = {name: mine[name].minus(other[name]) for name in NAMES}
    gaps["controlled"] = _gain(log, weights, limit, expected, owner)
    estimates: dict[Name, Estimate] = {}
    for name in NAMES:
        gap, least_free = gaps[name], min(freedom, other_free)
        clipping = mine[name].value - uncut[name].value
        estimates[name] = Estimate(mine[name].interval(freedom), gap.interval(least_free), gap.least(least_free), gap.error, clipping)
    return Values(
        champion=other["dr"].interval(other_free),
        estimates=estimates,
        direct=float((log.challenger * expected).sum(axis=1).mean()),
        effective=effective,
        decisions=len(log),
        customers=int(owner.max() + 1),
        clip=limit,
        clipped=float((whole > limit).mean()),
        highest=float(whole.max()),
    )


def _champion(log: Log, limit: float, expected: Floats, owner: Integers) -> tuple[dict[Name, _Ratio], float]:
    """The policy that is to be replaced: the rewards as logged, or weighted like the challenger's; and the degrees of freedom."""
    if log.champion is None:
        logged = _ratio(log.reward, np.ones(len(log)), owner)
        return dict.fromkeys(NAMES, logged), float(owner.max())
    weights = np.minimum(log.weights(log.champion), limit)
    return _ratios(log, log.champion, weights, expected, owner), _effective(weights, owner) - 1


def _ratios(log: Log, policy: Floats, weights: Floats, expected: Floats, owner: Integers) -> dict[Name, _Ratio]:
    ones = np.ones(len(log))
    surprise = log.reward - expected[np.arange(len(log)), log.action]
    return {
        "ips": _ratio(weights * log.reward, ones, owner),
        "snips": _ratio(weights * log.reward, weights, owner),
        "dr": _ratio((policy * expected).sum(axis=1) + weights * surprise, ones, owner),
        "controlled": _controlled(weights * log.reward, _nothing(log, policy, weights, expected), owner),
    }


def _gain(log: Log, weights: Floats, limit: float, expected: Floats, owner: Integers) -> _Ratio:
    """The controlled difference to the champion."""
    controls = _nothing(log, log.challenger, weights, expected)
    if log.champion is None:
        return _controlled((weights - 1.0) * log.reward, controls, owner)
    others = np.minimum(log.weights(log.champion), limit)
    return _controlled((weights - others) * log.reward, np.hstack([controls, _nothing(log, log.champion, others, expected)]), owner)


def _nothing(log: Log, policy: Floats, weights: Floats, expected: Floats) -> Floats:
    """(n, 2) what is nothing on average, whatever the regression says."""
    return np.column_stack([weights - 1.0, weights * expected[np.arange(len(log)), log.action] - (policy * expected).sum(axis=1)])


def _controlled(above: Floats, controls: Floats, owner: Integers) -> _Ratio:
    """Mean per decision of ``above`` less its regression on what is nothing on average.

    A customer who pulls that regression counts for more in the error (the third of MacKinnon and White, 1985).
    """
    count = np.bincount(owner).astype(np.float64)
    upper = np.bincount(owner, above)
    sums = np.stack([np.bincount(owner, column) for column in controls.T], axis=1)
    value, centre = upper.sum() / len(above), sums.sum(axis=0) / len(above)
    away, pulls = upper - value * count, sums - centre * count[:, None]
    inverse = np.linalg.pinv(pulls.T @ pulls, rcond=1e-9, hermitian=True)
    slope = inverse @ (pulls.T @ away)
    leverage = np.clip(((pulls @ inverse) * pulls).sum(axis=1), 0.0, 0.99)
    moved = (away - pulls @ slope) / (1.0 - leverage) / np.maximum(len(above) - count, 1.0)
    return _Ratio(float(value - centre @ slope), np.asarray(moved))


def _ratio(above: Floats, below: Floats, owner: Integers) -> _Ratio:
    """The sum of one over the sum of the other, and by customer what it is moved by leaving that customer out."""
    upper, lower = np.bincount(owner, above), np.bincount(owner, below)
    total = lower.sum()
    value = float(upper.sum() / total) if total > 0 else 0.0
    rest = total - lower
    # Where one customer carries all the weight nothing is left without them: no interval is wide enough.
    moved = np.divide(upper - value * lower, rest, out=np.full(len(rest), np.inf), where=rest > 1e-12 * max(total, 1.0))
    return _Ratio(value, np.where(np.isfinite(moved), moved, np.abs(upper).max() + np.abs(value) + 1.0))


def _effective(weights: Floats, owner: Integers) -> float:
    """Kish's effective sample size, in customers."""
    each = np.bincount(owner, weights)
    return float(each.sum() ** 2 / max(float((each**2).sum()), 1e-300))
