"""Priority by its formula, groups, chance and causes in a whole decision; what a policy must not hold; nothing withheld is ever shown."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from pydantic import ValidationError

from features import catalog
from retain import config
from retain.errors import ConfigError
from serving.answers import Answers
from serving.basis import decided, made, packed, unpacked
from serving.decisions.actions import actions, means
from serving.decisions.budget import solve
from serving.decisions.control import Groups, arm
from serving.decisions.decide import Decision, decide
from serving.decisions.facts import Ask, Contact, Customer, Effect, Estimate, Item, Liking, Offer, Owned, Scores, Shop
from serving.decisions.matrix import strategy
from serving.decisions.policy import Exploration, Law, Limit, Policy, QuietHours, Suitability, policy
from serving.decisions.prices import Prices
from serving.effects import Treatments, in_money
from serving.lists.persuasion import persuasion
from serving.lists.prices import Tariff
from serving.rows import Rows
from serving.schemas import DecisionRequest
from serving.telling import candidates, funnel, lines, told

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
GROUPS = Groups(salt="s", control=0.3, random=0.3)
IN = {group: next(name for name in map(str, range(100)) if arm(name, GROUPS) == group) for group in ("policy", "control", "random")}
ITEMS = {name: Item(name, name.title(), 0.1, 4.0, 2.0, "observed") for name in ("bread", "jam", "milk", "tea", "oil", "rice", "salt")}
CHANCE = Exploration(floor=0.02, most=0.2, seed="s")


def liked(*items: str) -> tuple[Liking, ...]:
    return tuple(Liking(item, rank, Estimate(0.5 / rank, 0.4 / rank, 0.6 / rank)) for rank, item in enumerate(items, start=1))


ANN = Customer(
    IN["policy"],
    consents=frozenset({"*:*"}),
    region="north",
    country="NL",
    birth_year=1980,
    owned={"bread": Owned(5, 3)},
    scores=Scores(0.2, 100.0, "small", "mature"),
    likings={"all": liked("bread", "jam"), "new": liked("jam", "tea", "oil", "rice", "salt"), "repeat": liked("bread")},
)
ASK = Ask("cross_sell", NOW, ("email",), is_inbound=True)
OUT = replace(ASK, is_inbound=False)


def shop(*offers: Offer, **changes: Any) -> Shop:
    values: dict[str, Any] = {"moment": NOW, "items": ITEMS, "popular": tuple(ITEMS), "offers": offers, "horizon_days": 28}
    return Shop(**{**values, "margin_rate": 0.5, "margin_basis": "observed", **changes})


def offer(**changes: Any) -> Offer:
    return replace(Offer("O1", "Spring", "coupon", items=("jam",), margin=5.0), **changes)


def run(ask: Ask = ASK, customer: Customer | None = ANN, market: Shop | None = None, rules: Policy | None = None, **more: Any) -> Decision:
    return decide(ask, customer, shop() if market is None else market, Policy() if rules is None else rules, **more)


def shown(decision: Decision) -> list[str]:
    return [offered.worth.passed.offer.offer_id for offered in decision.offers]


def why(decision: Decision, offer_id: str = "O1") -> tuple[str, str]:
    return next((each.stage, each.rule) for each in decision.withheld if each.offer_id in (offer_id, "*"))


def test_a_limit_of_none_holds_for_whoever_was_never_contacted() -> None:
    never = Policy(channel_limits={"email": (Limit(most=0, days=7),)})
    fresh = replace(ANN, contacts=())
    assert why(run(OUT, fresh, shop(offer()), never)) == ("fatigue", "email_max_0_per_7d")
    assert why(run(OUT, fresh, shop(offer()), Policy(total_limits=(Limit(most=0, days=7),)))) == ("fatigue", "max_0_per_7d")


# The formula.


def test_weight_and_lever_move_what_comes_in_and_never_what_is_paid() -> None:
    rules = Policy.model_validate({"intents": {"buy": {"cross_sell": 0.5}}, "seat_price": 0.1, "fatigue_price": 0.05})
    sent = replace(ANN, contacts=(Contact(NOW - timedelta(days=3), "email", None), Contact(NOW - timedelta(days=30), "email", None)))
    ask = replace(OUT, goal="best", intent="buy")
    market = shop(offer(cost=1.0, lever=3.0), contact_cost={"email": 0.2})
    one = next(each for each in run(ask, sent, market, rules).candidates if each.passed.offer.offer_id == "O1")
    # p 0.5 x margin 5 x 0.5 x 3 - 0.5 x cost 1 - (0.2 + 0.1 + one contact of late x 0.05)
    assert one.priority == pytest.approx(3.75 - 0.5 - 0.35)
    assert one.gain == pytest.approx(2.5 - 0.5 - 0.35)
    assert (one.margin, one.weight, one.lever, one.cost, one.contact) == pytest.approx((2.5, 0.5, 3.0, 0.5, 0.35))


def test_the_house_pulls_levers_by_offer_and_by_kind_and_rules_without_any_keep_their_version() -> None:
    market = shop(offer(lever=3.0))
    plain = Policy()
    kind = next(each.kind for each in market.offers if each.offer_id == "O1")

    def lever(**levers: float) -> float:
        return next(one.lever for one in run(OUT, market=market, rules=Policy(levers=levers)).candidates if one.passed.offer.offer_id == "O1")

    assert (lever(), lever(**{kind: 2.0}), lever(O1=0.5), lever(O1=0.5, **{kind: 2.0})) == (3.0, 6.0, 1.5, 1.5)
    assert Policy(levers={"O1": 0.5}).version != plain.version == Policy(levers={}).version


@pytest.mark.parametrize("grade", ["A", "B", "C"])
def test_where_an_effect_was_estimated_the_margin_is_incremental(grade: Any) -> None:
    helped = replace(ANN, effects={"O1": Effect(Estimate(1.7, 0.1, 3.3), grade), "coupon": Effect(Estimate(9.0, 8.0, 10.0), grade)})
    decision = run(customer=helped, market=shop(offer()))
    one = next(each.worth for each in decision.offers if each.worth.passed.offer.offer_id == "O1")
    assert (one.margin, one.gain, one.evidence) == (1.7, 1.7, grade)
    harmed = run(customer=replace(ANN, effects={"coupon": Effect(Estimate(-0.2, -0.5, 0.1), grade)}), market=shop(offer()))
    assert why(harmed) == ("arbitration", "no_incremental_gain")


def test_an_item_standing_for_itself_has_no_effect_of_offers_of_its_kind() -> None:
    helped = replace(ANN, effects={"product": Effect(Estimate(9.0, 8.0, 10.0), "A"), "email": Effect(Estimate(9.0, 8.0, 10.0), "A")})
    assert {each.evidence for each in run(customer=helped).candidates} == {"D"}
    named = run(customer=helped, market=shop(offer(kind="product"))).candidates
    assert {each.passed.offer.offer_id for each in named if each.evidence == "A"} == {"O1"}


def test_without_evidence_no_uplift_is_claimed() -> None:
    decision = run(customer=replace(ANN, effects={"coupon": Effect(Estimate(9.0, 8.0, 10.0), "D")}), market=shop(offer()))
    one = next(each.worth for each in decision.offers if each.worth.passed.offer.offer_id == "O1")
    assert (one.margin, one.evidence, one.effect) == (2.5, "D", None)


def test_the_slot_costs_what_the_list_solved_for_and_the_cheapest_channel_is_priced() -> None:
    prices = Prices(money=0.5, seats={"call_center": 1.0, "email": 0.1})
    ask, market = replace(OUT, channels=("call_center", "email")), shop(contact_cost={"call_center": 0.1, "email": 0.2})
    by_list = run(ask, market=market, prices=prices).candidates[0]
    assert (by_list.channel, by_list.contact) == ("email", pytest.approx(0.2 + 0.5 * 0.2 + 0.1))
    by_rule = run(ask, market=market, rules=Policy(seat_price=0.3)).candidates[0]
    assert (by_rule.channel, by_rule.contact) == ("call_center", pytest.approx(0.1 + 0.3))
    assert run(market=market, prices=prices).candidates[0].contact == 0.0


# Groups.


def test_the_control_group_is_contacted_with_nothing_and_answered_by_rules_alone() -> None:
    rules = Policy(groups=GROUPS)
    control = replace(ANN, customer_id=IN["control"])
    held = run(OUT, control, rules=rules)
    assert (held.arm, held.offers, why(held)) == ("control", (), ("control", "no_contact_group"))
    answered = run(ASK, control, rules=rules)
    assert (answered.arm, answered.is_personal, answered.source) == ("control", False, "popularity")
    assert "control_group" in answered.degraded
    assert shown(answered) == shown(run(ASK, replace(control, owned={}, likings={}, scores=Scores()), rules=rules))
    closed = run(OUT, replace(control, consents=frozenset()), rules=rules)
    assert why(closed) == ("consent", "no_consent")
    angry = run(OUT, replace(control, complaint_at=NOW - timedelta(days=2)), shop(offer(kind="repair", items=())), rules)
    assert (angry.arm, shown(angry)) == ("control", ["O1"])
    assert run(ASK, None, rules=rules, customer_id=IN["control"]).arm == "control"


def test_the_control_group_stands_on_no_list(make: Callable[..., Answers]) -> None:
    everybody = make().churn_list(10)
    listed = {row.customer_id for row in everybody.rows}
    groups = Groups(salt="s", control=0.5)
    held = {each for each in listed if arm(each, groups) == "control"}
    result = make(policy=Policy(groups=groups)).churn_list(10)
    assert {row.customer_id for row in result.rows} == listed - held
    assert held
    assert result.left_out["no_contact_group"] >= len(held)


def test_the_random_group_is_shown_each_candidate_as_often() -> None:
    rules = Policy(groups=GROUPS)
    member = replace(ANN, customer_id=IN["random"])
    drawn = [run(replace(ASK, max_offers=2, chance=str(key)), member, rules=rules) for key in range(300)]
    assert {each.arm for each in drawn} == {"random"}
    assert all(each.chances == pytest.approx((0.4,) * 5) and each.probability == pytest.approx(1 / 20) for each in drawn)
    first = Counter(shown(each)[0] for each in drawn)
    assert len(first) == 5
    assert min(first.values()) > 30


@pytest.mark.parametrize("changes", [{"is_vulnerable": True}, {"complaint_at": NOW - timedelta(days=1)}, {"refuses_profiling": True}])
def test_chance_spares_the_vulnerable_complaining_and_unprofiled(changes: dict[str, Any]) -> None:
    for group in ("policy", "random"):
        customer = replace(ANN, customer_id=IN[group], **changes)
        market = shop(*(offer(offer_id=f"O{n}", kind="repair", items=(), margin=float(n)) for n in range(1, 7)))
        for key in map(str, range(20)):
            decision = run(replace(ASK, chance=key), customer, market, Policy(groups=GROUPS, exploration=CHANCE))
            assert decision.arm == "policy"
            assert not decision.exploration
            assert {each.p_shown for each in decision.offers} == {1.0}


def test_exploring_shows_what_it_says_as_often_as_it_says() -> None:
    rules = Policy(exploration=CHANCE)
    drawn = [run(replace(ASK, max_offers=2, chance=str(key)), rules=rules) for key in range(2000)]
    by_order = {tuple(shown(each)): each for each in drawn}
    counts = Counter(tuple(shown(each)) for each in drawn)
    best = tuple(shown(run(replace(ASK, max_offers=2))))
    assert by_order[best].probability == pytest.approx(0.9 + 0.1 / 20)
    for order, decision in by_order.items():
        assert counts[order] / 2000 == pytest.approx(decision.probability, abs=0.03)
        assert sum(decision.chances) == pytest.approx(2)
        assert all(each.p_shown >= 0.02 for each in decision.offers)


# The funnel's newer rules.


@pytest.mark.parametrize(
    ("changes", "customer", "stage", "rule"),
    [
        ({"audience": (ANN.customer_id,)}, {}, "eligibility", "individual_price_not_declared"),
        ({"needs_credit": True}, {"credit_limit": 3.0}, "eligibility", "credit_limit"),
        ({"needs_credit": True}, {"is_credit_blocked": True}, "eligibility", "credit"),
        ({"kind": "discount"}, {}, "eligibility", "no_discount_up_north"),
        ({"kind": "discount"}, {"region": None, "country": None}, "eligibility", "no_discount_up_north"),
        ({"items": ("voucher",)}, {}, "eligibility", "no_ware"),
        ({"items": ("wine",)}, {}, "suitability", "sober"),
        ({"items": ("odd",)}, {}, "suitability", "nobody_declared"),
    ],
)
def test_what_the_law_credit_and_suitability_rule_out(changes: dict[str, Any], customer: dict[str, Any], stage: str, rule: str) -> None:
    items = {
        **ITEMS,
        "voucher": replace(ITEMS["jam"], item_id="voucher", is_offerable=False),
        "wine": replace(ITEMS["jam"], item_id="wine", suitability="sober"),
        "odd": replace(ITEMS["jam"], item_id="odd", suitability="nobody_declared"),
    }
    sober = Suitability.model_validate({"name": "sober", "fact": "band", "is": "equal", "value": "small", "only_named": True})
    rules = Policy(laws=(Law(name="no_discount_up_north", regions=("north",), kinds=("discount",)),), suitability=(sober,))
    decision = run(customer=replace(ANN, **customer), market=shop(offer(**changes), items=items), rules=rules)
    assert "O1" not in shown(decision)
    assert why(decision) == (stage, rule)


def test_a_relation_is_contacted_as_often_as_it_has_earned() -> None:
    rules = Policy.model_validate({"level_limits": {"basic": [{"most": 1, "days": 28}]}})
    sent = replace(ANN, relation_level="basic", contacts=(Contact(NOW - timedelta(days=20), "email", None),))
    assert why(run(customer=sent, rules=rules), "product:tea") == ("fatigue", "basic_max_1_per_28d")
    assert shown(run(customer=replace(sent, relation_level="partner"), rules=rules))
    assert shown(run(customer=replace(sent, relation_level=None), rules=rules))


def test_the_channel_that_the_customer_asked_for_stands_first() -> None:
    ask, asked = replace(OUT, channels=("email", "sms", "web")), replace(ANN, preferred_channel="web")
    one = run(ask, asked).candidates[0]
    assert (one.passed.channels, one.channel) == (("web", "email", "sms"), "web")
    assert run(ask, asked, shop(contact_cost={"web": 0.5})).candidates[0].channel == "email"


def test_what_is_declared_is_let_through() -> None:
    rules = Policy(laws=(Law(name="no_discount_up_north", regions=("north",), kinds=("discount",)),))
    assert "O1" in shown(run(market=shop(offer(audience=(ANN.customer_id,), is_individual_price=True))))
    assert "O1" in shown(run(market=shop(offer(needs_credit=True)), customer=replace(ANN, credit_limit=4.0)))
    assert "O1" in shown(run(market=shop(offer(kind="discount")), customer=replace(ANN, region="south"), rules=rules))


def test_every_action_has_its_field_of_the_matrix_and_the_stage() -> None:
    assert {each.strategy for each in run().offers} == {"extension"}
    assert {each.strategy for each in run(replace(ASK, goal="repeat")).offers} == {"loyalty"}
    stranger = run(customer=None)
    assert ({each.strategy for each in stranger.offers}, stranger.stage) == ({"acquisition"}, "potential")
    assert run().stage == "mature"
    unprofiled = run(replace(ASK, personalised=False))
    assert ({each.strategy for each in unprofiled.offers}, unprofiled.stage) == ({None}, None)
    new = replace(ITEMS["jam"], launched_at=NOW - timedelta(days=10))
    assert strategy(False, (), new, "cross_sell", NOW) == "diversification"
    assert strategy(True, (), None, "retention", NOW) == "loyalty"


def test_a_zone_that_is_none_is_quiet_at_every_hour() -> None:
    lost = run(replace(OUT, channels=("sms",)), replace(ANN, time_zone="Mars/Olympus"))
    assert why(lost, "product:tea") == ("suppression", "quiet_hours")
    assert shown(run(replace(OUT, channels=("email",)), replace(ANN, time_zone="Mars/Olympus")))


def test_a_call_at_the_prices_of_a_list_takes_the_action_of_the_list() -> None:
    """The same gains, the same prices: neither channel nor offer differs, with effects and without."""
    offers = [
        Offer(f"O{n}", "Keep", kind, goal="retention", cost=float(n), stock=stock)
        for n, (kind, stock) in enumerate((("service", 8.5), ("coupon", 3.0), ("loyalty", None)))
    ]
    channels, costs = ("call_center", "email"), {"call_center": 1.0, "email": 0.1}
    market, rules = shop(*offers, contact_cost=costs, popular=()), Policy(quiet_hours=QuietHours(channels=()))
    rng = np.random.default_rng(3)
    churn, clv = rng.uniform(0.05, 0.9, 60), rng.uniform(10, 900, 60)
    people = [replace(ANN, customer_id=f"C{n}", owned={}, likings={}, scores=Scores(churn[n], clv[n], "small", "mature")) for n in range(60)]
    told = [
        {name: Effect(Estimate(x, x - 1, x + 9), "A") for name, x in zip(("coupon/email", "O2"), rng.normal(2, 3, 2), strict=True)} for _ in people
    ]
    ask, what = replace(OUT, goal="retention", channels=channels), actions(offers, channels, costs)
    for customers in (people, [replace(each, effects=effects) for each, effects in zip(people, told, strict=True)]):
        found = persuasion(customers, ask, what, market, rules)
        limits = means(found.gain, found.cost, what, {"call_center": 10}, 40.0)
        solved = solve(limits)
        assert np.all(solved.used <= [40.0, 10.0, 8.0, 3.0]), "no more seats and no more of an offer than there are"
        money, seat, *stock = solved.prices.tolist()
        at = Prices(money=money, seats={"call_center": seat}, stock=dict(zip(("O0", "O1"), stock, strict=True)))
        chosen = limits.choose(solved.prices)[0].tolist()
        for place, customer in zip(chosen, customers, strict=True):
            called = run(ask, customer, market, rules, prices=at).offers
            listed = None if place < 0 else (what[place].offer.offer_id, what[place].channel)
            assert (None if not called else (called[0].worth.passed.offer.offer_id, called[0].worth.channel)) == listed
        assert 0 < sum(place >= 0 for place in chosen) < len(people)
        assert max(stock) > 0


def test_what_one_lens_lets_through_is_no_withheld_offer_though_others_outrank_it() -> None:
    decision = run(replace(ASK, goal="best", max_offers=1))
    assert "product:bread" in {each.passed.offer.offer_id for each in decision.candidates}
    assert "product:bread" not in {each.offer_id for each in decision.withheld}


# What must not be declared.


@pytest.mark.fault("E11")
@pytest.mark.parametrize("name", ["gender", "birth_year", "religion", "profile__gender", "is_vulnerable"])
def test_a_rule_that_names_a_protected_attribute_is_refused_with_a_sentence(name: str) -> None:
    rule = {"name": "r", "fact": name, "is": "equal", "value": "x"}
    with pytest.raises(ConfigError, match="is a protected attribute: no rule may look at it"):
        config.validate({"suitability": [rule]}, Policy, "decisions.yaml")


@pytest.mark.fault("E11")
def test_a_feature_that_names_a_protected_attribute_is_refused_with_a_sentence(tmp_path: Any) -> None:
    words = (catalog.FOLDER / "gaps.yaml").read_text(encoding="utf-8")
    (tmp_path / "v.sql").write_text(
        "select spine.customer_id, spine.event_timestamp, c.gender as g from spine left join customers as c", encoding="utf-8"
    )
    (tmp_path / "v.yaml").write_text(words, encoding="utf-8")
    with pytest.raises(ConfigError, match="'gender' is a protected attribute: nothing learns from it"):
        catalog.views(tmp_path)
    (tmp_path / "v.yaml").write_text(words + "  religion: {dtype: String, description: Faith., unit: none}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="protected attribute"):
        catalog.views(tmp_path.joinpath("."))


def test_rules_have_names_of_their_own() -> None:
    rule = Suitability.model_validate({"name": "r", "fact": "churn", "is": "at_least", "value": 0.5})
    with pytest.raises(ValidationError, match="differ"):
        Policy(suitability=(rule, rule))


def test_the_policy_as_shipped_declares_its_groups_and_its_chance() -> None:
    rules = policy()
    assert (rules.groups.control, rules.groups.random) == (0.02, 0.02)
    assert (rules.exploration.floor, rules.exploration.most) == (0.01, 0.1)
    assert rules.remedies["involuntary"] == ()


# What must always be true.

_OFFERS = st.builds(
    Offer,
    offer_id=st.sampled_from([f"O{i}" for i in range(6)]),
    name=st.just("offer"),
    kind=st.sampled_from(["coupon", "repair", "discount", "information"]),
    goal=st.sampled_from(["cross_sell", "repeat", "retention", "any"]),
    items=st.lists(st.sampled_from([*ITEMS, "gone"]), unique=True, max_size=3).map(tuple),
    margin=st.none() | st.floats(-5, 20),
    cost=st.floats(0, 5),
    stock=st.none() | st.sampled_from([0.0, 3.0]),
    audience=st.none() | st.just((ANN.customer_id,)),
    is_once=st.booleans(),
    needs_credit=st.booleans(),
    lever=st.floats(0, 3),
)
_CUSTOMERS = st.none() | st.builds(
    lambda **changes: replace(ANN, **changes),
    customer_id=st.sampled_from(sorted(IN.values())),
    consents=st.frozensets(st.sampled_from(["*:*", "email:marketing", "sms:retention"])),
    refuses_profiling=st.booleans(),
    is_vulnerable=st.booleans(),
    is_minor=st.sampled_from([False, False, True]),
    complaint_at=st.none() | st.just(NOW - timedelta(days=1)),
    cause=st.none() | st.sampled_from(["price", "core_service", "involuntary"]),
    contacts=st.lists(st.builds(Contact, st.just(NOW - timedelta(days=1)), st.sampled_from(["email", None]), st.just("O1")), max_size=3).map(tuple),
    accepted=st.frozensets(st.sampled_from(["O1", "O2"])),
    effects=st.dictionaries(
        st.sampled_from(["coupon", "O1"]), st.builds(Effect, st.floats(-2, 2).map(lambda x: Estimate(x, x - 1, x + 1)), st.sampled_from("ACD"))
    ),
)
_ASKS = st.builds(
    Ask,
    goal=st.sampled_from(["cross_sell", "repeat", "retention", "best"]),
    at=st.just(NOW),
    channels=st.sampled_from([("email",), ("email", "sms")]),
    is_inbound=st.booleans(),
    personalised=st.booleans(),
    max_offers=st.integers(1, 4),
    exclude=st.frozensets(st.sampled_from(["O1", "product:tea"])),
    chance=st.none() | st.integers(0, 1000).map(str),
)
_RULES = Policy(groups=GROUPS, exploration=CHANCE, quiet_hours=QuietHours(channels=()))


@settings(max_examples=150, deadline=None)
@given(_ASKS, _CUSTOMERS, st.lists(_OFFERS, max_size=6, unique_by=lambda each: each.offer_id))
def test_nothing_withheld_is_shown_everything_is_accounted_for_and_chances_add_up(ask: Ask, customer: Customer | None, offers: list[Offer]) -> None:
    decision = run(ask, customer, shop(*offers), _RULES)
    names, withheld = set(shown(decision)), {each.offer_id for each in decision.withheld}
    assert not names & withheld
    candidates = {each.passed.offer.offer_id for each in decision.candidates}
    assert names <= candidates
    assert not candidates & withheld
    if "*" not in withheld:
        assert {each.offer_id for each in offers} <= candidates | withheld
    assert len(decision.offers) == min(ask.max_offers, len(decision.candidates))
    assert sum(decision.chances) == pytest.approx(len(decision.offers))
    assert all(0 <= each <= 1 + 1e-12 for each in decision.chances)
    assert 0 < decision.probability <= 1 + 1e-12
    assert all(0 < each.p_shown <= 1 + 1e-12 for each in decision.offers)
    assert decision.exploration or all(each.p_shown == 1 for each in decision.offers)
    if customer is not None:
        assert decision.arm == arm(customer.customer_id, GROUPS) or (decision.arm == "policy" and arm(customer.customer_id, GROUPS) == "random")
        if customer.is_vulnerable or ask.chance is None:
            assert not decision.exploration
        if decision.arm == "control" and not ask.is_inbound and customer.complaint_at is None:
            assert not names
        if decision.is_personal and customer.cause == "involuntary":
            assert not [each for each in decision.offers if each.worth.passed.lens == "retention"]
    assert run(ask, customer, shop(*reversed(offers)), _RULES).offers == decision.offers
    assert run(ask, customer, shop(*offers), _RULES) == decision


def test_explaining_is_the_decision_itself(make: Callable[..., Answers]) -> None:
    answers = make(policy=policy())
    request = DecisionRequest("ann", channel="email", placement="inbound_end", request_id="r", dry_run=True)
    basis = answers.basis(request)
    decision = made(request, None, basis, answers.rows.shop, answers.policy)
    answer, _, _ = decided(request, None, basis, answers.rows.shop, answers.policy)
    explained = told(decision, answers.policy)
    assert [each["stage"] for each in funnel(decision)][:6] == ["consent", "eligibility", "applicability", "suitability", "suppression", "fatigue"]
    assert sum(each["withheld"] for each in funnel(decision)) == len(answer.withheld)
    by_id = {each["offer_id"]: each for each in explained["candidates"]}
    for each in answer.offers:
        one = by_id[each.offer_id]
        assert one["margin"] * one["weight"] * one["lever"] - one["cost"] - one["contact"] == pytest.approx(each.priority)
    assert (answer.arm, answer.probability) == (explained["group"]["arm"], explained["probability"])
    assert "funnel, consent" in "\n".join(lines(decision, answers.policy))
    assert len(candidates(decision)[0]) == len(decision.candidates)


def test_effects_on_the_rows_are_told_in_money_with_their_grade(make: Callable[..., Answers]) -> None:
    answers = make(offers=(Offer("O1", "Spring", "coupon", margin=5.0), Offer("O2", "Talk", "service", margin=90.0)), popular=())
    treatments = Treatments(("coupon/email", "service", "service/sms"), ("A", "D", "C"), "spend", "EUR")
    found = np.full((len(answers.rows), 3, 3), np.nan)
    found[0], found[:, 1] = [[4.0, 1.0, 7.0], [9.0, 8.0, 10.0], [np.nan] * 3], [9.0, 8.0, 10.0]
    card = dataclasses.replace(answers.rows.card, effects=treatments, models={**answers.rows.card.models, "uplift": "uplift-hand"})
    answers = dataclasses.replace(answers, rows=Rows(card, answers.rows.shop, {**answers.rows.arrays, "effect": found}))
    answer, _, basis = answers.decision(DecisionRequest("ann", channel="email", placement="inbound_end", goal="repeat"), "d")
    by_id = {each.offer_id: each for each in answer.offers}
    assert (by_id["O1"].evidence, by_id["O1"].incremental_value, by_id["O1"].expected_margin) == ("A", (2.0, 0.5, 3.5), 2.0)
    assert (by_id["O2"].evidence, by_id["O2"].incremental_value) == ("D", None)
    assert answer.models.uplift == "uplift-hand"
    assert basis.customer is not None
    assert set(basis.customer.effects) == {"coupon/email"}
    assert in_money(Treatments(("x",), ("B",), "purchase"), [[0.1, 0.0, 0.2]], 40.0, 0.5)["x"].gain.triple == pytest.approx((2.0, 0.0, 4.0))
    assert in_money(Treatments(("x",), ("B",), "visit"), [[0.1, 0.0, 0.2]], 40.0, 0.5) == {}
    assert in_money(Treatments(("x",), ("B",), "spend"), [[0.1, 0.0, 0.2]], 40.0, None) == {}


def test_what_chance_chose_is_made_again_from_what_is_kept(make: Callable[..., Answers]) -> None:
    rules = policy().model_copy(update={"exploration": Exploration(floor=0.05, most=0.5, seed="s"), "groups": GROUPS})
    answers = dataclasses.replace(make(policy=rules), prices=Tariff(Prices(money=0.1, seats={"email": 0.01})))
    explored = 0
    for number in range(40):
        request = DecisionRequest(("ann", "bob", "gus", "x")[number % 4], channel="email", placement=("inbound_end", None)[number % 2])
        answer, _, basis = answers.decision(request, f"d_{number}")
        kept = unpacked(packed(basis))
        assert kept is not None
        again, _, _ = decided(request, f"d_{number}", kept, answers.rows.shop, rules)
        assert msgspec.json.encode(again) == msgspec.json.encode(answer)
        assert sum(each.probability for each in basis.candidates) == pytest.approx(len(answer.offers))
        explored += answer.exploration
        assert not answers.decision(request, None)[0].exploration, "what is not written down is not left to chance"
    assert explored
