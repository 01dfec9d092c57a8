"""An outcome that is about two, when one of them is erased: what the other said stays, and nothing of the erased does."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from retain.erasure import Erased, bury
from retain.erasure import place as tombstones
from retain.errors import IntegrityError
from retain.workspace import Workspace
from serving import erasure, journal, overwriting
from serving.answers import Answers
from serving.decisions.facts import Customer
from serving.decisions.receipts import decision_id, fingerprint
from serving.desk import Desk
from serving.entries import Entry, Outcome
from serving.fresh import Fresh, since
from serving.ledger import OUTCOME, Ledger, decoded, is_brought, mark, rekeyed
from serving.remembered import read_up_to, stands
from serving.schemas import DecisionRequest, OutcomeRequest
from serving.unnamed import filled, left, unnamed

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
WHEN = NOW + timedelta(hours=1)


def outcome(name: str | None = "cid", kind: str = "unsubscribed", outcome_id: str = "o1", **more: Any) -> Outcome:
    """As it comes in, and is kept until its decision is known."""
    body = {"decision_id": decision_id("r1"), "offer_id": None, "channel": "email", "amount": None, "currency": None, **more}
    request = OutcomeRequest(outcome_id, type=kind, occurred_at=NOW, customer_id=name, **body)  # type: ignore[arg-type]
    mark = fingerprint(msgspec.json.encode(request))
    return Outcome(
        outcome_id, mark, request.decision_id, name, kind, NOW.isoformat(), request.offer_id, request.channel, None, None, NOW.isoformat(), True
    )


def decision(of: str) -> Entry:
    return Entry(decision_id("r1"), decision_id("r1"), "", of, NOW.isoformat(), b"{}", b"{}", "{}")


@pytest.mark.fault("E8")
@pytest.mark.parametrize(
    ("named", "of", "kind", "gone", "stays"),
    [
        ("cid", "bob", "unsubscribed", "cid", "unnamed"),
        ("cid", "bob", "shown", "cid", "unnamed"),
        ("cid", None, "complained", "cid", "unnamed"),
        ("cid", None, "shown", "cid", None),
        ("cid", "cid", "unsubscribed", "cid", None),
        ("cid", "bob", "unsubscribed", "bob", "it"),
        ("cid", "bob", "shown", "bob", None),
        (None, "bob", "unsubscribed", "bob", None),
        (None, "bob", "unsubscribed", "cid", "it"),
        ("cid", "bob", "unsubscribed", "cid bob", None),
        ("cid", "bob", "unsubscribed", "ann", "it"),
    ],
)
def test_what_stays_of_an_outcome(named: str | None, of: str | None, kind: str, gone: str, stays: str | None) -> None:
    told = outcome(named, kind)
    found = left(told, None if of is None else decision(of), gone.split())
    assert found == {"it": told, "unnamed": unnamed(told), None: None}[stays]


def test_what_only_looks_like_an_id_is_none() -> None:
    for told in (outcome("42", outcome_id="evt-1421"), outcome("d"), outcome("a", offer_id="O42a"), outcome("4", outcome_id="42")):
        assert left(told, decision("bob"), {told.customer_id}) == unnamed(told)


def test_what_another_machine_had_joined_is_the_erased_ones_own() -> None:
    own = msgspec.structs.replace(outcome("cid"), is_pending=False)
    assert left(own, None, {"cid"}) is None


@pytest.mark.parametrize("where", ["outcome_id", "offer_id", "decision_id"])
def test_nothing_stays_where_a_caller_made_an_id_of_the_erased_one(where: str) -> None:
    assert left(outcome(**{where: "left:cid:7"}), decision("bob"), {"cid"}) is None
    assert left(outcome("ann", **{where: "left:cid:7"}), decision("cid"), {"cid"}) is None
    assert left(outcome("ann", **{where: "left:ann:7"}), decision("cid"), {"cid"}) is not None


@pytest.mark.parametrize("length", [1, 2, 3, 14, 15, 16, 30, 31, 32, 33, 200, 254, 255, 256, 257, 300, 1000])
def test_a_record_keeps_its_length_without_a_name_of_any_length(length: int) -> None:
    told = outcome("x" * length)
    size = len(msgspec.msgpack.encode(told))
    body = filled(unnamed(told), size)
    assert body is not None
    assert len(body) == size
    assert msgspec.structs.replace(msgspec.msgpack.decode(body, type=Outcome), filler=None) == unnamed(told)
    assert filled(told, size - 1) is None


@pytest.fixture
def own(tmp_path: Path) -> Workspace:
    return Workspace.at(tmp_path / "own")


@pytest.fixture
def opened(make: Callable[..., Answers], own: Workspace) -> Callable[[], Desk]:
    return lambda: Desk(make(), Ledger(own.ledger), erased=Erased(tombstones(own)))


def tell(desk: Desk, name: str | None, kind: str = "unsubscribed", outcome_id: str = "o1") -> Any:
    request = OutcomeRequest(outcome_id, decision_id("r1"), kind, NOW, customer_id=name, channel="email")  # type: ignore[arg-type]
    return asyncio.run(desk.outcome(request))


def decide(desk: Desk, who: str = "bob", name: str = "r1") -> None:
    asyncio.run(desk.decide(DecisionRequest(who, request_id=name, placement="inbound_end")))


def gone(desk: Desk, who: str) -> set[str]:
    """Channels that somebody left, as a service that starts now knows it."""
    fresh: Fresh = since(desk.ledger, None)
    return set(fresh.on(Customer(who)).unsubscribed)


@pytest.mark.fault("E8")
def test_who_was_named_has_left_also_when_the_decisions_customer_is_erased(own: Workspace, opened: Callable[[], Desk]) -> None:
    desk = opened()
    tell(desk, "cid")
    tell(desk, "cid", "shown", "o2")
    decide(desk)
    assert (gone(desk, "bob"), gone(desk, "cid")) == ({"email"}, {"email"})
    desk.close()
    removed = erasure.erase(own, "bob", bytes(32), WHEN)["removed"]
    assert removed == {"ledger/decisions": 1, "ledger/outcomes": 1}
    desk = opened()
    assert (gone(desk, "bob"), gone(desk, "cid")) == (set(), {"email"})
    assert [(each.outcome_id, each.customer_id) for each in desk.ledger.everything()] == [("o1", "cid")]
    desk.close()


@pytest.mark.fault("E8")
def test_who_left_before_the_decision_was_known_has_left_when_it_is(own: Workspace, opened: Callable[[], Desk]) -> None:
    desk = opened()
    tell(desk, "cid")
    desk.close()
    erasure.erase(own, "cid", bytes(32), WHEN)
    desk = opened()
    assert [each.customer_id for each in desk.ledger.everything()] == [None]
    decide(desk)
    assert "email" in desk.answers.fresh.on(Customer("bob")).unsubscribed or gone(desk, "bob") == {"email"}
    assert (gone(desk, "bob"), gone(desk, "cid")) == ({"email"}, set())
    desk.close()


@pytest.mark.fault("E8")
def test_a_record_in_a_full_segment_is_found_again_and_places_hold(
    own: Workspace, opened: Callable[[], Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "SEGMENT_RECORDS", 2)
    desk = opened()
    tell(desk, "cid")
    decide(desk)
    decide(desk, "ann", "r2")
    running = desk.ledger
    (before,) = [place for place, each in running.placed() if each.outcome_id == "o1"]
    erasure.erase(own, "cid", bytes(32), WHEN)
    for ledger in (running, Ledger(own.ledger)):
        ((place, kept),) = ledger.placed()
        assert (place, kept.customer_id, kept.named) == (before, "bob", None)
        assert ledger.outcomes(decision_id("r1")) == [kept]
        ledger.close()
    assert not [path for path in own.root.rglob("*") if path.is_file() and b"cid" in path.read_bytes()]


@pytest.mark.fault("E8")
def test_killed_at_any_write_nothing_is_lost_and_nothing_doubled(
    own: Workspace, opened: Callable[[], Desk], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "SEGMENT_RECORDS", 2)
    desk = opened()
    assert desk.ledger.bring(outcome("cid"), NOW)
    decide(desk)
    decide(desk, "cid", "r2")
    (record,) = desk.ledger.journal.records((OUTCOME,))
    hashed = mark(record.body).to_bytes(8, "little")
    desk.close()
    shutil.copytree(own.root, tmp_path / "kept")
    buried = bury(tombstones(own), "cid", bytes(32))
    interrupted = 0
    while True:
        shutil.rmtree(own.ledger)
        shutil.copytree(Workspace.at(tmp_path / "kept").ledger, own.ledger)
        calls = 0

        def counted(name: str, most: int = interrupted) -> Callable[..., Any]:
            real = getattr(os, name)

            def call(*arguments: Any, **more: Any) -> Any:
                nonlocal calls
                calls += 1
                if calls > most:
                    if name == "pwrite":
                        # Half of it is there.
                        real(arguments[0], arguments[1][: len(arguments[1]) // 2], arguments[2])
                    raise KeyboardInterrupt
                return real(*arguments, **more)

            return call

        is_whole = True
        with monkeypatch.context() as patch:
            for name in ("pwrite", "replace", "unlink"):
                patch.setattr(os, name, counted(name))
            try:
                erasure.sweep_ledger(own, buried)
            except KeyboardInterrupt:
                is_whole = False
        # A service starts in between.
        ledger = Ledger(own.ledger)
        assert ledger.journal.torn == []
        assert {"bob"} <= {each.customer_id for each in ledger.decisions()} <= {"bob", "cid"}
        ledger.close()
        erasure.sweep_ledger(own, buried)
        ledger = Ledger(own.ledger)
        assert [(each.outcome_id, each.customer_id) for each in ledger.everything()] == [("o1", "bob")], interrupted
        assert [each.customer_id for each in ledger.decisions()] == ["bob"]
        ledger.close()
        files = {path.name: path.read_bytes() for path in own.ledger.rglob("*") if path.is_file()}
        assert not [name for name, content in files.items() if b"cid" in content or hashed in content]
        if is_whole:
            break
        interrupted += 1
    assert interrupted >= 4


@pytest.mark.fault("E8")
def test_outcomes_of_two_machines_that_differ_keep_nobody_from_being_erased(own: Workspace, opened: Callable[[], Desk]) -> None:
    desk = opened()
    tell(desk, "ann")
    assert not desk.ledger.bring(outcome("cid", "complained"), NOW)
    assert [each.identity for each in desk.ledger.conflicts()] == ["o1"]
    # As a release before wrote it.
    desk.ledger.conflict("outcome", "o1", msgspec.json.encode(outcome("cid", "shown")), NOW.isoformat())
    desk.close()
    told = erasure.export(own, "cid")["ledger"]["conflicts"]
    assert [each["request"]["kind"] for each in told] == ["complained", "shown"]
    assert erasure.erase(own, "cid", bytes(32), WHEN)["removed"] == {"ledger/conflicts": 2}
    assert not [path for path in own.ledger.rglob("*") if path.is_file() and b"cid" in path.read_bytes()]


@pytest.mark.fault("E8")
@pytest.mark.parametrize("is_known", [True, False])
def test_what_another_machine_tells_of_the_erased_stays_without_the_name(opened: Callable[[], Desk], own: Workspace, *, is_known: bool) -> None:
    bury(tombstones(own), "cid", bytes(32))
    desk = opened()
    assert "cid" in desk.answers.rows.tombstones, "looked up as whenever somebody is answered"
    if is_known:
        decide(desk)
    assert desk.bring(outcome("cid"))
    assert desk.bring(outcome("cid", "shown", "o2")) is is_known
    assert not desk.bring(outcome("cid")), "it is on record"
    assert not desk.bring(unnamed(outcome("cid")))
    if not is_known:
        decide(desk)
    assert "email" in desk.answers.fresh.on(Customer("bob")).unsubscribed
    assert (gone(desk, "bob"), gone(desk, "cid")) == ({"email"}, set())
    assert desk.ledger.conflicts() == []
    desk.close()
    assert not [path for path in own.ledger.rglob("*") if path.is_file() and b"cid" in path.read_bytes()]


def test_a_machine_that_has_the_name_yet_takes_the_same_without_it_for_the_same(opened: Callable[[], Desk]) -> None:
    desk = opened()
    tell(desk, "cid")
    assert not desk.ledger.bring(unnamed(outcome("cid")), NOW)
    assert desk.ledger.conflicts() == []
    assert not desk.ledger.bring(outcome("ann"), NOW)
    assert [each.identity for each in desk.ledger.conflicts()] == ["o1"], "who names another says something else"
    assert not desk.ledger.bring(outcome(None, "shown"), NOW)
    assert len(desk.ledger.conflicts()) == 2, "so does who tells another thing without a name"
    desk.close()


@pytest.mark.parametrize("is_told", [True, False])
def test_whose_record_it_is_and_what_was_told_of_it_are_known_afterwards(own: Workspace, opened: Callable[[], Desk], *, is_told: bool) -> None:
    desk = opened()
    decide(desk)
    assert desk.ledger.bring(outcome("cid"), NOW) if is_told else desk.ledger.add(outcome("cid"), b"")
    (record,) = desk.ledger.journal.records((OUTCOME,))
    read = read_up_to(desk.ledger, record.place)
    desk.close()
    erasure.erase(own, "cid", bytes(32), WHEN)
    ledger = Ledger(own.ledger)
    (now,) = ledger.journal.records((OUTCOME,))
    assert is_brought(now) is is_brought(record) is is_told
    assert (mark(record.body) in now.keys) is False
    assert stands(ledger, read)
    assert now.keys == rekeyed(record, now.body)
    kept = decoded(OUTCOME, now.body)
    assert isinstance(kept, Outcome)
    assert kept.customer_id is None
    ledger.close()


@pytest.mark.fault("E8")
def test_no_index_keeps_a_hash_of_what_stood_there(own: Workspace, opened: Callable[[], Desk], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "SEGMENT_RECORDS", 2)
    desk = opened()
    decide(desk)
    assert desk.ledger.bring(outcome("cid"), NOW)
    decide(desk, "ann", "r2")
    (record,) = desk.ledger.journal.records((OUTCOME,))
    desk.close()
    held = mark(record.body).to_bytes(8, "little")
    assert any(held in path.read_bytes() for path in own.ledger.rglob("*.index"))
    erasure.erase(own, "cid", bytes(32), WHEN)
    assert not [path for path in own.ledger.rglob("*") if path.is_file() and held in path.read_bytes()]
    ledger = Ledger(own.ledger)
    assert [each.customer_id for each in ledger.outcomes(decision_id("r1"))] == ["bob"]
    ledger.close()


@pytest.mark.fault("E8")
@pytest.mark.parametrize("plan", ["{bad", "[7]", "[[1, 999999999]]", "[[1, 5]]", "[[9, 0]]", '[[1, 0, 2, [1], "00"]]', '[[1, 0, 2, [1], "no"]]'])
def test_a_plan_that_does_not_fit_is_told_and_overwrites_nothing(own: Workspace, opened: Callable[[], Desk], plan: str) -> None:
    desk = opened()
    decide(desk)
    desk.close()
    (log,) = (own.ledger / "log").glob("*.log")
    before = log.read_bytes()
    (own.ledger / overwriting.PLAN).write_text(plan)
    with pytest.raises(IntegrityError, match=r"erasing\.json of the ledger .*; restore both from one backup, or take the file away"):
        opened()
    assert log.read_bytes() == before
    (own.ledger / overwriting.PLAN).unlink()
    desk = opened()
    assert len(list(desk.ledger.decisions())) == 1
    desk.close()
