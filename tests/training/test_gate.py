"""The gate's one text: who may become champion, and in which words it says no."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retain.config import read, shipped
from training.gate import Candidate, Facts, Rules, decide
from training.intervals import Interval

RULES = Rules()
SIMPLE = Candidate("churn-a", "logistic", True, "log_loss", 0.32, False, 2000, 0.01)
LEARNED = Candidate("churn-b", "lightgbm", False, "log_loss", 0.30, False, 2000, 0.012)
WIN = Interval(0.02, 0.01, 0.03)
TIE = Interval(0.001, -0.002, 0.004)
LOSS = Interval(-0.02, -0.03, -0.01)


def test_the_shipped_rules_are_those_of_the_decision_record() -> None:
    assert read(shipped("gate.yaml"), Rules) == Rules(margin=0.01, calibration_slack=0.01, psi=0.25)


def test_the_strongest_simple_model_is_the_first_champion() -> None:
    verdict = decide(SIMPLE, None, Facts(strongest_simple="churn-a"), RULES)
    assert verdict.promote
    assert not verdict.warnings


def test_a_learned_model_is_not_the_first_champion() -> None:
    verdict = decide(LEARNED, None, Facts(strongest_simple="churn-a"), RULES)
    assert not verdict.promote
    assert "not simple" in verdict.reasons[0]


def test_a_weaker_simple_model_is_not_the_first_champion() -> None:
    assert not decide(SIMPLE, None, Facts(strongest_simple="churn-z"), RULES).promote


def test_poor_calibration_of_a_first_champion_is_a_warning() -> None:
    verdict = decide(replace(SIMPLE, calibration_error=0.12), None, Facts(strongest_simple="churn-a"), RULES)
    assert verdict.promote
    assert "0.120" in verdict.warnings[0]


@pytest.mark.fault("B18")
def test_a_challenger_needs_an_interval_clear_of_zero() -> None:
    assert decide(LEARNED, SIMPLE, Facts(difference=WIN), RULES).promote
    tie = decide(LEARNED, SIMPLE, Facts(difference=TIE), RULES)
    assert not tie.promote
    assert "no difference shown" in tie.reasons[0]
    assert not decide(LEARNED, SIMPLE, Facts(difference=LOSS), RULES).promote


def test_not_worse_within_the_margin_needs_a_stated_reason() -> None:
    verdict = decide(LEARNED, SIMPLE, Facts(difference=TIE, reason="explains itself better"), RULES)
    assert verdict.promote
    assert "explains itself better" in verdict.reasons[0]
    wide = Interval(0.001, -0.0033, 0.004)
    assert not decide(LEARNED, SIMPLE, Facts(difference=wide, reason="explains itself better"), RULES).promote, "0.0033 is above 1 % of 0.32"


def test_a_reason_does_not_turn_a_loss_into_a_win() -> None:
    assert not decide(LEARNED, SIMPLE, Facts(difference=LOSS, reason="I like it"), RULES).promote


@pytest.mark.fault("B19")
@pytest.mark.parametrize(("error", "promoted"), [(0.0199, True), (0.0201, False)])
def test_calibration_may_be_at_most_a_hundredth_worse(error: float, promoted: bool) -> None:
    verdict = decide(replace(LEARNED, calibration_error=error), SIMPLE, Facts(difference=WIN), RULES)
    assert verdict.promote is promoted


@pytest.mark.fault("B19")
@pytest.mark.parametrize(("psi", "promoted"), [(0.25, True), (0.26, False)])
def test_shifted_scores_are_not_promoted(psi: float, promoted: bool) -> None:
    assert decide(LEARNED, SIMPLE, Facts(difference=WIN, psi=psi), RULES).promote is promoted


def test_another_kind_of_model_may_spread_its_scores_differently_but_it_is_said() -> None:
    verdict = decide(LEARNED, SIMPLE, Facts(difference=WIN, psi=0.8, is_same_recipe=False), RULES)
    assert verdict.promote
    assert "PSI 0.80" in verdict.warnings[0]


@pytest.mark.fault("B19")
def test_an_override_promotes_and_says_what_it_set_aside() -> None:
    verdict = decide(replace(LEARNED, calibration_error=0.2), SIMPLE, Facts(difference=TIE, psi=0.9, override="agreed with marketing"), RULES)
    assert verdict.promote
    assert len(verdict.overridden) == 3
    assert "agreed with marketing" in " ".join(verdict.reasons)


@pytest.mark.fault("B18")
def test_nothing_overrides_a_broken_model_or_missing_evidence() -> None:
    broken = replace(LEARNED, failures=("it cannot be opened",))
    assert not decide(broken, SIMPLE, Facts(difference=WIN, override="now"), RULES).promote
    assert not decide(replace(LEARNED, customers=49), SIMPLE, Facts(difference=WIN, override="now"), RULES).promote


def test_models_judged_on_different_customers_are_not_compared() -> None:
    verdict = decide(LEARNED, SIMPLE, Facts(difference=None), RULES)
    assert not verdict.promote
    assert "retain train" in verdict.reasons[0]


@pytest.mark.fault("B18")
def test_a_challenger_below_its_baseline_is_refused() -> None:
    assert not decide(LEARNED, SIMPLE, Facts(difference=WIN, gain=LOSS), RULES).promote


def test_a_ranker_without_calibration_or_scores_goes_by_the_same_text() -> None:
    ranker = replace(LEARNED, primary="ndcg@10", is_higher_better=True, calibration_error=None)
    assert decide(ranker, replace(SIMPLE, primary="ndcg@10", is_higher_better=True, calibration_error=None), Facts(difference=WIN), RULES).promote


FIGURE = st.floats(-0.1, 0.1)
INTERVALS = st.tuples(FIGURE, FIGURE, FIGURE).map(sorted).map(lambda three: Interval(three[1], three[0], three[2]))


@given(
    difference=st.none() | INTERVALS,
    error=st.none() | st.floats(0, 0.5),
    psi=st.none() | st.floats(0, 2),
    reason=st.sampled_from(["", "because"]),
    override=st.sampled_from(["", "because"]),
    failures=st.sampled_from([(), ("broken",)]),
)
def test_no_promotion_without_grounds(
    difference: Interval | None, error: float | None, psi: float | None, reason: str, override: str, failures: tuple[str, ...]
) -> None:
    candidate = replace(LEARNED, calibration_error=error, failures=failures)
    verdict = decide(candidate, SIMPLE, Facts(difference=difference, psi=psi, reason=reason, override=override), RULES)
    assert verdict.reasons
    if verdict.promote:
        assert not failures
        if not override:
            assert difference is not None
            assert difference.low > 0 or (reason and difference.low > -RULES.margin * SIMPLE.value)
            assert psi is None or psi <= RULES.psi
            assert error is None or error - 0.01 <= RULES.calibration_slack + 1e-12
    elif override:
        assert failures
