"""Lists for many customers: seconds and memory of ranking 100,000 customers against a few thousand items, block by block.

    python -m benchmarks.topk [--customers 100000] [--items 3000] [--lines 30]

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
from training.models.blend import Blend
from training.models.item_item import ItemItem
from training.models.personal import Personal
from training.models.popular import Popularity


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--customers", type=int, default=100_000)
    parser.add_argument("--items", type=int, default=3_000)
    parser.add_argument("--lines", type=int, default=30)
    asked = parser.parse_args()
    past = history(asked.customers, asked.items, asked.lines)
    everyone = np.arange(asked.customers)
    models = {
        "popularity": Popularity(),
        "personal": Personal(),
        "item_item": ItemItem(nearness="cosine"),
        "als": Als(),
        "blend": Blend(),
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
