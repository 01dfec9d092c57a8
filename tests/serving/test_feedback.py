"""Receipts and outcomes flow back into the tables, once, and what is computed next knows them."""

from __future__ import annotations

import asyncio
import json
import resource
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from features import catalog
from features.snapshot import snapshot
from retain import files
from retain.cli import main
from retain.engine import of
from retain.erasure import Erased
from retain.erasure import place as erasure_place
from retain.errors import RetainError
from retain.files import sha256, verify_folder
from retain.simulate import simulate
from retain.workspace import STATE, Workspace
from serving import erasure
from serving.answers import Answers
from serving.decisions.control import Groups
from serving.decisions.facts import Customer, Offer
from serving.decisions.policy import Policy
from serving.decisions.receipts import decision_id
from serving.desk import Desk
from serving.feedback import MARK, fed, feedback
from serving.fresh import Fresh, since
from serving.ledger import Ledger
from serving.schemas import DecisionRequest, OutcomeRequest
from training.tasks.uplift import Uplift


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = Workspace.at(tmp_path_factory.mktemp("tiny"))
    simulate(workspace, customers=20, seed=7, days=120, progress=False)
    return workspace


@pytest.fixture
def place(tiny: Workspace, tmp_path: Path, now: datetime) -> Workspace:
    """A workspace of its own whose clock stands a day after the decisions."""
    import shutil

    shutil.copytree(tiny.root, tmp_path / "own")
    workspace = Workspace.at(tmp_path / "own")
    workspace.write_state(workspace.state().model_copy(update={"as_of": now + timedelta(days=1)}))
    return workspace


@pytest.fixture
def own(place: Workspace, make: Callable[..., Answers]) -> Iterator[Desk]:
    desk = Desk(make(), Ledger(place.ledger))
    yield desk
    desk.close()


def decided(desk: Desk, **changes: Any) -> dict[str, Any]:
    asked = {"customer_id": "bob", "placement": "letter", "channel": "email", **changes}
    answer: dict[str, Any] = json.loads(asyncio.run(desk.decide(DecisionRequest(**asked))))
    return answer


def came(desk: Desk, outcome_id: str, decision_id: str, kind: str, at: datetime, **changes: Any) -> None:
    asyncio.run(desk.outcome(OutcomeRequest(**{"outcome_id": outcome_id, "decision_id": decision_id, "type": kind, "occurred_at": at, **changes})))


def rows(workspace: Workspace, name: str) -> list[dict[str, Any]]:
    kept: list[dict[str, Any]] = pq.read_table(workspace.table(name)).to_pylist()
    return [row for row in kept if row["source"] == "ledger"]


def test_what_was_shown_becomes_a_contact_and_twice_changes_nothing(place: Workspace, own: Desk, now: datetime) -> None:
    first, second = decided(own), decided(own, customer_id="ann")
    best = first["offers"][0]
    came(own, "o1", first["decision_id"], "shown", now + timedelta(minutes=1), offer_id=best["offer_id"], channel="email")
    came(own, "o2", first["decision_id"], "accepted", now + timedelta(hours=2), offer_id=best["offer_id"], amount=4.5, currency="EUR")
    came(own, "o3", second["decision_id"], "opened", now + timedelta(days=1))
    came(own, "o4", "d_unknown", "shown", now)
    before = {name: pq.read_table(place.table(name)).num_rows for name in ("contacts", "outcomes")}
    done = feedback(place)
    assert (done.contacts, done.outcomes, done.waiting, done.is_changed) == (1, 2, 2, True)
    (contact,) = rows(place, "contacts")
    assert contact["contact_id"] == f"{first['decision_id']}:{best['offer_id']}"
    assert (contact["customer_id"], contact["channel"], contact["offer_id"], contact["position"]) == ("bob", "email", best["offer_id"], 1)
    assert (contact["probability"], contact["arm"], contact["is_control"], contact["cost"]) == (1.0, first["arm"], False, 0.01)
    assert (contact["occurred_at"], contact["known_at"], contact["decision_id"]) == (now + timedelta(minutes=1),) * 2 + (first["decision_id"],)
    shown, accepted = rows(place, "outcomes")
    assert (shown["contact_id"], accepted["contact_id"], accepted["amount"]) == (contact["contact_id"], contact["contact_id"], 4.5)
    assert place.state().tables["contacts"] == before["contacts"] + 1
    assert place.state().digest == done.digest
    verify_folder(place.tables)
    files = {name: sha256(place.table(name)) for name in before}
    again = feedback(place)
    assert not again.is_changed
    assert (again.digest, {name: sha256(place.table(name)) for name in before}) == (done.digest, files)
    # The clock goes on: what waited is taken then.
    place.write_state(place.state().model_copy(update={"as_of": now + timedelta(days=4)}))
    later = feedback(place)
    assert (later.outcomes, later.waiting) == (3, 1)


def test_a_control_is_the_contact_that_would_have_been_made(place: Workspace, make: Callable[..., Answers]) -> None:
    desk = Desk(make(policy=Policy(groups=Groups(salt="autumn", control=0.4))), Ledger(place.ledger))
    try:
        answers = [decided(desk, customer_id=who) for who in ("ann", "bob", "cid", "dee", "gus") for _ in range(2)]
        treated = [one for one in answers if one["offers"]]
        for number, one in enumerate(treated):
            came(desk, f"o{number}", one["decision_id"], "shown", datetime.fromisoformat(one["as_of"]), offer_id=one["offers"][0]["offer_id"])
    finally:
        desk.close()
    # Cid has no consent and dee must not be contacted: nothing was held back because they are controls.
    controls = [one for one in answers if one["arm"] == "control" and one["customer_id"] not in ("cid", "dee")]
    assert controls
    assert treated
    free = Desk(make(), Ledger(place.root / "free"))
    try:
        would = {who: decided(free, customer_id=who)["offers"][0]["offer_id"] for who in {one["customer_id"] for one in controls}}
    finally:
        free.close()
    feedback(place)
    made = {row["contact_id"]: row for row in rows(place, "contacts")}
    assert {name for name, row in made.items() if row["is_control"]} == {one["decision_id"] for one in controls}
    for one in controls:
        row = made[one["decision_id"]]
        assert (row["arm"], row["cost"], row["probability"], row["position"]) == ("control", 0.0, 0.4, 1)
        assert (row["offer_id"], row["channel"]) == (would[one["customer_id"]], "email"), (
            "what it is with the rules of the house and no control group"
        )
    for one in treated:
        assert made[f"{one['decision_id']}:{one['offers'][0]['offer_id']}"]["probability"] == pytest.approx(0.6)


def test_what_the_log_decided_teaches_at_grade_b(place: Workspace, make: Callable[..., Answers], now: datetime) -> None:
    """Those to whom an offer was shown beside those to whom it would have been: one known chance, and nobody who turned to us."""
    keep = Offer("O09", "A service", "service", margin=900.0)
    desk = Desk(make(offers=(keep,), policy=Policy(groups=Groups(salt="autumn", control=0.4), hold_hours=0)), Ledger(place.ledger))
    try:
        for number in range(12):
            for who in ("ann", "bob", "gus"):
                one = decided(desk, customer_id=who, placement="inbound_end" if number % 4 == 0 else "letter")
                if one["offers"]:
                    came(desk, f"o{who}{number}", one["decision_id"], "opened", now, offer_id=one["offers"][0]["offer_id"])
    finally:
        desk.close()
    feedback(place)
    place.write_state(place.state().model_copy(update={"as_of": now + timedelta(days=40)}))
    state = place.state()
    with of(place) as engine:
        found = {by: Uplift(by=by).contacted(engine, state, now + timedelta(days=40)) for by in ("kind", "offer", "arm")}
    told = {by: each[each["is_reported"]] for by, each in found.items()}
    assert {by: set(each["campaign"]) for by, each in told.items()} == {
        "kind": {"decided: service"},
        "offer": {"decided: O09/email"},
        "arm": {"decided: decided"},
    }
    rows_told = told["kind"]
    assert set(zip(rows_told["is_control"], rows_told["probability"], strict=True)) == {(True, 0.4), (False, 0.6)}
    assert len(rows_told) == 27, "nine letters to each of three, and no call of somebody who turned to us"


def test_the_next_features_know_what_came_back(place: Workspace, own: Desk, now: datetime) -> None:
    spine = pd.DataFrame({"customer_id": ["bob"], "event_timestamp": pd.Series([now + timedelta(days=1)]).astype("datetime64[us, UTC]")})

    def counted() -> tuple[int, int, int]:
        with of(place) as engine:
            row = snapshot(catalog.view("contacts"), spine, engine).to_pylist()[0]
        return row["contacts_7d"], row["email_contacts_90d"], row["accepted_30d"]

    answer = decided(own)
    offer = answer["offers"][0]["offer_id"]
    came(own, "o1", answer["decision_id"], "accepted", now + timedelta(hours=2), offer_id=offer, channel="email")
    before = counted()
    feedback(place)
    assert [after - earlier for after, earlier in zip(counted(), before, strict=True)] == [1, 1, 1]


def test_what_flowed_back_is_not_counted_twice(place: Workspace, own: Desk, make: Callable[..., Answers], now: datetime) -> None:
    answer = decided(own)
    came(own, "o1", answer["decision_id"], "shown", now, offer_id=answer["offers"][0]["offer_id"])
    came(own, "o2", "d_unknown", "unsubscribed", now, customer_id="cid")
    came(own, "o3", answer["decision_id"], "opened", now + timedelta(days=1))
    done = feedback(place)
    known = fed(place, done.digest)
    assert known is not None
    fresh = since(own.ledger, known)
    bob, cid = (make().rows.get(name) for name in ("bob", "cid"))
    assert bob is not None
    assert cid is not None
    customers = [row.customer(now, row.stored) for row in (bob, cid)]
    assert [fresh.on(each) for each in customers] == customers, "both are in the tables"
    assert since(own.ledger, None).on(customers[0]).contacts != customers[0].contacts
    assert fed(place, "other tables") is None


@pytest.mark.fault("C25")
def test_who_was_named_in_the_place_of_the_decisions_customer_has_left_too(
    place: Workspace, own: Desk, make: Callable[..., Answers], now: datetime
) -> None:
    """The outcome flowed back before its decision came: until the next run what is fresh knows whose it is, from then on the tables do."""
    came(own, "o1", decision_id("r1"), "unsubscribed", now, customer_id="cid", channel="email")
    before = fed(place, feedback(place).digest)
    assert [(row["outcome_id"], row["customer_id"]) for row in rows(place, "outcomes")] == [("o1", "cid")]

    def left(fresh: Fresh) -> set[str]:
        return {name for name in ("bob", "cid") if fresh.on(Customer(name)).unsubscribed}

    waits = since(own.ledger, before)
    assert left(waits) == set(), "it is in the tables"
    decided(own, request_id="r1")
    waits.join(decision_id("r1"), "bob")
    assert left(waits) >= {"bob"}
    assert left(since(own.ledger, before)) == {"bob", "cid"}
    after = fed(place, feedback(place).digest)
    found = {row["outcome_id"]: (row["customer_id"], row["channel"], row["decision_id"]) for row in rows(place, "outcomes")}
    assert found == {"o1": ("bob", "email", decision_id("r1")), "o1:named": ("cid", "email", None)}
    assert left(since(own.ledger, after)) == set(), "both are in the tables"


@pytest.mark.fault("E8")
def test_who_was_named_wrongly_can_be_erased_and_whose_decision_it_was_has_left_all_the_same(
    place: Workspace, own: Desk, make: Callable[..., Answers], now: datetime
) -> None:
    """Told under the name of another before the decision was known: nothing that counts it counts it twice, and telling it again changes nothing."""
    local = now.astimezone(timezone(timedelta(hours=2)))
    sent = {"decision_id": decision_id("r1"), "occurred_at": local, "customer_id": "cid", "channel": "email", "currency": "EUR"}
    bodies = [OutcomeRequest("o1", type="unsubscribed", **sent), OutcomeRequest("o2", type="shown", offer_id="category:b", **sent)]
    for body in bodies:
        assert asyncio.run(own.outcome(body)).pending
    decided(own, request_id="r1")
    decided(own, customer_id="cid", request_id="r2")
    came(own, "o3", decision_id("r2"), "complained", now)
    before = fed(place, feedback(place).digest)
    tables = rows(place, "outcomes")
    bob, cid = Customer("bob"), Customer("cid")
    known = since(own.ledger, before).on(bob), own.answers.fresh.on(bob)
    assert "email" in known[1].unsubscribed
    erasure.erase(place, "cid", bytes(32), now)
    own.listen()
    assert (since(own.ledger, before).on(bob), own.answers.fresh.on(bob)) == known, "what is in the tables or was heard is not counted again"
    again = Desk(make(), Ledger(place.ledger), erased=Erased(erasure_place(place)))
    assert {kept.outcome_id: (kept.customer_id, kept.kind, kept.channel, kept.named) for kept in again.ledger.everything()} == {
        "o1": ("bob", "unsubscribed", "email", None),
        "o2": ("bob", "shown", "email", None),
    }
    fresh = since(again.ledger, None)
    assert "email" in fresh.on(bob).unsubscribed
    assert len(fresh.on(bob).contacts) == 1
    assert fresh.on(cid) == cid
    feedback(place)
    assert rows(place, "outcomes") == [row for row in tables if row["customer_id"] == "bob"]
    for body in bodies:
        assert asyncio.run(again.outcome(body)).duplicate, "the same caller tells it again; its name is taken out first"
    assert again.ledger.conflicts() == []
    again.close()


def test_killed_between_tables_and_state_the_next_run_heals(place: Workspace, own: Desk, now: datetime) -> None:
    answer = decided(own)
    came(own, "o1", answer["decision_id"], "shown", now, offer_id=answer["offers"][0]["offer_id"])
    done = feedback(place)
    (place.root / STATE).unlink()
    again = feedback(place)
    assert (again.is_changed, again.digest) == (False, done.digest)
    assert place.state().digest == done.digest


def test_killed_between_tables_and_mark_nothing_is_counted_twice(place: Workspace, own: Desk, now: datetime, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of tables that no mark knows would have everything of the ledger on top; without their state there are no such rows."""
    answer, original = decided(own), files.write_json
    came(own, "o1", answer["decision_id"], "shown", now, offer_id=answer["offers"][0]["offer_id"])

    def dies(path: Path, value: Any) -> None:
        if path.name == MARK:
            raise KeyboardInterrupt
        original(path, value)

    with monkeypatch.context() as patch:
        patch.setattr("serving.feedback.write_json", dies)
        with pytest.raises(KeyboardInterrupt):
            feedback(place)
    assert not place.is_filled
    done = feedback(place)
    assert place.state().digest == done.digest
    assert fed(place, done.digest) is not None


def test_a_full_disk_leaves_the_tables_as_they_were(place: Workspace, own: Desk, now: datetime) -> None:
    answer = decided(own)
    came(own, "o1", answer["decision_id"], "shown", now, offer_id=answer["offers"][0]["offer_id"])
    files = {path.name: sha256(path) for path in place.tables.iterdir()}
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, limit[1]))
    try:
        with pytest.raises((OSError, RetainError)):
            feedback(place)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert {path.name: sha256(path) for path in place.tables.iterdir()} == files
    assert place.is_filled
    assert feedback(place).contacts == 1


def test_the_commands_show_replay_and_feed_back(place: Workspace, own: Desk, now: datetime, capsys: pytest.CaptureFixture[str]) -> None:
    answers = [decided(own, request_id=f"r{number}", goal=goal) for number, goal in enumerate(("best", "retention", "cross_sell"))]
    came(own, "o1", answers[0]["decision_id"], "shown", now)

    def run(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        code = main([*arguments, "--workspace", str(place.root)])
        return code, capsys.readouterr().out

    code, out = run("decisions", "replay", answers[0]["decision_id"])
    assert (code, json.loads(out)) == (0, answers[0])
    code, out = run("decisions", "replay", "--last", "2", "--json")
    assert (code, json.loads(out)) == (0, {"decisions": 2, "equal": 2, "different": []})
    assert run("decisions", "replay", "d_unknown")[0] == 4
    code, out = run("decisions", "show", answers[0]["decision_id"])
    assert code == 0
    assert "shown with probability" in out
    code, out = run("decisions", "show", answers[0]["decision_id"], "--json")
    assert json.loads(out)["basis"]["candidates"]
    code, out = run("feedback", "--json")
    assert (code, json.loads(out)["outcomes"]) == (0, 1)
    # Who waits is told for what, and what ends it: the clock of a shop that is made up does not move, that of a source does.
    came(own, "o2", answers[0]["decision_id"], "accepted", now + timedelta(days=1), offer_id=answers[0]["offers"][0]["offer_id"])
    came(own, "o3", "d_unknown", "shown", now)
    code, out = run("feedback")
    assert "1 outcomes wait: the ledger does not know their decision" in out
    assert (
        f"1 rows wait: they happened, or came in, at or after the clock of this workspace, which stands at {now + timedelta(days=1):%Y-%m-%d %H:%M}"
        in out
    )
    assert "that of a simulated shop never moves" in out
    place.write_state(place.state().model_copy(update={"synthetic": False, "source": "corner"}))
    assert "it moves when corner is ingested again" in run("feedback")[1]
    place.write_state(place.state().model_copy(update={"as_of": None}))
    assert "at or after the clock" not in run("feedback")[1]
    # Months later shop and rules are others, and what a decision rested on is still there; where it is not, that is told.
    kept = next((place.ledger / "grounds").iterdir())
    kept.write_bytes(kept.read_bytes() + b" ")
    assert run("decisions", "replay", "--last", "1")[0] == 7
