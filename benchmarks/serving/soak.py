"""An hour at half load: latency by ten seconds, memory, files and threads, and beside the service processes that say what the machine did.

    python -m benchmarks.serving soak --workspace DIR [--minutes 60] [--rate 0] [--out DIR]

A pause counts as the service's own only where two processes that sleep slept well, as made by us alone only where the kernel did not let the
service wait for a core, the machine below took nothing to speak of, and a process that does the same work all the time was as fast as ever
(``benchmarks.serving.probes``). The plots (``soak_latency.svg``, ``soak_memory.svg``, ``soak_processor.svg``) and the figures (``soak.json``)
lie in ``--out``. Each decision writes a receipt of 5 to 10 KB: an hour at 800 a second takes some 20 GB of the temporary folder; it is removed
afterwards.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.serving.probes import PAUSE_MS, Felt, chance, left, pauses, probing
from benchmarks.serving.servers import HERE, Server, bodies, compiled, copied, cores, free_port, load, pinned, running
from retain.workspace import Workspace
from training import svg

WINDOW_S = 10.0
Floats = NDArray[np.float64]
STYLE = (
    "<style>text{font:12px sans-serif;fill:#5b6875} .grid{stroke:#e3e8ee} polyline{fill:none;stroke-width:1.5} "
    ".s0 polyline{stroke:#1f5fbf} .s1 polyline{stroke:#d9730d} .s2 polyline{stroke:#0f8a63} .s3 polyline{stroke:#a3348f}</style>"
)


@dataclass(frozen=True)
class Process:
    """What a process held at a moment."""

    at: float
    resident_mb: float
    files: int
    threads: int
    processor_s: float


def looked(pid: int, at: float) -> Process:
    """The service's process now."""
    place = Path(f"/proc/{pid}")
    fields = (place / "stat").read_text().rsplit(")", 1)[1].split()
    resident = int((place / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    ticks = os.sysconf("SC_CLK_TCK")
    return Process(at, resident, len(os.listdir(place / "fd")), int(fields[17]), (int(fields[11]) + int(fields[12])) / ticks)


def resent() -> int:
    """Segments that the kernel had to send again since it started, over all connections: on loopback each is a loss."""
    names, values = (line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if line.startswith("Tcp:"))
    return int(values[names.index("RetransSegs")])


def by_window(due: Floats, took_ms: Floats) -> dict[str, Floats]:
    """Quantiles of latency in each window of ten seconds."""
    window = (due // WINDOW_S).astype(int)
    found: dict[str, list[float]] = {"at": [], "p50": [], "p99": [], "max": []}
    for number in np.unique(window):
        part = took_ms[window == number]
        for name, value in zip(found, ((number + 0.5) * WINDOW_S / 60, *np.quantile(part, (0.5, 0.99, 1.0))), strict=True):
            found[name].append(float(value))
    return {name: np.array(values) for name, values in found.items()}


def slope_per_hour(at_s: Floats, values: Floats) -> float:
    """Least squares, without the first tenth, in which everything warms up."""
    kept = at_s >= at_s[0] + 0.1 * (at_s[-1] - at_s[0])
    return float(np.polyfit(at_s[kept] / 3600, values[kept], 1)[0]) if kept.sum() > 2 else 0.0


def drawn(path: Path, lines: list[svg.Line], y_label: str, *, from_zero: bool = True) -> None:
    """A chart that stands alone."""
    made = svg.lines(lines, x_label="minutes", y_label=y_label, from_zero=from_zero, width=960, height=300)
    first, _, rest = made.partition(">")
    # Within a page the parser knows that it is SVG; a file has to say so.
    path.write_text(f'{first} xmlns="http://www.w3.org/2000/svg">{STYLE}{rest}\n', encoding="utf-8")


def cost_us(due: Floats, held: list[Process]) -> list[tuple[float, float]]:
    """Processor time of a request from one look at the service to the next, as (seconds, us): where it rises, the same work took longer."""
    looks = zip(pairwise(held), np.diff(np.searchsorted(due, [each.at for each in held])).tolist(), strict=True)
    return [(before.at, (after.processor_s - before.processor_s) / requests * 1e6) for (before, after), requests in looks if requests]


def worked_us(at: Sequence[float], felt: Felt) -> list[tuple[float, float]]:
    """What the same work cost from each of those moments to the next, as (seconds, us)."""
    begins, costs = [begin for begin, _ in felt.worked], [cost for _, cost in felt.worked]
    parts = [(begin, costs[slice(*np.searchsorted(begins, (begin, end)))]) for begin, end in pairwise(at)]
    return [(begin, float(np.mean(part)) * 1e6) for begin, part in parts if part]


def longest_minutes(due: Floats, found: list[tuple[float, float]]) -> float:
    """The longest time in a row without any of those pauses."""
    edges = [(0.0, 0.0), *found, (float(due[-1]), float(due[-1]))]
    return max(begin - end for (_, end), (begin, _) in pairwise(edges)) / 60


def told(due: Floats, took_ms: Floats, held: list[Process], felt: Felt) -> dict[str, Any]:
    """The figures of a run."""
    windows = by_window(due, took_ms)
    found = pauses(due, took_ms)
    after_each = left(found, felt)
    ours = after_each["and_in_which_the_processor_was_no_slower"]
    costs, work = [each for _, each in cost_us(due, held)], [each * 1e6 for _, each in felt.worked]
    quarters = np.array_split(windows["p99"], min(4, len(windows["p99"])))
    at = np.array([each.at for each in held])
    return {
        "requests": len(due),
        "minutes": round(float(due[-1]) / 60, 2),
        "p50_ms": float(np.quantile(took_ms, 0.5)),
        "p99_ms": float(np.quantile(took_ms, 0.99)),
        "p999_ms": float(np.quantile(took_ms, 0.999)),
        "max_ms": float(took_ms.max()),
        "p99_first_and_last_quarter_ms": [float(np.median(quarters[0])), float(np.median(quarters[-1]))],
        "pauses_above_50_ms": len(found),
        **{name: len(each) for name, each in after_each.items()},
        "share_of_quiet_stretches_that_would_be_excused": chance(found, felt, float(due[-1])),
        "longest_of_those_ms": max((1000 * (end - begin) for begin, end in ours), default=0.0),
        "longest_minutes_without_a_pause": longest_minutes(due, found),
        "and_without_one_of_those": longest_minutes(due, ours),
        "seconds_stolen": sum(long for _, long in felt.stolen),
        "cpu_us_of_a_request_least_median_most": np.quantile(costs, (0.0, 0.5, 1.0)).tolist() if costs else [],
        "cpu_us_of_the_same_work_least_median_p99_most": np.quantile(work, (0.0, 0.5, 0.99, 1.0)).tolist() if work else [],
        "gaps_of_the_sleeper_above_50_ms": sum(long > PAUSE_MS / 1000 for _, long in felt.slept),
        "seconds_it_waited_for_a_core": sum(long for _, long in felt.waited),
        "resident_mb": [held[0].resident_mb, held[-1].resident_mb],
        "resident_mb_per_hour": slope_per_hour(at, np.array([each.resident_mb for each in held])),
        "files": [min(each.files for each in held), max(each.files for each in held)],
        "threads": [min(each.threads for each in held), max(each.threads for each in held)],
        "share_of_a_core": (held[-1].processor_s - held[0].processor_s) / max(held[-1].at - held[0].at, 1e-9),
    }


def main(arguments: list[str]) -> int:
    """Run it, and draw what came of it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=0.0, help="requests a second; 0: half of what it can do, measured first")
    parser.add_argument("--out", type=Path, default=HERE.parents[1] / "docs" / "images")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    workspace, seconds = Workspace.at(options.workspace), options.minutes * 60
    core, others = cores()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        program, samples = compiled(folder), folder / "samples.txt"
        ours, _ = bodies(workspace, folder)
        serve = (sys.executable, "-m", "retain", "serve", "--workspace", str(copied(workspace, folder)))
        server, port = Server("uvicorn", serve, "/v1/decisions", ours, {}), free_port()
        with running(server, port, core) as pid:
            load(program, port, server, 0, 5, folder / "warm.txt", others)
            most = load(program, port, server, 0, 10, folder / "most.txt", others)["per_s"]
            rate = options.rate or most / 2
            print(f"it can do {most:.0f} decisions a second; {rate:.0f} a second for {options.minutes:g} minutes", flush=True)
            resent_before = resent()
            command = (*pinned(others), program, port, server.path, ours, 16, rate, seconds, samples)
            with probing(pid, core, others, folder / "felt.txt") as felt:
                begin = time.monotonic()
                caller = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True)
                held = [looked(pid, 0.0)]
                while caller.poll() is None:
                    time.sleep(1.0)
                    if time.monotonic() - begin - held[-1].at >= min(WINDOW_S, seconds / 12):
                        held.append(looked(pid, time.monotonic() - begin))
            said, again = json.loads(caller.communicate()[0]), resent() - resent_before
        rows = np.loadtxt(samples)
    due, took_ms = rows[:, 0], rows[:, 1] / 1000
    # When each of the slowest was due, what it took, its status and the number of its body.
    slowest = [[round(float(each), 3) for each in rows[place]] for place in np.argsort(-rows[:, 1])[:5]]
    bad = {"not_2xx": said["4xx"] + said["5xx"] + said["lost"], "lost": said["lost"], "segments_sent_again": again, "slowest": slowest}
    figures = {"rate": rate, "most": most, **bad, **told(due, took_ms, held, felt)}
    windows = by_window(due, took_ms)
    minutes = windows["at"].tolist()
    lines_of = [svg.Line(each, number, minutes, windows[each].tolist()) for number, each in enumerate(("p50", "p99"))]
    drawn(options.out / "soak_latency.svg", lines_of, "latency, ms: p50 (blue), p99 (orange)")
    at = [each.at / 60 for each in held]
    drawn(options.out / "soak_memory.svg", [svg.Line("resident", 2, at, [each.resident_mb for each in held])], "resident memory, MB")
    both = (cost_us(due, held), worked_us([each.at for each in held], felt))
    lines_of = [
        svg.Line(name, number, [at / 60 for at, _ in each], [us for _, us in each])
        for number, (name, each) in enumerate(zip(("decision", "same work"), both, strict=True))
    ]
    drawn(options.out / "soak_processor.svg", lines_of, "processor time, us: a decision (blue), the same work again and again (orange)")
    (options.out / "soak.json").write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures, indent=1))
    return int(figures["not_2xx"] > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
