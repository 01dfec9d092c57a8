"""What is asked and told of many proposals together is what would be asked and told of each: runs of items, what is withheld, reasons, windows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from retain.tables import CHANNELS
from serving.basis import Basis, decided
from serving.decisions.decide import Decision, decide
from serving.decisions.facts import Ask, Customer, Estimate, Item, Language, Liking, Offer, Owned, Scores, Shop, Sign
from serving.decisions.policy import Limit, Policy
from serving.schemas import DecisionRequest, Freshness, Models

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
ASK = Ask("best", NOW, ("email", "sms"), is_inbound=True)


def shop(*offers: Offer, **changes: Any) -> Shop:
    items = {name: Item(name, name.title(), 0.3, 5.0, 2.0, "observed") for name in ("bread", "jam", "milk", "tea", "wine")}
    items["wine"] = replace(items["wine"], minimum_age=18)
    values: dict[str, Any] = {"moment": NOW, "items": items, "popular": tuple(items), "offers": offers, "horizon_days": 28, "margin_rate": 0.5}
    return Shop(**{**values, **changes})


def liked(*items: str) -> tuple[Liking, ...]:
    return tuple(Liking(item, rank, Estimate(0.5 / rank, 0.4 / rank, 0.6 / rank)) for rank, item in enumerate(items, start=1))


CUSTOMER = Customer(
    "ann",
    consents=frozenset({"*:*"}),
    owned={"bread": Owned(5, 3)},
    scores=Scores(0.2, 100.0, "small", "mature"),
    likings={"new": liked("jam", "tea"), "repeat": liked("bread")},
)


def run(*offers: Offer, ask: Ask = ASK, customer: Customer = CUSTOMER, rules: Policy | None = None) -> Decision:
    return decide(ask, customer, shop(*offers), Policy() if rules is None else rules)


def withheld(decision: Decision) -> dict[str, tuple[str, str]]:
    return {one.offer_id: (one.stage, one.rule) for one in decision.withheld}


@given(st.lists(st.sampled_from(["bread", "jam", "milk", "tea", "wine", "gone", "lost"]), max_size=12))
def test_items_standing_for_themselves_are_grouped_in_their_order_and_none_is_lost(items: list[str]) -> None:
    market = shop()
    groups = market.alone.of(items)
    there = [item for item in items if item in market.items]
    assert [item for group in groups for item in group.items] == there
    # Plain ones that follow each other stand together.
    assert all(not (one.is_plain and other.is_plain) for one, other in pairwise(groups))
    for group in groups:
        assert [one.items for one in group.offers] == [(item,) for item in group.items]
        assert list(group.offer_ids) == [f"product:{item}" for item in group.items] == [one.offer_id for one in group.offers]
        assert {item in market.plain for item in group.items} == {group.is_plain}
        assert {one.terms for one in group.offers} == {group.terms}


def test_what_may_be_proposed_under_one_lens_is_not_withheld_though_another_objects() -> None:
    # New to the customer, so nothing to repeat; but it may be cross-sold.
    decision = run(Offer("O1", "Jam day", "coupon", items=("jam",), margin=9.0))
    assert "O1" in {one.passed.offer.offer_id for one in decision.candidates}
    assert "O1" not in withheld(decision)


@pytest.mark.parametrize("items", [("jam",), ("bread",)])
def test_of_several_objections_the_one_that_came_furthest_is_told_whichever_lens_came_first(items: tuple[str, ...]) -> None:
    # One lens objects to what was bought or not, which is asked before contacts are counted; another gets as far as the limit.
    rules = Policy(total_limits=(Limit(most=0, days=7),))
    told = withheld(run(Offer("O1", "Day", "coupon", items=items, margin=1.0), rules=rules))["O1"]
    assert told[0] == "fatigue"


def test_an_objection_to_everything_stands_alone() -> None:
    decision = run(Offer("O1", "Day", "coupon"), customer=replace(CUSTOMER, do_not_contact=True))
    assert withheld(decision) == {"*": ("suppression", "do_not_contact")}


@pytest.mark.parametrize("language", get_args(Language))
def test_a_proposal_to_keep_somebody_says_why_them_then_why_this_then_what_is_at_stake(language: Language) -> None:
    signs = (Sign("FEW_ORDERS", 0.4, (("own", 1.0), ("typical", 9.0))), Sign("PAUSE", 0.2, (("recency", 40.0), ("gap", 7.0))))
    ask = replace(ASK, goal="retention", language=language)

    def codes(**changes: Any) -> list[list[str]]:
        return [[reason.code for reason in one.reasons] for one in run(ask=ask, customer=replace(CUSTOMER, **changes)).offers]

    # No more than three, so that with a sign the money gives way to the item.
    assert codes() == [["RISK", "BOUGHT_BEFORE", "AT_STAKE"]]
    assert codes(scores=Scores(0.2, None, "small", "mature")) == [["RISK", "BOUGHT_BEFORE", "POPULAR"]]
    assert codes(signs=signs[:1]) == codes(signs=signs) == [["RISK", "FEW_ORDERS", "BOUGHT_BEFORE"]]
    assert codes(complaint_at=NOW - timedelta(days=90)) == [["RISK", "COMPLAINT_OPEN", "BOUGHT_BEFORE"]]
    assert codes(scores=Scores(None, 100.0, "small", "mature"), signs=signs[:1]) == [["BOUGHT_BEFORE", "POPULAR"]]


def test_each_word_of_an_answer_stands_under_its_own_name() -> None:
    market = shop(Offer("O1", "Week", "coupon", margin=90.0, cost=1.0, text="Seven days"), currency="CHF", assumed=("a rate",), synthetic=True)
    fresh, models = Freshness(NOW, 1.0, []), Models("churn@1", "clv@1", "recommend@1", "rows@1")
    basis = Basis(NOW, CUSTOMER, b"", b"", "materialised", ("stale_features",), None, fresh, models)
    request = DecisionRequest("ann", request_id="r1", goal="cross_sell", placement="inbound_end", max_offers=1)
    rules = Policy(exploration={"floor": 0.01, "most": 0.1})
    answer, _, rested = decided(request, "d_1", basis, market, rules)
    (one,) = answer.offers
    said = {name: getattr(answer, name) for name in ("decision_id", "request_id", "customer_id", "as_of", "goal", "policy", "arm", "source")}
    asked = {"decision_id": "d_1", "request_id": "r1", "customer_id": "ann", "as_of": NOW, "goal": "cross_sell", "policy": rules.version}
    assert said == {**asked, "arm": "policy", "source": "materialised"}
    assert (answer.degraded, answer.is_personal, answer.exploration) == (["stale_features"], True, True)
    assert (answer.currency, answer.synthetic, answer.assumed) == ("CHF", True, ["a rate"])
    assert (answer.freshness, answer.models, answer.stage) == (fresh, models, "mature")
    # Chance shows another with a tenth, so that nothing here is one by chance.
    assert 0.0 < answer.probability == one.p_shown < 1.0
    best = rested.candidates[0]
    assert (one.rank, one.offer_id, one.kind, one.goal, one.priority) == (1, best.offer_id, "coupon", "cross_sell", best.priority)
    assert (one.name, one.channels[0], one.expected_margin, one.margin_basis) == ("Week", CHANNELS[0], best.gain, "declared")
    assert (one.accept_prob[0], one.cost, one.text, one.expires_at) == (best.p, 1.0, "Seven days", None)


def test_an_item_of_which_no_margin_is_known_says_no_basis_of_one() -> None:
    market = shop()
    unknown = replace(market, items={name: replace(item, margin=None) for name, item in market.items.items()})
    shown = decide(replace(ASK, goal="cross_sell"), CUSTOMER, unknown, Policy()).offers
    assert shown
    assert [(one.worth.margin, one.worth.gain, one.worth.basis) for one in shown] == [(None, None, None)] * len(shown)


def test_outcomes_count_as_long_as_each_offer_says_and_its_channel_stands_first() -> None:
    offers = (Offer("O1", "Week", "coupon", margin=9.0, outcome_days=7, channels=("email", "sms")), Offer("O2", "Plain", "coupon", margin=8.0))
    market = shop(*offers, contact_cost={"email": 0.5, "sms": 0.1}, popular=())
    basis = Basis(NOW, replace(CUSTOMER, likings={}), b"", b"", "fresh", (), None, Freshness(NOW, 1.0, []), Models(None, None, None, "rows"))
    request = DecisionRequest("ann", goal="cross_sell", placement="letter")
    answer, ends, _ = decided(request, "d", basis, market, Policy(quiet_hours={"channels": ()}))
    assert ends == {"*": NOW + timedelta(days=28), "O1": NOW + timedelta(days=7), "O2": NOW + timedelta(days=28)}
    assert {one.offer_id: one.outcome_until for one in answer.offers} == {name: ends[name] for name in ("O1", "O2")}
    # The cheaper channel carries the price, and is named first.
    assert next(one.channels for one in answer.offers if one.offer_id == "O1") == ["sms", "email"]
