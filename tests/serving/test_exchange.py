"""Several machines of one shop, over a Redis that really runs: what one was told all know, once, and limits hold over all of them."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from retain import erasure
from retain.erasure import Erased
from retain.errors import ConfigError
from retain.settings import Settings
from retain.workspace import Workspace
from serving import backups, exchange, others, remembered, teller
from serving.answers import Answers
from serving.contract import EventRow
from serving.decisions.facts import Customer
from serving.decisions.policy import Limit, Policy
from serving.desk import Desk
from serving.exchange import Exchange
from serving.grounds import opener
from serving.ledger import Ledger
from serving.metrics import Metrics
from serving.replay import replay
from serving.resp import RedisError
from serving.runner import exchanging, run, whole
from serving.schemas import DecisionRequest, EventsRequest, OutcomeRequest
from serving.shared import LOG, MACHINES

MOST = 3
"""Contacts in seven days by the rules of the house."""
PATIENCE_S = 20.0


class Machine:
    """A desk with a ledger of its own, and its part of the exchange, moved by hand."""

    def __init__(self, answers: Answers, folder: Path, url: str, *, erased: Erased | None = None) -> None:
        self.folder = folder
        self.is_gone = False
        self.counted: list[tuple[str, str]] = []
        self.desk = Desk(answers, Ledger(folder / "ledger"), count=lambda *what: self.counted.append(what), erased=erased)
        self.exchange = Exchange(self.desk, url)
        self.exchange.attach()

    def decide(self, customer: str = "ann", **changes: Any) -> dict[str, Any]:
        asked = {"placement": "letter", "channel": "email", **changes}
        answer: dict[str, Any] = json.loads(self.desk.answered(DecisionRequest(customer, **asked))[0])
        return answer

    def outcome(self, name: str, **changes: Any) -> Any:
        asked = {"decision_id": "d", "type": "shown", "occurred_at": self.desk.answers.clock(), "customer_id": "ann", "channel": "email", **changes}
        return asyncio.run(self.desk.outcome(OutcomeRequest(name, **asked)))

    def event(self, name: str, **changes: Any) -> Any:
        row = {"event_id": name, "customer_id": "ann", "occurred_at": self.desk.answers.clock(), "kind": "complaint", **changes}
        return asyncio.run(self.desk.events(EventsRequest([EventRow(**row)])))

    def knows(self) -> tuple[list[str], list[str], list[str]]:
        ledger = self.desk.ledger
        return (
            sorted(each.decision_id for each in ledger.decisions()),
            sorted(each.outcome_id for each in ledger.everything()),
            sorted(fact.identity for _, fact in ledger.facts()),
        )

    def round(self) -> None:
        """As the thread does it."""
        try:
            self.exchange.round()
        except RedisError as error:
            self.exchange.lose(error.message)

    def close(self) -> None:
        if not self.is_gone:
            self.is_gone = True
            self.exchange.stop()
            self.desk.close()

    def die(self) -> None:
        """As a process dies: nothing is said to anybody, and the kernel closes what was open."""
        self.is_gone = True
        for store in (self.exchange._turns, self.exchange._rounds):
            store.connection.close()
        if self.exchange._gate >= 0:
            os.close(self.exchange._gate)
            self.exchange._gate = -1
        self.desk.close()


Start = Callable[..., Machine]


def together(*machines: Machine) -> None:
    """Rounds until everybody knows everything; each is a few."""
    for _ in range(12):
        for each in machines:
            each.exchange._turns_at = 0.0
            each.round()
        if not any(each.exchange.is_apart for each in machines) and len({str(each.knows()) for each in machines}) == 1:
            return
    raise AssertionError([(each.exchange.is_apart, each.knows()) for each in machines])


def within(seconds: float, holds: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


@pytest.fixture
def start(make: Callable[..., Answers], tmp_path: Path, redis: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts a machine on a ledger, by name."""
    # Who is moved by hand hears nobody who leaves.
    monkeypatch.setattr(exchange, "LEAVE_S", 0.0)
    # Nor is anybody forgotten for want of a hand on a crowded computer.
    monkeypatch.setattr(others, "HEARD_S", 4 * PATIENCE_S)
    made: list[Machine] = []

    def begin(name: str, policy: Policy | None = None, **named: Any) -> Machine:
        made.append(Machine(make(policy=policy), tmp_path / name, redis.url, **named))
        return made[-1]

    yield begin
    for each in made:
        each.close()


@pytest.fixture
def pair(start: Start) -> tuple[Machine, Machine]:
    one, two = start("one"), start("two")
    together(one, two)
    return one, two


def test_all_machines_come_to_know_it(pair: tuple[Machine, Machine], start: Start, tmp_path: Path, redis: Any) -> None:
    one, two = pair
    first = one.decide("bob", request_id="r1")
    assert first["offers"]
    one.outcome("o1", decision_id=first["decision_id"], customer_id=None)
    two.outcome("o2", type="unsubscribed", channel="sms")
    two.event("e1")
    together(one, two)
    assert one.knows() == two.knows() == ([first["decision_id"]], ["o1", "o2"], ["e1"])
    assert two.decide("bob", request_id="r1") == first, "a retry to another machine gets the stored answer"
    for each in (Customer("ann"), Customer("bob")):
        assert one.desk.answers.fresh.on(each) == two.desk.answers.fresh.on(each)
    assert one.desk.answers.fresh.on(Customer("ann")).complaint_at is not None
    entry = two.desk.ledger.decision(first["decision_id"])
    assert entry is not None
    assert replay(entry, opener(two.desk.ledger.folder)).is_equal, "with what it rested on"
    one.round(), two.round(), one.round()
    assert [redis.ask("XLEN", key) for key in redis.ask("KEYS", LOG + "*")] in ([], [0], [0, 0]), "what all have does not lie about"
    third = start("three")
    together(third, one, two)
    assert third.knows() == one.knows(), "who joins is told everything"


@pytest.mark.fault("C25")
def test_who_may_have_left_a_channel_has_left_it_on_every_machine(pair: tuple[Machine, Machine], start: Start) -> None:
    """The second machine hears of it before it hears of the decision, which was about somebody else than the outcome names."""
    one, two = pair
    beside = start("one")
    decided = one.decide("ann")
    assert two.outcome("o1", decision_id=decided["decision_id"], customer_id="bob", type="unsubscribed").pending
    together(one, two)
    beside.desk.listen()
    for each in (one, two, beside):
        left = {name: each.desk.answers.fresh.on(Customer(name)).unsubscribed for name in ("ann", "bob")}
        assert left == {"ann": {"email"}, "bob": {"email"}}
        assert [(kept.customer_id, kept.named) for kept in each.desk.ledger.everything()] == [("ann", "bob")]


def test_a_process_that_forgot_how_far_it_was_changes_nothing(pair: tuple[Machine, Machine], start: Start, redis: Any) -> None:
    one, two = pair
    one.outcome("o1")
    together(one, two)
    two.die()
    (two.folder / "ledger" / ".exchange.json").write_text("{", encoding="utf-8")
    again = start("two")
    again.outcome("o2")
    # Under a new name; the old one is not heard, and waited for.
    for each in (one, again, one, again, one):
        each.round()
    assert one.knows() == again.knows() == ([], ["o1", "o2"], [])


@pytest.mark.parametrize("processes", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_callers_at_once_on_two_machines_share_the_last_contacts(processes: int, make: Callable[..., Answers], tmp_path: Path, redis: Any) -> None:
    """Each machine with one or two processes; limits hold over all of them, and nobody is refused what is free."""

    def callers(number: int) -> int:
        machine = Machine(make(), tmp_path / f"m{number % 2}", redis.url)
        machine.exchange.start()
        # All are there before the first asks: who knows of no other may contact, and whoever is done leaves.
        here = within(PATIENCE_S, lambda: len(machine.exchange._others.known) == 2 and not machine.exchange.is_apart)
        (tmp_path / f"here{number}").touch()
        within(PATIENCE_S, lambda: len(list(tmp_path.glob("here*"))) == 2 * processes)
        shown, end = 0, time.monotonic() + 3 * PATIENCE_S
        while here and time.monotonic() < end:
            answer = machine.decide()
            shown += bool(answer["offers"])
            if not answer["offers"] and [each["rule"] for each in answer["withheld"]] != ["limits_unknown"]:
                break
        machine.close()
        return shown if here else 100

    shown = children(2 * processes, callers)
    assert sum(shown) == MOST, shown


def children(count: int, work: Callable[[int], int]) -> list[int]:
    found = []
    for number in range(count):
        child = os.fork()
        if child == 0:
            code = 250
            try:
                code = work(number)
            finally:
                os._exit(code)
        found.append(child)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in found]


def test_the_same_request_on_two_machines_is_one_contact(pair: tuple[Machine, Machine]) -> None:
    one, two = pair
    assert one.decide(request_id="r") == two.decide(request_id="r"), "at once, before anybody was told"
    # Whoever turns to us is answered by the machine that is asked; what differs is on record.
    first = one.decide("ann", placement="inbound_end", request_id="s")
    second = two.decide("ann", placement="inbound_end", request_id="s", max_offers=1)
    assert first["decision_id"] == second["decision_id"]
    for each in (one, two, one, two):
        each.round()
    assert [each.kind for each in one.desk.ledger.conflicts()] == ["decision"]
    assert [each.kind for each in two.desk.ledger.conflicts()] == ["decision"]
    assert one.decide("ann", placement="inbound_end", request_id="s") == first
    assert two.decide("ann", placement="inbound_end", request_id="s", max_offers=1) == second


@pytest.mark.fault("C36")
def test_while_redis_is_gone_nothing_is_lost_and_no_contact_is_started(pair: tuple[Machine, Machine], redis: Any) -> None:
    one, two = pair
    assert one.decide("bob")["offers"]
    redis.kill()
    refused = one.decide("bob")
    assert (refused["offers"], refused["source"]) == ([], "none")
    assert [(each["stage"], each["rule"]) for each in refused["withheld"]] == [("fatigue", "limits_unknown")]
    assert "machines_apart" in one.decide("bob")["degraded"]
    entry = one.desk.ledger.decision(refused["decision_id"])
    assert entry is not None
    assert replay(entry, opener(one.desk.ledger.folder)).is_equal
    assert one.decide("bob", placement="inbound_end")["offers"], "whoever turns to us is answered"
    assert not one.outcome("o1").duplicate
    two.event("e1")
    one.round()
    two.round()
    assert one.desk.unready() is None, "degraded, not dead"
    redis.start()
    together(one, two)
    assert one.knows()[1:] == (["o1"], ["e1"])
    assert one.decide("bob")["offers"]
    assert "machines_apart" not in two.decide("bob")["degraded"]


@pytest.mark.fault("C36")
def test_what_was_told_and_lost_with_redis_is_told_again(pair: tuple[Machine, Machine], redis: Any) -> None:
    one, two = pair
    one.outcome("o1")
    one.round()
    assert redis.ask("XLEN", LOG + one.exchange._me) == 1, "told, and not read yet"
    redis.kill()
    one.outcome("o2")
    redis.start()
    two.round()
    two.round()
    assert two.exchange.is_apart, "it does not know yet what it has missed"
    together(one, two)
    assert two.knows()[1] == ["o1", "o2"]
    # The same where Redis loses what it holds and nobody notices.
    one.outcome("o3")
    one.round()
    redis.ask("FLUSHALL")
    assert not two.decide()["offers"], "a turn in a Redis that knows nobody is none"
    together(one, two)
    assert two.knows()[1] == ["o1", "o2", "o3"]


@pytest.mark.fault("C36")
def test_redis_that_does_not_answer_holds_nobody_up_again(pair: tuple[Machine, Machine], redis: Any) -> None:
    one, two = pair
    redis.signal(signal.SIGSTOP)
    try:
        assert not one.decide()["offers"]
        waited: list[str] = []
        one.exchange._turns.connection.calls = lambda *_, **__: waited.append("waited")  # type: ignore[assignment, method-assign]
        for _ in range(20):
            assert not one.decide()["offers"]
        assert not waited, "after the first nobody waits"
        assert one.decide("ann", placement="inbound_end")["offers"]
        del one.exchange._turns.connection.calls
    finally:
        redis.signal(signal.SIGCONT)
    together(one, two)
    assert one.decide("bob")["offers"]
    # Redis has taken the turn that nobody waited for; it runs out.
    assert [each["rule"] for each in one.decide()["withheld"]] == ["limits_unknown"]
    redis.ask("DEL", *redis.ask("KEYS", "retain:turn:*"))
    assert one.decide()["offers"]


def test_a_turn_that_is_not_ours_any_more_proposes_nothing(pair: tuple[Machine, Machine], redis: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that stood still for longer than its turn, or whose Redis lost it, between taking it and proposing."""
    one, _ = pair
    decision = Answers.decision

    def slow(*given: Any, **named: Any) -> Any:
        for key in redis.ask("KEYS", "retain:turn:*"):
            redis.ask("DEL", key)
        return decision(*given, **named)

    monkeypatch.setattr(Answers, "decision", slow)
    refused = one.decide()
    assert [each["rule"] for each in refused["withheld"]] == ["limits_unknown"]
    assert ("exchange", "turn_lost") in one.counted


def test_a_machine_that_died_in_its_turn_loses_it(pair: tuple[Machine, Machine], redis: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = pair
    monkeypatch.setattr(exchange, "TURN_MS", 300)
    turn = one.exchange.turn("ann")
    assert turn.__enter__()()
    assert [each["rule"] for each in two.decide()["withheld"]] == ["limits_unknown"]
    assert two.decide("bob")["offers"], "that concerns one customer"
    assert within(PATIENCE_S, lambda: bool(two.decide()["offers"]))
    turn.__exit__(None, None, None)


def test_who_is_not_heard_may_know_what_we_do_not(pair: tuple[Machine, Machine], start: Start, redis: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = pair
    two.outcome("o1", type="unsubscribed")
    two.die()
    # A machine that took a customer's no, perhaps, and cannot tell.
    monkeypatch.setattr(others, "HEARD_S", 0.5)
    assert within(PATIENCE_S, lambda: bool(one.round() or one.exchange.is_apart))
    assert [each["rule"] for each in one.decide()["withheld"]] == ["limits_unknown"]
    monkeypatch.setattr(others, "HEARD_S", 4 * PATIENCE_S)
    again = start("two")
    together(again, one)
    assert not one.decide()["offers"], "that was so"
    assert one.decide("bob")["offers"]
    again.close()
    one.round()
    assert not one.exchange.is_apart
    assert one.decide("bob")["offers"], "who leaves in good order is not waited for"
    # Nor is, in the end, who never comes back.
    last = start("two")
    together(last, one)
    last.die()
    monkeypatch.setattr(others, "FORGET_S", 0.5)
    assert within(PATIENCE_S, lambda: bool(one.round() or last.exchange._me.encode() not in redis.ask("HKEYS", MACHINES)))
    assert one.decide("bob")["offers"]


def test_a_log_that_lost_its_end_is_told_under_a_new_name(pair: tuple[Machine, Machine], start: Start, redis: Any) -> None:
    """After a power loss records that others have may be gone here; what is written in their place must not be taken for them."""
    one, two = pair
    one.outcome("o1")
    log = next((one.folder / "ledger" / "log").glob("*.log"))
    whole = log.stat().st_size
    one.outcome("o2")
    together(one, two)
    name = one.exchange._me
    one.die()
    os.truncate(log, whole)
    again = start("one")
    again.outcome("o3")
    for _ in range(6):
        again.round()
        two.round()
    assert again.exchange._me != name
    assert two.knows()[1] == ["o1", "o2", "o3"], "what was lost here stands there"


def test_a_copy_of_a_machine_takes_a_name_of_its_own(pair: tuple[Machine, Machine], start: Start, tmp_path: Path) -> None:
    one, two = pair
    one.outcome("o1")
    together(one, two)
    one.exchange._keep(always=True)
    shutil.copytree(one.folder, tmp_path / "copy")
    copy = start("copy")
    copy.outcome("o2")
    one.outcome("o3")
    together(copy, one, two)
    assert len({each.exchange._me for each in (copy, one, two)}) == 3
    assert two.knows()[1] == ["o1", "o2", "o3"]


def test_the_erased_are_not_brought_back(pair: tuple[Machine, Machine], start: Start, tmp_path: Path) -> None:
    one, _ = pair
    one.outcome("o1")
    one.outcome("o2", customer_id="bob")
    one.event("e1")
    one.decide("ann", placement="inbound_end")
    workspace = Workspace.at(tmp_path / "third")
    erasure.bury(erasure.place(workspace), "ann", bytes(range(32)))
    third = start("third", erased=Erased(erasure.place(workspace), tick=lambda: 0.0))
    third.desk.answers  # noqa: B018 - looks at the tombstones
    for each in (third, one, third, one, third):
        each.round()
    assert third.knows() == ([], ["o2"], [])


def test_another_process_of_the_machine_takes_over(pair: tuple[Machine, Machine], start: Start, redis: Any) -> None:
    one, two = pair
    beside = start("one")
    together(beside, one, two)
    assert beside.exchange._gate < 0
    assert beside.decide()["offers"]
    beside.outcome("o1")
    one.round()
    two.round()
    assert two.knows()[1] == ["o1"], "told from the log of the machine"
    one.die()
    beside.outcome("o2")
    together(beside, two)
    assert beside.exchange._gate >= 0
    assert two.knows()[1] == ["o1", "o2"]


def test_more_than_may_wait_is_told_bit_by_bit(start: Start, redis: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teller, "LONGEST", 25)
    monkeypatch.setattr(teller, "AT_ONCE", 10)
    one, two = start("one"), start("two")
    for number in range(100):
        one.outcome(f"o{number:03}", type="opened")
    lengths = []
    for _ in range(30):
        for each in (one, two):
            each.round()
            lengths += [redis.ask("XLEN", key) for key in redis.ask("KEYS", LOG + "*")]
    assert max(lengths) <= 25
    assert len(two.knows()[1]) == 100
    together(one, two)


@pytest.mark.slow
@pytest.mark.fault("C36")
def test_limits_hold_and_nothing_is_lost_while_redis_is_killed_again_and_again(
    start: Start, redis: Any, happened: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two machines under load, Redis killed ten times in between: each time it has forgotten everything."""
    monkeypatch.setattr(others, "HEARD_S", 2.0)
    most = 150
    wide = Policy(total_limits=(Limit(most=most, days=7),), same_offer_limit=Limit(most=10_000, days=7))
    pair = start("one", wide), start("two", wide)
    for each in pair:
        each.exchange.start()
    assert within(PATIENCE_S, lambda: all(len(each.exchange._others.known) == 2 and not each.exchange.is_apart for each in pair))
    over = threading.Event()
    told: list[list[str]] = [[], []]
    given: list[list[str]] = [[], []]

    def work(number: int) -> None:
        machine, at = pair[number], 0
        while not over.is_set():
            at += 1
            customer = "ann" if at % 2 else "bob"
            if machine.decide(customer, request_id=f"{number}-{at}")["offers"]:
                given[number].append(customer)
            name = f"o{number}-{at}"
            machine.outcome(name, type="opened", customer_id="gus", decision_id=name)
            told[number].append(name)
            time.sleep(0.02)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for each in workers:
        each.start()
    for _ in range(10):
        within(0.4, over.is_set)
        redis.kill()
        within(0.1, over.is_set)
        redis.start()
    # Redis stays, everybody is heard again, and what is left of the contacts is given.
    given_so_far = sum(map(len, given))
    assert 0 < given_so_far < 2 * most, "there were contacts between the kills, and not all"
    assert within(180, lambda: sum(map(len, given)) >= 2 * most)
    within(0.5, over.is_set)
    over.set()
    for each in workers:
        each.join()
    assert within(PATIENCE_S, lambda: pair[0].knows() == pair[1].knows())
    everything = sorted([*told[0], *told[1]])
    assert [each.knows()[1] for each in pair] == [everything, everything], "everything that was acknowledged, once"
    shown = [*given[0], *given[1]]
    assert (shown.count("ann"), shown.count("bob")) == (most, most)
    decisions = len(pair[0].knows()[0])
    happened(f"Redis killed 10 times: {len(everything)} outcomes, {decisions} decisions on both machines, once; {2 * most} contacts, the limit")


def test_whoever_runs_one_machine_loads_nothing_of_it() -> None:
    looked = "import sys, serving.runner; print([name for name in sys.modules if name.startswith('serving.')])"
    found = subprocess.run([sys.executable, "-c", looked], capture_output=True, text=True, check=True).stdout
    assert "serving.desk" in found
    assert not {"serving.exchange", "serving.resp", "serving.shared", "redis"} & set(json.loads(found.strip().splitlines()[-1].replace("'", '"')))


def test_metrics_and_readiness_say_how_it_stands(make: Callable[..., Answers], tmp_path: Path, redis: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETAIN_REDIS", redis.url)
    metrics = Metrics()
    desk = Desk(make(), Ledger(tmp_path / "ledger"), count=metrics.count)
    metrics.told(desk.answers)
    leave = exchanging(desk, metrics)
    health = whole(desk, metrics)

    def page() -> list[str]:
        return metrics.page()[0].decode().splitlines()

    def ready() -> tuple[int, dict[str, Any]]:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        asyncio.run(health({"type": "http", "method": "GET", "path": "/readyz"}, None, send))  # type: ignore[arg-type]
        return sent[0]["status"], json.loads(sent[1]["body"])

    try:
        together = {"retain_machines_apart 0.0", "retain_machines_unheard 0.0", 'retain_degraded{code="machines_apart"} 0.0'}
        assert within(PATIENCE_S, lambda: together <= set(page()))
        assert "machines_apart" not in ready()[1]["degraded"]
        redis.kill()
        apart = {"retain_machines_apart 1.0", 'retain_degraded{code="machines_apart"} 1.0'}
        assert within(PATIENCE_S, lambda: apart <= set(page()))
        desk.unready = lambda: None  # type: ignore[method-assign]
        status, said = ready()
        assert (status, "machines_apart" in said["degraded"]) == (200, True), "degraded, not dead"
        lag = [float(line.split()[1]) for line in page() if line.startswith("retain_machines_lag_seconds ")]
        assert within(PATIENCE_S, lambda: [float(line.split()[1]) for line in page() if line.startswith("retain_machines_lag_seconds ")] > lag)
    finally:
        leave()
        desk.close()


def test_a_backup_does_not_take_the_name_of_a_machine_along(tmp_path: Path) -> None:
    (tmp_path / "ledger").mkdir()
    remembered.remember(tmp_path / "ledger", remembered.Remembered("me"))
    assert remembered.recall(tmp_path / "ledger").name == "me"
    backups._Copy(link=False).tree(tmp_path / "ledger", tmp_path / "copy")
    assert not list((tmp_path / "copy").iterdir())


def test_an_address_that_cannot_be_is_told_before_anything_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETAIN_REDIS", "http://:s3cret@here")
    with pytest.raises(ConfigError, match="RETAIN_REDIS") as told:
        run(Workspace.at(tmp_path), "127.0.0.1", 0)
    assert "s3cret" not in told.value.message
    assert "s3cret" not in repr(Settings.read())
