"""How soon an answer knows what came in, and what others wait meanwhile.

    python -m benchmarks.serving.events --workspace DIR [--rate 200] [--events 20 100] [--seconds 20] [--runner uvicorn]

The workspace must be published and hold its tables. Decisions come at a constant rate, first alone, then beside events and purchases of customers
all over the base at a constant rate of their own. Meanwhile one purchase after the other is sent, and its customer asked for until the row that
knows it answers.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from benchmarks.serving.callers import Calls, call, loaded, milliseconds
from benchmarks.serving.servers import HERE, Server, copied, free_port, resident_mb, running
from retain.workspace import Workspace
from serving.opening import Opener

NUMBERS = itertools.count()


def bodies(ids: list[str], products: list[str], at: str) -> Iterator[bytes]:
    """Three visits or carts, then a purchase, of one customer after the other."""
    for number in itertools.count():
        customer, name = ids[number * 7 % len(ids)], f"b{next(NUMBERS)}"
        if number % 4:
            kind = ("visit", "view", "cart")[number % 3]
            yield json.dumps({"events": [{"event_id": name, "customer_id": customer, "occurred_at": at, "kind": kind}]}).encode()
        else:
            yield json.dumps({"transactions": [purchase(name, customer, products[number % len(products)], at)]}).encode()


def purchase(name: str, customer: str, product: str, at: str) -> dict[str, Any]:
    line = {"order_id": name, "line_id": "1", "customer_id": customer, "product_id": product, "occurred_at": at}
    return {**line, "kind": "sale", "quantity": 1.0, "amount": 9.5}


async def lags(port: int, ids: list[str], products: list[str], at: str, seconds: float) -> list[float]:
    """Seconds from the acknowledgement of a purchase to the first answer by a row that knows it."""
    found: list[float] = []
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    end = time.perf_counter() + seconds
    for number in itertools.count():
        if time.perf_counter() > end:
            break
        customer = ids[(number * 13 + 5) % len(ids)]
        body = {"transactions": [purchase(f"l{next(NUMBERS)}", customer, products[number % len(products)], at)]}
        status, _ = await call(reader, writer, json.dumps(body).encode(), "/v1/events")
        assert status.endswith(b"200"), status
        start = time.perf_counter()
        asked = json.dumps({"customer_ids": [customer]}).encode()
        while True:
            _, answer = await call(reader, writer, asked, "/v1/scores")
            if b'"as_of_rows":["lists"' in answer:
                break
            await asyncio.sleep(0.01)
        found.append(time.perf_counter() - start)
        await asyncio.sleep(0.2)
    writer.close()
    return found


async def beside(
    port: int, single: list[bytes], rate: float, events: float, seconds: float, ids: list[str], products: list[str], at: str
) -> tuple[Calls, Calls, list[float]]:
    """Decisions, events and purchases at once."""
    sent = list(itertools.islice(bodies(ids, products, at), int(events * seconds)))
    found = await asyncio.gather(
        loaded(port, single, rate, seconds), loaded(port, sent, events, seconds, "/v1/events"), lags(port, ids, products, at, seconds)
    )
    return found[0], found[1], found[2]


def trial(source: Workspace, folder: Path, runner: str, rate: float, events: list[float], seconds: float) -> dict[str, Any]:
    """One service: decisions alone, then beside what comes in."""
    workspace = Workspace.at(copied(source, folder))
    shutil.copytree(source.tables, workspace.tables)
    rows = Opener(workspace).first().rows
    at = (workspace.now() - timedelta(minutes=5)).isoformat()
    ids = [rows.id(place) for place in range(len(rows)) if rows.array("is_known")[place]]
    products = pq.read_table(workspace.table("products"), columns=["product_id"])["product_id"].to_pylist()
    single = [json.dumps({"customer_id": each, "placement": "inbound_end", "channel": "call_center"}).encode() for each in ids[:2000]]
    here = {"PYTHONPATH": str(HERE.parents[1]), "RETAIN_WORKSPACE": str(workspace.root)}
    command = (sys.executable, "-m", "retain", "serve", "--runner", runner, "--workspace", str(workspace.root))
    port = free_port()
    if (os.cpu_count() or 1) > 1:
        # The service has both cores, because it works beside its answers; the callers share the second.
        os.sched_setaffinity(0, {1})
    result: dict[str, Any] = {"customers": len(rows), "rate": rate}
    with running(Server(runner, ("taskset", "-c", "0,1", *command), "/v1/decisions", Path(), here), port, None) as group:
        asyncio.run(loaded(port, single, rate, 3))
        result["first_known_after_ms"] = round(asyncio.run(lags(port, ids, products, at, 0.1))[0] * 1000)
        result["alone_ms"], result["mb"] = milliseconds(asyncio.run(loaded(port, single, rate, seconds)).took), [round(resident_mb(group))]
        for each in events:
            calls, took, waited = asyncio.run(beside(port, single, rate, each, seconds, ids, products, at))
            result[f"{each:g}_events_per_s"] = {
                "decisions_ms": milliseconds(calls.took),
                "failed": len(calls.failed) + len(took.failed),
                "acknowledged_ms": milliseconds(took.took),
                "known_after_ms": {"p50": round(float(np.median(waited)) * 1000), "max": round(max(waited) * 1000), "of": len(waited)},
            }
            result["mb"].append(round(resident_mb(group)))
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--events", type=float, nargs="+", default=[20.0, 100.0])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--runner", nargs="+", default=["uvicorn"])
    arguments = parser.parse_args()
    for runner in arguments.runner:
        with tempfile.TemporaryDirectory() as name:
            found = trial(Workspace.at(arguments.workspace), Path(name), runner, arguments.rate, arguments.events, arguments.seconds)
            print(json.dumps({"runner": runner, **found}), flush=True)


if __name__ == "__main__":
    main()
