"""The ladder: what is missing is said, what is unlawful stays out, and nobody is left without an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import pytest
from msgspec import structs

from retain.erasure import Tombstones
from serving import scored
from serving.answers import Answers
from serving.champions import Champions
from serving.decisions.policy import Policy
from serving.desk import Desk
from serving.incoming import Fact
from serving.ledger import Ledger
from serving.metrics import Metrics
from serving.overlay import Made
from serving.runner import whole
from serving.schemas import Context, DecisionRequest, Freshness, RecommendationsRequest, ScoresRequest

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


def test_every_answer_says_what_every_answer_owes(make: Make, now: datetime) -> None:
    refused = replace(make(assumed=("consent = *:*: declared",)), refused=("churn_previous_model",), clock=lambda: now + timedelta(days=9))
    answers = (
        refused.decision(ASKED, "d")[0],
        refused.churn_list(5),
        refused.recommendations(RecommendationsRequest("ann")),
        scored.scores(refused, ScoresRequest(["ann"])),
        scored.scores(refused, ScoresRequest(["ann", "nobody"])),
    )
    for each in answers:
        assert each.source == "previous_model", type(each)
        assert each.degraded == ["churn_previous_model", "stale_features"], type(each)
        assert each.assumed == ["consent = *:*: declared"], type(each)
        assert (each.as_of, each.synthetic, each.models.rows) == (now + timedelta(days=9), False, "hand"), type(each)
        assert (each.freshness.rows_at, each.freshness.oldest_feature_s) == (now, 3600.0 + 9 * 86400), type(each)


def test_several_scores_are_as_fresh_as_the_worst_of_them(make: Make, now: datetime) -> None:
    answers = make()
    rows = answers.rows
    ages, stale = rows.array("age_s").copy(), rows.array("is_stale").copy()
    place = {name: rows.get(name).position for name in ("ann", "bob", "cid", "gus")}  # type: ignore[union-attr]
    ages[place["bob"]], stale[place["cid"]] = 7200.0, True
    answers = replace(answers, rows=type(rows)(rows.card, rows.shop, {**rows.arrays, "age_s": ages, "is_stale": stale}))

    def freshness(*ids: str) -> Freshness:
        return scored.scores(answers, ScoresRequest(list(ids))).freshness

    assert freshness("ann", "ann") == Freshness(now, 3600.0, [])
    assert freshness("nobody", "ann", "bob", "z" * 256) == Freshness(now, 7200.0, [])
    assert freshness("cid", "ann") == Freshness(now, 3600.0, ["features"])
    assert freshness("gus", "nobody") == freshness("nobody") == Freshness(now, None, [])
    assert answers.churn_list(1).freshness == Freshness(now, 7200.0, ["features"])
    came = now - timedelta(minutes=1)
    for name, at in (("ann", came), ("nobody", now), ("dee", came - timedelta(minutes=1))):
        row = b'{"kind":"visit"}'
        answers.fresh.happened(Fact("events", name, "-", name, at.isoformat(), at.isoformat(), row))
    behind = ["features", "lists", "band", "cause"]
    assert freshness("ann") == Freshness(now, 3600.0, [], came, behind)
    assert freshness("bob", "ann", "dee") == Freshness(now, 7200.0, [], came, behind)
    assert freshness("bob", "cid") == Freshness(now, 7200.0, ["features"])
    answers.overlay.put({"ann": Made(answers.rows.get("ann"), 1, came)})  # type: ignore[arg-type]
    assert freshness("bob", "ann") == Freshness(now, 7200.0, [], came, behind[1:])
    assert freshness("bob", "ann", "dee") == Freshness(now, 7200.0, [], came, behind)
    assert answers.churn_list(1).freshness == Freshness(now, 7200.0, ["features"], now, behind), "ranked as published"


def test_positions_of_many_are_those_of_each(make: Make) -> None:
    rows = make().rows
    asked = [*map(rows.id, range(len(rows))), "", "a", "zz", "annn", "\udcff", "z" * 300]
    for some in (asked, asked[::-1], [], ["zz"], ["ann", "ann"]):
        found = [row.position for each in some if (row := rows.get(each)) is not None]
        assert rows.positions(some).tolist() == found
    buried = rows.burying(Tombstones(b"k", frozenset({Tombstones(b"k").of("ann")})))
    assert rows.get("ann").position not in buried.positions(asked).tolist()  # type: ignore[union-attr]


def test_rungs_and_versions_are_told_to_who_looks_after_it(make: Make, tmp_path: Path) -> None:
    metrics, answers = Metrics(), make()
    rows = answers.rows
    card = replace(rows.card, models={**rows.card.models, "uplift": "uplift-hand"})
    desk = Desk(replace(answers, rows=type(rows)(card, rows.shop, rows.arrays)), Ledger(tmp_path / "ledger"), metrics.count)
    try:
        metrics.told(desk.answers)
        assert metrics.registry.get_sample_value("retain_serving", {"part": "uplift", "version": "uplift-hand"}) == 1

        def counted(asked: str) -> float:
            return metrics.registry.get_sample_value("retain_answers_total", {"asked": asked, "answered": "fresh"}) or 0.0

        before = [counted("scores"), counted("recommendations")]
        app = whole(desk, metrics)

        async def ask(path: str, body: bytes) -> int:
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
                return (await client.post(path, content=body, headers={"content-type": "application/json"})).status_code

        assert asyncio.run(ask("/v1/scores", b'{"customer_ids":["ann","bob"]}')) == 200
        assert asyncio.run(ask("/v1/recommendations", b'{"customer_id":"ann"}')) == 200
        assert [counted("scores"), counted("recommendations")] == [before[0] + 1, before[1] + 1]
    finally:
        desk.close()
