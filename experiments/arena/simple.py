"""The policies that people use: at random, what is popular, who is at risk, who responds, and propensity x value."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from experiments.arena.life import DAYS
from experiments.arena.play import COLUMNS, Logged, Month, Played
from serving.decisions.budget import Solved, solve
from serving.decisions.means import Means, one_of
from training.contracts import Floats, Frame, Integers
from training.models.lines import Lines

_RIDGE = 100.0
_LEAST = 50
"""Contacts with an offer from which a line is drawn; below it the mean stands."""


@dataclass(frozen=True)
class Random:
    """Any customer, any offer."""

    name: str = "random"

    def play(self, month: Month) -> Played:
        """Until the budget is spent."""
        order = month.rng.permutation(len(month.x))
        return month.fill(order, month.rng.integers(0, len(month.offers), len(month.x)).astype(np.int16))


@dataclass(frozen=True)
class Popular:
    """The offer after which most customers ordered, for any customer."""

    name: str = "popularity"

    def play(self, month: Month) -> Played:
        """Until the budget is spent."""
        rates = [float((money > 0).mean()) if len(money) else 0.0 for _, money in by_offer(month)]
        best = np.int16(np.argmax(rates))
        return month.fill(month.rng.permutation(len(month.x)), np.full(len(month.x), best, dtype=np.int16))


@dataclass(frozen=True)
class Risk:
    """Those likeliest not to order first, with the offer that earned the most in the test, against those left alone."""

    name: str = "risk first"

    def play(self, month: Month) -> Played:
        """Until the budget is spent."""
        x = np.concatenate([each.x for each in month.history])
        silent = np.concatenate([each.money <= 0 for each in month.history]).astype(float)
        return month.fill(descending(predict(x, silent, month.x)), np.full(len(month.x), winner(month), dtype=np.int16))


@dataclass(frozen=True)
class Response:
    """Those who earn the most when contacted first, each with the offer of which that is said."""

    name: str = "response first"

    def play(self, month: Month) -> Played:
        """Until the budget is spent."""
        worth = responses(month) - month.costs
        return month.fill(descending(worth.max(axis=1)), worth.argmax(axis=1).astype(np.int16))


@dataclass(frozen=True)
class Richer:
    """Response first, by a regression on the columns that ours has: so that ours is not ahead by knowing money better."""

    name: str = "response, our columns"

    def play(self, month: Month) -> Played:
        """Until the budget is spent."""
        worth = np.stack([_richer(x, money, month.x) for x, money in by_offer(month)], axis=1) - month.costs
        return month.fill(descending(worth.max(axis=1)), worth.argmax(axis=1).astype(np.int16))


@dataclass(frozen=True)
class PropensityValue:
    """What is decided where no effect is known: the chance of an order with the offer x what the customer's orders earn - cost, within the budget."""

    name: str = "propensity x value"

    def play(self, month: Month) -> Played:
        """By the solver of lists."""
        chance = np.stack([predict(x, (money > 0).astype(float), month.x) for x, money in by_offer(month)], axis=1).clip(0, 1)
        discount = np.array([offer.discount for offer in month.offers])
        count = np.maximum(month.x[:, COLUMNS.index("orders_mean")], 0.05)
        value = month.x[:, COLUMNS.index("money_mean")] / count
        plan = solved(month, chance * value[:, None] * (1 - discount) - month.costs)
        return Played(plan.choice.astype(np.int16), np.full(len(chance), np.nan))


def solved(month: Month, gain: Floats) -> Solved:
    """Who gets what within budget and seats, and what these are worth, by the solver of retention lists."""
    kinds = np.full(len(month.offers), -1, dtype=np.int64)
    limited = np.flatnonzero(np.isfinite(month.seats))
    kinds[limited] = np.arange(len(limited))
    allowed = np.where(month.may_contact[:, None], gain, -np.inf)
    return solve(Means(allowed, month.costs, one_of(kinds, len(limited)), np.concatenate([[month.budget], month.seats[limited]])))


def by_offer(month: Month) -> list[tuple[Floats, Floats]]:
    """For each offer: what was known of those who had it, and their money."""
    return [_joined(month.history, place) for place in range(len(month.offers))]


def _joined(history: tuple[Logged, ...], place: int) -> tuple[Floats, Floats]:
    rows = [np.flatnonzero(each.played.choice == place) for each in history]
    x = np.concatenate([each.x[chosen] for each, chosen in zip(history, rows, strict=True)])
    return x, np.concatenate([each.money[chosen] for each, chosen in zip(history, rows, strict=True)])


def responses(month: Month) -> Floats:
    """(customers, offers) money expected in the month of a contact."""
    return np.stack([predict(x, money, month.x) for x, money in by_offer(month)], axis=1)


def winner(month: Month) -> int:
    """The offer of the first month's test that added the most per contact, after its cost."""
    test = month.history[0]
    alone = test.money[(test.played.choice < 0) & np.isfinite(test.played.chance)]
    gains = [float(test.money[test.played.choice == place].mean()) - cost for place, cost in enumerate(month.costs)]
    return int(np.nanargmax(np.array(gains) - (float(alone.mean()) if len(alone) else 0.0)))


def predict(x: Floats, y: Floats, asked: Floats) -> Floats:
    """A ridge regression on signed logs; the mean where there are few rows."""
    mean = float(y.mean()) if len(y) else 0.0
    if len(y) < _LEAST:
        return np.full(len(asked), mean)
    bent = np.sign(x) * np.log1p(np.abs(x))
    centre, spread = bent.mean(axis=0), np.maximum(bent.std(axis=0), 1e-9)
    design = (bent - centre) / spread
    weight = np.linalg.solve(design.T @ design + _RIDGE * np.eye(x.shape[1]), design.T @ (y - mean))
    return np.asarray(mean + (np.sign(asked) * np.log1p(np.abs(asked)) - centre) / spread @ weight)


def _richer(x: Floats, y: Floats, asked: Floats) -> Floats:
    if len(y) < _LEAST:
        return predict(x, y, asked)
    place = np.arange(len(x)).astype(str).astype(object)
    frame = Frame(place, np.zeros(len(x), dtype="datetime64[us]"), COLUMNS, x, y, DAYS)
    return Lines().fit(frame).predict(asked)


def descending(score: Floats) -> Integers:
    """Customers by score, equal ones in their own order."""
    return np.argsort(-score, kind="stable").astype(np.int64)
