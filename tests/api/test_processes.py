"""Real processes: uvicorn and BentoML answer alike, neither needs Feast or MLflow, and what was acknowledged survives ``kill -9``."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest

from retain.cli import main
from retain.files import read_json
from retain.workspace import Workspace
from serving.ledger import outcomes_of, reading
from tests.serving.pointed import constant, point

Running = Callable[..., AbstractContextManager[tuple[httpx.Client, subprocess.Popen[bytes]]]]
TAKEN_UP_S = 60
ASKED = {"customer_id": "C00000001", "placement": "inbound_end", "request_id": "p-1"}


@pytest.mark.fault("C4", "E3")
@pytest.mark.fault("B9")
@pytest.mark.fault("C18")
@pytest.mark.fault("C20")
def test_both_runners_answer_the_same_bytes(place: Workspace, running: Running) -> None:
    with running(place, "uvicorn") as (client, process):
        first = client.post("/v1/decisions", json=ASKED)
        assert first.status_code == 200
        assert client.post("/v1/decisions", content=b"\x80", headers={"content-type": "application/x-pickle"}).status_code == 415
        takes_up_what_is_named_anew(place, client)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) in (0, -signal.SIGTERM)
    with running(place, "bentoml") as (client, _):
        assert client.get("/livez").status_code == 200
        assert client.post("/v1/decisions", json=ASKED).content == first.content
        asked = {"customer_ids": ["C00000001", "nobody"]}
        through_bentoml = client.post("/scores", json={"request": asked}).json()
        assert through_bentoml["scores"] == client.post("/v1/scores", json=asked).json()["scores"]
        again = client.post("/decisions", json={"request": {**ASKED, "max_offers": 1}})
        assert (again.status_code, "request_id" in again.text) == (409, True), "as below /v1"
        assert client.post("/scores", json={"request": {"customer_ids": "C00000001"}}).status_code == 422
        assert client.post("/decisions", content=b"\x80", headers={"content-type": "application/vnd.bentoml+pickle"}).status_code == 415
        assert client.get("/").status_code == 200
        figures_name_nobody(place, client)
        takes_up_what_is_named_anew(place, client)
        closed_by_the_first_key(place, client)


def figures_name_nobody(place: Workspace, client: httpx.Client) -> None:
    """BentoML's own figures would make a label of every path; ours tell routes, refusals, times and what drift was found."""
    for path in ("/v1/decisions/C00000001", "/C00000002", "/v1/lists/C00000003"):
        assert client.get(path).status_code == 404
        assert client.get(path, headers={"host": "evil.example"}).status_code == 400
    place.drift.mkdir(exist_ok=True)
    (place.drift / "churn.json").write_text('{"now": "2026-01-01T00:00:00+00:00", "moved": {"features": 2}, "worst": {"features": 0.5}}')
    page = client.get("/metrics").text
    assert "C0000" not in page
    assert "bentoml" not in page
    for name in (
        "retain_answers_total{",
        'retain_request_seconds_bucket{asked="/v1/decisions",le="0.01",status="200"}',
        'retain_request_seconds_count{asked="/v1/decisions/{decision_id}",status="404"}',
        'retain_request_seconds_count{asked="other",status="400"}',
        'retain_request_seconds_count{asked="/decisions",status="415"}',
        "retain_requests_in_flight",
        "retain_serving{",
        'retain_drift_moved{kind="features",task="churn"} 2.0',
    ):
        assert name in page, name


def takes_up_what_is_named_anew(place: Workspace, client: httpx.Client) -> None:
    """A champion that is promoted answers without a restart; one that does not verify does not, and metrics say so. Then all is as before."""
    pointer = place.models / "churn" / "champion.json"
    was = pointer.read_bytes()

    def answers_by(model: str, *codes: str) -> None:
        end = time.monotonic() + TAKEN_UP_S
        while time.monotonic() < end:
            answer = client.post("/v1/scores", json={"customer_ids": ["C00000001"]}).json()
            if answer["models"]["churn"] == model and {code for code in answer["degraded"] if "previous" in code} == set(codes):
                return
            time.sleep(0.05)
        raise AssertionError(answer)

    better = constant(place, "churn", 0.125)
    point(better)
    answers_by(better.name)
    assert client.post("/v1/scores", json={"customer_ids": ["C00000001"]}).json()["scores"][0]["churn"] == 0.125
    broken = constant(place, "churn", 0.25)
    (broken / "model" / "constant.json").write_text('{"value": 0.75}')
    point(broken)
    answers_by(better.name, "churn_previous_model")
    assert client.get("/readyz").status_code == 200
    assert 'retain_degraded{code="churn_previous_model"} 1.0' in client.get("/metrics").text
    pointer.write_bytes(was)
    answers_by(read_json(pointer)["model_id"])
    shutil.rmtree(broken)


def closed_by_the_first_key(place: Workspace, client: httpx.Client) -> None:
    """BentoML's own routes are behind the same doors."""
    made = subprocess.run(
        [sys.executable, "-m", "retain", "keys", "create", "crm", "--scope", "crm", "--workspace", str(place.root)],
        capture_output=True,
        text=True,
        check=True,
    )
    time.sleep(1.1)
    held = {"authorization": f"Bearer {made.stdout.strip()}"}
    for path in ("/", "/docs.json", "/metrics", "/schema.json", "/static_content/index.css", "/v1/openapi.json"):
        assert client.get(path).status_code == 401, path
    assert client.post("/v1/decisions", json=ASKED).status_code == 401
    assert client.post("/decisions", json={"request": ASKED}).status_code == 401
    assert client.post("/v1/decisions", json=ASKED, headers=held).status_code == 200
    assert client.post("/decisions", json={"request": ASKED}, headers=held).status_code == 200
    assert client.get("/docs.json", headers=held).status_code == 403
    assert client.get("/livez").status_code == 200
    assert client.get("/livez", headers={"host": "evil.example"}).status_code == 400


@pytest.mark.slow
def test_a_bento_is_built_and_serves_by_itself(
    place: Workspace, running: Running, bentoml_environment: Callable[[Workspace], dict[str, str]]
) -> None:
    if importlib.util.find_spec("pip") is None:
        pytest.skip("`bentoml build` needs pip in the environment; make it with `make setup`")
    root = Path(__file__).resolve().parents[2]
    build = [sys.executable, "-m", "bentoml", "build", "--output", "tag", "--version", "trial", str(root)]
    built = subprocess.run(build, env=bentoml_environment(place), capture_output=True, text=True, cwd=root)
    assert "__tag__:retain-service:trial" in built.stdout, built.stderr
    source = place.root / "bentoml" / "bentos" / "retain-service" / "trial" / "src"
    assert {each.name for each in source.iterdir() if each.is_dir()} == {"retain", "features", "training", "serving", "configs"}
    assert {each.suffix for each in source.rglob("*") if each.is_file()} <= {".py", ".sql", ".yaml", ".toml", ".md"}, (
        "code and rules, nothing of a workspace"
    )
    # The packed copy answers, not the checkout that is installed here: its version says so.
    version = source / "retain" / "__init__.py"
    version.write_text(version.read_text().replace('__version__ = "', '__version__ = "9.'))
    with running(place, "bentoml", bento="retain-service:trial") as (client, _):
        assert client.get("/v1/openapi.json").json()["info"]["version"].startswith("9.")
        decision = client.post("/v1/decisions", json=ASKED)
        assert decision.status_code == 200
        assert client.post("/decisions", json={"request": ASKED}).json() == decision.json(), "the same request, the stored answer"
        asked = {"customer_ids": ["C00000001", "nobody"]}
        scores = client.post("/scores", json={"request": asked}).json()["scores"]
        assert [score["status"] for score in scores] == ["ok", "unknown"]
        assert scores == client.post("/v1/scores", json=asked).json()["scores"]
        refused = client.post("/scores", json={"request": {"customer_ids": []}})
        assert refused.status_code == 422
        described = client.get("/docs.json").json()["paths"]
        assert {"/decisions", "/scores"} <= set(described)


@pytest.mark.fault("C16")
def test_acknowledged_outcomes_and_facts_survive_kill_9(place: Workspace, running: Running) -> None:
    outcomes, facts = [], []
    with running(place, "uvicorn") as (client, process):
        for number in range(50):
            body = {"outcome_id": f"o{number}", "decision_id": "d", "type": "shown", "occurred_at": "2026-01-01T00:00:00Z"}
            if client.post("/v1/outcomes", json=body).status_code == 200:
                outcomes.append(f"o{number}")
            event = {"event_id": f"e{number}", "customer_id": "C00000001", "occurred_at": "2025-12-31T00:00:00Z", "kind": "visit"}
            if client.post("/v1/events", json={"events": [event]}).json() == {"kept": 1, "duplicates": 0, "erased": 0}:
                facts.append(f"e{number}")
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert (len(outcomes), len(facts)) == (50, 50)
    assert [each.outcome_id for each in outcomes_of(place.ledger)] == sorted(outcomes)
    assert [fact.identity for fact in reading(place.ledger, lambda ledger: ledger.facts_of("C00000001"))] == facts


def test_a_purchase_that_comes_in_changes_what_is_scored_next(served: Workspace, place: Workspace, running: Running) -> None:
    """With the tables beside it the service makes the customer's row again by itself; a restart knows what came in, too."""
    shutil.copytree(served.tables, place.tables)
    asked = {"customer_ids": ["C00000002"]}
    line = {"order_id": "now", "line_id": "1", "customer_id": "C00000002", "product_id": "P1", "occurred_at": "2025-12-31T20:00:00Z"}

    def known(client: httpx.Client) -> dict[str, Any]:
        end = time.monotonic() + TAKEN_UP_S
        while time.monotonic() < end:
            answer: dict[str, Any] = client.post("/v1/scores", json=asked).json()
            if answer["freshness"].get("as_of_rows") == ["lists", "band", "cause"]:
                return dict(answer["scores"][0])
            time.sleep(0.02)
        raise AssertionError(answer)

    with running(place, "uvicorn") as (client, _):
        before = client.post("/v1/scores", json=asked).json()["scores"][0]
        sent = {"transactions": [{**line, "kind": "sale", "quantity": 3.0, "amount": 60.0}]}
        assert client.post("/v1/events", json=sent).json()["kept"] == 1
        after = known(client)
        assert (after["churn"], after["stage"]) != (before["churn"], before["stage"])
    with running(place, "uvicorn") as (client, _):
        assert known(client) == after


@pytest.mark.fault("B9", "C20")
def test_answering_imports_neither_feast_nor_mlflow_nor_sql(place: Workspace) -> None:
    code = (
        "import sys; from pathlib import Path; from retain.workspace import Workspace; from serving.desk import Desk\n"
        "from serving.metrics import Metrics\n"
        "from serving.runner import whole\nfrom serving.schemas import ScoresRequest\nfrom serving.scored import scores\n"
        "desk = Desk.open(Workspace.at(Path(sys.argv[1]))); whole(desk, Metrics())\n"
        "scores(desk.answers, ScoresRequest(['C00000001'])); desk.close()\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'feast', 'mlflow', 'bentoml', 'ibis', 'pyspark'}))"
    )
    found = subprocess.run([sys.executable, "-c", code, str(place.root)], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.fault("E13")
@pytest.mark.parametrize("host", ["0.0.0.0", "example.org", "::"])  # noqa: S104 - refused, not bound
def test_another_address_than_loopback_is_refused(place: Workspace, host: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--workspace", str(place.root), "--host", host]) == 5
    assert "loopback" in capsys.readouterr().err
