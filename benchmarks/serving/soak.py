"""An hour at half load: latency by ten seconds, memory, files and threads, and beside the service a process that only sleeps.

    python -m benchmarks.serving soak --workspace DIR [--minutes 60] [--rate 0] [--out DIR]

What the machine takes away from everybody two sleeping processes feel too, one beside the service and one beside the load generator, who asks
late where its core stands still. They also read what the machine below took from their core while somebody had work ("steal"), which one who
mostly sleeps does not feel. A pause counts as the service's own only where both slept well, and as made by us alone only where the kernel
did not let the service wait for a core either and the machine below took nothing to speak of. The plots (``soak_latency.svg``,
``soak_memory.svg``) and the figures (``soak.json``) lie in ``--out``. Each decision writes a receipt of 5 to 10 KB: an hour at 800 a second
takes some 20 GB of the temporary folder; it is removed afterwards.
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

from benchmarks.serving.servers import HERE, Server, bodies, compiled, copied, cores, free_port, load, pinned, running
from retain.workspace import Workspace
from training import svg

WINDOW_S = 10.0
PAUSE_MS = 50.0
STOLEN = 0.1
"""A pause of which the machine below took so much of a core is not ours: half of a core that is half used leaves the other half to answer."""
Floats = NDArray[np.float64]
STYLE = (
    "<style>text{font:12px sans-serif;fill:#5b6875} .grid{stroke:#e3e8ee} polyline{fill:none;stroke-width:1.5} "
    ".s0 polyline{stroke:#1f5fbf} .s1 polyline{stroke:#d9730d} .s2 polyline{stroke:#0f8a63} .s3 polyline{stroke:#a3348f}</style>"
)
SLEEPER = """
import os, sys, time
core = f"cpu{min(os.sched_getaffinity(0))} "
def stolen():
    with open("/proc/stat") as lines:
        return next((int(line.split()[8]) / os.sysconf("SC_CLK_TCK") for line in lines if line.startswith(core)), 0.0)
late_s, waits = float(sys.argv[1]) / 1000, open(f"/proc/{sys.argv[2]}/schedstat") if len(sys.argv) > 2 else None
def waited():
    if waits is None:
        return 0.0
    waits.seek(0)
    return int(waits.read().split()[1]) / 1e9
before, looked, stood, took = time.monotonic(), time.monotonic(), waited(), stolen()
while True:
    time.sleep(0.001)
    now = time.monotonic()
    if now - before > late_s:
        print(f"slept {before:.6f} {now - before:.6f}", flush=True)
    before = now
    if now - looked > 0.02:
        stands = waited()
        if stands - stood > late_s:
            print(f"waited {looked:.6f} {stands - stood:.6f}", flush=True)
        takes = stolen()
        if takes > took:
            print(f"stolen {looked:.6f} {takes - took:.6f}", flush=True)
        looked, stood, took = now, stands, takes
"""
"""Says when it woke late, when its core was taken away, and of a process that is named when the kernel let it wait for a core though it had
work: on a machine that others use, all of that happens."""


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


def pauses(due: Floats, took_ms: Floats, least_ms: float = PAUSE_MS) -> list[tuple[float, float]]:
    """Times within which requests waited for longer than that, as (begin, end); what overlaps is one.

    >>> pauses(np.array([0.0, 0.01, 5.0]), np.array([80.0, 60.0, 1.0]))
    [(0.0, 0.08)]
    """
    slow = took_ms > least_ms
    found: list[tuple[float, float]] = []
    for begin, end in sorted(zip(due[slow].tolist(), (due[slow] + took_ms[slow] / 1000).tolist(), strict=True)):
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((begin, end))
    return found


def own(found: list[tuple[float, float]], gaps: list[tuple[float, float]], share: float = 0.3) -> list[tuple[float, float]]:
    """Pauses of which the sleeping process missed less than that share: nobody but us made them.

    >>> own([(0.0, 0.1), (5.0, 5.1)], [(0.01, 0.06)])
    [(5.0, 5.1)]
    """

    def missed(begin: float, end: float) -> float:
        return sum(max(0.0, min(end, at + long) - max(begin, at)) for at, long in gaps)

    return [(begin, end) for begin, end in found if missed(begin, end) < share * (end - begin)]


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


def cost_us(due: Floats, held: list[Process]) -> Floats:
    """Processor time of a request between one look at the service and the next: where it rises, the same work took longer."""
    at = np.array([each.at for each in held])
    requests = np.diff(np.searchsorted(due, at))
    return np.diff([each.processor_s for each in held])[requests > 0] / requests[requests > 0] * 1e6


def told(
    due: Floats,
    took_ms: Floats,
    held: list[Process],
    slept: list[tuple[float, float]],
    waited: list[tuple[float, float]],
    stolen: Sequence[tuple[float, float]] = (),
) -> dict[str, Any]:
    """The figures of a run."""
    windows = by_window(due, took_ms)
    found = pauses(due, took_ms)
    ours = own(found, slept)
    alone = own(ours, waited)
    left = own(alone, list(stolen), share=STOLEN)
    begins = [0.0, *(begin for begin, _ in found), float(due[-1])]
    cost = cost_us(due, held)
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
        "pauses_that_the_sleeper_does_not_show": len(ours),
        "and_in_which_it_waited_for_no_core": len(alone),
        "and_in_which_nothing_was_stolen": len(left),
        "longest_of_those_ms": max((1000 * (end - begin) for begin, end in left), default=0.0),
        "longest_minutes_without_a_pause": max(after - before for before, after in pairwise(begins)) / 60,
        "seconds_stolen": sum(long for _, long in stolen),
        "cpu_us_of_a_request_least_median_most": np.quantile(cost, (0.0, 0.5, 1.0)).tolist() if len(cost) else [],
        "gaps_of_the_sleeper_above_50_ms": sum(long > PAUSE_MS / 1000 for _, long in slept),
        "seconds_it_waited_for_a_core": sum(long for _, long in waited),
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
        with running(server, port, core) as pid, (folder / "gaps.txt").open("w+") as asleep:
            load(program, port, server, 0, 5, folder / "warm.txt", others)
            most = load(program, port, server, 0, 10, folder / "most.txt", others)["per_s"]
            rate = options.rate or most / 2
            print(f"it can do {most:.0f} decisions a second; {rate:.0f} a second for {options.minutes:g} minutes", flush=True)
            watch = (sys.executable, "-c", SLEEPER, "10")
            sleepers = [subprocess.Popen(command, stdout=asleep) for command in ((*pinned(core), *watch, str(pid)), (*pinned(others), *watch))]
            begin, resent_before = time.monotonic(), resent()
            command = (*pinned(others), program, port, server.path, ours, 16, rate, seconds, samples)
            caller = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True)
            held = [looked(pid, 0.0)]
            try:
                while caller.poll() is None:
                    time.sleep(1.0)
                    if time.monotonic() - begin - held[-1].at >= min(WINDOW_S, seconds / 12):
                        held.append(looked(pid, time.monotonic() - begin))
            finally:
                for sleeper in sleepers:
                    sleeper.terminate()
                    sleeper.wait()
            said, again = json.loads(caller.communicate()[0]), resent() - resent_before
            asleep.seek(0)
            lines = [line.split() for line in asleep.read().splitlines()]
            felt = {kind: [(float(at) - begin, float(long)) for said, at, long in lines if said == kind] for kind in ("slept", "waited", "stolen")}
        rows = np.loadtxt(samples)
    due, took_ms = rows[:, 0], rows[:, 1] / 1000
    # When each of the slowest was due, what it took, its status and the number of its body.
    slowest = [[round(float(each), 3) for each in rows[place]] for place in np.argsort(-rows[:, 1])[:5]]
    bad = {"not_2xx": said["4xx"] + said["5xx"] + said["lost"], "lost": said["lost"], "segments_sent_again": again, "slowest": slowest}
    figures = {"rate": rate, "most": most, **bad, **told(due, took_ms, held, **felt)}
    windows = by_window(due, took_ms)
    minutes = windows["at"].tolist()
    lines_of = [svg.Line(each, number, minutes, windows[each].tolist()) for number, each in enumerate(("p50", "p99"))]
    drawn(options.out / "soak_latency.svg", lines_of, "latency, ms: p50 (blue), p99 (orange)")
    at = [each.at / 60 for each in held]
    drawn(options.out / "soak_memory.svg", [svg.Line("resident", 2, at, [each.resident_mb for each in held])], "resident memory, MB")
    (options.out / "soak.json").write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures, indent=1))
    return int(figures["not_2xx"] > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
