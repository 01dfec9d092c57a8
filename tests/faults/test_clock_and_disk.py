"""A clock that jumps and a disk that refuses, under a service as it runs: the C library of its process is told to."""

from __future__ import annotations

import json
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from retain.files import read_json, write_json
from retain.workspace import Workspace
from serving.ledger import outcomes_of
from serving.rows import open_rows

Running = Callable[..., AbstractContextManager[tuple[httpx.Client, subprocess.Popen[bytes]]]]
SOURCE = Path(__file__).parent / "libc.c"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux" or shutil.which("cc") is None, reason="it takes Linux and a C compiler to come before the C library"),
]


@dataclass
class Control:
    """What the process is told by its C library."""

    folder: Path
    shift_s: int = 0
    is_refused: bool = False

    def __post_init__(self) -> None:
        subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", str(self.folder / "libc.so"), str(SOURCE), "-ldl"], check=True)
        (self.folder / "control").write_bytes(bytes(16))
        self.tell()

    @property
    def prefix(self) -> tuple[str, ...]:
        return ("env", f"LD_PRELOAD={self.folder / 'libc.so'}", f"FAULTS_CONTROL={self.folder / 'control'}")

    def tell(self, *, shift_s: int | None = None, is_refused: bool | None = None) -> None:
        self.shift_s = self.shift_s if shift_s is None else shift_s
        self.is_refused = self.is_refused if is_refused is None else is_refused
        with (self.folder / "control").open("r+b") as file:
            file.write(struct.pack("<qq", self.shift_s, self.is_refused))


@pytest.fixture
def control(tmp_path_factory: pytest.TempPathFactory) -> Control:
    return Control(tmp_path_factory.mktemp("control"))


def asked(number: int, placement: str = "inbound_end", **more: object) -> dict[str, object]:
    return {"customer_id": f"C{number % 300 + 1:08d}", "placement": placement, "request_id": f"c{number}", **more}


@pytest.mark.fault("C27")
def test_a_clock_that_jumps_an_hour_moves_neither_deadlines_nor_limits_nor_answers(
    place: Workspace, running: Running, control: Control, happened: Callable[[str], None]
) -> None:
    write_json(place.root / "workspace.json", {**read_json(place.root / "workspace.json"), "as_of": None})
    moment = open_rows(place).card.moment + timedelta(hours=2)
    noon = int((moment - datetime.now(UTC)).total_seconds())
    control.tell(shift_s=noon)
    with running(place, prefix=control.prefix) as (client, _):

        def at(answer: httpx.Response) -> datetime:
            return datetime.fromisoformat(answer.json()["as_of"])

        first = [client.post("/v1/decisions", json=asked(number, budget_ms=2000)) for number in range(20)]
        assert abs(at(first[0]) - moment) < timedelta(minutes=10), "the service lives on the clock that we set"

        def offers(number: int, request_id: str) -> int:
            return len(client.post("/v1/decisions", json=asked(number, "newsletter", channel="email", request_id=request_id)).json()["offers"])

        # What we start holds its contact, until the limit is reached.
        who = next(number for number in range(300) if offers(number, f"start{number}"))
        assert any(offers(who, f"more{each}") == 0 for each in range(20))
        for shift in (-3600, 3600, 0):
            control.tell(shift_s=noon + shift)
            for number, before in enumerate(first):
                again = client.post("/v1/decisions", json=asked(number, budget_ms=2000))
                assert (again.content, again.headers["retain-repeated"]) == (before.content, "true")
            for number in range(10):
                new = client.post("/v1/decisions", json=asked(number, budget_ms=2000, request_id=f"c{number}at{shift}"))
                assert new.status_code == 200
                assert abs(at(new) - moment - timedelta(seconds=shift)) < timedelta(minutes=10)
                assert "budget_spent" not in new.json()["degraded"]
                assert new.json()["source"] == first[number].json()["source"]
            assert offers(who, f"held{shift}") == 0, "the limit stands"
            # A body that comes in two halves with the jump between them is not late.
            port = client.base_url.port or 0
            body = json.dumps(asked(0)).encode()
            with socket.create_connection(("127.0.0.1", port), 10) as line:
                head = f"POST /v1/decisions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
                line.sendall(head.encode() + body[:10])
                time.sleep(0.1)
                control.tell(shift_s=noon - shift)
                line.sendall(body[10:])
                assert line.recv(65536).startswith(b"HTTP/1.1 409"), "another body under that request_id, judged at once"
            sent = {"outcome_id": f"o{shift}", "decision_id": "d", "type": "shown", "occurred_at": moment.isoformat()}
            assert client.post("/v1/outcomes", json=sent).status_code == 200
    happened("an hour back and forth: 60 retries got their bytes, 30 new decisions within their budget, holds held, no deadline moved")


@pytest.mark.fault("C23")
def test_a_sync_that_is_refused_is_told_and_never_retried_away(
    place: Workspace, running: Running, control: Control, happened: Callable[[str], None]
) -> None:
    def outcome(number: int) -> dict[str, object]:
        return {"outcome_id": f"o{number}", "decision_id": "d", "type": "shown", "occurred_at": "2026-01-01T00:00:00Z"}

    with running(place, prefix=control.prefix) as (client, _):
        assert [client.post("/v1/outcomes", json=outcome(number)).status_code for number in range(20)] == [200] * 20
        control.tell(is_refused=True)
        assert client.post("/v1/outcomes", json=outcome(20)).status_code == 503
        control.tell(is_refused=False)
        assert client.post("/v1/outcomes", json=outcome(21)).status_code == 503, "what a disk once refused may be gone: only a new start looks"
        assert client.get("/readyz").status_code == 503
        answer = client.post("/v1/decisions", json=asked(1)).json()
        assert (answer["decision_id"], answer["exploration"]) == (None, False)
        assert "not_logged" in answer["degraded"]
    with running(place, prefix=control.prefix) as (client, _):
        assert client.post("/v1/outcomes", json=outcome(21)).json()["duplicate"] is False
    assert {f"o{number}" for number in range(20)} <= {each.outcome_id for each in outcomes_of(place.ledger)}
    happened("fdatasync said EIO once: 503 from then on until a new start, 20 acknowledged outcomes there")
