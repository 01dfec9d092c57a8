"""Lists under a budget: seconds and memory of the solver, its distance from the linear program, and what prices alone lose on a call.

    python -m benchmarks.budget [--customers 1000000] [--actions 50] [--small 20000] [--live 100000] [--bases 10]

First the whole base, with the bound that the solver proves; then a base that HiGHS can solve as a linear program; then customers who arrive one by
one and are decided by the prices of another base, standing still or following what was used, against solving them all at once: as they come, in the
order of their worth, and where more or fewer come than were planned for. Gains are drawn: worth lognormal, effects normal around a mean of each
action, a fifth of the cells barred; a budget, three kinds of seats, and a tenth of the actions of which there are only so many, all of them short.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from dataclasses import replace
from typing import Any

import numpy as np

from serving.decisions.budget import solve
from serving.decisions.means import Choices, Means, one_of
from serving.decisions.pacing import one_by_one, plan

KINDS = 3
"""Kinds of seats."""


def drawn(customers: int, actions: int, seed: int, dtype: Any = np.float32, planned: int | None = None, *, is_stocked: bool = True) -> Means:
    """A base on which budget, seats and stock are short for as many as are planned; drawn in parts, so that memory stays small."""
    random = np.random.default_rng(11)
    cost = np.round(random.lognormal(0.0, 1.0, actions), 2)
    mean = random.normal(0.05, 0.08, actions)
    kind = np.where(random.random(actions) < 0.4, random.integers(0, KINDS, actions), -1)
    people = np.random.default_rng(seed)
    gain = np.empty((customers, actions), dtype=dtype)
    for start in range(0, customers, 50_000):
        part = slice(start, min(start + 50_000, customers))
        size = (part.stop - part.start, actions)
        worth = people.lognormal(3.0, 1.2, (size[0], 1))
        gain[part] = np.where(people.random(size) < 0.2, -np.inf, worth * (mean + 0.1 * people.standard_normal(size)) - cost)
    takes, base = one_of(kind, KINDS), customers if planned is None else planned
    limits = np.array([0.15 * base, *[0.01 * base] * KINDS])
    if is_stocked:
        # Those that bring most: so many that they are short.
        stocked = np.argsort(-mean)[: max(actions // 10, 1)]
        takes = np.concatenate([takes, np.arange(actions)[None, :] == stocked[:, None]])
        limits = np.concatenate([limits, np.full(len(stocked), np.floor(0.005 * base))])
    return Means(gain, cost, takes, limits)


def linear_program(means: Means) -> tuple[float, float]:
    """The optimum by HiGHS, and its seconds."""
    from scipy import sparse
    from scipy.optimize import linprog

    customers, actions = means.gain.shape
    use = [np.broadcast_to(each, means.gain.shape).ravel().astype(float) for each in (means.cost, *means.takes)]
    left = sparse.vstack([sparse.kron(sparse.eye(customers), np.ones((1, actions))), *map(sparse.csr_matrix, use)]).tocsr()
    allowed = np.isfinite(means.gain).ravel() & (means.gain.ravel() > 0)
    began = time.perf_counter()
    found = linprog(
        -means.gain.ravel()[allowed].astype(float), A_ub=left[:, allowed], b_ub=np.concatenate([np.ones(customers), means.limits]), method="highs"
    )
    return -float(found.fun), time.perf_counter() - began


def show(**figures: object) -> None:
    print(json.dumps({name: round(value, 6) if isinstance(value, float) else value for name, value in figures.items()}), flush=True)


def worth(means: Means, choice: np.ndarray[Any, Any]) -> float:
    rows = np.flatnonzero(choice >= 0)
    return float(means.gain[rows, choice[rows]].sum(dtype=np.float64))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--actions", type=int, default=50)
    parser.add_argument("--small", type=int, default=20_000, help="customers of the base that HiGHS solves, with 10 actions")
    parser.add_argument("--live", type=int, default=100_000, help="customers who arrive one by one, beside as many as --small")
    parser.add_argument("--bases", type=int, default=10, help="bases of each size that arrive one by one")
    asked = parser.parse_args()

    means = drawn(asked.customers, asked.actions, 1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    began, processor = time.perf_counter(), time.process_time()
    solved = solve(means)
    seconds, processor = time.perf_counter() - began, time.process_time() - processor
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    show(
        part="base",
        customers=asked.customers,
        actions=asked.actions,
        seconds=seconds,
        processor_s=processor,
        peak_mb=peak,
        before_mb=before,
        contacted=int((solved.choice >= 0).sum()),
        below_bound=solved.gap,
        evaluations=solved.evaluations,
        prices=[round(float(price), 4) for price in solved.prices],
        used_share=[round(float(share), 5) for share in solved.used / means.limits],
    )
    del means

    small = drawn(asked.small, 10, 2, np.float64)
    began = time.perf_counter()
    solved = solve(small)
    ours = time.perf_counter() - began
    optimum, theirs = linear_program(small)
    show(part="linear program", customers=asked.small, actions=10, below_optimum=1 - solved.value / optimum, seconds=ours, highs_s=theirs)

    for customers in (asked.small, asked.live):
        live(customers, asked.bases)


def live(customers: int, bases: int) -> None:
    """What prices lose on those who come one by one, against solving all of them at once when all have come."""
    base = drawn(customers, 10, 3)
    solved = solve(base)
    planned = plan(base, solved.prices)
    for name in ("others", "others, a fifth fewer", "others, a fifth more", "others, by worth", "the same, changed", "the same, changed, by worth"):
        losses: dict[str, list[float]] = {"still": [], "paced": []}
        for seed in range(bases):
            later, listed = _later(name, base, solved.choice, 100 + seed)
            bound = solve(later).bound
            losses["still"].append(1 - worth(later, one_by_one(later, solved.prices)) / bound)
            losses["paced"].append(1 - worth(later, one_by_one(later, solved.prices, planned, listed)) / bound)
        for prices, lost in losses.items():
            figures = {"regret_mean": float(np.mean(lost)), "regret_median": float(np.median(lost)), "regret_most": max(lost)}
            show(part="live prices", customers=customers, bases=bases, come=name, prices=prices, **figures)


def _later(name: str, base: Means, listed: Choices, seed: int) -> tuple[Means, Choices | None]:
    """Who comes, in order, and what the list meant for them where it knew them."""
    random, customers = np.random.default_rng(seed), len(base)
    if name.startswith("others"):
        share = 0.8 if "fewer" in name else 1.2 if "more" in name else 1.0
        later, known = drawn(int(share * customers), base.gain.shape[1], seed, planned=customers), None
    else:
        # A fifth of what each was worth is different now, up or down, and each action too.
        change = np.exp(0.2 * random.standard_normal((customers, 1)) + 0.2 * random.standard_normal(base.gain.shape))
        gain = (base.gain + base.cost) * change.astype(base.gain.dtype) - base.cost
        later, known = replace(base, gain=gain), listed
    order = np.argsort(-later.gain.max(axis=1), kind="stable") if "by worth" in name else random.permutation(len(later))
    return later.take(order), None if known is None else known[order]


if __name__ == "__main__":
    main()
