"""The eight causes: what is recorded comes first, then the first rule that holds, else unknown; involuntary ones stand apart."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from msgspec.structs import replace
from pydantic import ValidationError

from retain.engine import Engine
from retain.tables import ARROW, CAUSES, TABLES
from serving import gather
from serving.answers import Answers
from serving.circumstances import circumstances
from serving.decisions.cause_table import FACTS, REMEDIES, RULES
from serving.decisions.causes import Causes, assign, basis, causes, shares, wilson
from serving.decisions.decide import decide
from serving.decisions.facts import Ask, Customer, Offer, Owned, Scores, Shop
from serving.decisions.policy import QuietHours, policy
from serving.likely import assigned, cause
from serving.rows import Rows

NOW = datetime(2026, 3, 10, tzinfo=UTC)


def day(offset: float) -> datetime:
    return NOW + timedelta(days=offset)


def engine(**tables: list[dict[str, Any]]) -> Engine:
    made = Engine()
    for name, table in TABLES.items():
        rows = [{"known_at": row["occurred_at"], **row} for row in tables.get(name, [])]
        columns = {c.name: pa.array([row.get(c.name) for row in rows]).cast(_arrow(ARROW[c.kind])) for c in table.columns}
        made.attach({name: pa.table(columns)})
    gather.attach_current(made, NOW)
    return made


def _arrow(name: str) -> pa.DataType:
    kinds = {"timestamp[us, tz=UTC]": pa.timestamp("us", "UTC"), "list<string>": pa.list_(pa.string()), "double": pa.float64(), "bool": pa.bool_()}
    return kinds.get(name) or pa.type_for_alias(name)


def facts(**known: list[float]) -> dict[str, np.ndarray]:
    count = len(next(iter(known.values())))
    return {name: np.array(known.get(name, [np.nan] * count), dtype=np.float64) for name in FACTS}


def test_what_is_recorded_comes_first_then_the_first_rule_then_unknown() -> None:
    found = assign(Causes(), facts(complaint_open_days=[10, 10, 6, np.nan], switch_intents=[1, 1, 1, 0]), np.array([0, -1, -1, -1], dtype=np.int16))
    assert [None if each < 0 else CAUSES[each] for each in found.cause] == ["price", "response", "competition", None]
    assert [None if each < 0 else RULES[each].name for each in found.rule] == [None, "complaint_open", "switch_intent", None]
    assert found.value.tolist()[1:3] == [10.0, 1.0]


def test_every_cause_has_an_answer_and_only_ethics_needs_a_record() -> None:
    assert {rule.cause for rule in RULES} == set(CAUSES) - {"ethics"}
    assert set(REMEDIES) == {*CAUSES, "unknown"}
    assert not REMEDIES["involuntary"].coupon
    for rule in RULES:
        assert basis(rule, rule.value, "en").endswith(".")
        assert basis(rule, rule.value, "zh").endswith("。")
    with pytest.raises(ValidationError, match="no coupon"):
        Causes(remedies={**REMEDIES, "involuntary": REMEDIES["price"]})
    with pytest.raises(ValidationError, match="no fact"):
        Causes.model_validate({"rules": [{"name": "x", "cause": "price", "fact": "weather", "value": 1, "en": "", "zh": ""}]})
    assert causes() == Causes()


def test_shares_are_of_recorded_causes_only() -> None:
    found = shares(np.array([0, 0, 1, -1, -1, 2], dtype=np.int16), np.array([0, 0, 0, 0, 1, 1]), ("vip", "small"))
    assert [(each.segment, each.cause, each.count, each.of) for each in found] == [
        ("vip", "price", 2, 3),
        ("vip", "inconvenience", 1, 3),
        ("small", "staff", 1, 1),
    ]
    assert all(0 <= each.low <= each.share <= each.high <= 1 for each in found)
    assert wilson(50, 100) == pytest.approx((0.4038, 0.5962), abs=1e-4)


def test_circumstances_counted_by_hand() -> None:
    events = [
        {"customer_id": "a", "occurred_at": day(-30), "kind": "complaint", "driver": "staff", "cause": "staff"},
        {"customer_id": "a", "occurred_at": day(-20), "kind": "complaint", "driver": "time", "resolved_at": day(-2)},
        {"customer_id": "b", "occurred_at": day(-400), "kind": "complaint", "driver": "money", "cause": "price"},
        {"customer_id": "b", "occurred_at": day(-3), "kind": "switch_intent"},
        {"customer_id": "b", "occurred_at": day(1), "kind": "default"},
    ]
    contracts = [
        {"subscription_id": "s", "customer_id": "a", "occurred_at": day(-60), "started_at": day(-90), "ended_at": day(-60), "end_cause": "ethics"},
        {"subscription_id": "t", "customer_id": "c", "occurred_at": day(-6), "started_at": day(-90), "ended_at": day(-6), "end_cause": "involuntary"},
    ]
    people = [
        {"customer_id": "d", "occurred_at": day(-300), "region": "north"},
        {"customer_id": "d", "occurred_at": day(-30), "region": "south"},
        {"customer_id": "e", "occurred_at": day(-600), "region": "north"},
        {"customer_id": "e", "occurred_at": day(-500), "region": "south"},
        {"customer_id": "e", "occurred_at": day(-10), "region": "south"},
    ]
    sold = [
        {"order_id": f"o{n}", "customer_id": "f" if n < 3 else f"x{n}", "product_id": "p", "occurred_at": day(-100 - n), "kind": "sale",
         "quantity": 1.0, "amount": 5.0, "store_id": "S1"}
        for n in range(25)
    ]  # fmt: skip
    sold.append({**sold[0], "order_id": "late", "customer_id": "y", "store_id": "S2", "occurred_at": day(-1)})
    with engine(events=events, subscriptions=contracts, customers=people, transactions=sold) as made:
        found = circumstances(made, np.array(list("abcdefy"), dtype=object), NOW, "UTC")
    assert found["recorded"].where(found["recorded"].notna(), None).tolist() == ["staff", None, "involuntary", None, None, None, None]
    assert found.loc["a", ["complaint_open_days", "complaint_slow_days", "complaints_staff", "complaints_effort"]].tolist() == [30, 18, 1, 1]
    assert (found.loc["b", "switch_intents"], found.loc["b", "defaults"]) == (1, 0)
    # f bought three times, only in the shop that closed; x5 bought there once, and the shop is no reason of theirs.
    assert found["moved"].fillna(0).tolist() == [0, 0, 0, 1, 0, 0, 0]
    assert found["shop_closed"].fillna(0).tolist() == [0, 0, 0, 0, 0, 1, 0]
    given = assigned(Causes(), found, np.full(7, np.nan), lambda _: np.full(7, np.nan))
    assert [None if each < 0 else CAUSES[each] for each in given["cause"]] == [
        "staff", "competition", "involuntary", "involuntary", None, "involuntary", None,
    ]  # fmt: skip
    assert given["cause_at"][0] == int(day(-30).timestamp()) * 1_000_000


def test_a_move_or_a_silent_shop_alone_is_not_taken_for_involuntary() -> None:
    regions = {-300: "north", -100: "south"}
    people = [{"customer_id": who, "occurred_at": day(since), "region": region} for who in "ab" for since, region in regions.items()]
    line = {"product_id": "p", "kind": "sale", "quantity": 1.0, "amount": 5.0}
    # Twenty-five customers in S1, whose longest pause was twenty days: sixty-five days of silence are not five times that.
    sold = [{**line, "order_id": f"o{n}", "customer_id": f"x{n}", "occurred_at": day(-65 - 20 * (n % 10)), "store_id": "S1"} for n in range(25)]
    sold += [{**line, "order_id": f"c{n}", "customer_id": "c", "occurred_at": day(-65 - n), "store_id": "S1"} for n in range(3)]
    # Customer b bought after moving; and d, of a shop that did close, bought elsewhere too.
    sold.append({**line, "order_id": "b", "customer_id": "b", "occurred_at": day(-2), "store_id": "S2"})
    gone = {**line, "store_id": "S3"}
    sold += [{**gone, "order_id": f"g{n}", "customer_id": "d" if n < 5 else f"y{n}", "occurred_at": day(-200 - n)} for n in range(30)]
    sold.append({**line, "order_id": "d", "customer_id": "d", "occurred_at": day(-100), "store_id": "S2"})
    with engine(customers=people, transactions=sold) as made:
        found = circumstances(made, np.array(list("abcd"), dtype=object), NOW, "UTC")
    assert found["moved"].fillna(0).tolist() == [1, 0, 0, 0]
    assert found["shop_closed"].fillna(0).tolist() == [0, 0, 0, 0]


def test_involuntary_customers_are_listed_apart(make: Callable[..., Answers]) -> None:
    answers = make()
    changed = {name: answers.rows.array(name).copy() for name in ("cause", "cause_rule", "cause_value")}
    bob = next(place for place in range(len(answers.rows)) if answers.rows.id(place) == "bob")
    changed["cause"][bob], changed["cause_rule"][bob], changed["cause_value"][bob] = CAUSES.index("involuntary"), 0, 1.0
    rows = Rows(answers.rows.card, answers.rows.shop, {**answers.rows.arrays, **changed})
    result = Answers(rows, answers.champions, answers.policy, answers.clock).churn_list(10)
    assert [row.customer_id for row in result.rows] == ["ann"]
    assert [(row.customer_id, row.cause.cause, row.cause.by, row.cause.coupon) for row in result.involuntary] == [
        ("bob", "involuntary", "rule", False)
    ]
    assert result.left_out["involuntary"] == 1
    assert result.causes == {"unknown": 1, "involuntary": 1}
    assert cause(rows, bob, Causes(), "zh").basis == "一年内登记的地区或国家发生变更，此后没有购买。"


def test_as_shipped_nothing_is_proposed_to_keep_who_leaves_involuntarily() -> None:
    coupon = Offer("O1", "Spring", "coupon", goal="retention", margin=50.0)
    rules = policy().model_copy(update={"quiet_hours": QuietHours(channels=())})
    stays = Customer("ann", consents=frozenset({"*:*"}), owned={"bread": Owned(5, 3)}, scores=Scores(0.6, 100.0, "small", "mature"))
    market = Shop(NOW, {}, (), (coupon, replace(coupon, offer_id="O2", kind="service")), 28, margin_rate=0.5, margin_basis="observed")
    ask = Ask("retention", NOW, ("email",), is_inbound=True)
    assert {each.worth.passed.offer.offer_id for each in decide(ask, stays, market, rules).offers} == {"O1", "O2"}
    leaves = decide(ask, replace(stays, cause="involuntary"), market, rules)
    assert leaves.offers == ()
    assert {(each.offer_id, each.stage, each.rule) for each in leaves.withheld} == {
        ("O1", "suitability", "cause_involuntary"),
        ("O2", "suitability", "cause_involuntary"),
    }


def test_a_failure_of_service_is_answered_by_repair_and_the_price_by_money_off() -> None:
    coupon = Offer("O1", "Spring", "coupon", goal="retention", margin=50.0)
    market = Shop(NOW, {}, (), (coupon, replace(coupon, offer_id="O2", kind="repair")), 28, margin_rate=0.5, margin_basis="observed")
    ask = Ask("retention", NOW, ("email",), is_inbound=True)
    for found, expected in {"core_service": {"O2"}, "staff": {"O2"}, "price": {"O1"}, "ethics": set(), None: {"O1", "O2"}}.items():
        customer = Customer("ann", consents=frozenset({"*:*"}), owned={"x": Owned(5, 3)}, scores=Scores(0.6, 100.0, "small", "mature"), cause=found)
        assert {each.worth.passed.offer.offer_id for each in decide(ask, customer, market, policy()).offers} == expected
    with pytest.raises(ValidationError, match="protected attribute"):
        Causes.model_validate({"rules": [{"name": "x", "cause": "price", "fact": "marital_status", "value": 1, "en": "", "zh": ""}]})
