"""Outcomes acknowledged a second over HTTP, each on disk before its answer, and what a kill -9 takes of them: nothing.

    python -m benchmarks.serving.outcomes --workspace DIR [--seconds 10] [--connections 64 256] [--kills 5] [--workers 1]

The workspace must be published; it is copied. With two cores the service has the first and the load generator the second.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.serving.servers import Server, compiled, copied, cores, free_port, pinned, running
from retain.workspace import Workspace
from serving.ledger import outcomes_of

BODIES = 1_000_000


def bodies(path: Path) -> Path:
    """Outcomes with ids of their own, of decisions that nobody knows."""
    with path.open("w") as out:
        for number in range(BODIES):
            out.write(
                json.dumps({"outcome_id": f"o{number}", "decision_id": f"d{number}", "type": "shown", "occurred_at": "2026-01-01T00:00:00Z"}) + "\n"
            )
    return path


def processor_s(group: int) -> float:
    """Processor time of a process group so far."""
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[2]) == group:
            total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def acknowledged(samples: Path) -> list[int]:
    """Numbers of the bodies that were answered with 200."""
    rows = [line.split() for line in samples.read_text().splitlines()]
    return [int(row[3]) for row in rows if len(row) == 4 and row[2] == "200"]


def stands(place: Path, told: list[int]) -> tuple[int, int]:
    """How many of the acknowledged are not on record, and how many are there twice."""
    kept = Counter(each.outcome_id for each in outcomes_of(Workspace.at(place).ledger))
    return sum(f"o{number}" not in kept for number in told), sum(count > 1 for count in kept.values())


def main() -> int:
    """Measure, then kill."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--connections", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    core, ours = cores() if options.workers == 1 else (None, None)
    rng, wrong = random.Random(7), 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        program, sent = compiled(folder), bodies(folder / "bodies.jsonl")

        def started(number: int) -> tuple[Path, Server]:
            place = copied(Workspace.at(options.workspace), folder / str(number))
            command = (sys.executable, "-m", "retain", "serve", "--workspace", str(place), "--workers", str(options.workers))
            return place, Server("uvicorn", command, "/v1/outcomes", sent, {})

        def load(port: int, connections: int, seconds: float, samples: Path) -> list[str]:
            return [str(part) for part in (*pinned(ours), program, port, "/v1/outcomes", sent, connections, 0, seconds, samples)]

        for number, connections in enumerate(options.connections):
            place, server = started(number)
            port, samples = free_port(), folder / f"samples{number}.txt"
            with running(server, port, core) as group:
                before = processor_s(group)
                done = subprocess.run(load(port, connections, options.seconds, samples), check=True, capture_output=True, text=True)
                took = processor_s(group) - before
            found: dict[str, Any] = json.loads(done.stdout)
            lost, doubled = stands(place, acknowledged(samples))
            wrong += lost + doubled
            print(
                f"{connections:>4} connections: {found['per_s']:7.0f} acknowledged a second, p50 {found['p50_us'] / 1000:.1f} ms, "
                f"p99 {found['p99_us'] / 1000:.1f} ms, {1e6 * took / found['requests']:.0f} us of processor time each "
                f"({took / found['seconds']:.0%} of a core), {lost} lost, {doubled} doubled",
                flush=True,
            )
        totals = Counter[str]()
        for number in range(100, 100 + options.kills):
            place, server = started(number)
            port, samples = free_port(), folder / f"samples{number}.txt"
            with running(server, port, core) as group:
                caller = subprocess.Popen(load(port, 64, 30, samples), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                time.sleep(rng.uniform(0.5, 2.5))
                os.killpg(group, signal.SIGKILL)
                caller.wait()
            told = acknowledged(samples)
            lost, doubled = stands(place, told)
            totals.update(acknowledged=len(told), lost=lost, doubled=doubled)
            shutil.rmtree(folder / str(number))
        wrong += totals["lost"] + totals["doubled"]
        if options.kills:
            print(f"{options.kills} kills under load: {totals['acknowledged']} acknowledged, {totals['lost']} lost, {totals['doubled']} doubled")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
