"""How customers bought lately, hand-counted, and what a ranker keeps of the day of its training."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from features.interactions import Interactions
from training.drift import psi_of
from training.habits import NAMES, active, habits
from training.models.popular import Popularity
from training.reference import Reference, list_counts, of_history, share_of

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def _history(rows: list[tuple[str, str, int, float]]) -> Interactions:
    """Customer, item, order, days ago."""
    rows = sorted(rows, key=lambda row: (row[0], -row[3], row[1]))
    people, items = sorted({row[0] for row in rows}), sorted({row[1] for row in rows})
    at = [np.datetime64((NOW - timedelta(days=days)).replace(tzinfo=None), "us") for *_, days in rows]
    return Interactions(
        NOW,
        np.array(people, dtype=object),
        np.array(items, dtype=object),
        np.array([people.index(row[0]) for row in rows], dtype=np.int32),
        np.array([items.index(row[1]) for row in rows], dtype=np.int32),
        np.array([row[2] for row in rows], dtype=np.int64),
        np.array(at, dtype="datetime64[us]"),
        np.ones(len(rows)),
    )


ROWS = [
    ("ann", "tea", 1, 60.0), ("ann", "tea", 2, 10.0), ("ann", "cup", 2, 10.0), ("ann", "jam", 3, 2.5),
    ("bob", "tea", 4, 50.0), ("cid", "tea", 5, 200.0),
]  # fmt: skip


def test_habits_are_hand_counted() -> None:
    past = _history(ROWS)
    assert past.customers[active(past)].tolist() == ["ann", "bob"], "who bought nothing in ninety days is not looked at"
    assert NAMES == ("days_since_order", "orders_28d", "items_per_order_28d", "repeat_share_28d")
    assert habits(past)[0].tolist() == [2.0, 2.0, 1.5, pytest.approx(1 / 3)]
    assert habits(past)[1, :2].tolist() == [50.0, 0.0]
    assert np.isnan(habits(past)[1, 2:]).all()


def test_habits_do_not_grow_with_history() -> None:
    longer = _history([*ROWS, ("ann", "cup", 9, 120.0), ("ann", "jam", 10, 300.0)])
    assert habits(longer)[0].tolist() == habits(_history(ROWS))[0].tolist()


def test_what_a_ranker_keeps_is_read_again_and_knows_itself(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    past = _history([(f"c{c:03d}", f"i{rng.zipf(1.6) % 40:02d}", c * 10 + o, float(rng.integers(0, 80))) for c in range(300) for o in range(4)])
    fitted = Popularity().fit(past)
    of_history(past, fitted).save(tmp_path)
    kept = Reference.load(tmp_path)
    assert kept.habits is not None
    assert kept.listed is not None
    assert set(kept.habits.drift_of(habits(past)).values()) == {0.0}
    names = np.array(kept.listed.names, dtype=object)
    assert psi_of(kept.listed.shares, share_of(fitted.items, list_counts(fitted, past), names)) == 0.0
    assert kept.listed.rows == 10 * len(active(past))
    # The same customers, half of whom order twice as much in one go: the baskets have moved, the days have not.
    more = replace(past, order=past.order // 10)
    moved = kept.habits.drift_of(habits(more))
    assert moved["items_per_order_28d"] > 0.25
    assert moved["days_since_order"] == 0.0
