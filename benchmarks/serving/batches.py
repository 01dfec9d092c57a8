"""What others wait while batches of ten thousand are answered: latency of single decisions at a constant rate, alone and beside batches.

    python -m benchmarks.serving.batches --workspace DIR [--rate 200] [--seconds 20] [--size 10000] [--runner uvicorn bentoml]

The workspace must be published. Batches of decisions and of explained scores are sent one after the other for as long as the single requests come.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.serving.callers import Calls, loaded, milliseconds
from benchmarks.serving.servers import HERE, Server, copied, cores, free_port, running
from retain.workspace import Workspace
from serving.opening import Opener


async def asked(port: int, path: str, body: bytes) -> tuple[float, int]:
    """One batch by lines: seconds until its end, and the lines whose status is that of success."""
    start = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**26)
    head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\naccept: application/x-ndjson\r\n"
    writer.write(f"{head}connection: close\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
    good = 0
    while line := await reader.readline():
        good += b'"status":200' in line or b'"status":"ok"' in line
    writer.close()
    return time.perf_counter() - start, good


def _asked(port: int, path: str, body: bytes) -> tuple[float, int]:
    return asyncio.run(asked(port, path, body))


async def beside(port: int, bodies: list[bytes], rate: float, seconds: float, batches: Sequence[tuple[str, bytes]]) -> tuple[Calls, dict[str, Any]]:
    """Single requests while batches are sent in turn."""
    single = asyncio.ensure_future(loaded(port, bodies, rate, seconds))
    took: dict[str, list[tuple[float, int]]] = {}
    # In a process of their own: who reads a batch must not hold up who measures single requests.
    with ProcessPoolExecutor(1) as readers:
        while not single.done():
            for path, body in batches:
                took.setdefault(path, []).append(await asyncio.get_running_loop().run_in_executor(readers, _asked, port, path, body))
    figures = {path: {"batches": len(each), "s": round(min(s for s, _ in each), 2), "good_rows": each[0][1]} for path, each in took.items()}
    return await single, figures


def trial(source: Workspace, folder: Path, runner: str, rate: float, seconds: float, size: int) -> dict[str, Any]:
    """One service: alone, then beside batches."""
    workspace = Workspace.at(copied(source, folder))
    rows = Opener(workspace).first().rows
    ids = [rows.id(place % len(rows)) for place in range(size)]
    single = [{"customer_id": each, "placement": "inbound_end", "channel": "call_center"} for each in ids[:2000]]
    bodies = [json.dumps(each).encode() for each in single]
    batches = [
        ("/v1/decisions/batch", json.dumps({"requests": [{"customer_id": each, "placement": "inbound_end"} for each in ids]}).encode()),
        ("/v1/scores", json.dumps({"customer_ids": ids, "explain": True}).encode()),
    ]
    here = {"PYTHONPATH": str(HERE.parents[1]), "RETAIN_WORKSPACE": str(workspace.root)}
    command = (sys.executable, "-m", "retain", "serve", "--runner", runner, "--workspace", str(workspace.root))
    port, (core, ours) = free_port(), cores()
    if ours:
        os.sched_setaffinity(0, {int(ours)})
    with running(Server(runner, command, "/v1/decisions", Path(), here), port, core):
        asyncio.run(loaded(port, bodies, rate, 3))
        alone = asyncio.run(loaded(port, bodies, rate, seconds))
        calls, figures = asyncio.run(beside(port, bodies, rate, seconds, batches))
    failed = {"alone": len(alone.failed), "beside": len(calls.failed)}
    return {"size": size, "rate": rate, "alone_ms": milliseconds(alone.took), "beside_ms": milliseconds(calls.took), "failed": failed, **figures}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--size", type=int, default=10_000)
    parser.add_argument("--runner", nargs="+", default=["uvicorn", "bentoml"])
    arguments = parser.parse_args()
    for runner in arguments.runner:
        with tempfile.TemporaryDirectory() as name:
            found = trial(Workspace.at(arguments.workspace), Path(name), runner, arguments.rate, arguments.seconds, arguments.size)
            print(json.dumps({"runner": runner, **found}), flush=True)


if __name__ == "__main__":
    main()
