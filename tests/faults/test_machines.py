"""Two services on two ledgers, over a Redis that is killed while they are asked."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest

from retain.workspace import Workspace
from serving.ledger import outcomes_of, reading

Running = Callable[..., AbstractContextManager[tuple[httpx.Client, subprocess.Popen[bytes]]]]
PATIENCE_S, MOST = 30.0, 3
EVERYBODY = [f"C{number:08d}" for number in range(1, 301)]


def within(holds: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


@pytest.fixture
def other(place: Workspace, tmp_path_factory: pytest.TempPathFactory, redis: Any, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A second machine of the shop, over the same Redis."""
    workspace = Workspace.at(tmp_path_factory.mktemp("other") / "w")
    shutil.copytree(place.root, workspace.root)
    monkeypatch.setenv("RETAIN_REDIS", redis.url)
    return workspace


def decide(client: httpx.Client, customer: str, path: str = "/v1/decisions", **changes: Any) -> Any:
    asked = {"customer_id": customer, "channel": "email", "placement": "letter", **changes}
    answer = client.post(path, json=asked if path.startswith("/v1") else {"request": asked})
    assert answer.status_code == 200, answer.text
    return answer.json()


def hear_an_opening(client: httpx.Client, customer: str, outcome_id: str) -> None:
    """Nothing is proposed while machines are apart; what came of it is taken all the same."""
    answer = decide(client, customer)
    assert answer["offers"] == []
    named = {"outcome_id": outcome_id, "decision_id": answer["decision_id"], "type": "opened", "occurred_at": answer["as_of"]}
    assert client.post("/v1/outcomes", json=named).status_code == 200


def hold_to_limits(services: list[httpx.Client], customer: str, asked: list[tuple[int, str]]) -> None:
    """Asked by turns, here a service and a path each, all together give what one machine would."""
    shown = [bool(decide(services[number], customer, path)["offers"]) for number, path in asked]
    assert 1 <= sum(shown) <= MOST, "the limits of configs/decisions.yaml hold over both, with what is on record of the customer"
    assert shown == sorted(shown, reverse=True), "and what the one gave the other knows at once"


def answer_alike(services: list[httpx.Client], customer: str) -> None:
    """What one answered the other says again, under the same request_id."""
    first = decide(services[0], customer, placement="inbound_end", request_id="again")
    assert within(lambda: services[1].get(f"/v1/decisions/{first['decision_id']}").status_code == 200)
    assert decide(services[1], customer, placement="inbound_end", request_id="again") == first


def on_record(workspace: Workspace) -> list[str]:
    return [each.outcome_id for each in sorted(outcomes_of(workspace.ledger), key=lambda each: int(each.outcome_id[1:]))]


def decided_alike(places: list[Workspace]) -> int:
    """How many decisions stand on every machine, once."""
    kept = [reading(each.ledger, lambda ledger: sorted(one.decision_id for one in ledger.decisions())) for each in places]
    assert kept[0] == kept[1]
    assert len(kept[0]) == len(set(kept[0]))
    return len(kept[0])


def rules(answer: Any) -> list[str]:
    return [each["rule"] for each in answer["withheld"]]


@pytest.mark.slow
@pytest.mark.fault("C36")
def test_two_services_share_limits_and_answers_and_outlive_redis(
    place: Workspace, other: Workspace, running: Running, redis: Any, happened: Callable[[str], None]
) -> None:
    with running(place, options=("--workers", "2")) as (one, _), running(other) as (two, process):
        services = [one, two]

        def is_whole(client: httpx.Client) -> bool:
            return "machines_apart" not in client.get("/readyz").json()["degraded"]

        # Both know of both: nobody is whole without the other from then on.
        assert within(lambda: len(redis.ask("HKEYS", "retain:machines")) == 2 and all(map(is_whole, services)))
        willing = [each for each in EVERYBODY if decide(one, each, dry_run=True)["offers"]][:5]
        assert willing, "somebody may be written to"
        for each in willing:
            hold_to_limits(services, each, [(0, "/v1/decisions"), (1, "/v1/decisions")] * 4)
            assert rules(decide(one, each)) == rules(decide(two, each))
        answer_alike(services, willing[-1])

        redis.kill()
        told = [f"o{number}" for number in range(60)]
        for number, name in enumerate(told):
            hear_an_opening(services[number % 2], EVERYBODY[number], name)
        assert rules(decide(one, willing[0])) == rules(decide(two, willing[0])) == ["limits_unknown"]
        assert "limits_unknown" not in rules(decide(one, willing[0], placement="inbound_end")), "whoever turns to us is answered"
        for client in services:
            ready = client.get("/readyz")
            assert (ready.status_code, "machines_apart" in ready.json()["degraded"]) == (200, True)
            assert "retain_machines_apart 1.0" in client.get("/metrics").text or "retain_machines_apart{" in client.get("/metrics").text
        # One of the machines is killed while Redis is away: what it acknowledged is on its disk.
        process.kill()
        process.wait()
        redis.start()
        with running(other) as (back, _):
            services = [one, back]
            assert within(lambda: all(map(is_whole, services)))
            assert within(lambda: on_record(place) == on_record(other) == told)
            assert not decide(back, willing[0])["offers"]
    decided = decided_alike([place, other])
    for log in (place.root / "log", Path(other.root / "log")):
        assert "C0000" not in log.read_text()
    happened(f"{len(told)} outcomes taken while Redis was away and {decided} decisions stand on both machines, once; limits as on one machine")


@pytest.mark.slow
@pytest.mark.fault("C36")
def test_through_bentoml_too_services_share_limits_and_answers(
    place: Workspace, other: Workspace, running: Running, redis: Any, happened: Callable[[str], None]
) -> None:
    """One service under BentoML and one under uvicorn, so that it is one shop whoever runs it."""
    with running(place, "bentoml") as (one, _), running(other) as (two, _):
        services = [one, two]

        def are_whole() -> bool:
            return all("machines_apart" not in decide(each, "nobody", dry_run=True)["degraded"] for each in services)

        def of_bentoml(name: str) -> float:
            lines = one.get("/metrics").text.splitlines()
            return max(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))

        assert within(lambda: len(redis.ask("HKEYS", "retain:machines")) == 2 and are_whole())
        assert within(lambda: of_bentoml("retain_machines_apart") == 0)
        willing = [each for each in EVERYBODY if decide(one, each, dry_run=True)["offers"]][:3]
        assert willing, "somebody may be written to"
        for each in willing:
            # BentoML's own route is held to the limits of all machines, as /v1 is.
            hold_to_limits(services, each, [(0, "/decisions"), (0, "/v1/decisions"), (1, "/v1/decisions")] * 3)
        answer_alike(services, willing[0])

        redis.kill()
        told = [f"o{number}" for number in range(20)]
        for number, name in enumerate(told):
            hear_an_opening(services[number % 2], EVERYBODY[number], name)
        assert rules(decide(one, willing[0], "/decisions")) == ["limits_unknown"]
        assert decide(one, willing[0], placement="inbound_end")["decision_id"] is not None, "whoever turns to us is answered"
        assert one.get("/readyz").status_code == 200
        assert within(lambda: of_bentoml("retain_machines_apart") == 1)
        redis.start()
        assert within(are_whole)
        assert within(lambda: on_record(place) == on_record(other) == told)
    decided = decided_alike([place, other])
    assert "C0000" not in (place.root / "log").read_text()
    happened(f"BentoML and uvicorn over one Redis: {len(told)} outcomes taken while it was away and {decided} decisions stand on both, once")
