"""The last contacts of a limit: callers at once, in several processes, never get more of them than there are."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from serving.answers import Answers
from serving.decisions.policy import Policy
from serving.desk import Desk
from serving.fresh import since
from serving.holds import take_up
from serving.ledger import Ledger
from serving.schemas import DecisionRequest, OutcomeRequest

MOST = 3
"""Contacts in seven days by the rules of the house."""


def call(desk: Desk, customer: str = "ann", **changes: Any) -> dict[str, Any]:
    asked = {"customer_id": customer, "placement": "letter", "channel": "email", **changes}
    answer: dict[str, Any] = json.loads(desk.answered(DecisionRequest(**asked))[0])
    return answer


def test_fifty_callers_in_two_processes_share_the_last_contacts(make: Callable[..., Answers], tmp_path: Path) -> None:
    ready, go = os.pipe()
    children = []
    for _ in range(2):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.close(go)
                desk = Desk(make(), Ledger(tmp_path))
                os.write(writer, b" ")
                os.read(ready, 1)
                found = [bool(call(desk, customer)["offers"]) for _ in range(25) for customer in ("ann", "bob")]
                desk.close()
                os.write(writer, json.dumps([sum(found[0::2]), sum(found[1::2])]).encode())
            finally:
                os._exit(0)
        os.close(writer)
        children.append((child, reader))
    os.close(ready)
    for _, reader in children:
        assert os.read(reader, 1) == b" ", "it has opened the ledger"
    os.write(go, b"..")
    os.close(go)
    given = []
    for child, reader in children:
        with os.fdopen(reader) as said:
            given.append(json.loads(said.read()))
        os.waitpid(child, 0)
    assert [sum(each) for each in zip(*given, strict=True)] == [MOST, MOST]
    ledger = Ledger(tmp_path)
    try:
        answers = [json.loads(entry.answer) for entry in ledger.decisions()]
        assert len(answers) == 100
        assert sum(bool(answer["offers"]) for answer in answers) == 2 * MOST
    finally:
        ledger.close()


def test_what_was_shown_is_one_contact_and_what_was_not_is_free_after_a_day(make: Callable[..., Answers], now: datetime, tmp_path: Path) -> None:
    times = [now]
    desk = Desk(replace(make(), clock=lambda: times[0]), Ledger(tmp_path))
    try:
        given = [call(desk) for _ in range(MOST)]
        assert all(answer["offers"] for answer in given)
        (withheld,) = {one["rule"] for one in call(desk)["withheld"] if one["stage"] == "fatigue"}
        assert withheld.startswith("max_3_per_7d")
        shown = given[0]
        asked = OutcomeRequest("o1", shown["decision_id"], "shown", now, offer_id=shown["offers"][0]["offer_id"], channel="email")
        asyncio.run(desk.outcome(asked))
        assert not call(desk)["offers"], "it was held before and is made now: one contact"
        times[0] = now + timedelta(hours=24)
        assert [bool(call(desk)["offers"]) for _ in range(MOST)] == [True, True, False], "two were never made"
    finally:
        desk.close()


def test_a_process_that_starts_holds_what_was_decided_before(make: Callable[..., Answers], now: datetime, tmp_path: Path) -> None:
    desk = Desk(make(), Ledger(tmp_path))
    given = [call(desk) for _ in range(MOST)]
    asyncio.run(desk.outcome(OutcomeRequest("o1", given[0]["decision_id"], "shown", now, channel="email")))
    desk.close()
    ledger = Ledger(tmp_path)
    fresh = since(ledger, None)
    take_up(ledger, fresh, Policy(), now)
    again = Desk(replace(make(), fresh=fresh), ledger)
    try:
        assert not call(again)["offers"]
        assert call(again, "bob")["offers"]
    finally:
        again.close()


@pytest.mark.parametrize(("changes", "rules"), [({"placement": "inbound_end"}, Policy()), ({}, Policy(hold_hours=0)), ({"dry_run": True}, Policy())])
def test_who_turned_to_us_a_trial_and_a_house_that_says_so_hold_nothing(
    make: Callable[..., Answers], tmp_path: Path, changes: dict[str, Any], rules: Policy
) -> None:
    desk = Desk(make(policy=rules), Ledger(tmp_path))
    try:
        assert all(call(desk, **changes)["offers"] for _ in range(3 * MOST))
    finally:
        desk.close()
