"""The ladder: what is missing is said, what is unlawful stays out, and nobody is left without an answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from msgspec import structs

from serving import scored
from serving.answers import Answers
from serving.champions import Champions
from serving.decisions.policy import Policy
from serving.schemas import Context, DecisionRequest, ScoresRequest

Make = Callable[..., Answers]
ASKED = DecisionRequest("ann", channel="email", placement="inbound_end", goal="cross_sell")


@pytest.mark.fault("C21")
def test_rows_grow_old_and_the_answer_says_so(make: Make, now: datetime) -> None:
    answers = make()
    fresh, _, _ = answers.decision(ASKED, "d")
    assert (fresh.source, fresh.degraded, fresh.freshness.oldest_feature_s) == ("fresh", [], 3600.0)
    later, _, _ = replace(answers, clock=lambda: now + timedelta(days=2)).decision(ASKED, "d")
    assert (later.source, later.degraded) == ("materialised", [])
    stale, _, _ = replace(answers, clock=lambda: now + timedelta(days=9)).decision(ASKED, "d")
    assert (stale.source, stale.degraded) == ("materialised", ["stale_features"])
    assert stale.offers


def test_an_intent_that_the_rules_do_not_know_is_said(make: Make) -> None:
    rules = Policy.model_validate({"intents": {"cancel": {"cross_sell": 0.0, "repeat": 0.0, "retention": 1.0}}})
    known, slip = (structs.replace(ASKED, context=Context(intent=intent)) for intent in ("cancel", "cancl"))
    assert make(policy=rules).decision(known, "d")[0].degraded == []
    assert make(policy=rules).decision(slip, "d")[0].degraded == ["unknown_intent"]


def test_a_moment_that_rows_cannot_answer_gets_no_offer_and_the_reason(make: Make, now: datetime) -> None:
    early, _, _ = make().decision(DecisionRequest("ann", as_of=now - timedelta(seconds=1), placement="inbound_end"), "d")
    assert (early.offers, early.source, early.degraded[-1]) == ([], "none", "as_of_before_rows")
    late, _, _ = make().decision(DecisionRequest("ann", as_of=now + timedelta(days=9), placement="inbound_end"), "d")
    assert (late.offers, late.degraded[-1]) == ([], "as_of_after_clock")
    assert [(each.stage, each.rule) for each in late.withheld] == [("clock", "as_of_after_clock")]


@pytest.mark.fault("C19")
def test_without_models_offers_are_still_lawful_and_ranked(make: Make) -> None:
    answers = replace(make(), champions=Champions({}), degraded=("churn_no_model", "clv_no_model"))
    answer, _, _ = answers.decision(ASKED, "d")
    assert answer.degraded == ["churn_no_model", "clv_no_model"]
    assert [each.offer_id for each in answer.offers] == ["product:jam", "product:tea"]
    assert (answer.models.churn, answer.models.clv) == (None, None)
    assert answers.decision(DecisionRequest("cid", channel="email", placement="inbound_end"), "d")[0].offers == []


@pytest.mark.fault("B10")
def test_the_champion_of_before_is_named_as_the_source(make: Make) -> None:
    answers = make()
    before = Champions(answers.champions.scorers, ("churn_previous_model",))
    answer, _, _ = replace(answers, champions=before, degraded=before.degraded).decision(ASKED, "d")
    assert (answer.source, answer.degraded) == ("previous_model", ["churn_previous_model"])


@pytest.mark.fault("C6")
def test_a_known_customer_without_features_is_not_scored(make: Make) -> None:
    answer, _, _ = make().decision(DecisionRequest("gus", channel="email", placement="inbound_end", goal="cross_sell"), "d")
    assert answer.source == "popularity"
    assert set(answer.degraded) == {"no_features", "no_history"}
    scores = scored.scores(make(), ScoresRequest(["gus", "ann", "eve"])).scores
    assert [(each.status, each.churn) for each in scores] == [("no_features", None), ("ok", 0.2), ("not_profiled", None)]


def test_contacts_of_the_ledger_and_of_the_tables_count_together(make: Make, now: datetime) -> None:
    from serving.entries import Outcome
    from serving.ledger import stamp

    sent = {"ann": [(now - timedelta(days=1), "email", None)]}
    answers = make(contacts=sent, policy=Policy.model_validate({"channel_limits": {"email": [{"most": 2, "days": 7}]}}))
    assert answers.decision(ASKED, "d")[0].offers
    answers.fresh.add(Outcome("o", "h", "d", "ann", "shown", stamp(now), "product:jam", "email", None, None, stamp(now)))
    after, _, _ = answers.decision(ASKED, "d")
    assert after.offers == []
    assert {(each.stage, each.rule) for each in after.withheld if each.stage == "fatigue"} == {("fatigue", "email_max_2_per_7d")}


def test_a_spent_budget_is_answered_by_popularity(make: Make) -> None:
    answer, _, _ = make().decision(ASKED, "d", is_over=lambda: True)
    assert (answer.source, answer.degraded) == ("popularity", ["over_budget"])


def test_retention_money_names_what_it_takes_for_granted(make: Make) -> None:
    answer, _, _ = make().decision(replace_goal("retention"), "d")
    assert answer.assumed == ["saved_share = 0.1: an accepted retention proposal keeps this share of the expected loss; no effect was measured"]
    assert make().decision(replace_goal("cross_sell"), "d")[0].assumed == []


def replace_goal(goal: str) -> DecisionRequest:
    return DecisionRequest("ann", channel="email", placement="inbound_end", goal=goal)  # type: ignore[arg-type]
