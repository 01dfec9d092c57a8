"""Slices depend on what was known and not on a model; who is worse on one is found, and chance is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from features.interactions import Interactions
from training import metrics, segments, slices
from training.contracts import Frame
from training.encoding import Encoder
from training.evidence import Evidence, of_means, of_scores, pooled
from training.gate import Candidate, Facts, Rules, decide
from training.harm import SliceDifference, by_slice
from training.intervals import Interval
from training.judgement import Judged, together
from training.models.rules import AMOUNT, TENURE

ROWS = 900
METRICS = {"log_loss": metrics.log_loss, "auc": metrics.auc}
RULES = segments.Rules()


def _frame() -> Frame:
    rng = np.random.default_rng(4)
    region = rng.integers(0, 2, ROWS).astype(np.float64)
    x = np.column_stack([rng.gamma(2, 50, ROWS), rng.integers(1, 365, ROWS), region])
    ids = np.array([f"c{i:04d}" for i in range(ROWS)], dtype=object)
    return Frame(ids, np.full(ROWS, np.datetime64("2025-01-01", "us")), (AMOUNT, TENURE, "profile__region"), x, rng.integers(0, 2, ROWS) * 1.0, 28)


FRAME = _frame()
ENCODER = Encoder({"profile__region": ("north", "south")})
APART = slices.chosen(slices.of_frame(FRAME, ENCODER, RULES), FRAME.customer_id)


def _judged(scores: np.ndarray) -> Evidence:
    return of_scores(FRAME, scores, METRICS, seed=1, reps=200, primary="log_loss", slices=APART)


def test_slices_are_bands_stages_tenures_and_what_the_source_says() -> None:
    assert {name.partition(":")[0] for name in APART} == {"band", "tenure", "region"}, "no stage without the features that it needs"
    assert len(APART["region: north"]) + len(APART["region: south"]) == ROWS
    richest = FRAME.x[APART["band: ordinary"], 0]
    assert richest.min() > FRAME.x[APART["band: small"], 0].max()
    assert FRAME.x[APART["tenure: up to 90 days"], 1].max() == 90
    assert "band: vip" not in APART, "nine customers say nothing"


def test_slices_of_rankers_come_from_the_history(history: Interactions) -> None:
    country = np.array(["NO", None] * 10, dtype=object)
    labels = slices.of_history(history, np.array([0, 2, 1]), RULES, {"country": country})
    assert set(labels) == {"orders", "stage", "tenure", "country"}
    assert set(labels["tenure"]) == {"up to 90 days"}
    assert labels["country"].tolist() == ["NO", "NO", None]
    assert set(labels["stage"]) == {"declining"}, "forty days of silence after an order a day"
    assert slices.chosen(labels, history.customers[[0, 2, 1]]) == {}, "three customers say nothing"


def test_a_question_of_its_own_is_a_slice_of_its_own() -> None:
    ids = np.array([f"c{i}" for i in range(200)], dtype=object)
    good, poor = np.full(200, 0.5), np.full(200, 0.5)
    new, gone = np.where(np.arange(200) < 150, 0.4, np.nan), np.where(np.arange(200) < 150, np.linspace(0.1, 0.3, 200), np.nan)
    ours, theirs = (
        of_means(ids, "t", {"ndcg": whole, "ndcg_new": part}, seed=1, primary="ndcg").with_parts("ndcg", {"purpose: new": ("ndcg_new", 150)})
        for whole, part in ((poor, gone), (good, new))
    )
    found = by_slice(ours, theirs, "ndcg", "higher")
    assert [(each.name, each.customers, each.is_behind(0.05)) for each in found] == [("purpose: new", 150, True)]
    assert by_slice(theirs, ours, "ndcg", "higher")[0].difference.low > 0


def test_whoever_is_worse_on_one_slice_is_found_and_only_there() -> None:
    good = np.where(FRAME.y > 0, 0.7, 0.3)
    bad = good.copy()
    north = APART["region: north"]
    bad[north] = 1 - good[north]
    differences = by_slice(_judged(bad), _judged(good), "log_loss", "lower")
    behind = {each.name for each in differences if each.is_behind(0.05)}
    assert "region: north" in behind
    assert "region: south" not in behind
    assert all(each.p_corrected >= 0.05 or each.difference.value != 0 for each in differences)
    assert by_slice(_judged(good), of_scores(FRAME, good, METRICS, seed=2, reps=200), "log_loss", "lower") == ()
    assert {each.name for each in by_slice(_judged(bad), _judged(good), "log_loss", "lower", least=700)} < {each.name for each in differences}


def test_means_are_sliced_like_scores() -> None:
    values = np.where(np.arange(ROWS) % 3 == 0, np.nan, 0.5)
    found = of_means(FRAME.customer_id, "w", {"ndcg": values}, seed=1, reps=100, primary="ndcg", slices=APART)
    assert set(found.slices) == set(APART)
    assert found.slices["region: north"].values["ndcg"] == pytest.approx(0.5)
    assert set(found.values) == {"ndcg"}


def test_windows_are_averaged_and_drawn_together(tmp_path) -> None:  # type: ignore[no-untyped-def]
    first = _judged(np.where(FRAME.y > 0, 0.7, 0.3))
    second = replace(_judged(np.full(ROWS, 0.5)), rows="other")
    both = pooled([first, second])
    assert both.values["log_loss"] == pytest.approx((first.values["log_loss"] + second.values["log_loss"]) / 2)
    np.testing.assert_allclose(both.samples["auc"], (first.samples["auc"] + second.samples["auc"]) / 2)
    assert both.rows not in (first.rows, second.rows)
    assert set(both.slices) == set(APART)
    both.save(tmp_path)
    again = Evidence.load(tmp_path)
    assert list(again.slices) == list(both.slices)
    assert again.slices["region: north"].rows == both.slices["region: north"].rows
    assert pooled([first]) is first


def test_the_same_customer_moves_both_windows_together() -> None:
    scores = np.where(FRAME.y > 0, 0.9, 0.4)
    first, second = _judged(scores), replace(_judged(scores), rows="other")
    both = pooled([first, second])
    assert np.std(both.samples["log_loss"]) == pytest.approx(np.std(first.samples["log_loss"])), "not as if they were other customers"


SIMPLE = Candidate("churn-a", "logistic", True, "log_loss", 0.32, False, 2000, 0.01)
LEARNED = Candidate("churn-b", "lightgbm", False, "log_loss", 0.30, False, 2000, 0.012)
WIN = Interval(0.02, 0.01, 0.03)
HARM = SliceDifference("tenure: up to 90 days", 180, Interval(-0.04, -0.06, -0.02), 0.001)


def test_a_slice_that_is_harmed_refuses_the_challenger_with_its_name() -> None:
    verdict = decide(LEARNED, SIMPLE, Facts(difference=WIN, slices=(HARM,)), Rules())
    assert not verdict.promote
    assert "worse than logistic on the slice tenure: up to 90 days (180 customers)" in verdict.reasons[0]
    for harmless in (replace(HARM, customers=99), replace(HARM, p_corrected=0.06), replace(HARM, difference=Interval(-0.01, -0.03, 0.01))):
        assert decide(LEARNED, SIMPLE, Facts(difference=WIN, slices=(harmless,)), Rules()).promote
    assert decide(LEARNED, SIMPLE, Facts(difference=WIN, slices=(HARM,), override="agreed"), Rules()).overridden


@pytest.mark.parametrize(("took", "promoted"), [(None, True), (49.9, True), (50.1, False)])
def test_a_model_that_is_too_slow_is_refused_first_or_later(took: float | None, promoted: bool) -> None:
    assert decide(replace(LEARNED, latency_ms=took), SIMPLE, Facts(difference=WIN), Rules()).promote is promoted
    first = decide(replace(SIMPLE, latency_ms=took), None, Facts(strongest_simple="churn-a"), Rules())
    assert first.promote is promoted
    assert promoted or "50.1 ms" in first.reasons[0]


def test_worse_calibration_counts_when_it_is_shown() -> None:
    worse = replace(LEARNED, calibration_error=0.05)
    shown = decide(worse, SIMPLE, Facts(difference=WIN, calibration=Interval(-0.04, -0.06, -0.02)), Rules())
    chance = decide(worse, SIMPLE, Facts(difference=WIN, calibration=Interval(-0.04, -0.09, 0.01)), Rules())
    assert not shown.promote
    assert chance.promote
    assert "more than chance" in chance.warnings[0]


def test_judgements_of_windows_become_one(card) -> None:  # type: ignore[no-untyped-def]
    windows = card().windows
    part = Judged(_judged(np.full(ROWS, 0.4)), {}, windows)
    assert together([part]).evidence is part.evidence
    assert len(together([part, part]).windows.test) == 2
