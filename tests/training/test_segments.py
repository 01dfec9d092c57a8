"""Bands, stages and segments, counted by hand."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.segments import Band, Rules, Stages, bands, rules, segments, stages

COLUMNS = ["recency_days", "tenure_days", "usual_gap_days", "pause_days", "spend", "spend_before"]
NONE = np.nan


def stage(*values: float) -> str:
    return str(stages(pd.DataFrame([values], columns=COLUMNS), Rules())[0])


def test_a_thousand_customers_fall_into_1_4_15_and_80_percent() -> None:
    value = np.arange(1000, dtype=np.float64)
    result = bands(value, np.ones(1000, dtype=bool), np.arange(1000).astype(str).astype(object), rules())
    assert Counter(result) == {"vip": 10, "major": 40, "ordinary": 150, "small": 800}
    assert set(result[990:]) == {"vip"}
    assert set(result[950:990]) == {"major"}


def test_the_smallest_shop_has_a_best_customer() -> None:
    result = bands(np.array([1.0, 3.0, 2.0]), np.ones(3, dtype=bool), np.array(["a", "b", "c"], dtype=object), Rules())
    assert list(result) == ["small", "vip", "small"]


def test_only_active_customers_with_a_value_have_a_band() -> None:
    active = np.array([True, False, True])
    assert list(bands(np.array([1.0, 9.0, NONE]), active, np.array(["a", "b", "c"], dtype=object), Rules())) == ["vip", "inactive", "inactive"]


@given(st.lists(st.sampled_from([0.0, 1.0, 2.0]), min_size=1, max_size=60), st.randoms())
def test_order_of_rows_and_equal_values_do_not_matter(values: list[float], random: st.DataObject) -> None:
    ids = np.array([f"c{i:02d}" for i in range(len(values))], dtype=object)
    active = np.ones(len(values), dtype=bool)
    order = list(range(len(values)))
    random.shuffle(order)  # type: ignore[attr-defined]
    first = dict(zip(ids, bands(np.array(values), active, ids, Rules()), strict=True))
    again = dict(zip(ids[order], bands(np.array(values)[order], active, ids[order], Rules()), strict=True))
    assert first == again
    assert "inactive" not in first.values()


@pytest.mark.parametrize(
    ("habits", "expected"),
    [
        ((NONE, NONE, NONE, NONE, 0, 0), "potential"),
        ((5, 400, 40, 150, 50, 0), "won_back"),
        ((5, 400, 40, 119, 50, 50), "mature"),
        ((31, 400, 10, 12, 50, 50), "declining"),  # silent for more than three gaps
        ((27, 400, 5, 6, 50, 50), "mature"),  # as many gaps, but not yet 28 days
        ((90, 400, NONE, NONE, 0, 50), "declining"),
        ((5, 400, 10, 12, 20, 50), "declining"),  # spends less than half
        ((5, 60, 10, 12, 20, 50), "acquired"),  # too young for a trend
        ((5, 400, 10, 12, 80, 50), "growing"),
        ((5, 400, 10, 12, 50, 50), "mature"),
        ((5, 400, 10, 12, 50, 0), "mature"),  # nothing to compare with
    ],
)
def test_stages_by_recency_tenure_and_trend(habits: tuple[float, ...], expected: str) -> None:
    assert stage(*habits) == expected


def test_a_segment_is_band_times_stage() -> None:
    assert list(segments(np.array(["vip"], dtype=object), np.array(["mature"], dtype=object))) == ["vip/mature"]


def test_rules_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="sum to 1"):
        Rules(bands=(Band(name="vip", share=0.5),))
    with pytest.raises(ValueError, match="must differ"):
        Rules(bands=(Band(name="a", share=0.5), Band(name="a", share=0.5)))


def test_the_shipped_rules_are_those_of_the_field() -> None:
    assert [(band.name, band.share) for band in rules().bands] == [("vip", 0.01), ("major", 0.04), ("ordinary", 0.15), ("small", 0.8)]
    assert rules().stages == Stages()
