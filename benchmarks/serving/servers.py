"""A service as a process of its own under load: its port and its core, what it reads, and the compiled program that calls it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
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


def cores() -> tuple[str | None, str | None]:
    """The core of the service and that of its callers; none where there are not two."""
    return ("0", "1") if (os.cpu_count() or 1) > 1 and shutil.which("taskset") else (None, None)


def pinned(core: str | None) -> tuple[str, ...]:
    """What a command begins with to stay on a core."""
    return ("taskset", "-c", core) if core else ()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def compiled(folder: Path) -> Path:
    """The load generator."""
    program = folder / "load"
    subprocess.run(["gcc", "-O2", "-o", program, HERE / "load.c"], check=True)
    return program


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
    # Or the system would write it to disk beside the service that is measured.
    os.sync()
    return target


@contextlib.contextmanager
def running(server: Server, port: int, core: str | None) -> Iterator[int]:
    """The service as a process group of its own, once it answers; yields the id of the process that works."""
    command = [*pinned(core), *server.command, "--port", str(port)]
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


def resident_mb(parent: int) -> float:
    """Resident memory of a process and of all that came of it, in megabytes."""
    return _summed(parent, 21) * os.sysconf("SC_PAGE_SIZE") / 2**20


def processor_s(parent: int) -> float:
    """Processor time that a process and all that came of it have taken, in seconds: what a loaded machine disturbs little."""
    return _summed(parent, 11, 12) / os.sysconf("SC_CLK_TCK")


def _summed(parent: int, *places: int) -> int:
    """Sum of some fields of /proc/PID/stat, counted behind the name, over a process and all that came of it: BentoML's have sessions of their own."""
    found: dict[int, list[str]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            found[int(status.parent.name)] = status.read_text().rsplit(")", 1)[1].split()
    wanted = {parent}
    while more := {pid for pid, fields in found.items() if int(fields[1]) in wanted} - wanted:
        wanted |= more
    return sum(int(found[pid][place]) for pid in wanted & found.keys() for place in places)


def load(program: Path, port: int, server: Server, rate: float, seconds: float, samples: Path, core: str | None) -> dict[str, Any]:
    command = [*pinned(core), program, str(port), server.path, server.bodies, str(CONNECTIONS), str(rate), str(seconds), samples]
    done = subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result
