"""Lists for many customers: seconds and memory of ranking 100,000 customers against a few thousand items, block by block.

    python -m benchmarks.topk [--customers 100000] [--items 3000] [--lines 30]
    python -m benchmarks.topk --products [--customers 1000000] [--items 50000] [--factors 64] [--threads 2]

With ``--products``: the exact best 10 of simulated factors by blocked products, in processor seconds and GFLOP per processor second.
Each ranker's time is also given as a ratio to popularity's in the same run, so that runs on different machines can be compared.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from datetime import UTC, datetime

import numpy as np

from features.interactions import Interactions
from training.models.als import Als
from training.models.item_item import ItemItem
from training.models.personal import Personal
from training.models.popular import Popularity
from training.models.products import best_products
from training.models.staged import Staged

PART = 250_000
"""Customers whose factors are held at once."""


def history(customers: int, items: int, lines: int, seed: int = 7) -> Interactions:
    """Purchases of a long-tailed catalogue over a year, about ``lines`` per customer, half of them repeats."""
    random = np.random.default_rng(seed)
    count = customers * lines
    customer = np.sort(random.integers(0, customers, count)).astype(np.int32)
    item = np.minimum(random.zipf(1.3, count) - 1, items - 1)
    item = np.where(item == items - 1, random.integers(0, items, count), item).astype(np.int32)
    again = np.flatnonzero((random.random(count) < 0.5) & (np.arange(count) > 0))
    item[again] = item[again - 1]
    moment = datetime(2025, 6, 1, tzinfo=UTC)
    minutes = random.integers(1, 365 * 24 * 60, count)
    at = np.datetime64(moment.replace(tzinfo=None), "us") - minutes.astype("timedelta64[m]")
    order = np.lexsort((item, at, customer))
    names = [np.array([f"{letter}{place:07d}" for place in range(number)], dtype=object) for letter, number in (("c", customers), ("i", items))]
    return Interactions(moment, names[0], names[1], customer[order], item[order], np.arange(count, dtype=np.int64), at[order], np.ones(count))


def products(customers: int, items: int, factors: int, threads: int, seed: int = 7) -> None:
    """Time the blocked products; customers' factors are drawn in parts, outside of the clock, so that memory stays small."""
    random = np.random.default_rng(seed)
    right = random.normal(size=(items, factors))
    processor = wall = 0.0
    for start in range(0, customers, PART):
        left = random.normal(size=(min(PART, customers - start), factors))
        before, began = time.process_time(), time.perf_counter()
        best_products(left, right, 10, threads=threads)
        processor, wall = processor + time.process_time() - before, wall + time.perf_counter() - began
    work = 2.0 * customers * items * factors / 1e9
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    row = {"customers": customers, "items": items, "factors": factors, "threads": threads, "wall_s": wall, "processor_s": processor}
    row |= {"gflop_per_processor_s": work / processor, "peak_mb": peak}
    print(json.dumps({key: round(value, 1) for key, value in row.items()}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--customers", type=int, default=None, help="100,000; with --products a million")
    parser.add_argument("--items", type=int, default=None, help="3,000; with --products 50,000")
    parser.add_argument("--lines", type=int, default=30)
    parser.add_argument("--products", action="store_true", help="factors only")
    parser.add_argument("--factors", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    if asked.products:
        products(asked.customers or 1_000_000, asked.items or 50_000, asked.factors, asked.threads)
        return
    customers = asked.customers or 100_000
    past = history(customers, asked.items or 3_000, asked.lines)
    everyone = np.arange(customers)
    models = {
        "popularity": Popularity(),
        "personal": Personal(),
        "item_item": ItemItem(nearness="cosine"),
        "als": Als(),
        "staged": Staged(),
    }
    base = 0.0
    for name, model in models.items():
        started = time.perf_counter()
        fitted = model.fit(past)
        learned = time.perf_counter()
        for purpose in ("all", "new", "repeat"):
            fitted.rank(past, everyone, 10, purpose)
        seconds = time.perf_counter() - learned
        base = base or seconds
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        row = {"ranker": name, "fit_s": learned - started, "rank_three_purposes_s": seconds, "ratio_to_popularity": seconds / base, "peak_mb": peak}
        print(json.dumps({key: round(value, 2) if isinstance(value, float) else value for key, value in row.items()}), flush=True)


if __name__ == "__main__":
    main()
