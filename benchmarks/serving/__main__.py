"""Decisions per second of one worker, and the latencies at half load, beside a tutorial-style service and an empty endpoint.

    python -m benchmarks.serving --workspace DIR [--seconds 20] [--out DIR]
    python -m benchmarks.serving soak --workspace DIR [--minutes 60]

The workspace must be published (the issue's size: `retain demo --simulate 100000`, with `--per-category 417` for 10,000 products). The load
generator is compiled from ``load.c``; with two cores the server has the first and the generator the second. Receipts are on.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from retain.workspace import Workspace
from serving.rows import open_rows
from serving.schemas import DecisionRequest

HERE = Path(__file__).parent
CONNECTIONS = 16
READY_S = 240


@dataclass(frozen=True)
class Server:
    """One service under load."""

    name: str
    command: tuple[str, ...]
    path: str
    bodies: Path
    environment: dict[str, str]


def bodies(workspace: Workspace, folder: Path, count: int = 5000) -> tuple[Path, Path]:
    """Requests for customers all over the base: ours, and the tutorial's."""
    rows = open_rows(workspace)
    step = max(len(rows) // count, 1)
    ids = [rows.id(place) for place in range(0, len(rows), step)][:count]
    ours, theirs = folder / "ours.jsonl", folder / "theirs.jsonl"
    asked = (DecisionRequest(each, placement="inbound_end", channel="call_center") for each in ids)
    ours.write_bytes(b"\n".join(msgspec.json.encode(each) for each in asked) + b"\n")
    theirs.write_text("".join(json.dumps({"customer_id": each}) + "\n" for each in ids))
    return ours, theirs


def copied(workspace: Workspace, folder: Path) -> Path:
    """What serving reads, apart from the workspace, so that receipts of a benchmark stay out of it."""
    target = folder / "workspace"
    for part in ("rows", "models"):
        shutil.copytree(workspace.root / part, target / part)
    shutil.copy(workspace.root / "workspace.json", target)
    return target


@contextlib.contextmanager
def running(server: Server, port: int, core: str | None) -> Iterator[int]:
    """The service as a process group of its own, once it answers; yields the id of the process that works."""
    pinned = ("taskset", "-c", core) if core else ()
    command = [*pinned, *server.command, "--port", str(port)]
    environment = {**os.environ, **server.environment, "OMP_NUM_THREADS": "1", "BENTOML_DO_NOT_TRACK": "True"}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment, start_new_session=True)
    try:
        end = time.monotonic() + READY_S
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"{server.name}: did not start (exit code {process.poll()})")
            time.sleep(0.3)
        yield process.pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as line:
        line.sendall(b"GET /readyz HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")
        return b" 200 " in line.recv(64)
    return False


def resident_mb(group: int) -> float:
    """Resident memory of a session's processes, in megabytes."""
    total = 0
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = status.read_text().rsplit(")", 1)[1].split()
            if int(fields[3]) == group:
                total += int(fields[21])
    return total * os.sysconf("SC_PAGE_SIZE") / 2**20


def load(program: Path, port: int, server: Server, rate: float, seconds: float, samples: Path, core: str | None) -> dict[str, Any]:
    pinned = ("taskset", "-c", core) if core else ()
    command = [*pinned, program, str(port), server.path, server.bodies, str(CONNECTIONS), str(rate), str(seconds), samples]
    done = subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def measured(program: Path, server: Server, seconds: float, out: Path, cores: tuple[str | None, str | None]) -> dict[str, Any]:
    """Closed loop for the most it can do, then the open loop at half of that."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with running(server, port, cores[0]) as group:
        load(program, port, server, 0, min(seconds, 5), out / f"{server.name}-warm.txt", cores[1])
        before = resident_mb(group)
        closed = load(program, port, server, 0, seconds, out / f"{server.name}-closed.txt", cores[1])
        half = load(program, port, server, closed["per_s"] / 2, seconds, out / f"{server.name}-half.txt", cores[1])
        return {"closed": closed, "half": half, "mb_before": before, "mb_after": resident_mb(group)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--out", type=Path, default=None, help="keep the samples and the figures here")
    parser.add_argument("--only", nargs="+", default=None, metavar="NAME", help="tutorial, empty, bentoml, uvicorn")
    arguments = parser.parse_args()
    workspace = Workspace.at(arguments.workspace)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        out = arguments.out or folder
        out.mkdir(parents=True, exist_ok=True)
        program = folder / "load"
        subprocess.run(["gcc", "-O2", "-o", program, HERE / "load.c"], check=True)
        ours, theirs = bodies(workspace, folder)
        place, store = copied(workspace, folder), folder / "tutorial"
        wanted = arguments.only or ["tutorial", "empty", "bentoml", "uvicorn"]
        if "tutorial" in wanted:
            from benchmarks.serving.tutorial import build

            build(workspace.root, store)
        bento = (sys.executable, "-m", "bentoml", "serve")
        here = {"PYTHONPATH": str(HERE.parents[1]), "RETAIN_WORKSPACE": str(place)}
        servers = [
            Server("tutorial", (*bento, "benchmarks.serving.tutorial:Tutorial"), "/next_best_offer", theirs, {**here, "TUTORIAL_FOLDER": str(store)}),
            Server("empty", (*bento, "benchmarks.serving.empty:Empty"), "/v1/decisions", ours, here),
            Server("bentoml", (*bento, "serving.service:Retain"), "/v1/decisions", ours, here),
            Server("uvicorn", (sys.executable, "-m", "retain", "serve", "--workspace", str(place)), "/v1/decisions", ours, here),
        ]
        cores = ("0", "1") if (os.cpu_count() or 1) > 1 and shutil.which("taskset") else (None, None)
        results = {}
        print(f"{len(open_rows(workspace))} customers, {CONNECTIONS} connections, {arguments.seconds:g} s each")
        print(f"{'':<10} {'per s':>8} {'p50 ms':>8} {'p99 ms':>8}   half load: {'p50 ms':>8} {'p99 ms':>8} {'max ms':>8}  not 2xx  MB before, after")
        for server in servers:
            if server.name not in wanted:
                continue
            results[server.name] = found = measured(program, server, arguments.seconds, out, cores)
            closed, half = found["closed"], found["half"]
            bad = sum(part[key] for part in (closed, half) for key in ("4xx", "5xx", "lost"))
            print(
                f"{server.name:<10} {closed['per_s']:8.0f} {closed['p50_us'] / 1000:8.2f} {closed['p99_us'] / 1000:8.2f}              "
                f"{half['p50_us'] / 1000:8.2f} {half['p99_us'] / 1000:8.2f} {half['max_us'] / 1000:8.2f}  {bad:7d}  "
                f"{found['mb_before']:.0f}, {found['mb_after']:.0f}",
                flush=True,
            )
        (out / "serving.json").write_text(json.dumps(results, indent=2))
        if {"tutorial", "bentoml", "uvicorn", "empty"} <= results.keys():
            speed = {key: value["closed"]["per_s"] for key, value in results.items()}
            print(
                f"under BentoML {speed['bentoml'] / speed['tutorial']:.1f} times the tutorial and {speed['bentoml'] / speed['empty']:.0%} of an "
                f"empty endpoint; under uvicorn {speed['uvicorn'] / speed['tutorial']:.1f} times"
            )


if __name__ == "__main__":
    if sys.argv[1:2] == ["soak"]:
        from benchmarks.serving import soak

        sys.exit(soak.main(sys.argv[2:]))
    main()
