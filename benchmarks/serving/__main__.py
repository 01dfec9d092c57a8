"""Decisions per second of one worker, and the latencies at half load, beside a tutorial-style service and an empty endpoint.

    python -m benchmarks.serving --workspace DIR [--seconds 20] [--out DIR]
    python -m benchmarks.serving soak --workspace DIR [--minutes 60]

The workspace must be published (the issue's size: `retain demo --simulate 100000`, with `--per-category 417` for 10,000 products). The load
generator is compiled from ``load.c``; with two cores the server has the first and the generator the second. Receipts are on.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.serving.servers import CONNECTIONS, HERE, Server, bodies, compiled, copied, cores, free_port, load, resident_mb, running
from retain.workspace import Workspace
from serving.rows import open_rows


def measured(program: Path, server: Server, seconds: float, out: Path, apart: tuple[str | None, str | None]) -> dict[str, Any]:
    """Closed loop for the most it can do, then the open loop at half of that."""
    port = free_port()
    with running(server, port, apart[0]) as group:
        load(program, port, server, 0, min(seconds, 5), out / f"{server.name}-warm.txt", apart[1])
        before = resident_mb(group)
        closed = load(program, port, server, 0, seconds, out / f"{server.name}-closed.txt", apart[1])
        half = load(program, port, server, closed["per_s"] / 2, seconds, out / f"{server.name}-half.txt", apart[1])
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
        program = compiled(folder)
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
        results = {}
        print(f"{len(open_rows(workspace))} customers, {CONNECTIONS} connections, {arguments.seconds:g} s each")
        print(f"{'':<10} {'per s':>8} {'p50 ms':>8} {'p99 ms':>8}   half load: {'p50 ms':>8} {'p99 ms':>8} {'max ms':>8}  not 2xx  MB before, after")
        for server in servers:
            if server.name not in wanted:
                continue
            results[server.name] = found = measured(program, server, arguments.seconds, out, cores())
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
