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


def within(holds: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.slow
@pytest.mark.fault("C36")
def test_two_services_share_limits_and_answers_and_outlive_redis(
    place: Workspace,
    tmp_path_factory: pytest.TempPathFactory,
    running: Running,
    redis: Any,
    monkeypatch: pytest.MonkeyPatch,
    happened: Callable[[str], None],
) -> None:
    other = Workspace.at(tmp_path_factory.mktemp("other") / "w")
    shutil.copytree(place.root, other.root)
    monkeypatch.setenv("RETAIN_REDIS", redis.url)
    with running(place, options=("--workers", "2")) as (one, _), running(other) as (two, process):
        services = [one, two]

        def is_whole(client: httpx.Client) -> bool:
            return "machines_apart" not in client.get("/readyz").json()["degraded"]

        def decide(client: httpx.Client, customer: str, **changes: Any) -> Any:
            asked = {"customer_id": customer, "channel": "email", "placement": "letter", **changes}
            answer = client.post("/v1/decisions", json=asked)
            assert answer.status_code == 200, answer.text
            return answer.json()

        def rules(answer: Any) -> list[str]:
            return [each["rule"] for each in answer["withheld"]]

        # Both know of both: nobody is whole without the other from then on.
        assert within(lambda: len(redis.ask("HKEYS", "retain:machines")) == 2 and all(map(is_whole, services)))
        everybody = [f"C{number:08d}" for number in range(1, 301)]
        willing = [each for each in everybody if decide(one, each, dry_run=True)["offers"]][:5]
        assert willing, "somebody may be written to"
        for each in willing:
            shown = [bool(decide(services[number % 2], each)["offers"]) for number in range(8)]
            assert 1 <= sum(shown) <= MOST, "the limits of configs/decisions.yaml hold over both, with what is on record of the customer"
            assert shown == sorted(shown, reverse=True), "and what the one gave the other knows at once"
            assert rules(decide(one, each)) == rules(decide(two, each))
        first = decide(one, willing[-1], placement="inbound_end", request_id="again")
        assert within(lambda: two.get(f"/v1/decisions/{first['decision_id']}").status_code == 200)
        assert decide(two, willing[-1], placement="inbound_end", request_id="again") == first

        redis.kill()
        told = []
        for number in range(60):
            answer = decide(services[number % 2], everybody[number])
            assert answer["offers"] == []
            named = {"outcome_id": f"o{number}", "decision_id": answer["decision_id"], "type": "opened", "occurred_at": answer["as_of"]}
            assert services[number % 2].post("/v1/outcomes", json=named).status_code == 200
            told.append(f"o{number}")
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
            assert within(lambda: [each.outcome_id for each in sorted(outcomes_of(place.ledger), key=_number)] == told)
            assert within(lambda: [each.outcome_id for each in sorted(outcomes_of(other.ledger), key=_number)] == told)
            assert not decide(back, willing[0])["offers"]
    kept = [reading(each.ledger, lambda ledger: sorted(one.decision_id for one in ledger.decisions())) for each in (place, other)]
    assert kept[0] == kept[1]
    assert len(kept[0]) == len(set(kept[0]))
    for log in (place.root / "log", Path(other.root / "log")):
        assert "C0000" not in log.read_text()
    happened(f"{len(told)} outcomes taken while Redis was away and {len(kept[0])} decisions stand on both machines, once; limits as on one machine")


@pytest.mark.slow
@pytest.mark.fault("C36")
def test_through_bentoml_too_services_share_limits_and_answers(
    place: Workspace,
    tmp_path_factory: pytest.TempPathFactory,
    running: Running,
    redis: Any,
    monkeypatch: pytest.MonkeyPatch,
    happened: Callable[[str], None],
) -> None:
    """One service under BentoML and one under uvicorn, so that it is one shop whoever runs it."""
    other = Workspace.at(tmp_path_factory.mktemp("other") / "w")
    shutil.copytree(place.root, other.root)
    monkeypatch.setenv("RETAIN_REDIS", redis.url)
    with running(place, "bentoml") as (one, _), running(other) as (two, _):
        services = [one, two]
        everybody = [f"C{number:08d}" for number in range(1, 301)]

        def decide(client: httpx.Client, customer: str, path: str = "/v1/decisions", **changes: Any) -> Any:
            asked = {"customer_id": customer, "channel": "email", "placement": "letter", **changes}
            answer = client.post(path, json=asked if path.startswith("/v1") else {"request": asked})
            assert answer.status_code == 200, answer.text
            return answer.json()

        def are_whole() -> bool:
            return all("machines_apart" not in decide(each, "nobody", dry_run=True)["degraded"] for each in services)

        def of_bentoml(name: str) -> float:
            lines = one.get("/metrics").text.splitlines()
            return max(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))

        assert within(lambda: len(redis.ask("HKEYS", "retain:machines")) == 2 and are_whole())
        assert within(lambda: of_bentoml("retain_machines_apart") == 0)
        willing = [each for each in everybody if decide(one, each, dry_run=True)["offers"]][:3]
        assert willing, "somebody may be written to"
        for each in willing:
            paths = ("/decisions", "/v1/decisions", "/v1/decisions")
            shown = [bool(decide(services[number % 3 // 2], each, paths[number % 3])["offers"]) for number in range(9)]
            assert 1 <= sum(shown) <= MOST, "BentoML's own route is held to the limits of all machines, as /v1 is"
            assert shown == sorted(shown, reverse=True)
        first = decide(one, willing[0], placement="inbound_end", request_id="again")
        assert within(lambda: two.get(f"/v1/decisions/{first['decision_id']}").status_code == 200)
        assert decide(two, willing[0], placement="inbound_end", request_id="again") == first

        redis.kill()
        told = [f"o{number}" for number in range(20)]
        for number, name in enumerate(told):
            answer = decide(services[number % 2], everybody[number])
            assert answer["offers"] == []
            named = {"outcome_id": name, "decision_id": answer["decision_id"], "type": "opened", "occurred_at": answer["as_of"]}
            assert services[number % 2].post("/v1/outcomes", json=named).status_code == 200
        assert [each["rule"] for each in decide(one, willing[0], "/decisions")["withheld"]] == ["limits_unknown"]
        assert decide(one, willing[0], placement="inbound_end")["decision_id"] is not None, "whoever turns to us is answered"
        assert one.get("/readyz").status_code == 200
        assert within(lambda: of_bentoml("retain_machines_apart") == 1)
        redis.start()
        assert within(are_whole)
        for each in (place, other):
            assert within(lambda each=each: [one.outcome_id for one in sorted(outcomes_of(each.ledger), key=_number)] == told)  # type: ignore[misc]
    kept = [reading(each.ledger, lambda ledger: sorted(one.decision_id for one in ledger.decisions())) for each in (place, other)]
    assert kept[0] == kept[1]
    assert len(kept[0]) == len(set(kept[0]))
    assert "C0000" not in (place.root / "log").read_text()
    happened(f"BentoML and uvicorn over one Redis: {len(told)} outcomes taken while it was away and {len(kept[0])} decisions stand on both, once")


def _number(outcome: Any) -> int:
    return int(outcome.outcome_id[1:])
