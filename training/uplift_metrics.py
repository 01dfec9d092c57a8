"""How well an order of customers finds those whom a treatment moves, with one value per bootstrap draw.

Definitions, for customers sorted by falling score, ties shared in proportion, and f = 0.01, 0.02 .. 1 of them:

* gain u(f) = f x (mean outcome of the treated - mean outcome of the controls, both in the top f): per customer, what treating the top f
  brings over treating nobody. **AUUC** is the area under u from 0 to 1; no baseline is taken off.
* Qini curve q(f) = [Y_t(f) - Y_c(f) n_t(f) / n_c(f)] / N_t, with sums Y and counts n of the treated and the controls in the top f. The
  **Qini coefficient** is the area between q and its chord from (0, 0) to (1, q(1)), in outcome per treated customer; zero for a random order.
* uplift at f is u(f) / f. The value of the policy "treat the top f" is u(f); at one cost per contact it is u(f) - f x cost.

Where the chance of being treated differs between customers, each counts by the inverse of the chance of what happened to him (Horvitz and
Thompson, 1952). Where it is one chance for all, these weights cancel and the definitions are the plain ones. Areas are by trapezoids.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.contracts import Floats
from training.metrics import Direction, tenths

GRID = np.arange(1, 101) / 100
TOPS = (10, 30, 50)
"""Shares of customers in percent at which policies are told."""
_ROUNDING = 1e-12
"""Share of a curve's height below which an area is only rounding."""
MEASURES: Mapping[str, Direction | None] = {
    "qini": "higher",
    "auuc": "higher",
    **{f"uplift{top}": "higher" for top in TOPS},
    **{f"gain{top}": "higher" for top in TOPS},
    "average_effect": None,
}
"""Each measure of an order with the direction that is better."""


@dataclass(frozen=True)
class Trialled:
    """Who was treated, who was not, and what came of it."""

    y: Floats
    """(rows,) outcomes."""
    treated: NDArray[np.bool_]
    chance: Floats
    """(rows,) chance of being treated, strictly between 0 and 1."""

    @property
    def inverse(self) -> Floats:
        """(rows,) one over the chance of what happened."""
        return np.asarray(np.where(self.treated, 1 / self.chance, 1 / (1 - self.chance)))

    def take(self, rows: NDArray[np.intp]) -> Trialled:
        """Some rows."""
        return Trialled(self.y[rows], self.treated[rows], self.chance[rows])


def of_treatment(measure: str, treatment: str) -> str:
    """Name of one treatment's own figure, in letters that MLflow takes.

    >>> of_treatment("qini", "coupon:email")
    'qini/coupon_email'
    """
    return f"{measure}/" + re.sub(r"[^\w./ -]", "_", treatment)


def joined(trials: Sequence[Trialled]) -> Trialled:
    """Several comparisons as one."""
    y, treated, chance = (np.concatenate([getattr(trial, name) for trial in trials]) for name in ("y", "treated", "chance"))
    return Trialled(y, treated, chance)


@dataclass(frozen=True)
class Curves:
    """Both curves on ``GRID``, one row per draw."""

    effect: Floats
    """(draws, 100) u(f) / f."""
    qini: Floats
    """(draws, 100) q(f)."""

    @property
    def gain(self) -> Floats:
        """(draws, 100) u(f)."""
        return np.asarray(GRID * self.effect)

    def measures(self) -> dict[str, Floats]:
        """Every figure of ``MEASURES``, (draws,) each."""
        qini, reach = area(self.qini) - self.qini[:, -1] / 2, np.abs(self.qini).max(axis=1)
        # One score for all lies on the chord but for the last digits of its sums.
        found = {"qini": np.where(np.abs(qini) > _ROUNDING * reach, qini, 0.0), "auuc": area(self.gain), "average_effect": self.effect[:, -1]}
        for top in TOPS:
            found[f"gain{top}"], found[f"uplift{top}"] = self.gain[:, top - 1], self.effect[:, top - 1]
        return {name: found[name] for name in MEASURES}


def area(curve: Floats) -> Floats:
    """(draws, 100) -> (draws,) area from 0 to 1 under a curve that begins in zero."""
    return np.asarray((curve.sum(axis=1) - curve[:, -1] / 2) / len(GRID))


def curves(trial: Trialled, score: Floats, weights: Floats | None = None) -> Curves:
    """Both curves; ``weights`` are (draws, rows) counts of a bootstrap, none for the rows as they are."""
    counts = np.ones((1, len(score))) if weights is None else weights
    order = np.argsort(-score, kind="stable")
    start = np.r_[0, np.flatnonzero(np.diff(score[order])) + 1]
    drawn, apart = counts[:, order], len(start) == len(order)

    def reached(values: Floats) -> Floats:
        groups = values if apart else np.add.reduceat(values, start, axis=1)
        return np.hstack([np.zeros((len(values), 1)), np.cumsum(groups, axis=1)])

    treated, inverse, y = trial.treated[order], trial.inverse[order], trial.y[order]
    in_treated, in_control = np.where(treated, inverse, 0.0), np.where(treated, 0.0, inverse)
    customers = reached(drawn)
    sums = [reached(drawn * part) for part in (in_treated, in_control, in_treated * y, in_control * y)]
    at = GRID * customers[:, -1:]
    n_t, n_c, y_t, y_c = (np.array([np.interp(*each) for each in zip(at, customers, part, strict=True)]) for part in sums)
    with np.errstate(divide="ignore", invalid="ignore"):
        effect = np.where((n_t > 0) & (n_c > 0), y_t / n_t - y_c / n_c, 0.0)
        qini = np.where(n_c > 0, y_t - y_c * n_t / n_c, y_t) / n_t[:, -1:]
    return Curves(effect, qini)


def qini(trial: Trialled, score: Floats) -> float:
    """The Qini coefficient of an order.

    >>> two = Trialled(np.array([1.0, 0.0, 0.0, 0.0]), np.array([True, False, True, False]), np.full(4, 0.5))
    >>> round(qini(two, np.array([2.0, 2.0, 1.0, 1.0])), 4), round(qini(two, np.zeros(4)), 4)
    (0.125, 0.0)
    """
    return float(curves(trial, score).measures()["qini"][0])


def groups(predicted: Floats) -> Floats:
    """(rows, tenths) who stands in which tenth of the predictions, the lowest first; one group where all predictions are equal."""
    place = tenths(predicted) if len(np.unique(predicted)) > 1 else np.zeros(len(predicted), dtype=np.int64)
    return np.asarray(place[:, None] == np.unique(place), dtype=np.float64)


def effects(trial: Trialled, member: Floats, weights: Floats) -> Floats:
    """(draws, groups) difference of the mean outcomes of treated and controls in each group; zero where one of them is not there."""

    def mean(inside: Floats) -> tuple[Floats, Floats]:
        count = weights @ (member * inside[:, None])
        return np.divide(weights @ (member * (inside * trial.y)[:, None]), count, out=np.zeros_like(count), where=count > 0), count

    inverse = trial.inverse
    (treated, some), (control, others) = mean(np.where(trial.treated, inverse, 0.0)), mean(np.where(trial.treated, 0.0, inverse))
    return np.asarray(np.where((some > 0) & (others > 0), treated - control, 0.0), dtype=np.float64)


def effect_error(trial: Trialled, member: Floats, predicted: Floats, weights: Floats, customers: NDArray[np.intp] | None = None) -> Floats:
    """(draws,) root mean square distance of the predicted from the true mean effect over groups, each by its customers; 0 where no more than chance.

    An observed effect lies off the true one by chance, so its plain distance from the predicted one is never zero, and a bootstrap, which adds the
    same chance once more, would put the interval above the value. So the variance of each distance is taken off its square, summed over customers
    (rows of one are not independent) with squared counts: for the rows as they are that is the variance of the sample; counts of a Poisson bootstrap
    have a mean square of two, so there it is that of the sample and of the draw. Both then estimate the same, and the percentiles lie about the
    value. What is below zero is said as 0. Groups that lack one of both arms say nothing.

    Args:
        trial: who was treated, and what came of it.
        member: (rows, groups) who stands where.
        predicted: (rows,) effects.
        weights: (draws, rows) counts, equal for all rows of a customer.
        customers: (rows,) number of the customer; without it each row is one of its own.
    """
    rows, place = np.nonzero(member)
    owner = rows if customers is None else customers[rows]
    _, first, cluster = np.unique(np.column_stack([owner, place]), axis=0, return_index=True, return_inverse=True)
    inside, outside = np.where(trial.treated, trial.inverse, 0.0), np.where(trial.treated, 0.0, trial.inverse)
    parts = [inside, inside * trial.y, outside, outside * trial.y, np.ones(len(trial.y)), predicted]
    own = [np.bincount(cluster.ravel(), part[rows], minlength=len(first)) for part in parts]
    group, drawn = place[first], weights[:, rows[first]]
    member_of = (group[:, None] == np.arange(member.shape[1])).astype(np.float64)
    some, y_t, others, y_c, size, said = (drawn * part @ member_of for part in own)
    seen = (some > 0) & (others > 0)
    some, others, size = (np.where(seen, count, 1.0) for count in (some, others, size))
    treated, control, mean = y_t / some, y_c / others, said / size
    influence = (
        (own[1] - treated[:, group] * own[0]) / some[:, group]
        - (own[3] - control[:, group] * own[2]) / others[:, group]
        - (own[5] - mean[:, group] * own[4]) / size[:, group]
    )
    excess = (treated - control - mean) ** 2 - (drawn * influence) ** 2 @ member_of
    share = np.where(seen, size, 0.0)
    return np.asarray(np.sqrt(np.maximum((share * excess).sum(axis=1) / np.maximum(share.sum(axis=1), 1e-300), 0.0)))


def policy_gain(trial: Trialled, chosen: NDArray[np.bool_], cost: float, weights: Floats) -> Floats:
    """(draws,) per customer, what treating the chosen brings over treating nobody, less the cost of doing so."""
    member = chosen.astype(np.float64)[:, None]
    share = (weights @ member)[:, 0] / weights.sum(axis=1)
    return np.asarray(share * (effects(trial, member, weights)[:, 0] - cost))
