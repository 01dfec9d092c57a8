"""Real processes: uvicorn and BentoML answer alike, neither needs Feast or MLflow, and what was acknowledged survives ``kill -9``."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from retain.cli import main
from retain.workspace import Workspace
from serving.ledger import outcomes_of

START_S = 120
ASKED = {"customer_id": "C00000001", "placement": "inbound_end", "request_id": "p-1"}


@pytest.fixture
def place(served: Workspace, tmp_path: Path) -> Workspace:
    """A workspace of its own, with nothing but what serving reads: neither snapshots, Feast's files, tables nor MLflow's."""
    for name in ("rows", "models"):
        shutil.copytree(served.root / name, tmp_path / name)
    shutil.copy(served.root / "workspace.json", tmp_path)
    return Workspace.at(tmp_path)


@contextmanager
def running(place: Workspace, runner: str) -> Iterator[tuple[httpx.Client, subprocess.Popen[bytes]]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "retain", "serve", "--runner", runner, "--port", str(port), "--workspace", str(place.root)]
    environment = {**os.environ, "BENTOML_HOME": str(place.root / "bentoml"), "BENTOML_DO_NOT_TRACK": "true"}
    log = (place.root / "log").open("wb")
    process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
            end = time.monotonic() + START_S
            while time.monotonic() < end:
                assert process.poll() is None, (place.root / "log").read_text()
                try:
                    if client.get("/readyz").status_code == 200:
                        break
                except httpx.TransportError:
                    pass
                time.sleep(0.2)
            yield client, process
    finally:
        if process.poll() is None:
            # BentoML's workers are in a session of their own: only its own shutdown ends them.
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        log.close()


def test_both_runners_answer_the_same_bytes(place: Workspace) -> None:
    with running(place, "uvicorn") as (client, process):
        first = client.post("/v1/decisions", json=ASKED)
        assert first.status_code == 200
        assert client.post("/v1/decisions", content=b"\x80", headers={"content-type": "application/x-pickle"}).status_code == 415
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) in (0, -signal.SIGTERM)
    with running(place, "bentoml") as (client, _):
        assert client.get("/livez").status_code == 200
        assert client.post("/v1/decisions", json=ASKED).content == first.content
        asked = {"customer_ids": ["C00000001", "nobody"]}
        through_bentoml = client.post("/scores", json={"request": asked}).json()
        assert through_bentoml["scores"] == client.post("/v1/scores", json=asked).json()["scores"]
        assert client.post("/decisions", content=b"\x80", headers={"content-type": "application/vnd.bentoml+pickle"}).status_code == 415
        assert client.get("/").status_code == 200
        assert "retain_answers_total" in client.get("/metrics").text


def test_acknowledged_outcomes_survive_kill_9(place: Workspace) -> None:
    acknowledged = []
    with running(place, "uvicorn") as (client, process):
        for number in range(50):
            body = {"outcome_id": f"o{number}", "decision_id": "d", "type": "shown", "occurred_at": "2026-01-01T00:00:00Z"}
            if client.post("/v1/outcomes", json=body).status_code == 200:
                acknowledged.append(f"o{number}")
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert len(acknowledged) == 50
    assert [each.outcome_id for each in outcomes_of(place.ledger)] == sorted(acknowledged)


def test_answering_imports_neither_feast_nor_mlflow_nor_sql(place: Workspace) -> None:
    code = (
        "import sys; from pathlib import Path; from retain.workspace import Workspace; from serving.desk import Desk\n"
        "from serving.metrics import Metrics\n"
        "from serving.runner import whole\nfrom serving.schemas import ScoresRequest\n"
        "desk = Desk.open(Workspace.at(Path(sys.argv[1]))); whole(desk, Metrics()); desk.answers.scores(ScoresRequest(['C00000001'])); desk.close()\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'feast', 'mlflow', 'bentoml', 'ibis', 'pyspark'}))"
    )
    found = subprocess.run([sys.executable, "-c", code, str(place.root)], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("host", ["0.0.0.0", "example.org", "::"])  # noqa: S104 - refused, not bound
def test_another_address_than_loopback_is_refused(place: Workspace, host: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--workspace", str(place.root), "--host", host]) == 5
    assert "loopback" in capsys.readouterr().err
