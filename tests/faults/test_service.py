"""A service as a process under load: killed, stopped, crowded, starved of files and disk; what was acknowledged stands, others are answered."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest

from retain.workspace import Workspace, computer_time
from serving.keys import add, minted, revoke
from serving.ledger import outcomes_of, reading

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other processes are looked into by /proc and their limits set")
Running = Callable[..., AbstractContextManager[tuple[httpx.Client, subprocess.Popen[bytes]]]]
Traffic = Callable[..., Any]
Happened = Callable[[str], None]


def port_of(client: httpx.Client) -> int:
    port = client.base_url.port
    assert port is not None
    return port


def decided(place: Workspace) -> dict[str, bytes]:
    """Answers on record by request_id."""
    entries = reading(place.ledger, lambda ledger: list(ledger.decisions()))
    return {json.loads(entry.request)["request_id"]: entry.answer for entry in entries}


def stands(place: Workspace, told: list[Any]) -> tuple[int, int]:
    """What was acknowledged is on record, once, as it was said; return how many decisions and outcomes."""
    kept, outcomes = decided(place), [each.outcome_id for each in outcomes_of(place.ledger)]
    assert len(outcomes) == len(set(outcomes))
    given = [each for each in told if each.status == 200 and each.path == "/v1/decisions"]
    for each in given:
        assert json.loads(kept[each.body["request_id"]]) == each.answer
    acknowledged = {each.body["outcome_id"] for each in told if each.status == 200 and each.path == "/v1/outcomes"}
    assert acknowledged <= set(outcomes)
    return len(given), len(acknowledged)


@pytest.mark.slow
@pytest.mark.fault("E6")
def test_a_stream_ends_soon_after_its_key_is_revoked(place: Workspace, running: Running, happened: Happened) -> None:
    key, text = minted(os.urandom(64), "batch", ("crm",), computer_time(), days=1, per_minute=60_000)
    add(place.keys, key, computer_time())
    asked = json.dumps({"customer_ids": [f"C{number % 300 + 1:08d}" for number in range(10_000)], "explain": True}).encode()
    head = (
        "POST /v1/scores HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\naccept: application/x-ndjson\r\n"
        f"authorization: Bearer {text}\r\ncontent-length: {len(asked)}\r\n\r\n"
    ).encode()
    with running(place) as (client, _), socket.create_connection(("127.0.0.1", port_of(client)), 60) as line:
        line.sendall(head + asked)
        said = line.recv(65536)
        assert said.startswith(b"HTTP/1.1 200")
        revoke(place.keys, key.key_id, computer_time())
        start = time.monotonic()
        while piece := line.recv(65536):
            said += piece
        took = time.monotonic() - start
        assert client.post("/v1/decisions", json=mixed(0)[1], headers={"authorization": f"Bearer {text}"}).status_code == 401
    rows = said.count(b'"customer_id"')
    assert not said.endswith(b"0\r\n\r\n"), "an answer that was cut off has no end"
    assert rows < 10_000
    happened(f"cut off {took:.1f} s after the revocation, {rows:,} of 10,000 rows sent")


@pytest.mark.slow
@pytest.mark.fault("E12")
def test_a_process_that_breaks_leaves_no_copy_of_its_memory(place: Workspace, running: Running) -> None:
    with running(place, prefix=("sh", "-c", 'ulimit -c unlimited 2>/dev/null; exec "$@"', "sh")) as (client, process):
        assert client.post("/v1/decisions", json=mixed(0)[1]).status_code == 200
        limits = Path(f"/proc/{process.pid}/limits").read_text().splitlines()
        (core,) = [line for line in limits if line.startswith("Max core file size")]
        assert core.split()[4] == "0"
        os.kill(process.pid, signal.SIGABRT)
        assert process.wait(20) == -signal.SIGABRT
    assert not list(place.root.glob("core*"))


@pytest.mark.fault("C14")
def test_told_to_stop_under_load_it_fails_no_request_that_it_took(place: Workspace, running: Running, traffic: Traffic, happened: Happened) -> None:
    with running(place) as (client, process):
        callers = traffic(port_of(client)).start()
        callers.reach(300)
        start = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        took = time.monotonic() - start
        told = callers.stop()
    assert {each.status for each in told} <= {200, None}
    decisions, outcomes = stands(place, told)
    # What the service took is on record; whoever got no answer was not taken.
    answered = {each.body["request_id"] for each in told if each.status == 200 and each.path == "/v1/decisions"}
    assert set(decided(place)) == answered
    assert decisions + outcomes >= 300
    happened(f"{decisions} decisions and {outcomes} outcomes answered, 0 taken and not answered; gone {took:.1f} s after the signal")


@pytest.mark.slow
@pytest.mark.fault("C16", "C15")
def test_killed_under_load_and_started_again_nothing_is_lost_or_doubled(
    place: Workspace, running: Running, traffic: Traffic, happened: Happened
) -> None:
    told: list[Any] = []
    for number in range(3):
        with running(place) as (client, process):
            callers = traffic(port_of(client), make=lambda each, first=10_000 * number: mixed(first + each)).start()
            callers.reach(150)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            told += callers.stop()
    decisions, outcomes = stands(place, told)
    with running(place) as (client, _):
        for each in [each for each in told if each.path == "/v1/outcomes" and each.status == 200][-5:]:
            assert client.post("/v1/outcomes", json=each.body).json()["duplicate"] is True
        for each in [each for each in told if each.path == "/v1/decisions" and each.status == 200][-5:]:
            assert client.post("/v1/decisions", json=each.body).json() == each.answer
    happened(f"3 kills: {decisions} answered decisions and {outcomes} acknowledged outcomes, 0 lost, 0 doubled")


@pytest.mark.slow
@pytest.mark.fault("C15")
def test_a_worker_that_is_killed_is_replaced_and_only_its_own_requests_fail(
    place: Workspace, running: Running, traffic: Traffic, happened: Happened
) -> None:
    with running(place, options=("--workers", "2")) as (client, process):
        callers = traffic(port_of(client), callers=8).start()
        callers.reach(100)
        killed_at, back_at = [], []
        for _ in range(2):
            first = children(process.pid)
            assert len(first) == 2
            os.kill(first[0], signal.SIGKILL)
            killed_at.append(time.monotonic())
            while len(now := children(process.pid)) < 2 or first[0] in now:
                assert time.monotonic() < killed_at[-1] + 30
                time.sleep(0.01)
            (new,) = set(now) - set(first)
            while not is_listening(new):
                assert time.monotonic() < killed_at[-1] + 30
                time.sleep(0.02)
            back_at.append(time.monotonic())
            callers.reach(len(callers.told) + 100)
        told = callers.stop()
        text = httpx.get(f"http://127.0.0.1:{port_of(client)}/metrics").text
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) in (0, -signal.SIGTERM)
    lost = [each for each in told if each.status is None]
    # Each caller had at most one request with the one that was killed, and one more on a connection that it did not know was gone.
    assert len(lost) <= 2 * 8 * 2
    assert all(any(at - 1 <= each.at <= at + 10 for at in killed_at) for each in lost)
    assert {each.status for each in told} <= {200, None}
    decisions, outcomes = stands(place, told)
    counted = [line for line in text.splitlines() if line.startswith('retain_answers_total{answered="shown",asked="outcome"}')]
    assert float(counted[0].rpartition(" ")[2]) >= outcomes, "any process tells what all of them counted, those that ended too"
    slowest = max(back - killed for back, killed in zip(back_at, killed_at, strict=True))
    happened(f"2 kills: {decisions + outcomes} answered, {len(lost)} lost with the killed, answering again after {slowest:.1f} s, no outcome lost")


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_listening(pid: int) -> bool:
    """Whether a process has come as far as its event loop, which is the last thing that it opens."""
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if "eventpoll" in os.readlink(each):
                return True
    return False


def test_workers_that_cannot_begin_end_the_service(place: Workspace) -> None:
    code = (
        "import sys\nfrom serving import workers\nworkers.QUICK_S, workers.MOST_QUICK = 5.0, 2\n"
        "def work():\n    raise RuntimeError('no')\nsys.exit(workers.supervise(work, 2))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "none stays" in done.stderr


@pytest.mark.slow
@pytest.mark.fault("C15")
def test_without_their_parent_workers_stop(place: Workspace, running: Running) -> None:
    with running(place, options=("--workers", "2")) as (client, process):
        started = children(process.pid)
        process.kill()
        process.wait()
        end = time.monotonic() + 20
        while any(Path(f"/proc/{pid}").is_dir() for pid in started):
            assert time.monotonic() < end
            time.sleep(0.05)
        with pytest.raises(httpx.TransportError):
            client.get("/livez")


def mixed(number: int) -> tuple[str, dict[str, Any]]:
    if number % 4 == 3:
        return "/v1/outcomes", {"outcome_id": f"o{number}", "decision_id": "d", "type": "shown", "occurred_at": "2026-01-01T00:00:00Z"}
    return "/v1/decisions", {"customer_id": f"C{number % 300 + 1:08d}", "placement": "inbound_end", "request_id": f"t{number}"}


def held(port: int, count: int) -> list[socket.socket]:
    lines = []
    for _ in range(count):
        line = socket.socket()
        line.settimeout(5)
        line.connect(("127.0.0.1", port))
        lines.append(line)
    return lines


@pytest.mark.slow
@pytest.mark.fault("C11")
@pytest.mark.parametrize("runner", ["uvicorn", "bentoml"])
def test_who_was_answered_may_ask_again_on_the_same_connection(place: Workspace, running: Running, runner: str) -> None:
    """For longer than uvicorn's own 5 s: who sends just as the other side ends a connection learns only that it was reset."""
    with running(place, runner) as (client, _):
        line = http.client.HTTPConnection("127.0.0.1", port_of(client), timeout=10)
        line.connect()
        of_ours = line.sock.getsockname()
        for pause in (6.5, 0.0):
            path, body = mixed(0)
            line.request("POST", path, json.dumps(body), {"content-type": "application/json"})
            answer = line.getresponse()
            assert (answer.status, bool(answer.read())) == (200, True)
            time.sleep(pause)
        assert line.sock.getsockname() == of_ours, "it was opened once"
        line.close()


@pytest.mark.slow
@pytest.mark.fault("C12")
def test_ten_thousand_idle_connections_take_no_place_from_others(place: Workspace, running: Running, happened: Happened) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(10_000, hard - 500)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count + 400), hard))
    lines: list[socket.socket] = []
    try:
        with running(place) as (client, process):
            lines = held(port_of(client), count)
            with httpx.Client(base_url=client.base_url, timeout=10) as fresh:
                assert fresh.get("/livez").status_code == 200
                assert fresh.post("/v1/decisions", json=mixed(0)[1]).status_code == 200
            files = len(list(Path(f"/proc/{process.pid}/fd").iterdir()))
            assert files < 2400
        happened(f"{count} connections opened and left alone: the service held {files} files, health and decisions were answered")
    finally:
        for line in lines:
            line.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.slow
@pytest.mark.fault("C29")
def test_with_few_files_connections_make_room_and_the_ledger_goes_on(place: Workspace, running: Running, happened: Happened) -> None:
    with running(place, prefix=("sh", "-c", 'ulimit -n 420; exec "$@"', "sh")) as (client, process):
        lines = held(port_of(client), 400)
        with httpx.Client(base_url=client.base_url, timeout=10) as fresh:
            for number in range(20):
                path, body = mixed(number)
                assert fresh.post(path, json=body).status_code == 200
        for line in lines:
            line.close()
        path, body = mixed(100)
        assert client.post(path, json=body).status_code == 200
        assert process.poll() is None
    happened("420 files allowed and 400 connections: every request was answered, nothing ended")


@pytest.mark.slow
@pytest.mark.fault("C29")
def test_when_even_accepting_fails_for_want_of_files_it_recovers(place: Workspace, running: Running) -> None:
    """The limit is lowered while it runs, below what it holds: nothing can be opened any more, until there is room again."""
    with running(place) as (client, process):
        assert client.post("/v1/decisions", json=mixed(0)[1]).status_code == 200
        before = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (8, before[1]))
        with contextlib.suppress(httpx.TransportError), httpx.Client(base_url=client.base_url, timeout=1) as other:
            other.get("/livez")
        # A connection that is there goes on, also to the disk.
        path, body = mixed(3)
        assert client.post(path, json=body).status_code == 200
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, before)
        end = time.monotonic() + 30
        with httpx.Client(base_url=client.base_url, timeout=10) as other:
            while True:
                try:
                    assert other.get("/livez").status_code == 200
                    break
                except httpx.TransportError:
                    assert time.monotonic() < end
        assert process.poll() is None


@pytest.mark.slow
@pytest.mark.fault("C23")
def test_a_full_disk_is_told_while_it_serves(place: Workspace, running: Running, happened: Happened) -> None:
    with running(place, prefix=("sh", "-c", 'ulimit -f 4000; exec "$@"', "sh")) as (client, _):
        answered: list[tuple[str, dict[str, Any]]] = []
        for number in range(3000):
            path, body = mixed(number)
            answer = client.post(path, json=body)
            if path == "/v1/outcomes" and answer.status_code == 503:
                break
            assert answer.status_code == 200
            if path == "/v1/outcomes":
                answered.append((path, body))
        assert answer.status_code == 503
        assert client.get("/readyz").status_code == 503
        assert client.get("/livez").status_code == 200
        free = client.post("/v1/decisions", json={**mixed(0)[1], "request_id": "after"}).json()
        assert free["decision_id"] is None
        assert "not_logged" in free["degraded"]
        assert free["exploration"] is False
    with running(place) as (client, _):
        assert client.get("/readyz").status_code == 200
        for path, body in answered[-20:]:
            assert client.post(path, json=body).json()["duplicate"] is True
    kept = {each.outcome_id for each in outcomes_of(place.ledger)}
    assert {body["outcome_id"] for _, body in answered} <= kept
    happened(f"{len(answered)} outcomes acknowledged before the disk was full, all there; then 503, decisions marked not_logged")


def raw(port: int, sent: bytes, more: Iterator[bytes] | None = None) -> bytes:
    """Send bytes, then pieces until the other side closes or there are no more; what came back."""
    with socket.create_connection(("127.0.0.1", port), 20) as line:
        line.settimeout(20)
        with contextlib.suppress(OSError):
            line.sendall(sent)
            for piece in more or ():
                line.sendall(piece)
        said = b""
        with contextlib.suppress(OSError):
            while piece := line.recv(65536):
                said += piece
        return said


@pytest.mark.slow
@pytest.mark.fault("C10")
def test_bodies_that_lie_or_never_end_cost_little_and_end_the_connection(place: Workspace, running: Running, happened: Happened) -> None:
    head = b"POST /v1/decisions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    with running(place) as (client, process):
        cap = 4 * 2**20

        def resident() -> int:
            fields = Path(f"/proc/{process.pid}/statm").read_text().split()
            return int(fields[1]) * resource.getpagesize()

        before = resident()
        endless = (b"10000\r\n" + b"x" * 65536 + b"\r\n" for _ in range(4096))
        assert raw(port_of(client), head + b"transfer-encoding: chunked\r\n\r\n", endless).startswith(b"HTTP/1.1 413")
        assert raw(port_of(client), head + f"content-length: {cap + 1}\r\n\r\n".encode()).startswith(b"HTTP/1.1 413")
        assert raw(port_of(client), head + b"content-length: -5\r\n\r\n{}").startswith(b"HTTP/1.1 400")
        assert raw(port_of(client), head + b"content-length: 5\r\ncontent-length: 2\r\n\r\n{}").startswith(b"HTTP/1.1 400")
        assert raw(port_of(client), head + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n").startswith(b"HTTP/1.1 400")
        # A body that is shorter than it was said to be: whoever sends the rest later, or never, is not waited for.
        assert b"HTTP/1.1 408" in raw(port_of(client), head + b"content-length: 50\r\n\r\n{}")
        after = resident()
        assert after - before < 64 * 2**20
        assert client.get("/livez").status_code == 200
    happened(f"413, 400 and 408, each the end of its connection; 256 MB of endless chunks cost {max(after - before, 0) / 2**20:.0f} MB")


@pytest.mark.slow
@pytest.mark.fault("C28")
def test_more_than_it_can_bear_is_sent_away_with_a_time_to_come_back(place: Workspace, running: Running, happened: Happened) -> None:
    """1,500 callers at once are more than 0.2 s of work: some are answered, the others told when to come back, nobody is left."""
    with running(place) as (client, _):
        lines = held(port_of(client), 1500)
        for number, line in enumerate(lines):
            path, body = "/v1/scores", {"customer_ids": [f"C{(number + each) % 300 + 1:08d}" for each in range(100)]}
            sent = json.dumps(body).encode()
            line.sendall(
                f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {len(sent)}\r\n\r\n".encode() + sent
            )
        heads = []
        for line in lines:
            line.settimeout(60)
            head = b""
            while b"\r\n\r\n" not in head:
                head += line.recv(65536)
            heads.append(head)
            line.close()
        statuses = [int(head[9:12]) for head in heads]
        assert set(statuses) <= {200, 503}
        assert statuses.count(200) > 0
        for head in heads:
            assert head[9:12] != b"503" or b"retry-after: 1" in head
        assert client.post("/v1/decisions", json=mixed(0)[1]).status_code == 200
        happened(f"a burst of 1,500: {statuses.count(200)} answered, {statuses.count(503)} told to come back, then all is as before")
