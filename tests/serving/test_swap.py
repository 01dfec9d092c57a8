"""Champions, rows and rules change while the service answers: one version in each answer, and what does not verify changes nothing."""

from __future__ import annotations

import asyncio
import gc
import json
import shutil
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from retain import config, erasure
from retain.errors import IntegrityError
from retain.files import MANIFEST, read_json, sha256, write_json
from retain.workspace import Workspace
from serving import grounds, scored
from serving.answers import Answers
from serving.basis import unpacked
from serving.champions import packages
from serving.decisions.facts import Customer
from serving.decisions.prices import Prices
from serving.desk import Desk
from serving.lists import prices
from serving.metrics import Metrics
from serving.opening import Opener
from serving.overlay import Made
from serving.publishing import publish
from serving.rows import POINTER, Fed, Rows, open_rows
from serving.runner import Health
from serving.schemas import DecisionRequest, EventsRequest, OutcomeRequest, ScoresRequest
from serving.swap import FIRST_PAUSE_S, Swap
from tests.serving.pointed import VALUE, Pointed, constant, point, pointed
from training import package

PATIENCE_S = 20.0


class Service:
    """A desk over a workspace on disk, what swaps it, and what was counted and measured of it."""

    def __init__(self, place: Pointed) -> None:
        self.place = place
        self.at = 0.0
        self.counted: dict[tuple[str, str], int] = {}
        self.metrics = Metrics()
        opener = Opener(place.workspace)
        self.desk = Desk.open(place.workspace, self.count, opener)
        self.swap = Swap(self.desk, opener, self.metrics.told, lambda: self.at)

    def count(self, asked: str, answered: str) -> None:
        self.counted[asked, answered] = self.counted.get((asked, answered), 0) + 1

    def close(self) -> None:
        self.swap.stop()
        self.desk.close()

    def decide(self, customer: str = "ann", **changes: Any) -> dict[str, Any]:
        asked = DecisionRequest(customer, **{"channel": "email", "placement": "inbound_end", "goal": "cross_sell", **changes})
        answer: dict[str, Any] = json.loads(self.desk.answered(asked)[0])
        # The rows by hand name no models, so whatever the champions are, they are others.
        answer["degraded"] = [code for code in answer["degraded"] if not code.endswith("_of_other_model")]
        return answer

    def degraded(self) -> dict[str, float]:
        """Codes on the page of metrics that are an alarm or were one."""
        lines = [line for line in self.metrics.page()[0].decode().splitlines() if line.startswith("retain_degraded{")]
        found = {line.split('"')[1]: float(line.rsplit(" ", 1)[1]) for line in lines}
        return {code: value for code, value in found.items() if not code.endswith("_of_other_model")}


@pytest.fixture
def place(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, make: Callable[..., Answers], now: datetime) -> Pointed:
    """A copy of a workspace that was made once: syncing its files takes longer than the tests do."""
    first = tmp_path_factory.getbasetemp() / "pointed"
    if not first.is_dir():
        pointed(first, make, now + timedelta(hours=1))
    shutil.copytree(first, tmp_path / "var")
    return Pointed(Workspace.at(tmp_path / "var"), make)


@pytest.fixture
def service(place: Pointed) -> Iterator[Service]:
    service = Service(place)
    yield service
    service.close()


def test_each_part_is_taken_up_and_said(service: Service, place: Pointed, now: datetime) -> None:
    assert not service.swap.look()
    first = service.decide()
    assert (first["models"]["rows"], first["source"], first["degraded"]) == ("r1", "fresh", [])
    churn, clv = place.promote("churn", 0.25), place.promote("clv", 7.0)
    assert service.swap.look()
    said = scored.scores(service.desk.answers, ScoresRequest(["ann"]))
    assert (said.scores[0].churn, said.scores[0].clv) == (0.25, 7.0)
    assert (said.models.churn, said.models.clv) == (churn.name, clv.name)
    place.publish("r2", now + timedelta(minutes=30))
    assert service.swap.look()
    second = service.decide()
    assert (second["models"]["rows"], second["freshness"]["rows_at"]) == ("r2", "2026-03-10T12:30:00Z")
    assert not service.swap.look(), "nothing changed since"
    assert service.counted["swap", "done"] == 2
    page = service.metrics.page()[0].decode()
    assert f'retain_serving{{part="churn",version="{churn.name}"}} 1.0' in page
    assert 'retain_serving{part="rows",version="r1"} 0.0' in page


def test_rules_and_prices_are_taken_up_too(place: Pointed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, now: datetime) -> None:
    shutil.copytree(config.shipped(), tmp_path / "configs")
    monkeypatch.setattr(config, "shipped", lambda *parts: (tmp_path / "configs").joinpath(*parts))
    service = Service(place)
    try:
        before = service.desk.answers.policy
        rules = tmp_path / "configs" / "decisions.yaml"
        rules.write_text("fatigue_days: 3\n")
        assert service.swap.look()
        assert (service.desk.answers.policy.fatigue_days, before.fatigue_days) == (3, 7)
        assert service.decide()["policy"] == service.desk.answers.policy.version != before.version
        rules.write_text("fatigue_days: many\n")
        assert not service.swap.look()
        assert service.decide()["degraded"] == ["previous_rules"]
        assert service.desk.answers.policy.fatigue_days == 3
        rules.write_text("fatigue_days: 5\n")
        prices.save(place.workspace, Prices(0.25, {}), place.workspace.lists / "campaigns" / "none")
        assert service.swap.look()
        assert service.desk.answers.prices is not None
        assert (service.desk.answers.prices.prices.money, service.decide()["degraded"]) == (0.25, [])
    finally:
        service.close()


@pytest.mark.fault("C17")
@pytest.mark.fault("C33")
def test_requests_at_once_with_swaps_see_no_error_and_no_mixture(service: Service, place: Pointed, now: datetime) -> None:
    """Twenty swaps while another thread decides: score, receipt and grounds of each answer are those of the versions that it names."""
    models = {folder.name: (folder, value) for value in (0.125, 0.25, 0.375) for folder in (constant(place.workspace, "churn", value),)}
    models[read_json(place.workspace.models / "churn" / "champion.json")["model_id"]] = (Path(), VALUE["churn"])
    moments = {"r1": now}
    for number in range(2, 6):
        moments[f"r{number}"] = now + timedelta(minutes=number)
        place.rows(f"r{number}", moments[f"r{number}"])
    answers: list[dict[str, Any]] = []
    failed: list[BaseException] = []
    over = threading.Event()

    def callers() -> None:
        try:
            while not over.is_set():
                answers.append(service.decide(request_id=f"q{len(answers)}"))
        except BaseException as error:
            failed.append(error)

    caller = threading.Thread(target=callers)
    caller.start()
    for number in range(20):
        place.name(f"r{2 + number % 4}")
        point(list(models.values())[number % 3][0])
        before = len(answers)
        assert service.swap.look()
        end = time.monotonic() + PATIENCE_S
        while len(answers) < before + 3 and not failed and time.monotonic() < end:
            time.sleep(0.001)
    over.set()
    caller.join()
    assert failed == []
    assert {answer["models"]["rows"] for answer in answers} >= {"r2", "r3", "r4", "r5"}
    opened = grounds.opener(service.desk.ledger.folder)
    for answer in answers:
        entry = service.desk.ledger.decision(answer["decision_id"])
        assert entry is not None
        basis = unpacked(entry.basis)
        assert basis is not None
        assert basis.customer is not None
        assert basis.customer.scores.churn == models[answer["models"]["churn"]][1]
        assert msgspec.to_builtins(basis.models) == answer["models"]
        assert datetime.fromisoformat(answer["freshness"]["rows_at"]) == moments[answer["models"]["rows"]]
        assert opened(entry.grounds).grounds.rows == answer["models"]["rows"]
        assert opened(entry.grounds).shop.moment == moments[answer["models"]["rows"]]


def flipped(folder: Path) -> None:
    path = folder / "model" / "constant.json"
    path.write_bytes(path.read_bytes().replace(b"0", b"1", 1))


def gone(folder: Path) -> None:
    shutil.rmtree(folder)


def newer_schema(folder: Path) -> None:
    write_json(folder / "card.json", {**read_json(folder / "card.json"), "schema_version": 99})
    hashes(folder)


def needs_more(folder: Path) -> None:
    write_json(folder / "card.json", {**read_json(folder / "card.json"), "columns": ["purchases__unheard_of"]})
    hashes(folder)


def other_answers(folder: Path) -> None:
    write_json(folder / "golden.json", {**read_json(folder / "golden.json"), "predictions": [0.9] * 3})
    hashes(folder)


def hashes(folder: Path) -> None:
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    write_json(folder / MANIFEST, {"files": {name: sha256(folder / name) for name in names}})


@pytest.mark.fault("C18")
@pytest.mark.parametrize("harm", [flipped, gone, newer_schema, needs_more, other_answers])
def test_a_champion_that_does_not_verify_changes_nothing_and_is_told(
    service: Service, place: Pointed, harm: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    before, kept = service.decide(dry_run=True), service.desk.answers
    folder = constant(place.workspace, "churn", 0.25)
    harm(folder)
    point(folder)
    assert not service.swap.look()
    assert service.desk.answers.champions is kept.champions
    assert service.desk.answers.rows is kept.rows
    after = service.decide(dry_run=True)
    told = {"degraded": ["churn_previous_model"], "source": "previous_model"}
    assert {name: after[name] for name in told} == told
    assert {**after, "degraded": [], "source": before["source"]} == before, "nothing else is another"
    assert service.degraded() == {"churn_previous_model": 1.0}
    assert service.desk.unready() is None, "the one before answers on"
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    # Tried again after pauses that grow, not at each look.
    for seconds in (0.0, 0.2, 0.9):
        service.at = seconds
        service.swap.look()
    assert service.counted["swap", "refused"] == 1
    service.at = 1.1
    service.swap.look()
    service.at = 2.9
    service.swap.look()
    assert service.counted["swap", "refused"] == 2
    assert len(caplog.records) == 1, "told once"
    # Once it is right it is taken up, at the next look if a pointer or a manifest changed.
    place.promote("churn", 0.375)
    assert service.swap.look()
    assert service.decide()["degraded"] == []
    assert service.degraded() == {"churn_previous_model": 0.0}


@pytest.mark.fault("C18")
def test_rows_that_do_not_verify_change_nothing(service: Service, place: Pointed, now: datetime) -> None:
    kept = service.desk.answers.rows
    folder = place.rows("r2", now + timedelta(minutes=5))
    (folder / "raw.npy").write_bytes((folder / "raw.npy").read_bytes()[:-8])
    place.name("r2")
    assert not service.swap.look()
    answer = service.decide()
    assert (answer["degraded"], answer["models"]["rows"]) == (["previous_rows"], "r1")
    assert service.desk.answers.rows is kept
    shutil.rmtree(folder)
    place.rows("r2", now + timedelta(minutes=5))
    assert service.swap.look(), "its manifest is another"
    assert service.decide()["models"]["rows"] == "r2"


@pytest.mark.fault("C18")
@pytest.mark.parametrize("what", [MemoryError(), ValueError("of the ledger"), OSError("no room")])
def test_what_goes_wrong_while_answers_change_is_told_and_tried_again(
    service: Service, place: Pointed, what: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: Answers) -> None:
        raise what

    churn = place.promote("churn", 0.25)
    with monkeypatch.context() as broken:
        broken.setattr(service.desk, "take_up", fails)
        assert not service.swap.look()
    assert service.decide()["degraded"] == ["swap_refused"]
    assert service.counted["swap", "refused"] == 1
    service.at = 1.1
    assert service.swap.look()
    assert service.decide()["models"]["churn"] == churn.name


@pytest.mark.fault("C18")
@pytest.mark.parametrize("content", ["[]", "7", '"r1"', "{}", "null"])
def test_a_pointer_that_names_nothing_is_told(service: Service, place: Pointed, content: str) -> None:
    (place.workspace.rows / POINTER).write_text(content)
    assert not service.swap.look()
    assert service.decide()["degraded"] == ["previous_rows"]
    with pytest.raises(IntegrityError, match="names no version"):
        Desk.open(place.workspace)


@pytest.mark.fault("B10")
@pytest.mark.parametrize("content", ["[]", "7", '"m"'])
def test_a_pointer_of_models_that_names_nothing_is_told(service: Service, place: Pointed, content: str) -> None:
    (place.workspace.models / "churn" / "champion.json").write_text(content)
    assert not service.swap.look()
    assert service.decide()["degraded"] == ["churn_previous_model"]
    again = Desk.open(place.workspace)
    try:
        assert "churn_model_refused" in again.answers.codes
    finally:
        again.close()


@pytest.mark.fault("B10")
def test_what_the_account_of_the_service_may_not_read_is_answered_by_the_one_before(place: Pointed, now: datetime) -> None:
    """As by a command of another account with a mask of its own; the superuser reads everything, so reading is refused by hand."""
    before = read_json(place.workspace.models / "churn" / "champion.json")["model_id"]
    folder = place.promote("churn", 0.25)

    def reads(path: Path) -> package.Package:
        if path == folder:
            raise PermissionError(13, "Permission denied", str(path))
        return package.load(path)

    found, code = packages(place.workspace, "churn", reads)
    assert found is not None
    assert (found.folder.name, code) == (before, "churn_previous_model")
    place.publish("r2", now + timedelta(minutes=5))

    def opens(path: Path) -> Rows:
        if path.name == "r2":
            raise PermissionError(13, "Permission denied", str(path))
        return Rows.open(path)

    assert open_rows(place.workspace, opens).card.version == "r1"


@pytest.mark.fault("B10")
@pytest.mark.parametrize("part", ["rows", "churn", "only churn"])
def test_what_could_not_be_read_at_the_start_is_tried_again(place: Pointed, now: datetime, part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fails for a moment, or a mode that is put right, changes no pointer and no manifest."""
    if part == "only churn":
        (place.workspace.models / "churn" / "champion.json").unlink()
    named = place.publish("r2", now + timedelta(minutes=5)) if part == "rows" else place.promote("churn", 0.25)
    opens, loads, is_broken = Rows.open, package.load, True

    def refused(path: Path) -> None:
        if path == named and is_broken:
            raise OSError(5, "Input/output error", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Rows, "open", lambda path: (refused(path), opens(path))[1])
        patch.setattr("serving.opening.load", lambda path: (refused(path), loads(path))[1])
        service = Service(place)
        code = {"rows": "previous_rows", "churn": "churn_previous_model", "only churn": "churn_model_refused"}[part]
        assert service.desk.answers.codes[0] == code
        for _ in range(2):
            assert not service.swap.look(), "tried once, and again after a pause"
        assert (service.counted["swap", "refused"], service.desk.answers.refused) == (1, (code,))
        is_broken, service.at = False, FIRST_PAUSE_S
        assert service.swap.look()
    assert code not in service.desk.answers.codes
    models = service.decide()["models"]
    assert models["rows" if part == "rows" else "churn"] == named.name
    service.close()


def test_rows_are_not_published_anew_because_a_model_cannot_be_read_for_a_moment(place: Pointed, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_workspace: Workspace, _task: str) -> Path:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("serving.champions.champion", fails)
    with pytest.raises(OSError, match="Input/output"):
        publish(place.workspace)
    assert open_rows(place.workspace).card.version == "r1"
    assert packages(place.workspace, "churn")[1] == "churn_model_refused", "an answer is owed, and the next rung gives it"


def test_one_refused_part_holds_back_the_others(service: Service, place: Pointed) -> None:
    clv = place.promote("clv", 7.0)
    flipped(place.promote("churn", 0.25))
    assert not service.swap.look()
    assert service.decide()["models"]["clv"] != clv.name


@pytest.mark.fault("B22")
def test_a_rollback_reads_nothing_and_the_next_start_says_what_is_refused(service: Service, place: Pointed) -> None:
    first = service.desk.answers.champions.scorers["churn"].fitted
    was = read_json(place.workspace.models / "churn" / "champion.json")["model_id"]
    place.promote("churn", 0.25)
    assert service.swap.look()
    (place.workspace.models / "churn" / was / "model" / "constant.json").unlink()
    point(place.workspace.models / "churn" / was)
    assert service.swap.look()
    assert service.desk.answers.champions.scorers["churn"].fitted is first, "what was verified and is still open is not opened again"
    again = Desk.open(place.workspace)
    assert again.answers.codes[0] == "churn_previous_model"
    again.close()


def test_the_last_champion_that_is_no_longer_named_goes_on(service: Service, place: Pointed) -> None:
    (place.workspace.models / "clv" / "champion.json").unlink()
    assert not service.swap.look()
    assert service.desk.unready() is None
    assert service.decide()["degraded"] == ["clv_previous_model"]


@pytest.mark.fault("C19")
def test_a_service_without_models_becomes_ready_with_the_first_champion(place: Pointed) -> None:
    named = place.workspace.models / "churn" / "champion.json"
    pointer = named.read_bytes()
    named.unlink()
    service = Service(place)
    try:
        assert service.desk.unready() is not None
        named.write_bytes(pointer)
        assert service.swap.look()
        assert service.desk.unready() is None
    finally:
        service.close()


def test_a_request_that_is_sent_again_gets_the_stored_bytes_after_a_swap(service: Service, place: Pointed, now: datetime) -> None:
    asked = DecisionRequest("ann", request_id="again", channel="email", placement="inbound_end")
    first, _ = service.desk.answered(asked)
    place.publish("r2", now + timedelta(minutes=5))
    place.promote("churn", 0.25)
    assert service.swap.look()
    assert service.desk.answered(asked) == (first, True)


def test_what_came_in_goes_along_once(service: Service, place: Pointed, wait: Callable[[Any], Any], now: datetime) -> None:
    """Outcomes and holds from before and after the mark of the new rows, and from other processes: as a start on the new rows finds them."""
    desk, at = service.desk, now + timedelta(minutes=1)

    def outcome(name: str, customer: str, kind: str = "shown", decision: str = "d") -> None:
        wait(desk.outcome(OutcomeRequest(name, decision, kind, at, customer_id=customer, channel="email")))  # type: ignore[arg-type]

    outcome("o1", "ann")
    place_in_log = desk.ledger.journal.end
    outcome("o2", "ann")
    held = service.decide("bob", placement="letter", goal="best")
    other = Desk.open(place.workspace)
    wait(other.outcome(OutcomeRequest("o3", "d", "unsubscribed", at, customer_id="ann", channel="sms")))
    # The tables behind these rows know o1.
    place.publish("r2", now + timedelta(minutes=30), Fed((1, 0), (place_in_log.segment, place_in_log.offset), now + timedelta(hours=2)))
    assert service.swap.look()
    outcome("o4", "ann", "complained")
    again = Desk.open(place.workspace)
    people = [Customer(each) for each in ("ann", "bob", "cid")]
    assert held["offers"]
    assert [desk.answers.fresh.on(each) for each in people] == [again.answers.fresh.on(each) for each in people]
    assert len(desk.answers.fresh.on(people[0]).contacts) == 1, "o1 is in the rows, o2 is not"
    assert len(desk.answers.fresh.on(people[1]).contacts) == 1, "held"
    other.close()
    again.close()


@pytest.mark.fault("C17")
def test_rows_that_were_made_again_stay_with_their_rows(service: Service, place: Pointed, wait: Callable[[Any], Any], now: datetime) -> None:
    desk = service.desk
    event = {"event_id": "e1", "customer_id": "ann", "occurred_at": now, "kind": "visit"}
    wait(desk.events(msgspec.convert({"events": [event]}, EventsRequest)))
    assert desk.answers.fresh.next(10) == {"ann": 1}
    row = desk.answers.rows.get("ann")
    assert row is not None
    desk.answers.overlay.put({"ann": Made(row, 1, now)})
    place.promote("churn", 0.25)
    assert service.swap.look()
    assert desk.answers.overlay.get("ann") is not None, "of the same rows; the new champion has yet to look at it"
    assert desk.answers.fresh.waiting == 1
    place.publish("r2", now + timedelta(minutes=5))
    assert service.swap.look()
    assert len(desk.answers.overlay) == 0
    assert desk.answers.fresh.waiting == 1
    assert service.decide()["freshness"]["as_of_rows"][0] == "features"


def test_what_was_before_the_one_before_is_closed(service: Service, place: Pointed, now: datetime) -> None:
    def opened() -> list[str]:
        below = f"{place.workspace.rows}/"
        return sorted({line.split(below)[1].split("/")[0] for line in Path("/proc/self/maps").read_text().splitlines() if below in line})

    rows, fitted = weakref.ref(service.desk.answers.rows), weakref.ref(service.desk.answers.champions.scorers["churn"].fitted)
    for number in range(2, 6):
        place.publish(f"r{number}", now + timedelta(minutes=number))
        place.promote("churn", number / 10)
        assert service.swap.look()
    assert (rows(), fitted()) == (None, None)
    gc.collect()
    if Path("/proc/self/maps").is_file():
        assert opened() == ["r4", "r5"]


def test_who_was_erased_stays_unknown_and_the_rows_before_are_let_go(service: Service, place: Pointed, now: datetime) -> None:
    place.publish("r2", now + timedelta(minutes=5))
    assert service.swap.look()
    before = weakref.ref(next(iter(value for key, value in service.swap._opener._open.items() if key[0].name == "r1")))
    erasure.bury(erasure.place(place.workspace), "ann", bytes(range(32)))
    service.desk._erased._look_at = 0.0  # type: ignore[union-attr]
    assert service.decide()["degraded"][-2:] == ["unknown_customer", "not_logged"]
    assert not service.swap.look()
    assert before() is None
    place.publish("r3", now + timedelta(minutes=6))
    assert service.swap.look()
    assert service.decide()["degraded"][-2:] == ["unknown_customer", "not_logged"]


def test_while_it_is_unknown_who_was_erased_the_page_of_metrics_and_the_log_say_so(
    service: Service, place: Pointed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(erasure, "LOOK_S", 0.0)
    graves = erasure.place(place.workspace)
    erasure.bury(graves, "bob", bytes(32))
    key = (graves / "key").read_bytes()
    (graves / "key").write_text("no key")
    for _ in range(3):
        assert not service.swap.look()
    assert service.degraded() == {"erased_unknown": 1.0}
    assert [record.levelname for record in caplog.records] == ["ERROR"], "told once"
    health = Health(ignored, service.desk, service.metrics)
    status, said = asyncio.run(told(health, "/readyz"))
    assert (status, said["ready"], "erased_unknown" in said["degraded"]) == (503, False, True)
    assert "the key of erased customers" in said["reason"]
    (graves / "key").write_bytes(key)
    service.swap.look()
    assert service.degraded() == {"erased_unknown": 0.0}
    status, said = asyncio.run(told(health, "/readyz"))
    assert (status, said["ready"], "erased_unknown" in said["degraded"]) == (200, True, False)
    assert "unknown_customer" in service.decide("bob")["degraded"]


async def ignored(*_: Any) -> None:
    raise AssertionError("nobody is handed on")


async def told(health: Health, path: str) -> tuple[int, dict[str, Any]]:
    """How a page of health is answered."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await health({"type": "http", "method": "GET", "path": path}, ignored, send)
    return sent[0]["status"], json.loads(sent[1]["body"])


def test_scores_that_rows_name_are_those_of_the_champions(service: Service, place: Pointed, make: Callable[..., Answers]) -> None:
    """Rows that hold other scores than the champions whose names they bear are refused."""
    rows = make().rows
    names = {task: read_json(place.workspace.models / task / "champion.json")["model_id"] for task in VALUE}
    scores = np.where(rows.array("is_known")[:, None], [[0.75, 100.0]], np.nan)
    folder = place.rows("r2", scores=scores)
    card = read_json(folder / "card.json")
    write_json(folder / "card.json", {**card, "models": names})
    hashes(folder)
    place.name("r2")
    assert not service.swap.look()
    assert service.decide()["degraded"] == ["swap_refused"]


def test_the_thread_looks_by_itself_and_stops(service: Service, place: Pointed) -> None:
    service.swap.start()
    folder = place.promote("churn", 0.25)
    end = time.monotonic() + PATIENCE_S
    while service.desk.answers.champions.model_id("churn") != folder.name and time.monotonic() < end:
        time.sleep(0.01)
    assert service.decide()["models"]["churn"] == folder.name
