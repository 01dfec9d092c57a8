"""Limits that calls spend: never exceeded, whichever process answers; free again where nothing was shown; prices that follow what was used."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.answers import Answers
from serving.decisions.facts import Offer
from serving.decisions.pacing import Plan
from serving.decisions.policy import Policy
from serving.decisions.prices import Own, Prices
from serving.desk import Desk
from serving.ledger import Ledger
from serving.lists.prices import Tariff
from serving.lists.spending import Known, Spending, Use
from serving.schemas import DecisionRequest, OutcomeRequest

OFFERS = ("coffee",)
COFFEE = Offer("coffee", "A coffee", "coupon", cost=0.2, margin=100.0)
SEATS = 2.0
PLAN = Plan(customers=4, limits=(100.0, SEATS), prices=(0.001, 0.001), uses=(2.0, SEATS), bend=((100.0, 0.0), (0.0, 100.0)), reach=(0.003, 0.003))
KNOWN = Known(np.array([b"ann", b"bob", b"dee", b"gus"]), np.array([True, True, False, True]), {"gus": Use(1.0, "email", ("coffee",))})


def tariff(now: datetime, plan: Plan = PLAN, own: dict[str, Own] | None = None) -> Tariff:
    made = Prices(0.001, {"email": 0.001}, made_at=now, valid_until=now + timedelta(days=7), run="r1", only=OFFERS, rows="r")
    return Tariff(made, own or {}, Spending(made, plan, KNOWN))


def call(desk: Desk, customer: str, **changes: Any) -> dict[str, Any]:
    asked = {"customer_id": customer, "placement": "letter", "channel": "email", "explain": True, **changes}
    answer: dict[str, Any] = json.loads(desk.answered(DecisionRequest(**asked))[0])
    return answer


def given(answer: dict[str, Any]) -> bool:
    return "coffee" in {each["offer_id"] for each in answer["offers"]}


def used_up(answer: dict[str, Any]) -> bool:
    rules = {each["offer_id"]: (each["stage"], each["rule"]) for each in answer["withheld"]}
    return not given(answer) and rules["coffee"] == ("arbitration", "limit_used_up")


def test_seats_are_given_once_whichever_process_answers_and_are_free_again_where_nothing_was_shown(
    make: Callable[..., Answers], now: datetime, tmp_path: Path
) -> None:
    times = [now]
    desks = [Desk(replace(make(offers=(COFFEE,)), clock=lambda: times[0], prices=tariff(now)), Ledger(tmp_path)) for _ in range(2)]
    try:
        first, second = call(desks[0], "ann"), call(desks[1], "bob")
        assert given(first)
        assert given(second)
        assert given(call(desks[0], "ann", placement="inbound_end")), "who turned to us takes no seat of the list"
        assert all(used_up(call(desk, who)) for desk in desks for who in ("ann", "bob"))
        asyncio.run(desks[1].outcome(OutcomeRequest("o1", first["decision_id"], "shown", now, channel="email")))
        times[0] = now + timedelta(hours=25)
        assert [given(call(desk, "bob")) for desk in desks] == [True, False], "one of two was shown, the other is free again"
    finally:
        for desk in desks:
            desk.close()


def test_a_process_that_starts_knows_what_was_used_and_another_list_begins_anew(make: Callable[..., Answers], now: datetime, tmp_path: Path) -> None:
    desk = Desk(replace(make(offers=(COFFEE,)), prices=tariff(now)), Ledger(tmp_path))
    assert all(given(call(desk, who)) for who in ("ann", "bob"))
    desk.close()
    again = Desk(replace(make(offers=(COFFEE,)), prices=tariff(now)), Ledger(tmp_path))
    try:
        assert used_up(call(again, "ann"))
        made = Prices(0.0, {"email": 0.0}, made_at=now, valid_until=now + timedelta(days=7), run="r2", only=OFFERS)
        again.take_up(replace(make(offers=(COFFEE,)), prices=Tariff(made, {}, Spending(made, PLAN, KNOWN))))
        assert given(call(again, "ann"))
    finally:
        again.close()


def test_no_group_is_given_what_is_not_left(make: Callable[..., Answers], now: datetime, tmp_path: Path) -> None:
    everybody = {"salt": "s", "random": 0.5, "control": 0.0}
    rules = Policy.model_validate({"groups": everybody})
    desk = Desk(replace(make(offers=(COFFEE,), policy=rules), prices=tariff(now, replace(PLAN, limits=(100.0, 0.0)))), Ledger(tmp_path))
    try:
        answers = [call(desk, who) for who in ("ann", "bob", "gus")]
        assert {answer["arm"] for answer in answers} == {"policy", "random"}
        assert not any(given(answer) for answer in answers)
    finally:
        desk.close()


def test_money_that_is_not_left_is_not_spent_though_the_list_has_a_place(make: Callable[..., Answers], now: datetime, tmp_path: Path) -> None:
    own = {"ann": Own(("coffee", "email"))}
    rich, poor = (
        Desk(replace(make(offers=(COFFEE,)), prices=tariff(now, replace(PLAN, limits=(money, SEATS)), own)), Ledger(tmp_path / name))
        for name, money in (("rich", 1.0), ("poor", 0.005))
    )
    try:
        assert given(call(rich, "ann"))
        assert used_up(call(poor, "ann"))
    finally:
        rich.close()
        poor.close()


def test_prices_rise_where_more_was_used_than_the_plan_meant_and_stay_where_it_was_meant(
    make: Callable[..., Answers], now: datetime, tmp_path: Path
) -> None:
    desk = Desk(replace(make(offers=(COFFEE,)), prices=tariff(now)), Ledger(tmp_path))
    try:
        held = desk.answers.prices
        assert held is not None
        assert held.spending is not None
        before = held.to("bob", now, "r")
        assert before is not None
        assert before.seats["email"] == pytest.approx(0.001)
        call(desk, "ann")
        call(desk, "dee")
        desk.answers.heed(desk.ledger)
        after = held.to("bob", now, "r")
        assert after is not None
        assert after.seats["email"] > 0.001, "ann was not on the list and took a seat that it meant for another"
        listed = replace(held, own={"bob": Own(("x", "email"))}).to("bob", now, "r")
        assert listed is not None
        assert listed.seats["email"] == 0.001, "whoever is on the list keeps the list's prices"
    finally:
        desk.close()


def test_the_list_is_not_contradicted_below_its_prices_until_something_new_is_known(
    make: Callable[..., Answers], now: datetime, tmp_path: Path
) -> None:
    times = [now]
    desk = Desk(replace(make(offers=(COFFEE,)), clock=lambda: times[0], prices=tariff(now)), Ledger(tmp_path))
    try:
        times[0] = now + timedelta(days=6)
        desk.answers.heed(desk.ledger)
        held = desk.answers.prices
        assert held is not None
        known, changed, new = (held.to(who, times[0], rows) for who, rows in (("bob", "r"), ("bob", "other"), ("zoe", "r")))
        assert known is not None
        assert changed is not None
        assert new is not None
        assert known.seats["email"] == pytest.approx(0.001)
        assert changed.seats == new.seats
        assert new.seats["email"] < 0.001, "nobody came for six days: what is left is for the few who still may"
    finally:
        desk.close()
