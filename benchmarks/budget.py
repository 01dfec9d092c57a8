"""Lists under a budget: seconds and memory of the solver, its distance from the linear program, and what prices alone lose on a call.

    python -m benchmarks.budget [--customers 1000000] [--actions 50] [--small 20000] [--live 100000]

First the whole base, with the bound that the solver proves; then a base that HiGHS can solve as a linear program; then customers who arrive one by
one and are decided by the prices of another base, against solving them all at once. Gains are drawn: worth lognormal, effects normal around a mean
of each action, a fifth of the cells barred; three kinds of seats and a budget, all of them short.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from typing import Any

import numpy as np

from serving.decisions.budget import at_prices, solve
from serving.decisions.means import Means

KINDS = 3
"""Kinds of seats."""


def drawn(customers: int, actions: int, seed: int, dtype: Any = np.float32) -> Means:
    """A base on which budget and seats are short; drawn in parts, so that memory stays small."""
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
    return Means(gain, cost, kind, np.array([0.15 * customers, *[0.01 * customers] * KINDS]))


def linear_program(means: Means) -> tuple[float, float]:
    """The optimum by HiGHS, and its seconds."""
    from scipy import sparse
    from scipy.optimize import linprog

    customers, actions = means.gain.shape
    use = [np.broadcast_to(each, means.gain.shape).ravel().astype(float) for each in (means.cost, *(means.kind == kind for kind in range(KINDS)))]
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
        prices, losses = solve(drawn(customers, 10, 3)).prices, []
        for seed in range(5):
            later = drawn(customers, 10, 100 + seed)
            losses.append(1 - worth(later, at_prices(later, prices)) / solve(later).bound)
        show(part="live prices", customers=customers, bases=len(losses), regret_mean=float(np.mean(losses)), regret_most=float(max(losses)))


if __name__ == "__main__":
    main()
