"""What one decision costs in process, layer by layer, in processor time, so that a loaded machine disturbs it little.

python -m benchmarks.serving.layers --workspace DIR [--redis URL] [--profile]
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import pstats
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from retain.workspace import Workspace
from serving.answers import Answers
from serving.app import application, guarded
from serving.desk import Desk
from serving.guard import App
from serving.ledger import Ledger
from serving.runner import settle
from serving.schemas import DecisionRequest

ASKED = 500
"""Customers asked about, spread over all rows."""
MANY = 20
"""Candidates about which, and from which on, a decision is timed apart as well: where consent or limits rule out much, little is weighed."""
LOOKED_AT = 20_000
"""Customers among whom those with so many candidates are found: of few, the median jumps."""
PASSES = 200
"""Over the same customers, each with a look at how fast the processor is: on a machine that others use, that changes within seconds."""


def yardstick() -> None:
    """Print how long counting to a million takes now: machines differ, and so does one from minute to minute where others use it."""
    seconds = [counted_s(1_000_000) for _ in range(20)]
    print(f"a yardstick: counting to a million takes {np.median(seconds) * 1e3:.0f} ms, {min(seconds) * 1e3:.0f} at best")


def counted_s(steps: int) -> float:
    """Processor time of counting so far."""
    start, total = time.process_time(), 0
    for each in range(steps):
        total += each
    return time.process_time() - start


async def quietest(name: str, call: Callable[[bytes], Awaitable[Any]], bodies: Sequence[bytes]) -> None:
    """Print the median cost in the quarter of many passes beside which counting was fastest: chosen by that, not by what is measured."""
    passes = []
    for _ in range(PASSES):
        before, seconds = counted_s(100_000), []
        for body in bodies:
            start = time.process_time()
            await call(body)
            seconds.append(time.process_time() - start)
        passes.append((max(before, counted_s(100_000)), float(np.median(seconds))))
    kept = np.array(sorted(passes)[: PASSES // 4])
    counting, cost = np.median(kept, axis=0)
    quiet = f"the {len(kept)} quietest of {PASSES} passes over {len(bodies)} customers; a million in {counting * 1e4:.0f} ms"
    print(f"{name:24} median {cost * 1e6:6.0f} us   in {quiet}")


async def timed(name: str, call: Callable[[bytes], Awaitable[Any]], bodies: Sequence[bytes]) -> None:
    """Print median and 95th percentile of the processor time of one call."""
    for body in bodies[:50]:
        await call(body)
    seconds = []
    for body in bodies:
        start = time.process_time()
        await call(body)
        seconds.append(time.process_time() - start)
    print(f"{name:24} median {np.median(seconds) * 1e6:6.0f} us   p95 {np.quantile(seconds, 0.95) * 1e6:6.0f} us")


async def asked(app: App, body: bytes) -> int:
    """One request over ASGI; its status."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    scope = {"type": "http", "method": "POST", "path": "/v1/decisions", "query_string": b"", "root_path": "", "headers": headers}
    await app(scope, receive, send)
    return int(sent[0]["status"])


def contacts(desk: Desk, ids: Sequence[str], url: str) -> None:
    """Print what a contact that we start costs in the thread that answers: alone, and in turns with other machines."""
    from serving.exchange import Exchange

    def measured(name: str) -> None:
        seconds = []
        for customer in ids:
            start = time.thread_time()
            desk.answered(DecisionRequest(customer, placement="letter", channel="email"))
            seconds.append(time.thread_time() - start)
        print(f"{name:20} median {np.median(seconds) * 1e6:6.0f} us   mean {np.mean(seconds) * 1e6:6.0f} us")

    measured("to warm up")
    measured("a contact")
    exchange = Exchange(desk, url).start()
    while exchange.is_apart:
        time.sleep(0.1)
    start, wall = time.process_time(), time.monotonic()
    time.sleep(10)
    print(f"idle exchange        {(time.process_time() - start) / (time.monotonic() - wall) * 100:.1f} % of a core")
    measured("in turns")
    exchange.stop()
    desk.turn = None
    measured("a contact again")


def main() -> None:
    """Measure, and with ``--profile`` print where the time goes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--redis", help="also a contact that we start, without and with turns over this Redis; it must be empty")
    parser.add_argument("--profile", action="store_true")
    arguments = parser.parse_args()
    answers = Answers.open(Workspace.at(arguments.workspace))
    rows = answers.rows
    ids = [rows.id(place * len(rows) // ASKED) for place in range(ASKED)]
    several = min(LOOKED_AT, len(rows))
    more = [rows.id(place * len(rows) // several) for place in range(several)]
    bodies = [msgspec.json.encode(DecisionRequest(each, placement="inbound_end", channel="call_center")) for each in ids]
    read = msgspec.json.Decoder(DecisionRequest).decode
    with tempfile.TemporaryDirectory() as folder:
        desk = Desk(answers, Ledger(Path(folder)))
        app = application()
        app.state.desk = desk
        door = guarded(app, answers.policy.body_cap)
        settle()

        async def layers() -> None:
            if await asked(door, bodies[0]) != 200:
                raise SystemExit("a decision was not answered")

            async def decided(body: bytes) -> None:
                answers.decision(read(body), "d")

            async def rested(body: bytes) -> None:
                answers.basis(read(body))

            await timed("over ASGI", lambda body: asked(door, body), bodies)
            await timed("with its receipt", lambda body: desk.decide(read(body)), bodies)
            looked = [msgspec.json.encode(DecisionRequest(each, placement="inbound_end", channel="call_center")) for each in more]
            counted = [(body, len(answers.decision(read(body), "d")[2].candidates)) for body in looked]
            for name, low, high in ((f"... about {MANY} candidates", MANY - 2, MANY + 2), (f"... {MANY} or more", MANY, 10_000)):
                some = {body: count for body, count in counted if low <= count <= high}
                if some:
                    await timed(name, lambda body: desk.decide(read(body)), list(some))
                    await quietest("    by passes", lambda body: desk.decide(read(body)), list(some)[:150])
                    print(f"    {len(some)} of {len(looked)} customers, {np.median(list(some.values())):.0f} at the median")
            await timed("decided", decided, bodies)
            await timed("what it rests on", rested, bodies)

        yardstick()
        asyncio.run(layers())
        yardstick()
        if arguments.redis:
            contacts(desk, ids, arguments.redis)
        if arguments.profile:
            profile = cProfile.Profile()
            profile.runcall(lambda: [desk.answered(read(body)) for body in bodies])
            pstats.Stats(profile).sort_stats("cumtime").print_stats(60)
        desk.close()


if __name__ == "__main__":
    main()
