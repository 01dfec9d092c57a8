"""Decisions per second of one worker, and the latencies at half load, beside a tutorial-style service and an empty endpoint.

    python -m benchmarks.serving --workspace DIR [--seconds 20] [--out DIR]
    python -m benchmarks.serving soak --workspace DIR [--minutes 60]

The workspace must be published: `retain simulate --customers 100000 --per-category 417` (10,000 products), `retain features build`,
`retain train TASK --quick` of churn, clv and recommend, `retain publish`; 11 minutes. The load generator is compiled from ``load.c``; with
two cores the server has the first and the generator the second. Receipts are on.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.serving.servers import CONNECTIONS, HERE, Server, bodies, compiled, copied, cores, free_port, load, processor_s, resident_mb, running
from retain.workspace import Workspace
from serving.rows import open_rows

ALL = ("tutorial", "empty", "untraced", "bentoml", "uvicorn")
UNTRACED = 'services.empty.tracing.excluded_urls="/v1/"'
"""The empty endpoint as our service is: BentoML makes no spans of what is below ``/v1``."""


def measured(program: Path, server: Server, seconds: float, out: Path, apart: tuple[str | None, str | None]) -> dict[str, Any]:
    """Closed loop for the most it can do, then the open loop at half of that."""
    port = free_port()
    with running(server, port, apart[0]) as group:
        load(program, port, server, 0, min(seconds, 5), out / f"{server.name}-warm.txt", apart[1])
        before, start = resident_mb(group), processor_s(group)
        closed = load(program, port, server, 0, seconds, out / f"{server.name}-closed.txt", apart[1])
        closed["processor_us"] = (processor_s(group) - start) / max(closed["per_s"] * seconds, 1) * 1e6
        half = load(program, port, server, closed["per_s"] / 2, seconds, out / f"{server.name}-half.txt", apart[1])
        return {"closed": closed, "half": half, "mb_before": before, "mb_after": resident_mb(group)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--out", type=Path, default=None, help="keep the samples and the figures here")
    parser.add_argument("--only", nargs="+", default=None, metavar="NAME", help=", ".join(ALL))
    arguments = parser.parse_args()
    workspace = Workspace.at(arguments.workspace)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        out = arguments.out or folder
        out.mkdir(parents=True, exist_ok=True)
        program = compiled(folder)
        ours, theirs = bodies(workspace, folder)
        place, store = copied(workspace, folder), folder / "tutorial"
        wanted = arguments.only or ALL
        if "tutorial" in wanted:
            from benchmarks.serving.tutorial import build

            build(workspace.root, store)
        bento = (sys.executable, "-m", "bentoml", "serve")
        here = {"PYTHONPATH": str(HERE.parents[1]), "RETAIN_WORKSPACE": str(place)}
        servers = [
            Server("tutorial", (*bento, "benchmarks.serving.tutorial:Tutorial"), "/next_best_offer", theirs, {**here, "TUTORIAL_FOLDER": str(store)}),
            Server("empty", (*bento, "benchmarks.serving.empty:Empty"), "/v1/decisions", ours, here),
            Server("untraced", (*bento, "benchmarks.serving.empty:Empty"), "/v1/decisions", ours, {**here, "BENTOML_CONFIG_OPTIONS": UNTRACED}),
            Server("bentoml", (*bento, "serving.service:Retain"), "/v1/decisions", ours, here),
            Server("uvicorn", (sys.executable, "-m", "retain", "serve", "--workspace", str(place)), "/v1/decisions", ours, here),
        ]
        results = {}
        print(f"{len(open_rows(workspace))} customers, {CONNECTIONS} connections, {arguments.seconds:g} s each")
        columns = f"{'':<10} {'per s':>8} {'us cpu':>8} {'p50 ms':>8} {'p99 ms':>8}"
        print(f"{columns}   half load: {'p50 ms':>8} {'p99 ms':>8} {'max ms':>8}  not 2xx  MB before, after")
        for server in servers:
            if server.name not in wanted:
                continue
            results[server.name] = found = measured(program, server, arguments.seconds, out, cores())
            closed, half = found["closed"], found["half"]
            bad = sum(part[key] for part in (closed, half) for key in ("4xx", "5xx", "lost"))
            most = f"{closed['per_s']:8.0f} {closed['processor_us']:8.0f} {closed['p50_us'] / 1000:8.2f} {closed['p99_us'] / 1000:8.2f}"
            calm = f"{half['p50_us'] / 1000:8.2f} {half['p99_us'] / 1000:8.2f} {half['max_us'] / 1000:8.2f}"
            print(f"{server.name:<10} {most}              {calm}  {bad:7d}  {found['mb_before']:.0f}, {found['mb_after']:.0f}", flush=True)
        (out / "serving.json").write_text(json.dumps(results, indent=2))
        if results.keys() >= set(ALL):
            for what, speed in (
                ("answers", {key: value["closed"]["per_s"] for key, value in results.items()}),
                ("processor time", {key: 1 / value["closed"]["processor_us"] for key, value in results.items()}),
            ):
                print(
                    f"by {what}: under BentoML {speed['bentoml'] / speed['tutorial']:.1f} times the tutorial, "
                    f"{speed['bentoml'] / speed['empty']:.0%} of an empty endpoint and {speed['bentoml'] / speed['untraced']:.0%} of one without "
                    f"spans; under uvicorn {speed['uvicorn'] / speed['tutorial']:.1f} times the tutorial"
                )


if __name__ == "__main__":
    if sys.argv[1:2] == ["soak"]:
        from benchmarks.serving import soak

        sys.exit(soak.main(sys.argv[2:]))
    main()
