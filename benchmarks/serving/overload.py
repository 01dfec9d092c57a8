"""Twice the load that the service can bear: how many are still answered, how the others are told, and how soon all is as before.

python -m benchmarks.serving.overload --workspace DIR [--seconds 10] [--times 2]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.serving.servers import Server, bodies, compiled, copied, cores, free_port, pinned, running
from retain.workspace import Workspace

CALLERS = 64
"""Connections of the closed loop that finds the peak."""
CROWD = 1024
"""Connections of the open loop: as many requests may wait for an answer at once."""


@dataclass(frozen=True)
class Overload:
    """What came of it; rates in requests a second."""

    peak: float
    offered: float
    answered: float
    sent_away: float
    lost: int
    answered_p99_ms: float
    after: float
    after_p99_ms: float
    """At half the peak, right after."""
    after_bad: int

    @property
    def goodput(self) -> float:
        """Share of the peak that was still answered."""
        return self.answered / self.peak


def measured(workspace: Workspace, seconds: float, times: float, folder: Path) -> Overload:
    """Find the peak, offer more, and look afterwards."""
    core, others = cores()
    program, samples = compiled(folder), folder / "samples.txt"
    ours, _ = bodies(workspace, folder)
    serve = (sys.executable, "-m", "retain", "serve", "--workspace", str(copied(workspace, folder)))
    server, port = Server("uvicorn", serve, "/v1/decisions", ours, {}), free_port()

    def load(connections: int, rate: float, for_s: float) -> dict[str, Any]:
        command = (*pinned(others), program, port, server.path, ours, connections, rate, for_s, samples)
        done = subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True)
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    with running(server, port, core):
        load(CALLERS, 0, min(seconds, 3))
        peak = load(CALLERS, 0, seconds)["per_s"]
        crowd = load(CROWD, times * peak, seconds)
        rows = [line.split() for line in samples.read_text().splitlines()]
        took = sorted(float(row[1]) / 1000 for row in rows if row[2] == "200")
        after = load(CALLERS, peak / 2, seconds)
    return Overload(
        peak=peak,
        offered=times * peak,
        answered=crowd["2xx"] / crowd["seconds"],
        sent_away=crowd["5xx"] / crowd["seconds"],
        lost=crowd["lost"] + crowd["4xx"],
        answered_p99_ms=took[int(0.99 * (len(took) - 1))] if took else float("nan"),
        after=after["per_s"],
        after_p99_ms=after["p99_us"] / 1000,
        after_bad=after["4xx"] + after["5xx"] + after["lost"],
    )


def main() -> None:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--times", type=float, default=2.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        found = measured(Workspace.at(options.workspace), options.seconds, options.times, Path(name))
    print(
        f"peak {found.peak:.0f} a second; {found.offered:.0f} offered: {found.answered:.0f} answered ({found.goodput:.0%} of the peak, p99 "
        f"{found.answered_p99_ms:.0f} ms), {found.sent_away:.0f} sent away with 503, {found.lost} lost; right after, at half the peak: p99 "
        f"{found.after_p99_ms:.1f} ms, {found.after_bad} not answered"
    )


if __name__ == "__main__":
    main()
