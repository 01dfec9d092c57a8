"""A year of weekly snapshots of all customer features, beside a pandas loop that computes the same: seconds, peak memory, ratio.

    python -m benchmarks.features                            52 snapshots, 100,000 customers, 3 million lines, against pandas
    python -m benchmarks.features --customers 1000000 --lines 20 --moments 1 --alone     one snapshot of a million customers

Each side runs in a process of its own, reads the same Parquet tables, and writes Parquet. The shop is simulated.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

from retain.workspace import Workspace

CLOSE = 1e-9
# Run as a file, this module would hide the package ``features`` that it measures: the checkout stands for its folder on the path.
sys.path[0] = str(Path(__file__).resolve().parents[1])


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--customers", type=int, default=100_000)
    options.add_argument("--lines", type=float, default=30.0, help="transaction lines per customer (default: 30)")
    options.add_argument("--moments", type=int, default=52, help="weekly snapshots (default: 52)")
    options.add_argument("--alone", action="store_true", help="without the pandas loop")
    options.add_argument("--folder", type=Path, default=None, help="keep the simulated shop here and use it again (default: a temporary folder)")
    options.add_argument("--side", choices=("retain", "pandas", "simulate"), help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.side:
        print(json.dumps(_side(given)))
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        given.folder = given.folder or Path(temporary)
        if not Workspace.at(given.folder).is_filled:
            print(f"simulating {given.customers:,} customers ...", flush=True)
            _child(given, "simulate")
        return _compare(given)


def _compare(given: argparse.Namespace) -> int:
    tables = Workspace.at(given.folder).state().tables
    print(f"{tables['transactions']:,} lines, {tables['events']:,} events, {tables['contacts']:,} contacts; {given.moments} moments")
    print(f"{'':10}{'seconds':>10}{'CPU s':>10}{'peak MB':>10}")
    sides = {side: _child(given, side) for side in (("retain",) if given.alone else ("retain", "pandas"))}
    if given.alone:
        return 0
    ours, theirs = sides["retain"], sides["pandas"]
    worst = _worst(given)
    faster, memory = theirs["seconds"] / ours["seconds"], ours["peak_mb"] / theirs["peak_mb"]
    print(f"{faster:.1f} times faster, {memory:.2f} of the memory; largest relative difference {worst:.1e}")
    return 0 if worst <= CLOSE else 1


def _child(given: argparse.Namespace, side: str) -> dict[str, float]:
    arguments = ["--customers", given.customers, "--lines", given.lines, "--moments", given.moments, "--folder", given.folder, "--side", side]
    command = [sys.executable, __file__, *map(str, arguments)]
    ran = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
    if side != "simulate":
        print(f"{side:10}{result['seconds']:>10.1f}{result['cpu']:>10.1f}{result['peak_mb']:>10.0f}", flush=True)
    return result


def _side(given: argparse.Namespace) -> dict[str, float]:
    workspace = Workspace.at(given.folder)
    start, cpu = time.perf_counter(), time.process_time()
    if given.side == "simulate":
        from retain.simulate import simulate

        simulate(workspace, customers=given.customers, seed=7, lines_per_customer=given.lines)
    elif given.side == "retain":
        import shutil

        from features import catalog, snapshot

        shutil.rmtree(workspace.snapshots, ignore_errors=True)
        start, cpu = time.perf_counter(), time.process_time()
        snapshot.build(workspace, _moments(given), catalog.customer_views())
    else:
        from benchmarks.pandas_features import load, snapshots

        facts = load(workspace.tables)
        _pandas_file(given, None).mkdir(exist_ok=True)
        for moment, frame in snapshots(facts, _moments(given)):
            frame.to_parquet(_pandas_file(given, moment), compression="zstd")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": time.perf_counter() - start, "cpu": time.process_time() - cpu, "peak_mb": peak}


def _moments(given: argparse.Namespace) -> list[datetime]:
    from features.snapshot import moments

    workspace = Workspace.at(given.folder)
    return moments(workspace.now(), workspace.state().stored_zone, count=given.moments)


def _pandas_file(given: argparse.Namespace, moment: datetime | None) -> Path:
    folder: Path = given.folder / "pandas"
    return folder if moment is None else folder / f"{moment:%Y%m%dT%H%M%SZ}.parquet"


def _worst(given: argparse.Namespace) -> float:
    """Largest difference, relative to one or to the value, over every feature of every customer at every moment; inf where words or nulls differ."""
    import numpy as np
    import pandas as pd

    from features import catalog, snapshot

    workspace, worst = Workspace.at(given.folder), 0.0
    for moment in _moments(given):
        theirs = pd.read_parquet(_pandas_file(given, moment))
        for view in catalog.customer_views():
            ours = pd.read_parquet(snapshot.path(workspace, view.name, moment)).set_index("customer_id")
            assert ours.index.equals(pd.Index(theirs.index.astype(str), name="customer_id")), f"{view.name} at {moment}: other customers"
            for feature in view.columns:
                a, b = ours[feature.name], theirs[f"{view.name}__{feature.name}"]
                if feature.dtype == "String":
                    differs = np.inf if (a.fillna("").astype(str).to_numpy() != b.fillna("").astype(str).to_numpy()).any() else 0.0
                else:
                    x, y = a.to_numpy(dtype=float), b.to_numpy(dtype=float)
                    both = ~np.isnan(x) & ~np.isnan(y)
                    gap = np.abs(x[both] - y[both]) / np.maximum(1.0, np.abs(y[both]))
                    differs = np.inf if (np.isnan(x) != np.isnan(y)).any() else float(gap.max(initial=0.0))
                if differs > CLOSE:
                    print(f"{view.name}:{feature.name} at {moment}: differs by {differs}")
                worst = max(worst, differs)
    return worst


if __name__ == "__main__":
    sys.exit(main())
