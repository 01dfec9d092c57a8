"""The drill: a workspace is backed up while it serves, wiped, restored, and answers as before."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest

from retain.cli import main
from retain.workspace import Workspace
from serving.ledger import outcomes_of, reading
from training import promotions

Running = Callable[..., AbstractContextManager[tuple[httpx.Client, subprocess.Popen[bytes]]]]


def asked(number: int) -> dict[str, object]:
    return {"customer_id": f"C{number % 300 + 1:08d}", "placement": "inbound_end", "request_id": f"drill-{number}"}


def outcome(number: int) -> dict[str, object]:
    return {"outcome_id": f"o{number}", "decision_id": f"d{number}", "type": "shown", "occurred_at": "2026-01-01T00:00:00Z"}


READ = ("rows", "models", "promotions.jsonl", "workspace.json", "drift")
"""What serving reads; everything else only makes the copy longer."""


@pytest.mark.parametrize("is_whole", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_backed_up_while_it_serves_wiped_and_restored_it_answers_the_same(
    served: Workspace, tmp_path: Path, running: Running, capsys: pytest.CaptureFixture[str], is_whole: bool
) -> None:
    own, kept = Workspace.at(tmp_path / "own"), tmp_path / "backup"
    left_out = {path.name for path in served.root.iterdir()} - ({path.name for path in served.root.iterdir()} if is_whole else set(READ))
    shutil.copytree(served.root, own.root, ignore=lambda folder, _: left_out if folder == str(served.root) else ())
    place = ["--workspace", str(own.root)]
    chain = promotions.entries(own)
    with running(own) as (client, _):

        def send(number: int) -> int:
            answers = client.post("/v1/decisions", json=asked(number)), client.post("/v1/outcomes", json=outcome(number))
            return max(answer.status_code for answer in answers)

        before = {number: client.post("/v1/decisions", json=asked(number)).content for number in range(20)}
        dry = client.post("/v1/decisions", json={**asked(3), "request_id": None, "dry_run": True}).content
        assert [client.post("/v1/outcomes", json=outcome(number)).status_code for number in range(20)] == [200] * 20
        assert client.get("/v1/lists/churn?top=5").status_code == 200
        with ThreadPoolExecutor(4) as callers:
            statuses = callers.map(send, range(20, 220))
            assert main(["backup", "--out", str(kept), *place]) == 0
            assert set(statuses) == {200}, "nobody noticed"
    shutil.rmtree(own.root)
    assert main(["restore", str(kept), *place]) == 0
    assert main(["pulls", "verify", *place]) == 0
    assert promotions.entries(own) == chain
    kept_outcomes = [each.outcome_id for each in outcomes_of(own.ledger)]
    assert len(kept_outcomes) == len(set(kept_outcomes))
    assert {f"o{number}" for number in range(20)} <= set(kept_outcomes)
    decided = {json.loads(entry.request).get("request_id") for entry in reading(own.ledger, lambda ledger: list(ledger.decisions()))}
    assert {f"drill-{number}" for number in range(20)} <= decided
    assert main(["decisions", "replay", "--last", "1000", "--json", *place]) == 0, "made again from their receipts, byte for byte"
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["different"] == []
    with running(own) as (client, _):
        for number, answer in before.items():
            again = client.post("/v1/decisions", json=asked(number))
            assert (again.headers["retain-repeated"], again.content) == ("true", answer)
        assert client.post("/v1/decisions", json={**asked(3), "request_id": None, "dry_run": True}).content == dry
        assert client.post("/v1/outcomes", json=outcome(0)).json()["duplicate"] is True
    if is_whole:
        # Features and the online store are found at their place, value by value.
        assert main(["features", "audit", *place]) == 0
