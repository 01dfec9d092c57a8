"""Facts that come in: checked as an ingest checks them, on disk before they are acknowledged, once, and known to the next answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest

from retain import erasure
from retain.engine import Engine
from retain.erasure import Erased
from retain.facts import SIGNS
from retain.tables import EVENTS, TRANSACTIONS
from serving import contract, gather, scored
from serving.answers import Answers
from serving.decisions.facts import Customer, Offer
from serving.desk import ConflictError, Desk
from serving.erasure import sweep_ledger
from serving.fresh import since
from serving.ledger import Ledger, micros
from serving.overlay import MOST, Made, Overlay
from serving.rows import Fed
from serving.schemas import DecisionRequest, EventsRequest, ScoresRequest
from serving.strict import ContentProblem, parse


def event(now: datetime, **changes: Any) -> dict[str, Any]:
    return {"event_id": "e1", "customer_id": "ann", "occurred_at": (now - timedelta(hours=1)).isoformat(), "kind": "visit", **changes}


def line(now: datetime, **changes: Any) -> dict[str, Any]:
    row = {"order_id": "o1", "line_id": "1", "customer_id": "ann", "product_id": "jam", "occurred_at": (now - timedelta(hours=1)).isoformat()}
    return {**row, "kind": "sale", "quantity": 1.0, "amount": 4.0, **changes}


def send(desk: Desk, events: list[dict[str, Any]] | None = None, transactions: list[dict[str, Any]] | None = None) -> Any:
    body = json.dumps({"events": events or [], "transactions": transactions or []}).encode()
    return asyncio.run(desk.events(parse(body, EventsRequest)))


def decide(desk: Desk, customer: str = "ann", **changes: Any) -> dict[str, Any]:
    asked = {"channel": "email", "placement": "inbound_end", "goal": "cross_sell", "dry_run": True, **changes}
    answer: dict[str, Any] = json.loads(desk.answered(DecisionRequest(customer, **asked))[0])
    return answer


def test_rows_that_come_in_are_those_of_the_contract() -> None:
    for table, kind in ((EVENTS, contract.EventRow), (TRANSACTIONS, contract.TransactionRow)):
        given = {column.name for column in table.columns if not column.derived}
        assert set(kind.__struct_fields__) == given - {"known_at"}
        required = {field.name for field in msgspec.structs.fields(kind) if field.required}
        assert required >= {column.name for column in table.columns if column.required}
        assert required >= set(table.key), "without its key a row cannot be told from another"


def test_signs_are_the_same_in_sql_and_here() -> None:
    with Engine() as engine:
        for sign in SIGNS:
            for kind in ("sale", "return", "gift", "fee", "adjustment", "free"):
                for value in (-1.0, 0.0, 2.0):
                    ((found,),) = engine.rows(f"select {sign.sql} from (select '{kind}' as kind, {value} as amount, {value} as quantity)")
                    assert found == sign.is_broken(kind, value), (sign, kind, value)


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({"occurred_at": "2026-03-11T12:00:01Z"}, "transactions.occurred_at"),
        ({"occurred_at": "1970-01-01T00:00:00Z"}, "transactions.occurred_at"),
        ({"amount": -1.0}, "transactions.amount"),
        ({"kind": "return", "amount": 1.0}, "transactions.amount"),
        ({"kind": "free", "amount": 1.0}, "transactions.amount"),
        ({"quantity": -1.0}, "transactions.quantity"),
        ({"currency": "USD"}, "transactions.currency"),
        ({"kind": "sold"}, "transactions.kind"),
        ({"quantity": 1e300}, "transactions.quantity"),
        ({"customer_id": "a\nb"}, "transactions.customer_id"),
        ({"occurred_at": "2026-03-10T12:00:00"}, "transactions.occurred_at"),
        ({"source": "ours"}, None),
        ({"known_at": "2026-03-10T12:00:00Z"}, None),
        ({"order_number": 3}, None),
    ],
)
def test_one_row_that_cannot_be_is_placed_and_nothing_is_kept(desk: Desk, now: datetime, row: dict[str, Any], field: str | None) -> None:
    with pytest.raises(ContentProblem) as told:
        send(desk, [event(now)], [line(now), line(now, line_id="2", **row)])
    assert told.value.row == 1
    assert field is None or told.value.field == field
    assert list(desk.ledger.facts()) == []
    with pytest.raises(ContentProblem, match="at least one row"):
        send(desk)


@pytest.mark.fault("C2")
@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+14:00", "1879-12-31T23:59:59Z", "9999-12-31T23:59:59-14:00", "9999-12-31T23:59:59.5Z"])
def test_a_time_off_the_calendar_is_placed_and_nothing_is_kept(desk: Desk, now: datetime, moment: str) -> None:
    for name in ("occurred_at", "resolved_at"):
        with pytest.raises(ContentProblem) as told:
            send(desk, [event(now), event(now, event_id="e2", kind="complaint", **{name: moment})])
        assert (told.value.field, told.value.row) == (f"events.{name}", 1)
    assert list(desk.ledger.facts()) == []


def test_a_row_sent_again_is_known_and_another_under_its_key_is_refused(desk: Desk, now: datetime) -> None:
    first = send(desk, [event(now)], [line(now)])
    assert (first.kept, first.duplicates, first.erased) == (2, 0, 0)
    # The same moment on another clock, and a number written otherwise, are the same row.
    other = (now - timedelta(hours=1)).astimezone(tz=None).isoformat()
    again = send(desk, [event(now, occurred_at=other)], [line(now, amount=4)])
    assert (again.kept, again.duplicates) == (0, 2)
    with pytest.raises(ConflictError) as told:
        send(desk, [event(now, event_id="e2"), event(now, kind="cart"), event(now, event_id="e3")])
    assert (told.value.field, told.value.row) == ("events", 1)
    assert [fact.identity for _, fact in desk.ledger.facts()] == ["e1", "o1\n1", "e2", "e3"], "the others are kept"
    assert [json.loads(each.body)["kind"] for each in desk.ledger.conflicts()] == ["cart"]
    with pytest.raises(ConflictError) as told:
        send(desk, [event(now)], [line(now, amount=5.0)])
    assert (told.value.field, told.value.row) == ("transactions", 0)


def test_what_was_bought_and_complained_of_counts_at_once(make: Callable[..., Answers], tmp_path: Path, now: datetime) -> None:
    offers = (Offer("once", "Once", "service", "any", is_once=True, margin=5.0),)
    desk = Desk(make(offers=offers), Ledger(tmp_path / "ledger"))
    try:
        before = {each["offer_id"] for each in decide(desk, "bob", max_offers=20)["offers"]}
        assert {"once", "product:jam"} <= before
        send(desk, transactions=[line(now, customer_id="bob", offer_id="once")])
        after = decide(desk, "bob", max_offers=20)
        assert {each["offer_id"] for each in after["offers"]} == before - {"once", "product:jam"}
        owned = desk.answers.fresh.on(Customer("bob", owned={}), now).owned
        assert {name: (each.orders, each.last_days) for name, each in owned.items()} == {"jam": (1, 0)}
        assert after["freshness"]["events_at"] == now.isoformat().replace("+00:00", "Z")
        assert after["freshness"]["as_of_rows"][0] == "features"
        assert "events_at" not in decide(desk, "ann")["freshness"], "of others nothing came in"
        send(desk, [event(now, customer_id="bob", kind="complaint")])
        complained = decide(desk, "bob", max_offers=20)
        assert {each["stage"] for each in complained["withheld"]} >= {"suppression"}
        send(desk, [event(now, event_id="e2", customer_id="bob", kind="complaint_resolved", occurred_at=now.isoformat())])
        assert decide(desk, "bob", max_offers=20)["offers"] == after["offers"]
        future = line(now, order_id="o2", customer_id="ann", product_id="tea", occurred_at=(now + timedelta(hours=3)).isoformat())
        send(desk, transactions=[future])
        assert "tea" not in desk.answers.fresh.on(Customer("ann"), now).owned, "it has not happened yet"
    finally:
        desk.close()


COMPLAINTS = [
    # rows as (hours ago, kind, hours ago that it was resolved), and whether a complaint is open now
    ([(3, "complaint", None)], 3),
    ([(3, "complaint", None), (2, "complaint", 1)], 3),
    ([(3, "complaint", None), (2, "complaint", -9000)], 2),
    ([(3, "complaint", -9000)], 3),
    ([(3, "complaint", 1)], None),
    ([(3, "complaint", None), (2, "complaint_resolved", None)], None),
    ([(3, "complaint", None), (2, "complaint_resolved", None), (1, "complaint", None)], 1),
    ([(3, "complaint", None), (3, "complaint_resolved", None)], None),
    ([(3, "complaint", None), (-5, "complaint_resolved", None)], 3),
]


@pytest.mark.parametrize(("told", "open_since"), COMPLAINTS)
def test_each_complaint_is_open_until_it_is_closed_itself(
    desk: Desk, now: datetime, tmp_path: Path, told: list[tuple[float, str, float | None]], open_since: float | None
) -> None:
    """What an answer knows at once is what the tables would say: the same rows, through the query of the batch, give the same."""

    def at(hours: float) -> datetime:
        return now - timedelta(hours=hours)

    rows = [
        event(now, event_id=f"c{place}", customer_id="bob", kind=kind, occurred_at=at(hours).isoformat())
        | ({} if closed is None else {"resolved_at": at(closed).isoformat()})
        for place, (hours, kind, closed) in enumerate(told)
    ]
    send(desk, rows)
    found = desk.answers.fresh.on(Customer("bob"), now).complaint_at
    assert found == (None if open_since is None else at(open_since))
    suppressed = {each["rule"] for each in decide(desk, "bob", max_offers=20)["withheld"] if each["stage"] == "suppression"}
    assert ("open_complaint" in suppressed) is (open_since is not None)
    table = pd.DataFrame([{"resolved_at": None, **row, "known_at": row["occurred_at"]} for row in rows])
    for name in ("occurred_at", "known_at", "resolved_at"):
        table[name] = pd.to_datetime(table[name], utc=True)
    with Engine() as engine:
        engine.attach({"events": table})
        engine.execute(f"create view events_then as select * from events as r where {gather.before(now, 'r')}")
        (batch,) = gather.complaints(engine, np.array(["bob"], dtype=object), now)
    assert batch == (-1 if found is None else micros(found))


def test_a_complaint_of_the_published_rows_is_not_settled_by_another(desk: Desk, now: datetime) -> None:
    before = Customer("bob", complaint_at=now - timedelta(days=3))
    send(desk, [event(now, customer_id="bob", kind="complaint", resolved_at=now.isoformat())])
    later = now + timedelta(minutes=1)
    assert desk.answers.fresh.on(before, later).complaint_at == before.complaint_at
    send(desk, [event(now, event_id="e2", customer_id="bob", kind="complaint_resolved", occurred_at=now.isoformat())])
    assert desk.answers.fresh.on(before, later).complaint_at is None


def test_other_processes_and_the_next_start_know_it_too(desk: Desk, make: Callable[..., Answers], now: datetime, tmp_path: Path) -> None:
    other = Desk(make(), Ledger(tmp_path / "ledger"))
    called: list[int] = []
    other.came_in = lambda: called.append(1)
    try:
        send(desk, [event(now, kind="complaint")], [line(now)])
        assert other.answers.fresh.waiting == 0
        other.listen()
        assert other.answers.fresh.waiting == 1
        assert other.answers.fresh.on(Customer("ann"), now) == desk.answers.fresh.on(Customer("ann"), now)
        # Rows whose tables know the first of two facts: only the second is new to them.
        end = next(place for place, fact in desk.ledger.facts() if fact.table == "transactions")
        fed = Fed((1, 0), (end.segment, end.offset), now + timedelta(hours=1))
        assert since(desk.ledger, fed).facts("ann")[0] == 1
        assert since(desk.ledger, None).facts("ann")[0] == 2
        assert since(desk.ledger, replace(fed, at=now)).facts("ann")[0] == 2, "what came in at the moment itself did not flow"
    finally:
        other.close()


def test_an_erased_customer_leaves_no_new_row_and_loses_the_old_ones(make: Callable[..., Answers], now: datetime, tmp_path: Path) -> None:
    from retain.workspace import Workspace

    workspace = Workspace.at(tmp_path)
    desk = Desk(make(), Ledger(workspace.ledger), erased=Erased(erasure.place(workspace), tick=lambda: 0.0))
    send(desk, [event(now), event(now, event_id="e2", customer_id="bob")], [line(now)])
    buried = erasure.bury(erasure.place(workspace), "ann", bytes(range(32)))
    desk.close()
    assert sweep_ledger(workspace, buried) == {"ledger/facts": 2}
    assert b"ann" not in b"".join(path.read_bytes() for path in (workspace.ledger / "log").glob("*.log"))
    desk = Desk(make(), Ledger(workspace.ledger), erased=Erased(erasure.place(workspace), tick=lambda: 0.0))
    try:
        assert [fact.customer_id for _, fact in desk.ledger.facts()] == ["bob"]
        desk.answers  # noqa: B018 - looks at the tombstones
        answer = send(desk, [event(now, event_id="e3")], [line(now, customer_id="bob")])
        assert (answer.kept, answer.erased) == (1, 1)
        assert desk.ledger.facts_of("ann") == []
        assert len(desk.ledger.facts_of("bob")) == 2
    finally:
        desk.close()


def test_a_row_that_was_made_again_answers_for_its_customer_only(desk: Desk, now: datetime) -> None:
    """A row of another table of rows: scores by the champions, whatever stands beside the published ones."""
    rows = desk.answers.rows
    place = rows.get("ann").position  # type: ignore[union-attr]
    raw = rows.array("raw").copy()
    raw[place, 0] = 0.75
    made = type(rows)(replace(rows.card, models={}), rows.shop, {**rows.arrays, "raw": raw})
    send(desk, [event(now)])
    desk.answers.overlay.put({"ann": Made(made.row(place), 1, now)})
    answer = scored.scores(desk.answers, ScoresRequest(["bob", "ann", "nobody", "ann", "cid"]))
    assert [(each.customer_id, each.churn) for each in answer.scores] == [("bob", 0.9), ("ann", 0.75), ("nobody", None), ("ann", 0.75), ("cid", 0.5)]
    assert decide(desk)["freshness"]["as_of_rows"] == ["lists", "band", "cause"]
    send(desk, [event(now, event_id="e2")])
    assert decide(desk)["freshness"]["as_of_rows"] == ["features", "lists", "band", "cause"], "one more came in since"


def test_rows_that_were_made_again_do_not_grow_without_end(make: Callable[..., Answers], now: datetime) -> None:
    row = make().rows.row(0)
    overlay = Overlay()
    for number in range(MOST + 5):
        overlay.put({f"c{number}": Made(row, 1, now)})
    overlay.put({"c10": Made(row, 2, now), "last": Made(row, 1, now)})
    assert len(overlay) == MOST
    assert overlay.get("c5") is None
    assert (overlay.get("c10") or overlay.get("last")).facts == 2  # type: ignore[union-attr]
