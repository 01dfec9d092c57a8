"""Paired evidence: the same draws for both models, kept with the model, refused for different rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retain.errors import IntegrityError
from training import metrics
from training.contracts import Frame
from training.evidence import FILE, Evidence, holm, of_means, of_scores, p_value
from training.intervals import paired

METRICS = {"auc": metrics.auc, "log_loss": metrics.log_loss, "bias": metrics.bias}


def _scores(frame: Frame, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.clip(0.5 + 0.2 * (frame.y - 0.5) + rng.normal(0, 0.15, len(frame)), 0.01, 0.99)


def test_a_difference_from_stored_samples_is_the_paired_bootstrap(frame: Frame) -> None:
    ours, theirs = _scores(frame, 1), _scores(frame, 2)
    a, b = (of_scores(frame, scores, METRICS, seed=7, reps=200) for scores in (ours, theirs))
    for name, better in (("auc", "higher"), ("log_loss", "lower")):
        stored = a.minus(b, name, better)  # type: ignore[arg-type]
        direct = paired(METRICS[name], (frame.y, ours), (frame.y, theirs), frame.customer_id, seed=7, reps=200)
        sign = 1 if better == "higher" else -1
        assert stored is not None
        assert stored.value == pytest.approx(sign * direct.value)
        assert sorted((stored.low, stored.high)) == pytest.approx(sorted((sign * direct.low, sign * direct.high)))
    closer = a.minus(b, "bias", "zero")
    assert closer is not None
    assert closer.value == pytest.approx(abs(b.values["bias"]) - abs(a.values["bias"]))


def test_other_rows_outcomes_or_seeds_are_not_paired(frame: Frame) -> None:
    scores = _scores(frame, 1)
    base = of_scores(frame, scores, METRICS, seed=7, reps=100)
    fewer = np.arange(len(frame) - 1)
    flipped = Frame(frame.customer_id, frame.cutoff, frame.columns, frame.x, np.r_[1 - frame.y[:1], frame.y[1:]], 28)
    for other in (
        of_scores(frame.take(fewer), scores[fewer], METRICS, seed=7, reps=100),
        of_scores(flipped, scores, METRICS, seed=7, reps=100),
        of_scores(frame, scores, METRICS, seed=8, reps=100),
    ):
        assert base.minus(other, "auc", "higher") is None
    assert base.minus(of_scores(frame, scores, METRICS, seed=7, reps=100), "auc", "higher") is not None


def test_evidence_survives_the_disk_and_names_no_customer(frame: Frame, tmp_path: Path) -> None:
    evidence = of_scores(frame, _scores(frame, 1), METRICS, seed=7, reps=100).with_newest(_scores(frame, 3))
    evidence.save(tmp_path)
    again = Evidence.load(tmp_path)
    assert again.values == evidence.values
    assert again.rows == evidence.rows
    assert again.shift_from(evidence) == 0.0
    for name in METRICS:
        np.testing.assert_array_equal(again.samples[name], evidence.samples[name])
    assert b"c001" not in (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(b"not arrays")
    with pytest.raises(IntegrityError, match="train the model again"):
        Evidence.load(tmp_path)


def test_shifted_scores_are_seen(frame: Frame) -> None:
    base = of_scores(frame, _scores(frame, 1), METRICS, seed=7, reps=100)
    scores = np.random.default_rng(0).beta(2, 5, 3000)
    here, there = base.with_newest(scores), base.with_newest(np.clip(scores + 0.2, 0, 1))
    shift, same = there.shift_from(here), base.with_newest(np.random.default_rng(1).beta(2, 5, 3000)).shift_from(here)
    assert shift is not None
    assert same is not None
    assert same < 0.1 < 0.25 < shift
    assert base.shift_from(here) is None


def test_means_count_each_figure_over_its_own_customers() -> None:
    customers = np.array([f"c{i}" for i in range(40)], dtype=object)
    everyone = np.linspace(0, 1, 40)
    some = np.where(np.arange(40) < 10, 0.5, np.nan)
    evidence = of_means(customers, "window", {"ndcg@10": everyone, "ndcg@10_new": some, "none": np.full(40, np.nan)}, seed=1, reps=200)
    assert evidence.values["ndcg@10"] == pytest.approx(0.5)
    assert evidence.values["ndcg@10_new"] == pytest.approx(0.5)
    assert evidence.interval("ndcg@10_new").low == pytest.approx(0.5)
    assert np.isnan(evidence.interval("none").low)
    wide = evidence.interval("ndcg@10")
    assert wide.low < 0.45 < 0.55 < wide.high


@given(st.lists(st.floats(0.001, 1), min_size=1, max_size=12))
def test_holm_never_lowers_a_p_and_keeps_their_order(p: list[float]) -> None:
    corrected = holm(p)
    assert all(q >= each for q, each in zip(corrected, p, strict=True))
    assert all(q <= 1 for q in corrected)
    order = np.argsort(p, kind="stable")
    assert (np.diff(np.array(corrected)[order]) >= 0).all()


def test_holm_and_p_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert p_value(np.array([1.0] * 98 + [-1.0])) == pytest.approx(2 * 2 / 100)
    assert p_value(np.zeros(10)) == 1.0


def test_a_clear_difference_survives_the_correction_over_many_pairs() -> None:
    draws = np.random.default_rng(3).normal(1.0, 0.1, 500)
    assert holm([p_value(draws)] * 15)[0] < 0.001
    assert p_value(-draws) == p_value(draws) > 0
    assert p_value(draws[:50]) == pytest.approx(2 / 51)
    assert p_value(np.full(500, 1.0)) == pytest.approx(2 / 501)
