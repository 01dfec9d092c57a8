"""Processes beside a service under load that say what the machine did meanwhile, so that its pauses can be told from the service's.

Two sleep, one beside the service and one beside the load generator, who asks late where its core stands still. They say when they woke late,
when the kernel let the service wait for a core though it had work, and what the machine below took from their core while somebody had work
("steal"), which one who mostly sleeps does not feel. A third does the same small piece of work fifty times a second on the service's core and
says what processor time that took: where the same work costs twice as much, the processor was slower, for the service as well, and none of
the other signs shows it. Its work is of the kind that a decision is, many small objects in turn: in five minutes at half load its cost went with the
service's from second to second by .96, that of counting in a loop by .93.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.serving.servers import pinned

PAUSE_MS = 50.0
STOLEN, STOLEN_S = 0.1, 0.015
"""A pause of which the machine below took such a share of a core, and at least so long, is not ours: half of a core that is half used leaves the
other half to answer. The kernel counts what is stolen in hundredths of a second, and one of them says little."""
SLOWER = 1.5
"""So many times what it costs at the median makes a service that is half used nearly wholly used, and a queue of what comes in bursts."""
LATE_MS = 10.0
"""Who slept so much longer than it meant to says so."""
Stretch = tuple[float, float]
Floats = NDArray[np.float64]
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
WORKER = """
import json, random, time
draw = random.Random(1)
texts = [json.dumps({f"k{draw.random()}": [draw.random(), str(draw.random()), {"a": each}] for each in range(20)}) for _ in range(2000)]
place = 0
while True:
    begin, costs = time.monotonic(), []
    for _ in range(5):
        before = time.thread_time()
        for _ in range(6):
            # Another text each time, so that it is not at hand from the last.
            place = (place + 7919) % len(texts)
            json.loads(texts[place])
        costs.append(time.thread_time() - before)
        time.sleep(0.02)
    print(f"worked {begin:.6f} {sum(costs) / len(costs):.9f}", flush=True)
"""
WORKED_S = 0.1
"""For about so long each figure of the worker stands."""


@dataclass
class Felt:
    """What the processes said, each as (seconds since the beginning, seconds of it); ``worked`` is what the same work cost from then on."""

    slept: list[Stretch] = field(default_factory=list)
    waited: list[Stretch] = field(default_factory=list)
    stolen: list[Stretch] = field(default_factory=list)
    worked: list[Stretch] = field(default_factory=list)


@contextmanager
def probing(service: int, core: str | None, others: str | None, said: Path) -> Iterator[Felt]:
    """Let them run beside a service (its process id); what they said is there when it ends."""
    felt = Felt()
    sleeper = (sys.executable, "-c", SLEEPER, str(LATE_MS))
    commands = [(*pinned(core), *sleeper, str(service)), (*pinned(others), *sleeper), (*pinned(core), sys.executable, "-c", WORKER)]
    with said.open("w") as file:
        probes = [subprocess.Popen(command, stdout=file) for command in commands]
        try:
            # Until then they load and write their texts, on the service's core.
            while "worked" not in said.read_text() and all(probe.poll() is None for probe in probes):
                time.sleep(0.1)
            begin = time.monotonic()
            yield felt
        finally:
            died = sum(probe.poll() is not None for probe in probes)
            for probe in probes:
                probe.terminate()
                probe.wait()
        if died:
            raise RuntimeError(f"{died} of {len(probes)} processes beside the service ended before it: what they would have felt is not known")
        for kind, at, long in (line.split() for line in said.read_text().splitlines() if line.count(" ") == 2):
            if float(at) >= begin:
                getattr(felt, kind).append((float(at) - begin, float(long)))


def pauses(due: Floats, took_ms: Floats, least_ms: float = PAUSE_MS) -> list[Stretch]:
    """Times within which requests waited for longer than that, as (begin, end); what overlaps is one.

    >>> pauses(np.array([0.0, 0.01, 5.0]), np.array([80.0, 60.0, 1.0]))
    [(0.0, 0.08)]
    """
    slow = took_ms > least_ms
    return joined(zip(due[slow].tolist(), (due[slow] + took_ms[slow] / 1000).tolist(), strict=True))


def joined(stretches: Iterable[Stretch]) -> list[Stretch]:
    """Stretches, as (begin, end), in order; those that overlap are one."""
    found: list[Stretch] = []
    for begin, end in sorted(stretches):
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((begin, end))
    return found


def own(found: Sequence[Stretch], gaps: Sequence[Stretch], share: float = 0.3, least_s: float = 0.0) -> list[Stretch]:
    """Pauses of which the sleeping process missed less than that share, or so little: nobody but us made them. Gaps that overlap count once.

    >>> own([(0.0, 0.1), (5.0, 5.1)], [(0.01, 0.06), (0.02, 0.01)])
    [(5.0, 5.1)]
    """
    begins, ends = np.array(joined((at, at + long) for at, long in gaps)).reshape(-1, 2).T

    def missed(begin: float, end: float) -> float:
        return float(np.maximum(0.0, np.minimum(end, ends) - np.maximum(begin, begins)).sum())

    return [(begin, end) for begin, end in found if missed(begin, end) < max(share * (end - begin), least_s)]


def at_speed(found: Sequence[Stretch], worked: Sequence[Stretch], slower: float = SLOWER) -> list[Stretch]:
    """Pauses in which the same work cost on average less than so many times its median: the processor was as fast as ever.

    >>> at_speed([(0.0, 0.1), (5.0, 5.1)], [(0.0, 2e-4), (2.0, 1e-4), (4.0, 1e-4), (5.0, 1.1e-4)])
    [(5.0, 5.1)]
    """
    if not worked:
        return list(found)
    at, cost = (np.array(each) for each in zip(*worked, strict=True))
    usual = np.median(cost)

    def slowed(begin: float, end: float) -> bool:
        within = (at > begin - WORKED_S) & (at < end)
        return bool(within.any()) and float(cost[within].mean()) >= slower * usual

    return [(begin, end) for begin, end in found if not slowed(begin, end)]


def left(found: Sequence[Stretch], felt: Felt) -> dict[str, list[Stretch]]:
    """Of those pauses the ones that nobody shows, after one sign and then the next."""
    ours = own(found, felt.slept)
    alone = own(ours, felt.waited)
    kept = own(alone, felt.stolen, STOLEN, STOLEN_S)
    return {
        "pauses_that_the_sleeper_does_not_show": ours,
        "and_in_which_it_waited_for_no_core": alone,
        "and_in_which_nothing_was_stolen": kept,
        "and_in_which_the_processor_was_no_slower": at_speed(kept, felt.worked),
    }


def chance(found: Sequence[Stretch], felt: Felt, seconds: float, long_s: float = 0.1) -> float:
    """Share of stretches without a pause that would not be counted as ours either: what a pause of ours would be excused by chance."""
    begins = np.arange(0.0, max(seconds - long_s, 0.0), 1.0)
    quiet = [(begin, begin + long_s) for begin in begins.tolist() if not any(begin < end and begin + long_s > start for start, end in found)]
    return 1 - len(left(quiet, felt)["and_in_which_the_processor_was_no_slower"]) / max(len(quiet), 1)
