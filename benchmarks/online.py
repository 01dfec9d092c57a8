"""One decision: median and p99 in process and over HTTP at 1 and 16 callers, and where the time goes.

    python -m benchmarks.online --workspace DIR [--requests 2000] [--json]

The workspace must be published. The service runs as one uvicorn process on loopback; the callers share the machine with it, so the
figures over HTTP are those of a small machine that does both.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import cProfile
import io
import json
import os
import pstats
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.serving.servers import free_port
from retain.workspace import Workspace
from serving.answers import Answers
from serving.desk import Desk
from serving.ledger import Ledger
from serving.schemas import DecisionRequest

CALLERS = (1, 16)


def figures(seconds: Sequence[float], elapsed: float) -> dict[str, float]:
    micros = np.array(seconds) * 1e6
    return {
        "median_us": round(float(np.median(micros)), 1),
        "p99_us": round(float(np.quantile(micros, 0.99)), 1),
        "per_s": round(len(seconds) / elapsed, 1),
    }


def asked(answers: Answers, count: int) -> list[DecisionRequest]:
    """Requests for customers all over the base, one after the other."""
    rows = answers.rows
    step = max(len(rows) // count, 1)
    ids = [rows.id(position % len(rows)) for position in range(0, step * count, step)]
    return [DecisionRequest(each, placement="inbound_end", channel="call_center", explain=True) for each in ids]


async def timed(work: Sequence[Callable[[], Awaitable[object]]]) -> dict[str, float]:
    start, took = time.perf_counter(), []
    for each in work:
        before = time.perf_counter()
        await each()
        took.append(time.perf_counter() - before)
    return figures(took, time.perf_counter() - start)


def in_process(answers: Answers, requests: Sequence[DecisionRequest]) -> dict[str, object]:
    """The decision alone, and with its receipt in the ledger."""

    async def pure(request: DecisionRequest) -> object:
        return msgspec.json.encode(answers.decision(request, "d")[0])

    with tempfile.TemporaryDirectory() as folder:
        desk = Desk(answers, Ledger(Path(folder)))
        try:
            for request in requests[:50]:
                answers.decision(request, "d")
            alone = asyncio.run(timed([lambda request=request: pure(request) for request in requests]))
            logged = asyncio.run(timed([lambda request=request: desk.decide(request) for request in requests]))
        finally:
            desk.close()
    return {"decision": alone, "decision_and_ledger": logged, "profile": profile(answers, requests)}


def profile(answers: Answers, requests: Sequence[DecisionRequest], most: int = 14) -> list[str]:
    """The functions that take the most time of their own, as a share of the whole."""
    profiler = cProfile.Profile()
    profiler.enable()
    for request in requests[:500]:
        msgspec.json.encode(answers.decision(request, "d")[0])
    profiler.disable()
    stats = pstats.Stats(profiler, stream=io.StringIO())
    total = sum(value[2] for value in stats.stats.values())  # type: ignore[attr-defined]
    ranked = sorted(stats.stats.items(), key=lambda each: -each[1][2])[:most]  # type: ignore[attr-defined]
    return [f"{100 * value[2] / total:5.1f} %  {Path(place[0]).name}:{place[2]}" for place, value in ranked]


async def caller(port: int, bodies: Sequence[bytes], took: list[float]) -> None:
    """One caller with one connection: the next request after the last answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for body in bodies:
        head = f"POST /v1/decisions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        before = time.perf_counter()
        writer.write(head.encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200"), answer
        length = next(int(line.split(b":")[1]) for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length"))
        await reader.readexactly(length)
        took.append(time.perf_counter() - before)
    writer.close()
    await writer.wait_closed()


async def load(port: int, bodies: Sequence[bytes], callers: int) -> dict[str, float]:
    took: list[float] = []
    start = time.perf_counter()
    await asyncio.gather(*(caller(port, bodies[i::callers], took) for i in range(callers)))
    return figures(took, time.perf_counter() - start)


def over_http(workspace: Workspace, requests: Sequence[DecisionRequest]) -> dict[str, object]:
    """A uvicorn process of its own, over a copy that holds only what serving reads."""
    bodies = [msgspec.json.encode(request) for request in requests]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("rows", "models"):
            shutil.copytree(workspace.root / part, folder / part)
        shutil.copy(workspace.root / "workspace.json", folder)
        port = free_port()
        command = [sys.executable, "-m", "retain", "serve", "--port", str(port), "--workspace", name]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
        try:
            end = time.monotonic() + 120
            while time.monotonic() < end:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                time.sleep(0.2)
            asyncio.run(load(port, bodies[:100], 1))
            return {f"{callers}_callers": asyncio.run(load(port, bodies, callers)) for callers in CALLERS}
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    workspace = Workspace.at(arguments.workspace)
    answers = Answers.open(workspace)
    requests = asked(answers, arguments.requests)
    result = {
        "customers": len(answers.rows),
        "models": answers.rows.card.models,
        "requests": len(requests),
        "in_process": in_process(answers, requests),
        "http": over_http(workspace, requests),
    }
    if arguments.json:
        print(json.dumps(result))
        return
    print(f"{result['customers']} customers, {result['requests']} requests, champions {', '.join(filter(None, answers.rows.card.models.values()))}")
    for place, name in (("in_process", "decision"), ("in_process", "decision_and_ledger"), *(("http", f"{callers}_callers") for callers in CALLERS)):
        row = result[place][name]  # type: ignore[index]
        print(f"{place:<11} {name:<20} median {row['median_us'] / 1000:8.3f} ms   p99 {row['p99_us'] / 1000:8.3f} ms   {row['per_s']:8.1f} /s")
    print("where the time of a decision goes (own time):")
    for line in result["in_process"]["profile"]:  # type: ignore[index]
        print(f"  {line}")


if __name__ == "__main__":
    main()
