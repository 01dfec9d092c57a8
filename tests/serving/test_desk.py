"""The desk: same request same bytes, outcomes once, and what they change at once."""

from __future__ import annotations

import asyncio
import json
import resource
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from serving.answers import Answers
from serving.basis import decided, unpacked
from serving.decisions.facts import Customer, Offer
from serving.decisions.policy import Policy
from serving.decisions.receipts import decision_id
from serving.desk import ConflictError, Desk
from serving.fresh import since
from serving.ledger import Ledger, LedgerError, stamp
from serving.schemas import DecisionRequest, OutcomeRequest
from serving.strict import ContentProblem
from serving.tracing import NotFoundError

Wait = Callable[[Any], Any]


def ask(**changes: Any) -> DecisionRequest:
    return DecisionRequest(**{"customer_id": "ann", "request_id": "r1", "placement": "inbound_end", "channel": "call_center", **changes})


def outcome(now: datetime, **changes: Any) -> OutcomeRequest:
    return OutcomeRequest(**{"outcome_id": "o1", "decision_id": "d", "type": "shown", "occurred_at": now, "channel": "email", **changes})


def test_the_same_request_gets_the_same_bytes_also_from_the_next_process(
    desk: Desk, make: Callable[..., Answers], wait: Wait, tmp_path: Path
) -> None:
    first = wait(desk.decide(ask()))
    assert wait(desk.decide(ask())) == first
    desk.close()
    again = Desk(make(popular=()), Ledger(tmp_path / "ledger"))
    try:
        assert wait(again.decide(ask())) == first
    finally:
        again.close()


def test_another_body_under_the_same_request_id_is_refused_and_changes_nothing(desk: Desk, wait: Wait) -> None:
    first = wait(desk.decide(ask()))
    with pytest.raises(ConflictError) as caught:
        wait(desk.decide(ask(max_offers=1)))
    assert caught.value.field == "request_id"
    assert wait(desk.decide(ask())) == first


def test_a_retry_while_the_first_is_under_way_gets_the_same_bytes(desk: Desk) -> None:
    async def both() -> list[bytes]:
        return await asyncio.gather(*(desk.decide(ask()) for _ in range(20)))

    assert len(set(asyncio.run(both()))) == 1


def test_a_dry_run_leaves_no_trace(desk: Desk, wait: Wait) -> None:
    answer = json.loads(wait(desk.decide(ask(dry_run=True))))
    assert answer["decision_id"] is None
    assert answer["offers"]
    kept = json.loads(wait(desk.decide(ask())))
    assert desk.trace(kept["decision_id"]).answer.decision_id == kept["decision_id"]
    with pytest.raises(NotFoundError):
        desk.trace("d_unknown")


@pytest.mark.fault("C24")
def test_an_outcome_sent_a_thousand_times_at_once_is_one_row(desk: Desk, now: datetime) -> None:
    async def storm() -> list[Any]:
        return await asyncio.gather(*(desk.outcome(outcome(now)) for _ in range(1000)))

    answers = asyncio.run(storm())
    assert sum(not answer.duplicate for answer in answers) == 1
    assert len(desk.ledger.outcomes("d")) == 1


@pytest.mark.fault("C25")
def test_an_outcome_with_another_body_is_refused_and_the_first_stands(desk: Desk, wait: Wait, now: datetime) -> None:
    wait(desk.outcome(outcome(now)))
    with pytest.raises(ConflictError):
        wait(desk.outcome(outcome(now, type="accepted")))
    assert [each.kind for each in desk.ledger.outcomes("d")] == ["shown"]


@pytest.mark.fault("C25")
def test_an_outcome_before_its_decision_waits_and_is_joined(desk: Desk, wait: Wait, now: datetime) -> None:
    identity = decision_id("r1")
    early = wait(desk.outcome(outcome(now, decision_id=identity, type="unsubscribed", channel=None)))
    late = wait(desk.outcome(outcome(now, outcome_id="o2", decision_id=identity, type="purchased", occurred_at=now - timedelta(days=2))))
    assert early.pending
    assert late.pending
    answer = json.loads(wait(desk.decide(ask())))
    assert answer["decision_id"] == identity
    assert {each.outcome_id: (each.is_pending, each.is_late, each.customer_id) for each in desk.ledger.outcomes(identity)} == {
        "o1": (False, False, "ann"),
        "o2": (False, True, "ann"),
    }
    # The customer had left every channel before anybody knew who it was; from the join on that counts.
    after = json.loads(wait(desk.decide(ask(request_id="r2"))))
    assert after["offers"] == []
    assert after["withheld"] == [{"offer_id": "*", "stage": "consent", "rule": "no_consent"}]


def test_a_decision_follows_from_what_its_trace_keeps(desk: Desk, wait: Wait) -> None:
    asked = [
        ask(request_id=None, goal=goal, customer_id=who) for goal in ("best", "retention", "cross_sell") for who in ("ann", "bob", "dee", "gus", "x")
    ]
    asked += [ask(request_id=None, budget_ms=1), ask(request_id=None, as_of=datetime(2020, 1, 1, tzinfo=UTC))]
    offered = 0
    for request in asked:
        answer = wait(desk.decide(request))
        identity = json.loads(answer)["decision_id"]
        entry = desk.ledger.decision(identity)
        assert entry is not None
        basis = unpacked(entry.basis)
        assert basis is not None
        kept = msgspec.json.decode(entry.request, type=DecisionRequest)
        again, _, rested = decided(kept, identity, basis, desk.answers.rows.shop, desk.answers.policy)
        assert msgspec.json.encode(again) == answer
        assert rested == basis
        assert {each.offer_id for each in basis.candidates if each.probability > 0} == {each.offer_id for each in again.offers}
        assert [(each.offer_id, each.rule) for each in basis.withheld] == [(each.offer_id, each.rule) for each in again.withheld]
        offered += len(again.offers)
    assert offered > 10
    trace = desk.trace(json.loads(wait(desk.decide(ask())))["decision_id"]).basis
    assert trace is not None
    assert trace["features"] == {
        "churn": 0.2,
        "clv": 100.0,
        "profile__tier": "gold",
        "purchases__days_since_order_365d": 3.0,
        "gaps__mean_gap_days_365d": 7.0,
    }
    assert trace["customer"]["scores"]["churn"] == 0.2


@pytest.mark.parametrize("changes", [{"customer_id": "eve"}, {"customer_id": "fay"}, {"personalised": False}])
def test_where_nothing_personal_may_choose_nothing_personal_is_kept(desk: Desk, wait: Wait, changes: dict[str, Any]) -> None:
    basis = desk.trace(json.loads(wait(desk.decide(ask(**changes))))["decision_id"]).basis
    assert basis is not None
    assert basis["features"] == {}
    assert basis["customer"]["owned"] == basis["customer"]["likings"] == {}
    assert basis["customer"]["scores"]["churn"] is None


_OLDER = """
create table decisions (decision_id text primary key, body_hash text, customer_id text, at text, request blob, answer blob, windows text, basis blob);
create table outcomes (
    outcome_id text primary key, body_hash text, decision_id text, customer_id text, kind text, occurred_at text,
    offer_id text, channel text, amount real, currency text, received_at text, is_pending integer, is_late integer
);
"""


def test_a_ledger_of_the_first_release_is_taken_over(desk: Desk, make: Callable[..., Answers], wait: Wait, now: datetime, tmp_path: Path) -> None:
    first = wait(desk.decide(ask()))
    identity = json.loads(first)["decision_id"]
    wait(desk.outcome(outcome(now, decision_id=identity)))
    entry = desk.ledger.decision(identity)
    assert entry is not None
    folder = tmp_path / "older"
    folder.mkdir()
    with sqlite3.connect(folder / "ledger.db") as old:
        old.executescript(_OLDER)
        decision = (identity, entry.body_hash, "ann", entry.at, entry.request, entry.answer, entry.windows, b"")
        old.execute("insert into decisions values (?, ?, ?, ?, ?, ?, ?, ?)", decision)
        (kept,) = desk.ledger.everything()
        old.execute(f"insert into outcomes values ({', '.join('?' * 13)})", msgspec.structs.astuple(kept)[:13])
    old.close()
    for _ in range(2):
        again = Desk(make(), Ledger(folder))
        try:
            assert wait(again.decide(ask())) == first
            assert again.trace(identity).basis is None
            assert again.ledger.everything() == desk.ledger.everything()
        finally:
            again.close()
    assert sorted(path.name for path in folder.glob("ledger.db*")) == ["ledger.db.taken"]


@pytest.mark.fault("C25")
def test_an_outcome_after_the_window_is_kept_and_called_late(make: Callable[..., Answers], wait: Wait, now: datetime, tmp_path: Path) -> None:
    clock = [now]
    desk = Desk(replace(make(), clock=lambda: clock[0]), Ledger(tmp_path / "ledger"))
    try:
        identity = json.loads(wait(desk.decide(ask())))["decision_id"]
        clock[0] = now + timedelta(days=28)
        inside = wait(desk.outcome(outcome(now + timedelta(days=28), decision_id=identity)))
        outside = wait(desk.outcome(outcome(now + timedelta(days=28, seconds=1), outcome_id="o2", decision_id=identity)))
    finally:
        desk.close()
    assert (inside.late, outside.late) == (False, True)


@pytest.mark.fault("C2")
@pytest.mark.parametrize("kind", ["shown", "complained"])
def test_what_has_not_happened_yet_is_refused_and_holds_nobody_up(desk: Desk, wait: Wait, now: datetime, kind: str) -> None:
    email = ask(customer_id="bob", channel="email", request_id=None)
    before = json.loads(wait(desk.decide(email)))["offers"]
    for number, ahead in enumerate((timedelta(hours=24, seconds=1), timedelta(days=36_500))):
        with pytest.raises(ContentProblem, match="24 hours ahead") as told:
            wait(desk.outcome(outcome(now + ahead, outcome_id=f"o{number}", customer_id="bob", type=kind)))
        assert told.value.field == "occurred_at"
    assert desk.ledger.everything() == []
    assert json.loads(wait(desk.decide(email)))["offers"] == before
    assert wait(desk.outcome(outcome(now + timedelta(hours=24), customer_id="bob", type="clicked"))).pending, "clocks differ"


@pytest.mark.fault("C25")
def test_an_outcome_that_names_another_customer_than_its_decision_is_refused(desk: Desk, wait: Wait, now: datetime) -> None:
    identity = json.loads(wait(desk.decide(ask())))["decision_id"]
    left = outcome(now, decision_id=identity, customer_id="bob", type="unsubscribed")
    with pytest.raises(ContentProblem) as told:
        wait(desk.outcome(left))
    assert told.value.field == "customer_id"
    assert desk.ledger.everything() == []
    assert wait(desk.outcome(msgspec.structs.replace(left, customer_id="ann"))).duplicate is False
    assert left_email(desk) == {"ann"}


@pytest.mark.fault("C25")
@pytest.mark.parametrize("kind", ["unsubscribed", "complained"])
def test_whoever_may_be_meant_is_left_alone_once_the_decision_comes(
    desk: Desk, make: Callable[..., Answers], wait: Wait, now: datetime, tmp_path: Path, kind: str
) -> None:
    """The outcome was first; also another process and the next start know whose it is, and sending it again stays harmless."""
    other = Desk(make(), Ledger(tmp_path / "ledger"))
    sent = outcome(now, decision_id=decision_id("r1"), customer_id="bob", type=kind)
    assert wait(desk.outcome(sent)).pending
    wait(desk.outcome(outcome(now, outcome_id="o2", decision_id=decision_id("r1"), customer_id="bob")))
    assert left_email(desk) == {"bob"}
    wait(desk.decide(ask()))
    other.listen()
    again = Desk(replace(make(), fresh=since(desk.ledger, None)), Ledger(tmp_path / "ledger"))
    try:
        assert wait(desk.outcome(sent)).duplicate
        for each in (desk, other, again):
            assert left_email(each) == {"ann", "bob"}
            shown = {name: len(each.answers.fresh.on(Customer(name), now).contacts) for name in ("ann", "bob")}
            assert shown == {"ann": 1, "bob": 0}, "contacts are the decision's customer's"
    finally:
        other.close()
        again.close()


def left_email(desk: Desk) -> set[str]:
    """Who has left the channel, or complained."""
    found = [desk.answers.fresh.on(Customer(name)) for name in ("ann", "bob", "cid")]
    return {each.customer_id for each in found if "email" in each.unsubscribed or each.complaint_at is not None}


def test_an_outcome_long_before_its_decision_is_none_of_its_effects(desk: Desk, wait: Wait, now: datetime) -> None:
    identity = json.loads(wait(desk.decide(ask())))["decision_id"]
    before = [
        wait(desk.outcome(outcome(now, outcome_id=f"o{hours}", decision_id=identity, occurred_at=now - timedelta(hours=hours)))) for hours in (1, 48)
    ]
    assert [each.late for each in before] == [False, True], "a clock that is behind is forgiven"


@pytest.mark.fault("D6")
def test_leaving_a_channel_closes_it_for_the_next_decision_and_the_list(desk: Desk, wait: Wait, now: datetime) -> None:
    email = ask(customer_id="bob", channel="email", request_id=None)
    assert json.loads(wait(desk.decide(email)))["offers"]
    assert "bob" in [row.customer_id for row in desk.answers.churn_list(10).rows]
    wait(desk.outcome(outcome(now, customer_id="bob", type="unsubscribed")))
    assert json.loads(wait(desk.decide(email)))["withheld"] == [{"offer_id": "*", "stage": "consent", "rule": "no_consent"}]
    assert "bob" not in [row.customer_id for row in desk.answers.churn_list(10).rows]


@pytest.mark.fault("C16")
def test_what_was_acknowledged_is_there_after_the_process_was_killed(
    desk: Desk, make: Callable[..., Answers], wait: Wait, now: datetime, tmp_path: Path
) -> None:
    import shutil

    wait(desk.outcome(outcome(now)))
    identity = json.loads(wait(desk.decide(ask())))["decision_id"]
    # The files as they lie on disk at this moment, without any clean end.
    shutil.copytree(tmp_path / "ledger", tmp_path / "after")
    ledger = Ledger(tmp_path / "after")
    try:
        assert [each.outcome_id for each in ledger.everything()] == ["o1"]
        assert ledger.decision(identity) is not None
    finally:
        ledger.close()


def test_two_desks_on_one_ledger_answer_a_request_once(desk: Desk, make: Callable[..., Answers], wait: Wait, now: datetime, tmp_path: Path) -> None:
    other = Desk(make(), Ledger(tmp_path / "ledger"))
    try:
        first = wait(desk.decide(ask()))
        assert wait(other.decide(ask())) == first
        identity = json.loads(first)["decision_id"]
        assert not wait(desk.outcome(outcome(now, decision_id=identity))).duplicate
        assert wait(other.outcome(outcome(now, decision_id=identity))).duplicate
        # What one was told counts for the next decision of the other.
        email = ask(customer_id="bob", channel="email", request_id=None)
        assert json.loads(wait(other.decide(email)))["offers"]
        wait(desk.outcome(outcome(now, outcome_id="o2", customer_id="bob", type="unsubscribed")))
        assert json.loads(wait(other.decide(email)))["offers"] == []
        assert other.ledger.everything() == desk.ledger.everything()
    finally:
        other.close()


def test_after_a_day_the_same_request_id_is_a_new_request(make: Callable[..., Answers], wait: Wait, now: datetime, tmp_path: Path) -> None:
    times = [now]
    answers = replace(make(), clock=lambda: times[0])
    desk = Desk(answers, Ledger(tmp_path / "ledger"))
    try:
        first = wait(desk.decide(ask()))
        times[0] = now + timedelta(hours=23, minutes=59)
        assert desk.answered(ask()) == (first, True)
        times[0] = now + timedelta(hours=24)
        second, is_repeated = desk.answered(ask(max_offers=1))
        assert not is_repeated
        assert json.loads(second)["decision_id"] != json.loads(first)["decision_id"]
        assert desk.answered(ask(max_offers=1)) == (second, True)
        assert msgspec.json.encode(desk.trace(json.loads(first)["decision_id"]).answer) == first
    finally:
        desk.close()


@contextmanager
def full_disk(desk: Desk) -> Iterator[None]:
    """No file of this process may grow beyond what the log has now, and a little: the kernel writes a part and refuses the rest."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (desk.ledger.journal.end.offset + 40, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.fault("C23")
def test_a_full_disk_is_told_and_nothing_is_acknowledged_again(
    desk: Desk, make: Callable[..., Answers], wait: Wait, now: datetime, tmp_path: Path
) -> None:
    first = wait(desk.decide(ask()))
    with full_disk(desk), pytest.raises(LedgerError):
        wait(desk.outcome(outcome(now)))
    assert desk.unready() is not None
    with pytest.raises(LedgerError):
        wait(desk.outcome(outcome(now)))
    # By default a decision is given all the same, without chance, and says that it stands nowhere.
    answer = json.loads(wait(desk.decide(ask(request_id="r2"))))
    assert (answer["decision_id"], answer["exploration"], "not_logged" in answer["degraded"]) == (None, False, True)
    assert answer["offers"]
    assert wait(desk.decide(ask())) == first
    desk.close()
    again = Desk(make(), Ledger(tmp_path / "ledger"))
    try:
        assert again.ledger.journal.torn == []
        assert again.ledger.everything() == []
        assert wait(again.decide(ask())) == first
        assert not wait(again.outcome(outcome(now))).duplicate
    finally:
        again.close()


@pytest.mark.fault("C23")
def test_the_house_may_refuse_what_cannot_be_written_down(make: Callable[..., Answers], wait: Wait, tmp_path: Path) -> None:
    desk = Desk(make(policy=Policy(when_unlogged="refuse")), Ledger(tmp_path / "ledger"))
    try:
        with full_disk(desk), pytest.raises(LedgerError):
            wait(desk.decide(ask()))
        with pytest.raises(LedgerError):
            wait(desk.decide(ask(request_id="r2")))
    finally:
        desk.close()


def test_the_trace_holds_what_was_asked_and_what_came_of_it(desk: Desk, wait: Wait, now: datetime) -> None:
    answer = wait(desk.decide(ask()))
    identity = json.loads(answer)["decision_id"]
    wait(desk.outcome(outcome(now, decision_id=identity, type="accepted", offer_id="product:jam", amount=4.0)))
    trace = desk.trace(identity)
    assert trace.request == ask()
    assert msgspec.json.encode(trace.answer) == answer
    assert [(each.type, each.offer_id, each.amount) for each in trace.outcomes] == [("accepted", "product:jam", 4.0)]


def test_a_retry_of_what_a_power_loss_took_says_that_it_was_not_on_record(
    desk: Desk, make: Callable[..., Answers], wait: Wait, now: datetime, tmp_path: Path
) -> None:
    kept = wait(desk.decide(ask(request_id="r0")))
    lost = wait(desk.decide(ask()))
    identity = json.loads(lost)["decision_id"]
    wait(desk.outcome(outcome(now, decision_id=identity)))
    desk.close()
    path = tmp_path / "ledger" / "log" / "00000001.log"
    with path.open("r+b") as log:
        log.truncate(path.read_bytes().index(lost) + 100)
    again = Desk(make(), Ledger(tmp_path / "ledger"))
    try:
        assert len(again.ledger.journal.torn) == 1
        assert again.answered(ask(request_id="r0")) == (kept, True)
        answer, is_repeated = again.answered(ask())
        assert (json.loads(answer)["decision_id"], is_repeated) == (identity, False)
        assert not wait(again.outcome(outcome(now, decision_id=identity))).pending
    finally:
        again.close()


@pytest.mark.fault("C19")
def test_ready_needs_models_and_a_ledger(desk: Desk) -> None:
    assert desk.unready() is None
    assert isinstance(desk.ledger.everything(), list)


def test_who_names_no_request_gets_an_id_of_the_same_shape_that_nobody_else_has(desk: Desk, wait: Wait) -> None:
    ids = {json.loads(wait(desk.decide(ask(request_id=None))))["decision_id"] for _ in range(20)}
    assert len(ids) == 20
    for each in ids:
        assert len(each) == len(decision_id("r1"))
        assert desk.trace(each).decision_id == each


def test_each_window_that_is_kept_ends_as_its_offer_says(make: Callable[..., Answers], wait: Wait, now: datetime, tmp_path: Path) -> None:
    week = Offer("W", "Week", "coupon", margin=90.0, outcome_days=7)
    desk = Desk(make(offers=(week,)), Ledger(tmp_path / "other"))
    try:
        answer = json.loads(wait(desk.decide(ask())))
        kept = desk.ledger.decision(answer["decision_id"])
    finally:
        desk.close()
    assert kept is not None
    assert answer["offers"][0]["offer_id"] == "W"
    others = {one["offer_id"] for one in answer["offers"]} | {"*"}
    days = {offer: (datetime.fromisoformat(end) - now).days for offer, end in json.loads(kept.windows).items()}
    assert days == dict.fromkeys(others, 28) | {"W": 7}


@given(st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-5, minutes=-30)), timezone(timedelta(hours=14))])))
@example(datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))))
@example(datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-14))))
def test_a_stamp_is_the_moment_in_utc_with_microseconds(moment: datetime) -> None:
    for one in (moment, moment.replace(microsecond=0), moment.replace(microsecond=10)):
        try:
            known = one.astimezone(UTC)
        except OverflowError:
            # What lies beyond the calendar is its end.
            known = datetime(1, 1, 1, tzinfo=UTC) if one.year == 1 else datetime(9999, 12, 31, tzinfo=UTC)
        assert stamp(one) == known.isoformat(timespec="microseconds")
        assert datetime.fromisoformat(stamp(one)) == known


@pytest.mark.parametrize(("own", "others", "is_late"), [(True, False, True), (False, True, True), (True, True, True), (False, False, False)])
def test_who_is_asked_with_others_has_its_own_time_and_theirs(desk: Desk, own: bool, others: bool, is_late: bool) -> None:
    since = time.monotonic() - (61.0 if own else 0.0)
    body, _ = desk.answered(ask(budget_ms=60_000), since, lambda: others)
    assert ("over_budget" in json.loads(body)["degraded"]) is is_late
