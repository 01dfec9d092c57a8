"""What a campaign was worth against those who were held out, with intervals that hold however often anybody looks, and what harm it did. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from serving.decisions.figures import Floats
from serving.lists.campaigns import HARMS, Gathered
from serving.lists.confidence import ALPHA, BURN_IN, contrast, running

Mask = NDArray[np.bool_]
ODD = 1e-3
"""A split of the groups that is less likely than this was not the draw that was meant."""
POINTS = 200
"""Points of a curve."""


@dataclass(frozen=True)
class Measure:
    """An effect per contacted customer."""

    value: float
    low: float
    high: float
    """Ends of the interval that holds at every look; infinite before there are customers enough."""
    once_low: float
    once_high: float
    """Ends of the interval for one single look, which who looks again must not use."""
    contacted: float
    """Mean of those who were contacted, weighed by the chance of being so."""
    held_out: float


@dataclass(frozen=True)
class Path:
    """How an effect looked as customers' windows closed, or day by day after the contact."""

    x: tuple[float, ...]
    value: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class Report:
    """Everything that is said of a campaign."""

    campaign: str
    contacted: int
    held_out: int
    waiting: int
    """Customers whose window is not over; they count nowhere."""
    days: int
    measures: dict[str, Measure]
    """``buyers``, ``revenue`` and, where a margin is known, ``margin``, per contacted customer."""
    harms: dict[str, Measure]
    """Shares of customers; and ``over_selling``, money sent back beyond what is sent back anyway, per contacted customer."""
    cost: float
    """Of all contacts whose window is over."""
    paths: dict[str, Path]
    by_day: dict[str, Path]
    funnel: dict[str, int]
    """Contacted customers with each outcome, the nearest first; empty where none is recorded."""
    notes: tuple[str, ...]
    as_of: str
    currency: str
    groups_by: str
    is_odd_split: bool
    synthetic: bool

    @property
    def worth(self) -> Measure | None:
        """The effect on money: margin, or revenue where no margin is known."""
        return self.measures.get("margin", self.measures.get("revenue"))

    @property
    def incremental(self) -> dict[str, tuple[float, float, float]]:
        """Value, low and high over all contacted customers."""
        return {name: (self.contacted * each.value, self.contacted * each.low, self.contacted * each.high) for name, each in self.measures.items()}

    @property
    def profit(self) -> tuple[float, float, float] | None:
        """Incremental margin less costs; None where no margin is known."""
        if "margin" not in self.measures:
            return None
        value, low, high = self.incremental["margin"]
        return value - self.cost, low - self.cost, high - self.cost

    @property
    def returned(self) -> tuple[float, float, float] | None:
        """Profit per money spent; None where nothing was spent or no margin is known."""
        profit = self.profit
        return None if profit is None or self.cost <= 0 else (profit[0] / self.cost, profit[1] / self.cost, profit[2] / self.cost)


def reported(found: Gathered) -> Report:
    """Judge a campaign by the customers whose window is over, in the order in which they were drawn."""
    closed = np.flatnonzero(found.is_closed)
    is_contacted, chance = found.is_contacted[closed], found.chance[closed]

    # Fixed at the draw: an interval whose setting follows the number seen so far would not hold at every look.
    planned = len(found.customers)

    def measured(outcome: Floats) -> Measure:
        return _measure(outcome[closed], is_contacted, chance, planned)

    money = {"revenue": found.revenue} if found.margin is None else {"revenue": found.revenue, "margin": found.margin}
    outcomes = {"buyers": found.buys, **{name: each.sum(axis=1) for name, each in money.items()}}
    harms = {name: found.harms[name].astype(np.float64) for name in HARMS}
    main = "margin" if "margin" in outcomes else "revenue"
    looks = _looks(found.at[closed])
    paths = {name: _path(outcomes[name][closed], is_contacted, chance, planned, looks) for name in ("buyers", main)} if len(closed) else {}
    by_day = {main: _by_day(money[main][closed], is_contacted, chance)} if len(closed) > BURN_IN and found.has_days else {}
    contacted = int(is_contacted.sum())
    return Report(
        campaign=found.campaign,
        contacted=contacted,
        held_out=len(closed) - contacted,
        waiting=len(found.customers) - len(closed),
        days=found.days,
        measures={name: measured(each) for name, each in outcomes.items()},
        harms={**{name: measured(each) for name, each in harms.items()}, "over_selling": measured(found.sent_back)},
        cost=float(found.cost[closed][is_contacted].sum()),
        paths=paths,
        by_day=by_day,
        funnel=found.funnel,
        notes=found.notes,
        as_of=found.as_of.isoformat(),
        currency=found.currency,
        groups_by=found.groups_by,
        is_odd_split=_is_odd(is_contacted, chance),
        synthetic=found.synthetic,
    )


def _measure(outcome: Floats, is_contacted: Mask, chance: Floats, planned: int) -> Measure:
    count = len(outcome)
    if count < 2:
        return Measure(np.nan, -np.inf, np.inf, -np.inf, np.inf, np.nan, np.nan)
    values = contrast(outcome, is_contacted, chance)
    along = running(values, planned)
    half = NormalDist().inv_cdf(1 - ALPHA / 2) * float(values.std(ddof=1)) / math.sqrt(count)
    value = float(along.value[-1])
    means = [_mean(outcome, mask / share) for mask, share in ((is_contacted, chance), (~is_contacted, 1 - chance))]
    return Measure(value, float(along.low[-1]), float(along.high[-1]), value - half, value + half, *means)


def _mean(outcome: Floats, weight: Floats) -> float:
    return float(np.average(outcome, weights=weight)) if weight.any() else np.nan


def _looks(at: NDArray[np.datetime64]) -> NDArray[np.int64]:
    """How many customers were closed at the end of each day on which any was, the last ``POINTS`` evenly chosen."""
    days = at.astype("datetime64[D]")
    ends = np.flatnonzero(np.append(days[1:] != days[:-1], True)) + 1 if len(days) else np.zeros(0, dtype=np.int64)
    if len(ends) < 2:
        # One day drew them all: the order within it is a hash, so looks at parts of it are looks all the same.
        ends = np.unique(np.linspace(BURN_IN, len(at), POINTS).astype(np.int64)) if len(at) > BURN_IN else ends
    return ends[np.unique(np.linspace(0, len(ends) - 1, min(POINTS, len(ends))).astype(np.int64))]


def _path(outcome: Floats, is_contacted: Mask, chance: Floats, planned: int, looks: NDArray[np.int64]) -> Path:
    along = running(contrast(outcome, is_contacted, chance), planned)
    # The first tenth would be all that the eye sees.
    shown = looks[looks >= max(BURN_IN, len(outcome) // 10)] - 1
    x, value, low, high = (tuple(float(each) for each in array) for array in (shown + 1, along.value[shown], along.low[shown], along.high[shown]))
    return Path(x, value, low, high)


def _by_day(money: Floats, is_contacted: Mask, chance: Floats) -> Path:
    """The effect on money up to each day after the contact; the intervals hold on all days at once, at a share of alpha each (Bonferroni)."""
    days = money.shape[1]
    z = NormalDist().inv_cdf(1 - ALPHA / (2 * days))
    sums = np.cumsum(money, axis=1)
    effects = [contrast(sums[:, day], is_contacted, chance) for day in range(days)]
    half = [z * float(each.std(ddof=1)) / math.sqrt(len(money)) for each in effects]
    value = [float(each.mean()) for each in effects]
    low, high = (tuple(each + sign * wide for each, wide in zip(value, half, strict=True)) for sign in (-1, 1))
    return Path(tuple(float(day + 1) for day in range(days)), tuple(value), low, high)


def _is_odd(is_contacted: Mask, chance: Floats) -> bool:
    """Whether the groups are of sizes that their chances hardly ever give: then something sorted the customers besides the draw."""
    spread = float(np.sqrt((chance * (1 - chance)).sum()))
    return spread > 0 and 2 * (1 - NormalDist().cdf(abs(float(is_contacted.sum() - chance.sum())) / spread)) < ODD
