"""Always by time, only closed windows, and a plain word where history is short."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.snapshot import moments as cadence
from retain.errors import RefusedError
from retain.workspace import shift_days
from training.splits import LEAST_HISTORY_DAYS, by_time, rolling

NOW = datetime(2017, 10, 1, tzinfo=UTC)


def weekly(history_days: int, zone: str = "UTC") -> tuple[list[datetime], datetime]:
    first = shift_days(NOW, -history_days, zone)
    return cadence(NOW, zone, 7, since=first), first


@pytest.mark.fault("B20")
@settings(max_examples=80, deadline=None)
@given(history=st.integers(60, 900), horizon=st.integers(7, 200), zone=st.sampled_from(["UTC", "Europe/London"]))
def test_no_window_reaches_past_what_judges_it(history: int, horizon: int, zone: str) -> None:
    moments, first = weekly(history, zone)
    split = by_time(moments, horizon, NOW, zone, first)
    days = split.horizon_days

    def end(moment: datetime) -> datetime:
        return shift_days(moment, days, zone)

    assert split.judged
    assert split.test
    assert split.final
    assert all(end(cutoff) <= split.test[0] for cutoff in split.judged)
    assert all(end(cutoff) <= NOW for cutoff in (*split.test, *split.final))
    assert set(split.train) <= set(split.judged)
    for valid in split.valid:
        assert all(end(cutoff) <= valid for cutoff in split.train)
    for part in (split.train, split.valid, split.test, split.judged, split.final):
        assert list(part) == sorted(set(part))
        assert set(part) <= set(moments)
    assert min(split.judged) >= shift_days(first, LEAST_HISTORY_DAYS, zone)
    assert max(split.final) == max(moment for moment in moments if end(moment) <= NOW)
    assert split.is_scaled == (days < horizon) == bool(split.words)


@settings(max_examples=40, deadline=None)
@given(history=st.integers(60, 900), horizon=st.integers(7, 120), tests=st.integers(1, 4), zone=st.sampled_from(["UTC", "Europe/London"]))
def test_each_rolling_origin_learns_only_from_windows_that_closed_before_it(history: int, horizon: int, tests: int, zone: str) -> None:
    moments, first = weekly(history, zone)
    splits = rolling(moments, horizon, NOW, zone, first, tests=tests)
    assert splits[0] == by_time(moments, horizon, NOW, zone, first)
    assert 1 <= len(splits) <= tests
    days = splits[0].horizon_days
    for later, earlier in pairwise(splits):
        assert earlier.horizon_days == days
        assert shift_days(earlier.test[0], days, zone) <= later.test[0], "test windows do not overlap"
        assert all(shift_days(cutoff, days, zone) <= earlier.test[0] for cutoff in earlier.judged)


def test_a_long_history_gives_as_many_origins_as_are_asked_for() -> None:
    moments, first = weekly(400)
    assert [split.test[0] for split in rolling(moments, 28, NOW, "UTC", first, tests=3)] == [NOW - timedelta(days=28 * k) for k in (1, 2, 3)]
    assert len(rolling(*weekly(70)[:1], 28, NOW, "UTC", weekly(70)[1], tests=3)) == 1


def test_a_long_history_gives_windows_half_a_horizon_apart() -> None:
    moments, first = weekly(700)
    split = by_time(moments, 28, NOW, "UTC", first, max_train=6)
    assert not split.is_scaled
    assert split.test == (NOW - timedelta(days=28),)
    recent = tuple(NOW - timedelta(days=56 + 14 * k) for k in reversed(range(6)))
    assert split.judged == (split.test[0] - timedelta(days=364), *recent), "and the window of the same season of the year before"
    assert split.valid == (NOW - timedelta(days=56),)
    assert split.train == split.judged[:-2]
    assert split.final[-1] == split.test[-1]


def test_a_history_as_long_as_the_horizon_is_scaled_and_says_so() -> None:
    moments, first = weekly(273)
    split = by_time(moments, 273, NOW, "UTC", first)
    assert split.is_scaled
    assert 80 <= split.horizon_days <= 110
    assert "too short" in split.words
    assert "273 days" in split.words
    assert f"{split.horizon_days} days" in split.words


def test_less_than_a_month_and_two_weeks_is_refused_with_the_days() -> None:
    moments, first = weekly(35)
    with pytest.raises(RefusedError, match="35 days"):
        by_time(moments, 28, NOW, "UTC", first)


def test_days_are_counted_on_the_stored_clock() -> None:
    zone = "Europe/London"
    now = datetime(2011, 4, 10, tzinfo=ZoneInfo(zone)).astimezone(UTC)
    cutoff = datetime(2011, 3, 13, tzinfo=ZoneInfo(zone)).astimezone(UTC)
    earlier = [shift_days(cutoff, -28 * k, zone) for k in range(4)]
    # 28 calendar days of London, but an hour less on UTC: the clock went forward between.
    assert now - cutoff < timedelta(days=28)
    assert by_time([*earlier, cutoff, now], 28, now, zone, earlier[-1] - timedelta(days=60)).test == (cutoff,)


def test_moments_after_now_do_not_exist() -> None:
    moments, first = weekly(300)
    later = [*moments, NOW + timedelta(days=7), NOW + timedelta(days=70)]
    assert by_time(later, 28, NOW, "UTC", first) == by_time(moments, 28, NOW, "UTC", first)
