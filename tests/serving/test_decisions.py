"""The funnel, the ranking of each goal, and what can never be proposed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from serving.answers import Answers
from serving.decisions import eligibility
from serving.decisions.decide import Decision, decide
from serving.decisions.eligibility import grants
from serving.decisions.facts import Ask, Contact, Customer, Estimate, Habits, Item, Liking, Offer, Owned, Scores, Shop
from serving.decisions.policy import Limit, Policy, Suitability, policy

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
Make = Callable[..., Answers]


def liked(*items: str) -> tuple[Liking, ...]:
    return tuple(Liking(item, rank, Estimate(0.5 / rank, 0.4 / rank, 0.6 / rank)) for rank, item in enumerate(items, start=1))


CUSTOMER = Customer(
    "ann",
    consents=frozenset({"*:*"}),
    region="north",
    birth_year=1980,
    owned={"bread": Owned(5, 3), "milk": Owned(2, 30)},
    habits=Habits(recency_days=3, usual_gap_days=7, returned_share=0.0),
    scores=Scores(0.2, 100.0, "small", "mature"),
    likings={"all": liked("bread", "jam"), "new": liked("jam", "tea"), "repeat": liked("bread", "milk")},
)
ITEMS = {
    "bread": Item("bread", "Bread", 0.5, 2.0, 1.0, "observed"),
    "jam": Item("jam", "Jam", 0.2, 4.0, 2.0, "observed"),
    "milk": Item("milk", "Milk", 0.4, 1.5, 0.5, "observed"),
    "tea": Item("tea", "Tea", 0.1, 6.0, 9.0, "assumed"),
}
ASK = Ask("cross_sell", NOW, ("email",), is_inbound=True)


def shop(*offers: Offer, **changes: Any) -> Shop:
    values: dict[str, Any] = {"moment": NOW, "items": ITEMS, "popular": ("bread", "milk", "jam", "tea"), "offers": offers, "horizon_days": 28}
    return Shop(**{**values, "margin_rate": 0.5, "margin_basis": "observed", **changes})


def offer(**changes: Any) -> Offer:
    return replace(Offer("O1", "Spring", "coupon", items=("jam",), margin=5.0), **changes)


def run(ask: Ask = ASK, customer: Customer | None = CUSTOMER, market: Shop | None = None, rules: Policy | None = None, **more: Any) -> Decision:
    return decide(ask, customer, shop() if market is None else market, Policy() if rules is None else rules, **more)


def shown(decision: Decision) -> list[str]:
    return [offered.worth.passed.offer.offer_id for offered in decision.offers]


def why(decision: Decision, offer_id: str = "O1") -> tuple[str, str]:
    return next((each.stage, each.rule) for each in decision.withheld if each.offer_id in (offer_id, "*"))


# Each goal has its own ranking.


def test_cross_sell_ranks_what_is_new_by_expected_margin() -> None:
    # tea: 0.25 x 9 = 2.25; jam: 0.5 x 2 = 1.0; bread and milk were bought and are never in question.
    decision = run()
    assert shown(decision) == ["product:tea", "product:jam"]
    assert decision.offers[0].worth.gain == pytest.approx(2.25)
    assert decision.offers[0].worth.basis == "assumed"


def test_repeat_ranks_what_was_bought_by_expected_margin() -> None:
    decision = run(replace(ASK, goal="repeat"))
    assert shown(decision) == ["product:bread", "product:milk"]
    assert [one.worth.gain for one in decision.offers] == [pytest.approx(0.5), pytest.approx(0.125)]


def test_retention_ranks_by_probability_times_the_share_of_the_expected_loss_assumed_kept() -> None:
    # 0.2 x 100 at stake, half of it margin, a tenth assumed kept: 1.0 per acceptance.
    decision = run(replace(ASK, goal="retention"))
    assert shown(decision) == ["product:bread", "product:milk"]
    assert [one.worth.gain for one in decision.offers] == [pytest.approx(0.5), pytest.approx(0.25)]
    assert {one.worth.basis for one in decision.offers} == {"assumed"}


def test_best_looks_through_every_lens_and_the_intent_weighs_them() -> None:
    best = run(replace(ASK, goal="best"))
    assert shown(best) == ["product:tea", "product:jam", "product:bread"]
    cancel = run(replace(ASK, goal="best", intent="cancel"), rules=policy())
    assert {one.worth.passed.lens for one in cancel.offers} == {"retention"}
    assert "product:tea" not in shown(cancel)


def test_the_price_of_contact_counts_only_when_we_start_it() -> None:
    market = shop(contact_cost={"email": 0.9})
    assert [one.worth.gain for one in run(market=market).offers] == [pytest.approx(2.25), pytest.approx(1.0)]
    outbound = run(replace(ASK, is_inbound=False), market=market)
    assert [one.worth.gain for one in outbound.offers] == [pytest.approx(1.35), pytest.approx(0.1)]
    dear = run(replace(ASK, is_inbound=False), market=shop(contact_cost={"email": 2.0}))
    assert shown(dear) == ["product:tea"]
    assert why(dear, "product:jam") == ("arbitration", "no_expected_gain")


def test_without_any_margin_the_order_is_by_probability_and_no_money_is_claimed() -> None:
    bare = {name: replace(item, margin=None, margin_basis=None) for name, item in ITEMS.items()}
    decision = run(market=shop(items=bare))
    assert shown(decision) == ["product:jam", "product:tea"]
    assert {one.worth.gain for one in decision.offers} == {None}


@pytest.mark.fault("C32")
def test_equal_priorities_fall_to_the_smaller_offer_id() -> None:
    offers = [offer(offer_id=name, items=()) for name in ("O3", "O1", "O2")]
    assert shown(run(replace(ASK, max_offers=2), market=shop(*offers, popular=()), customer=replace(CUSTOMER, likings={}))) == ["O1", "O2"]


def test_one_item_is_proposed_once() -> None:
    decision = run(market=shop(offer(margin=9.0)))
    assert shown(decision) == ["O1", "product:tea"]
    assert why(decision, "product:jam") == ("arbitration", "same_item_offered")


# The funnel: one case per rule.


@pytest.mark.fault("C30")
@pytest.mark.parametrize(
    ("changes", "stage", "rule"),
    [
        ({"valid_to": NOW}, "eligibility", "expired"),
        ({"valid_from": NOW + timedelta(seconds=1)}, "eligibility", "not_yet_valid"),
        ({"stock": 0.0}, "eligibility", "out_of_stock"),
        ({"channels": ("sms",)}, "eligibility", "channel"),
        ({"regions": ("south",)}, "eligibility", "region"),
        ({"audience": ("bob", "enterprise")}, "eligibility", "audience"),
        ({"minimum_age": 46}, "eligibility", "minimum_age"),
        ({"items": ("nothing",)}, "eligibility", "not_on_sale"),
        ({"goal": "retention"}, "applicability", "other_goal"),
        ({"items": ("bread", "milk")}, "applicability", "already_bought"),
    ],
)
def test_what_an_offer_itself_rules_out(changes: dict[str, Any], stage: str, rule: str) -> None:
    decision = run(market=shop(offer(**changes)))
    assert "O1" not in shown(decision)
    assert why(decision) == (stage, rule)


def test_an_offer_at_its_edges_is_valid() -> None:
    edges = offer(valid_from=NOW, valid_to=NOW + timedelta(microseconds=1), stock=1.0, channels=("email",), regions=("north",), minimum_age=45)
    assert "O1" in shown(run(market=shop(edges)))


@pytest.mark.fault("C7", "C30")
@pytest.mark.parametrize(
    ("changes", "rules", "stage", "rule"),
    [
        ({"consents": frozenset()}, {}, "consent", "no_consent"),
        ({"consents": frozenset({"email:retention"})}, {}, "consent", "no_consent_marketing"),
        ({"consents": frozenset({"sms:marketing"})}, {}, "consent", "no_consent"),
        ({"unsubscribed": frozenset({"email"})}, {}, "consent", "no_consent"),
        ({"unsubscribed": frozenset({"*"})}, {}, "consent", "no_consent"),
        ({"is_minor": True}, {}, "consent", "minor"),
        ({"do_not_contact": True}, {}, "suppression", "do_not_contact"),
        ({"accepted": frozenset({"O1"})}, {}, "applicability", "once_is_enough"),
        ({"is_credit_blocked": True}, {}, "eligibility", "credit"),
        ({"complaint_at": NOW - timedelta(days=60)}, {}, "suppression", "open_complaint"),
        (
            {"habits": Habits(returned_share=0.5)},
            {"suitability": (Suitability.model_validate({"name": "returns", "fact": "returned_share", "is": "at_least", "value": 0.5}),)},
            "suitability",
            "returns",
        ),
        ({"contacts": (Contact(NOW - timedelta(days=6), "sms", None),) * 3}, {}, "fatigue", "max_3_per_7d"),
        ({"contacts": (Contact(NOW - timedelta(days=6), "email", "O1"),) * 2}, {}, "fatigue", "same_offer_max_2_per_7d"),
        (
            {"contacts": (Contact(NOW - timedelta(days=6), "email", None),)},
            {"channel_limits": {"email": (Limit(most=1, days=7),)}},
            "fatigue",
            "email_max_1_per_7d",
        ),
    ],
)
def test_what_a_customer_rules_out(changes: dict[str, Any], rules: dict[str, Any], stage: str, rule: str) -> None:
    decision = run(customer=replace(CUSTOMER, **changes), market=shop(offer(is_once=True, needs_credit=True)), rules=Policy(**rules))
    assert "O1" not in shown(decision)
    assert why(decision) == (stage, rule)


def test_limits_open_again_when_their_window_has_passed() -> None:
    old = tuple(Contact(NOW - timedelta(days=7), "email", "O1") for _ in range(3))
    assert "O1" in shown(run(customer=replace(CUSTOMER, contacts=old), market=shop(offer())))


@pytest.mark.fault("C27")
def test_a_clock_that_was_set_back_opens_no_limit() -> None:
    ahead = tuple(Contact(NOW + timedelta(minutes=50), "email", "O1") for _ in range(3))
    decision = run(customer=replace(CUSTOMER, contacts=ahead), market=shop(offer()))
    assert why(decision) == ("fatigue", "max_3_per_7d")


def test_an_old_complaint_and_a_repair_are_not_suppressed() -> None:
    assert "O1" in shown(run(customer=replace(CUSTOMER, complaint_at=NOW - timedelta(days=61)), market=shop(offer())))
    angry = replace(CUSTOMER, complaint_at=NOW - timedelta(days=1))
    repair = offer(kind="repair", goal="retention", items=())
    assert shown(run(replace(ASK, goal="retention"), angry, shop(repair))) == ["O1"]


def test_quiet_hours_are_those_of_the_customers_zone() -> None:
    late = replace(ASK, is_inbound=False, channels=("sms",))
    assert shown(run(late, replace(CUSTOMER, time_zone="Europe/Amsterdam")))
    tokyo = run(late, replace(CUSTOMER, time_zone="Asia/Tokyo"))  # noon in London is nine in the evening
    assert why(tokyo, "product:tea") == ("suppression", "quiet_hours")
    assert shown(run(replace(late, is_inbound=True), replace(CUSTOMER, time_zone="Asia/Tokyo")))
    assert shown(run(replace(late, channels=("sms", "email")), replace(CUSTOMER, time_zone="Asia/Tokyo")))


def test_only_channels_with_consent_are_named() -> None:
    decision = run(replace(ASK, channels=("sms", "email", "web")), replace(CUSTOMER, consents=frozenset({"email:marketing", "web:*"})))
    assert decision.offers[0].worth.passed.channels == ("email", "web")


def test_what_the_caller_excludes_is_not_proposed() -> None:
    decision = run(replace(ASK, exclude=frozenset({"product:tea"})))
    assert shown(decision) == ["product:jam"]
    assert why(decision, "product:tea") == ("consent", "excluded_by_caller")


@pytest.mark.fault("C30")
def test_items_off_sale_are_never_proposed() -> None:
    gone = {**ITEMS, "tea": replace(ITEMS["tea"], retired_at=NOW), "jam": replace(ITEMS["jam"], stock=0.0)}
    decision = run(market=shop(items=gone))
    assert shown(decision) == []
    assert decision.source == "none"
    assert why(decision, "product:tea") == ("eligibility", "not_on_sale")
    assert why(decision, "product:jam") == ("eligibility", "out_of_stock")


# Who is not known, or must not be profiled.


@pytest.mark.fault("C5")
def test_an_unknown_customer_is_offered_what_is_popular_only_where_they_came_to_us() -> None:
    inbound = run(customer=None)
    assert inbound.source == "popularity"
    assert inbound.degraded == ("unknown_customer",)
    assert shown(inbound)[0] == "product:tea"  # 0.1 x 9
    assert {reason.code for one in inbound.offers for reason in one.reasons} == {"POPULAR"}
    outbound = run(replace(ASK, is_inbound=False), customer=None)
    assert shown(outbound) == []
    assert why(outbound) == ("consent", "unknown_customer_no_consent")


@pytest.mark.fault("C7")
@pytest.mark.parametrize("how", ["asked", "refused"])
def test_without_profiling_the_choice_is_the_same_for_everybody(how: str) -> None:
    ask = replace(ASK, personalised=how != "asked")
    people = [
        replace(CUSTOMER, refuses_profiling=how == "refused"),
        replace(CUSTOMER, refuses_profiling=how == "refused", owned={}, likings={}, scores=Scores()),
    ]
    first, second = (run(ask, each) for each in people)
    assert shown(first) == shown(second) == ["product:tea", "product:bread", "product:jam"]
    assert first.source == "popularity"
    assert "not_personalised" in first.degraded
    assert not first.is_personal


@pytest.mark.fault("C7")
def test_opt_in_profiling_needs_a_consent_for_it() -> None:
    rules = Policy(profiling="opt_in")
    assert run(rules=rules).is_personal
    assert not run(customer=replace(CUSTOMER, consents=frozenset({"email:marketing"})), rules=rules).is_personal


@pytest.mark.fault("C6")
def test_a_known_customer_without_history_gets_what_is_popular_and_the_answer_says_so() -> None:
    decision = run(customer=replace(CUSTOMER, likings={}, owned={}))
    assert decision.source == "popularity"
    assert decision.degraded == ("no_history",)


def test_when_time_is_up_popularity_decides_and_the_funnel_still_holds() -> None:
    decision = run(market=shop(offer(valid_to=NOW)), is_over=lambda: True)
    assert decision.source == "popularity"
    assert "over_budget" in decision.degraded
    assert "O1" not in shown(decision)
    assert set(shown(decision)) <= {"product:jam", "product:tea"}


# What must always be true.

_TIMES = st.sampled_from([NOW - timedelta(days=40), NOW - timedelta(days=1), NOW, NOW + timedelta(days=1)])
_OFFERS = st.builds(
    Offer,
    offer_id=st.sampled_from([f"O{i}" for i in range(6)]),
    name=st.just("offer"),
    kind=st.sampled_from(["coupon", "repair", "discount"]),
    goal=st.sampled_from(["cross_sell", "repeat", "retention", "any"]),
    items=st.lists(st.sampled_from([*ITEMS, "gone"]), unique=True, max_size=3).map(tuple),
    margin=st.none() | st.floats(-5, 20),
    cost=st.floats(0, 5),
    valid_from=st.none() | _TIMES,
    valid_to=st.none() | _TIMES,
    channels=st.none() | st.lists(st.sampled_from(["email", "sms"]), unique=True).map(tuple),
    stock=st.none() | st.sampled_from([0.0, 3.0]),
    minimum_age=st.none() | st.sampled_from([18, 60]),
    is_once=st.booleans(),
    lever=st.floats(0, 3),
)
_CUSTOMERS = st.none() | st.builds(
    lambda **changes: replace(CUSTOMER, **changes),
    consents=st.frozensets(st.sampled_from(["*:*", "email:marketing", "sms:retention", "email:profiling"])),
    do_not_contact=st.booleans(),
    refuses_profiling=st.booleans(),
    is_minor=st.sampled_from([False, False, True]),
    complaint_at=st.none() | _TIMES,
    unsubscribed=st.frozensets(st.sampled_from(["email", "*"]), max_size=1),
    contacts=st.lists(st.builds(Contact, _TIMES, st.sampled_from(["email", "sms", None]), st.sampled_from(["O1", None])), max_size=4).map(tuple),
    accepted=st.frozensets(st.sampled_from(["O1", "O2"])),
)
_ASKS = st.builds(
    Ask,
    goal=st.sampled_from(["cross_sell", "repeat", "retention", "best"]),
    at=st.just(NOW),
    channels=st.sampled_from([("email",), ("sms",), ("email", "sms", "web")]),
    is_inbound=st.booleans(),
    personalised=st.booleans(),
    intent=st.none() | st.just("cancel"),
    max_offers=st.integers(1, 5),
    exclude=st.frozensets(st.sampled_from(["O1", "product:tea"])),
)


@pytest.mark.fault("C30")
@settings(max_examples=100, deadline=None)
@given(_ASKS, _CUSTOMERS, st.lists(_OFFERS, max_size=6, unique_by=lambda each: each.offer_id))
def test_nothing_unlawful_is_ever_proposed(ask: Ask, customer: Customer | None, offers: list[Offer]) -> None:
    decision = run(ask, customer, shop(*offers), policy())
    names = shown(decision)
    withheld = {each.offer_id for each in decision.withheld}
    assert len(names) == len(set(names)) <= ask.max_offers
    assert not withheld & set(names)
    assert not names or "*" not in withheld
    assert not set(names) & ask.exclude
    assert decision.source == ("none" if not names else decision.source)
    for one in decision.offers:
        made, channels = one.worth.passed.offer, one.worth.passed.channels
        assert channels
        assert set(channels) <= set(ask.channels)
        assert made.valid_to is None or ask.at < made.valid_to
        assert made.valid_from is None or made.valid_from <= ask.at
        assert made.stock is None or made.stock > 0
        assert made.channels is None or set(channels) <= set(made.channels)
        assert one.worth.gain is None or one.worth.gain > 0
        assert 0 <= one.worth.p.low <= one.worth.p.value <= one.worth.p.high <= 1
        if customer is None:
            assert ask.is_inbound
            continue
        purpose = "retention" if one.worth.passed.lens == "retention" else "marketing"
        assert all(grants(customer.consents, channel, purpose) for channel in channels)
        assert not customer.unsubscribed & {*channels, "*"}
        assert not customer.do_not_contact
        assert not customer.is_minor
        assert not (made.is_once and made.offer_id in customer.accepted)
        recent = [each for each in customer.contacts if NOW - timedelta(days=7) < each.at <= NOW]
        assert len(recent) < 3
    assert run(ask, customer, shop(*reversed(offers)), policy()).offers == decision.offers


def test_the_funnel_keeps_its_order() -> None:
    assert eligibility.STAGES == ("consent", "eligibility", "applicability", "suitability", "suppression", "fatigue")


def test_the_version_of_the_policy_follows_its_rules() -> None:
    assert Policy().version == Policy().version
    assert Policy().version != Policy(complaint_days=30).version


def test_reasons_are_made_of_the_customers_own_figures(make: Make) -> None:
    from serving.schemas import DecisionRequest

    answer, _, _ = make().decision(DecisionRequest("ann", goal="repeat", channel="email", placement="inbound_end"), "d")
    assert [reason.text for reason in answer.offers[0].reasons] == [
        "Bread: bought in 5 orders, last 3 days ago.",
        "50 % of active customers bought Bread in the 28 days before 2026-03-10.",
    ]
    chinese, _, _ = make().decision(DecisionRequest("ann", goal="repeat", channel="email", placement="inbound_end", language="zh"), "d")
    assert chinese.offers[0].reasons[0].text == "Bread：购买过 5 笔订单，上次在 3 天前。"
