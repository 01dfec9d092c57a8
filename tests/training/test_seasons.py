"""The level of the window to come is that of its season in earlier years; where there is none, it is said and intervals are wider."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from training.contracts import Frame, score
from training.models.bounded import Bounded
from training.models.ensemble import Ensemble
from training.models.seasons import anniversaries, is_unseen, move
from training.splits import by_time

START = np.datetime64("2024-01-01", "us")
DAY = np.timedelta64(1, "D")
MONEY = {"use": "training.models.period:LastPeriod"}
RULE = {"use": "training.models.rules:RecencyRule"}


def shop(kind: str = "amount", christmas: float = 3.0) -> Frame:
    """600 customers at the same day of the months of a year; in the window after December begins, much more happens."""
    random = np.random.default_rng(11)
    cutoffs = START + np.arange(0, 360, 30) * DAY
    customers, windows = 600, len(cutoffs)
    base = np.tile(random.gamma(2.0, 10.0, customers), windows)
    late = np.repeat(np.arange(windows) == windows - 2, customers)
    recency = np.tile(random.integers(0, 200, customers), windows).astype(float)
    if kind == "amount":
        y = base * random.gamma(3.0, 1 / 3, len(base)) * np.where(late, christmas, 1.0)
    else:
        y = (random.random(len(base)) < np.where(late, 0.2, 0.5)).astype(float)
    ids = np.array([f"c{k}" for k in range(customers)] * windows, dtype=object)
    x = np.column_stack([base, recency])
    return Frame(ids, np.repeat(cutoffs, customers), ("purchases__amount_30d", "purchases__days_since_order_365d"), x, y, 30)


def asked(frame: Frame, day: int) -> Frame:
    return replace(frame, asked_at=START + day * DAY)


CHRISTMAS, SPRING = 300 + 364, 90 + 364


def test_rows_of_the_same_season_are_those_whole_years_before() -> None:
    frame = shop()
    assert np.unique(frame.cutoff[anniversaries(asked(frame, CHRISTMAS))]) == [START + 300 * DAY]
    assert not len(anniversaries(frame))
    assert not is_unseen(frame)
    assert is_unseen(asked(frame, 345))
    assert not is_unseen(asked(frame, CHRISTMAS))


def test_money_of_a_season_that_came_before_is_expected_again() -> None:
    frame = shop()
    recipe = Ensemble(members=(MONEY,), kind="amount", widest=10)
    spring, christmas = (score(recipe.fit(asked(frame, day)), frame).sum() for day in (SPRING, CHRISTMAS))
    assert christmas / spring == pytest.approx(3.0, rel=0.1)


def test_a_chance_has_the_level_of_its_season() -> None:
    frame = shop("chance")
    recipe = Ensemble(members=(RULE,), method="none")
    assert score(recipe.fit(asked(frame, CHRISTMAS)), frame).mean() == pytest.approx(0.2, abs=0.04)
    assert score(recipe.fit(asked(frame, SPRING)), frame).mean() == pytest.approx(0.5, abs=0.04)


def test_a_handful_of_rows_moves_little() -> None:
    said, y = np.full(2000, 10.0), np.random.default_rng(1).gamma(0.2, 100.0, 2000)
    assert move(said, y) == pytest.approx(np.log(y.mean() / 10), abs=0.05)
    assert abs(move(said[:4], y[:4])) < abs(np.log(y[:4].mean() / 10))
    assert move(said, np.zeros(2000)) == 0


def test_intervals_hold_what_they_promise_and_are_wider_where_the_season_is_unseen() -> None:
    frame = shop(christmas=1.0)
    known = Bounded(inner=MONEY).fit(asked(frame, SPRING))
    unseen = Bounded(inner=MONEY).fit(asked(frame, 345))
    fresh = shop(christmas=1.0)
    fresh = replace(fresh, y=fresh.x[:, 0] * np.random.default_rng(77).gamma(3.0, 1 / 3, len(fresh)))
    x = fresh.select(known.columns).x
    found = known.bounds(x)
    for number, promised in enumerate((0.8, 0.95)):
        held = np.mean((fresh.y >= found[:, 2 * number]) & (fresh.y <= found[:, 2 * number + 1]))
        assert held == pytest.approx(promised, abs=0.04)
    assert (found[:, 2] <= found[:, 0]).all()
    assert (found[:, 1] <= found[:, 3]).all()
    wider = unseen.bounds(x)
    assert (wider[:, 3] - wider[:, 2] > found[:, 3] - found[:, 2]).all()


def test_the_split_keeps_the_window_of_last_year() -> None:
    first, now = datetime(2023, 1, 1, tzinfo=UTC), datetime(2025, 6, 1, tzinfo=UTC)
    moments = [now - timedelta(days=7 * week) for week in range(110)]
    found = by_time(moments, 30, now, "UTC", first)
    for chosen, moment in ((found.final, now), (found.judged, found.test[0])):
        assert moment - timedelta(days=364) in chosen
        assert moment - timedelta(days=728) in chosen
    short = by_time(moments[:40], 30, now, "UTC", now - timedelta(days=280))
    assert all(now - moment < timedelta(days=300) for moment in short.final)
