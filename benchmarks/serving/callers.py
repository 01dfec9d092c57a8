"""Callers at a constant rate who read what they are answered."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

CONNECTIONS = 16


@dataclass
class Calls:
    """What callers saw."""

    took: list[float] = field(default_factory=list)
    answers: list[tuple[float, dict[str, Any], str]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


async def call(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes, path: str = "/v1/decisions") -> tuple[bytes, bytes]:
    """One request on a connection: the first words of the answer, and its body."""
    head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    answer = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line.split(b":")[1]) for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length"))
    return answer[:12], await reader.readexactly(length)


async def loaded(port: int, bodies: list[bytes], rate: float, seconds: float, path: str = "/v1/decisions") -> Calls:
    """An open loop: each request is due at its place in the schedule, and its latency counts from there."""
    calls = Calls()
    queue: asyncio.Queue[tuple[float, bytes] | None] = asyncio.Queue()

    async def connection() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (due := await queue.get()) is not None:
            try:
                status, body = await call(reader, writer, due[1], path)
            except (OSError, asyncio.IncompleteReadError) as error:
                calls.failed.append(type(error).__name__)
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                continue
            calls.took.append(time.perf_counter() - due[0])
            if not status.endswith(b"200"):
                calls.failed.append(status.decode())
                continue
            if path != "/v1/decisions":
                continue
            answer = json.loads(body)
            calls.answers.append((time.time(), {**answer["models"], "rows_at": answer["freshness"]["rows_at"]}, answer["decision_id"]))
        writer.close()

    workers = [asyncio.create_task(connection()) for _ in range(CONNECTIONS)]
    start = time.perf_counter()
    for number in range(int(rate * seconds)):
        due = start + number / rate
        await asyncio.sleep(max(due - time.perf_counter(), 0))
        queue.put_nowait((due, bodies[number % len(bodies)]))
    for _ in workers:
        queue.put_nowait(None)
    await asyncio.gather(*workers)
    return calls


def milliseconds(took: list[float]) -> dict[str, float]:
    values = np.array(took) * 1000
    return {"p50": round(float(np.median(values)), 2), "p99": round(float(np.quantile(values, 0.99)), 2), "max": round(float(values.max()), 1)}
