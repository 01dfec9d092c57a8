"""Which moments train, which judge: always by time, and only windows that have closed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from retain.errors import RefusedError
from retain.workspace import shift_days
from training.models.seasons import MOST_YEARS, SLACK_DAYS, YEAR_DAYS

LEAST_HISTORY_DAYS = 28
"""Days of facts before the earliest cutoff; half the horizon where that is longer."""
_ENOUGH = 4
"""Cutoffs with a whole horizon of history before them that make the shallower ones superfluous."""
SHORTEST_DAYS = 7
"""The shortest window that a short history is scaled to."""


@dataclass(frozen=True)
class Split:
    """Cutoffs by their use. Each list rises; no window of one list reaches past the first cutoff of the next."""

    train: tuple[datetime, ...]
    """Cutoffs whose windows closed before ``valid``; all of ``judged`` where there is no room for a ``valid``."""
    valid: tuple[datetime, ...]
    """The newest cutoff before the test, where earlier windows closed before it; else empty."""
    test: tuple[datetime, ...]
    """The cutoff that judges. Nothing that happened after it may be learned from before judging."""
    judged: tuple[datetime, ...]
    """All that the judged models learn from once their settings are chosen: train, valid and what lies between, closed before ``test``."""
    final: tuple[datetime, ...]
    """Every use of the closed windows: what the packaged model learns from after it was judged."""
    horizon_days: int
    """Length of the windows; shorter than ``asked_days`` where history is short."""
    asked_days: int
    words: str
    """Says so where the windows are scaled; empty otherwise."""

    @property
    def is_scaled(self) -> bool:
        """Whether the windows are shorter than the asked horizon."""
        return self.horizon_days < self.asked_days


def by_time(moments: Sequence[datetime], horizon_days: int, now: datetime, zone: str, first: datetime, *, max_train: int = 8) -> Split:
    """Split moments so that every window that trains has closed at or before the first cutoff that judges.

    The windows get shorter where history does not hold a training and a test window of the asked length; predictions are then
    lengthened by ``training.horizons``, and ``words`` says so.

    Args:
        moments: Moments with snapshots, at or before ``now``.
        horizon_days: Calendar days of ``zone`` that the outcome takes.
        now: The clock; no window reaches past it.
        zone: The source's stored clock.
        first: The first fact of the history.
        max_train: Cutoffs to learn from at most, half a horizon apart or as far as the history lets them be.

    Raises:
        RefusedError: not even windows of a week fit.
    """
    ordered = sorted({moment for moment in moments if first <= moment <= now})
    for days in range(horizon_days, min(SHORTEST_DAYS, horizon_days) - 1, -1):
        found = _split(ordered, days, now, zone, first, max_train)
        if found is not None:
            test, judged, valid, train, final = found
            words = ""
            if days < horizon_days:
                words = (
                    f"History of {(now - first).days} days is too short to learn and judge {horizon_days} days ahead: windows of {days} days "
                    f"are used, and predictions are lengthened to {horizon_days} days by the curve of returns seen inside them."
                )
            return Split(train, valid, test, judged, final, days, horizon_days, words)
    raise RefusedError(
        f"history from {first:%Y-%m-%d} to {now:%Y-%m-%d} ({(now - first).days} days) holds no training and no test window; "
        f"at least {LEAST_HISTORY_DAYS + 2 * SHORTEST_DAYS} days and snapshots every week are needed"
    )


def rolling(
    moments: Sequence[datetime], horizon_days: int, now: datetime, zone: str, first: datetime, *, tests: int = 3, max_train: int = 8
) -> tuple[Split, ...]:
    """One split per test cutoff, the newest first: each judges one window, and learns only from windows that had closed before it.

    The test windows do not overlap: an earlier one ends where the next begins. Fewer than ``tests`` where history holds no more windows
    of that length. Arguments are those of ``by_time``.
    """
    found = [by_time(moments, horizon_days, now, zone, first, max_train=max_train)]
    while len(found) < tests:
        try:
            earlier = by_time(moments, found[-1].horizon_days, found[-1].test[0], zone, first, max_train=max_train)
        except RefusedError:
            break
        if earlier.is_scaled:
            break
        found.append(earlier)
    return tuple(found)


_Moments = tuple[datetime, ...]


def _split(
    ordered: list[datetime], days: int, now: datetime, zone: str, first: datetime, max_train: int
) -> tuple[_Moments, _Moments, _Moments, _Moments, _Moments] | None:
    earliest = shift_days(first, max(LEAST_HISTORY_DAYS, days // 2), zone)
    usable = [moment for moment in ordered if moment >= earliest]
    closed = _closed(usable, days, now, zone)
    test = closed[-1:]
    before = _closed(usable, days, test[0], zone) if test else []
    if not before:
        return None
    judged = _same_season(_spread(_deep(before, days, zone, first), days, max_train), before, test[0])
    early = tuple(_closed(judged, days, judged[-1], zone))
    final = _same_season(_spread(_deep(closed, days, zone, first), days, max_train), closed, now)
    return tuple(test), judged, judged[-1:] if early else (), early or judged, final


def _closed(moments: Sequence[datetime], days: int, at: datetime, zone: str) -> list[datetime]:
    return [moment for moment in moments if shift_days(moment, days, zone) <= at]


def _deep(moments: Sequence[datetime], days: int, zone: str, first: datetime) -> Sequence[datetime]:
    """The moments with at least a horizon of history, where there are enough of them: a shallow history makes features mean less."""
    deep = [moment for moment in moments if moment >= shift_days(first, days, zone)]
    return deep if len(deep) >= _ENOUGH else moments


def _same_season(chosen: _Moments, moments: Sequence[datetime], asked: datetime) -> _Moments:
    """The chosen moments and, of earlier years, those whose windows have the season of the window after ``asked``."""
    added = set(chosen)
    for years in range(1, MOST_YEARS + 1):
        wanted = asked - years * timedelta(days=YEAR_DAYS)
        nearest = min(moments, key=lambda moment: (abs(moment - wanted), moment))
        if abs(nearest - wanted) <= timedelta(days=SLACK_DAYS):
            added.add(nearest)
    return tuple(sorted(added))


def _spread(moments: Sequence[datetime], days: int, most: int) -> _Moments:
    """Up to ``most`` of the moments, the newest among them, half a horizon apart or closer where history is short."""
    newest, oldest = moments[-1], moments[0]
    apart = min(timedelta(days=days) / 2, (newest - oldest) / max(most - 1, 1))
    chosen = {max(moment for moment in moments if moment <= max(newest - k * apart, oldest)) for k in range(most)}
    return tuple(sorted(chosen))
