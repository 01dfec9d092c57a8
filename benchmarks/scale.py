"""How cost grows with customers: processor seconds, wall seconds, peak memory and rows a second of every stage, on simulated shops.

    python -m benchmarks.scale                                      10,000, then 100,000, then a million customers
    python -m benchmarks.scale --customers 1000000 --stage train    of one size only the stages whose names begin so

Each stage is a process of its own, the product's own command where there is one. What was measured is kept in FOLDER/scale.json and not measured
again unless ``--again`` asks for it, so that a curve may be made in parts; table and picture show all of it.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from retain.files import atomic_path
from retain.workspace import Workspace

SIZES = (10_000, 100_000, 1_000_000)
SEED = 7
LINES = 20.0
"""Transaction lines per customer in two years."""
BLOCK = 50_000
"""Customers scored at once."""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--customers", type=int, nargs="+", default=SIZES, help="sizes of the shops")
    options.add_argument("--stage", nargs="+", default=[""], metavar="NAME", help=f"only stages that begin so, of: {', '.join(STAGES)}")
    options.add_argument("--again", action="store_true", help="measure anew what was measured before")
    options.add_argument("--folder", type=Path, default=Path("var/scale"), help="where shops and figures are kept (default: var/scale)")
    options.add_argument("--picture", type=Path, default=None, metavar="FILE", help="also draw it, as SVG or PNG")
    options.add_argument("--measure", help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.measure:
        print(json.dumps(_measured(given.measure, Workspace.at(given.folder / str(given.customers[0])), given.customers[0])))
        return
    for customers in given.customers:
        done = {row["stage"] for row in _read(given.folder) if row["customers"] == customers}
        for stage in STAGES:
            if any(stage.startswith(name) for name in given.stage) and (given.again or stage not in done):
                _keep(given.folder, customers, stage)
    rows = _read(given.folder)
    print(table(rows))
    if given.picture is not None:
        draw(rows, given.picture)


def table(rows: list[dict[str, Any]]) -> str:
    """Stages down, shops across: processor and wall seconds, peak memory, and what is worked through in a second of processor time."""
    sizes = sorted({row["customers"] for row in rows})
    found = {(row["stage"], row["customers"]): row for row in rows}
    head = "| stage | rows are | " + " | ".join(f"{size:,}" for size in sizes) + " |\n| --- | --- |" + " ---: |" * len(sizes)
    lines = []
    for stage, (_, what) in STAGES.items():
        cells = []
        for size in sizes:
            row = found.get((stage, size))
            words = "" if row is None else f"{row['cpu_s']:,.0f} s ({row['wall_s']:,.0f} s), {row['peak_mb'] / 1024:.1f} GB"
            cells.append("-" if row is None else f"{words}, {row['rows'] / max(row['cpu_s'], 0.1):,.0f} rows/s")
        lines.append(f"| {stage} | {what} | " + " | ".join(cells) + " |")
    return "\n".join([head, *lines])


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Processor seconds and peak memory against customers, both axes in powers of ten."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "scale"
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(11, 4.4), constrained_layout=True)
    for each, (name, label, unit) in zip(axes, (("cpu_s", "processor seconds", 1.0), ("peak_mb", "peak memory, GB", 1024.0)), strict=True):
        for stage in STAGES:
            points = sorted((row["customers"], row[name] / unit) for row in rows if row["stage"] == stage)
            if points:
                style = "-" if stage.startswith("train") else "--"
                each.plot(*zip(*points, strict=True), marker="o", markersize=4, linewidth=1.6, linestyle=style, label=stage)
        each.set(xscale="log", yscale="log", xlabel="customers", ylabel=label)
        each.grid(visible=True, which="major", color="#d9dee3", linewidth=0.6)
        each.spines[["top", "right"]].set_visible(False)
    axes[1].legend(loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as partial:
        figure.savefig(partial, format=path.suffix[1:], dpi=110, metadata={"Date": None} if path.suffix == ".svg" else {"Software": None})
    plt.close(figure)


def _keep(folder: Path, customers: int, stage: str) -> None:
    """Measure one stage in a process of its own, and keep the figures."""
    command = [sys.executable, "-m", "benchmarks.scale", "--measure", stage, "--folder", str(folder), "--customers", str(customers)]
    ran = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    row = {"customers": customers, "stage": stage, **json.loads(ran.stdout.splitlines()[-1])}
    print(json.dumps(row), flush=True)
    others = [each for each in _read(folder) if (each["customers"], each["stage"]) != (customers, stage)]
    with atomic_path(folder / "scale.json") as partial:
        partial.write_text(json.dumps([*others, row], indent=1))


def _read(folder: Path) -> list[dict[str, Any]]:
    path = folder / "scale.json"
    return json.loads(path.read_text()) if path.is_file() else []


def _measured(stage: str, workspace: Workspace, customers: int) -> dict[str, float]:
    load = os.getloadavg()[0]
    began, before = time.perf_counter(), time.process_time()
    rows = STAGES[stage][0](workspace, customers)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    cpu, wall = time.process_time() - before, time.perf_counter() - began
    return {"cpu_s": round(cpu, 1), "wall_s": round(wall, 1), "peak_mb": round(peak), "rows": rows, "load_before": round(load, 1)}


def _simulate(workspace: Workspace, customers: int) -> int:
    from retain.simulate import simulate

    if workspace.is_filled:
        raise SystemExit(f"{workspace.root} holds a shop already; remove it to simulate it again")
    simulate(workspace, customers=customers, seed=SEED, lines_per_customer=LINES, progress=False)
    return int(workspace.state().tables["transactions"])


def _history(workspace: Workspace, customers: int) -> int:  # noqa: ARG001 - stages are called alike
    """Snapshots of the moments that churn and value learn from and are judged at, as a backtest builds them; kept ones are made anew."""
    import shutil

    import pyarrow.parquet as pq

    from features import catalog, snapshot, store
    from training.experiment import plan
    from training.scoring_trial import splits

    shutil.rmtree(workspace.snapshots, ignore_errors=True)
    moments = {workspace.now()}
    for task in ("churn", "clv"):
        chosen = plan(task)
        for each in splits(chosen.experiments()[0].question(), workspace, snapshot.cadence(workspace), chosen.tests):
            moments |= {*each.judged, *each.test, *each.final}
    snapshot.build(workspace, sorted(moments), catalog.views())
    store.apply(workspace)
    return sum(pq.read_metadata(snapshot.path(workspace, catalog.customer_views()[0].name, moment)).num_rows for moment in moments)


def _moment(workspace: Workspace, customers: int) -> int:
    """The newest snapshot of every view of customers, from the tables: what each week costs."""
    from features import catalog, snapshot

    now = workspace.now()
    for view in catalog.customer_views():
        snapshot.path(workspace, view.name, now).unlink(missing_ok=True)
    snapshot.build(workspace, [now], catalog.customer_views())
    return customers


def _online(workspace: Workspace, customers: int) -> int:
    from features import store

    store.materialize(workspace, workspace.now())
    return customers


def _train(task: str) -> Callable[[Workspace, int], int]:
    def run(workspace: Workspace, customers: int) -> int:  # noqa: ARG001 - stages are called alike
        return max(model["training_rows"] for model in _said(workspace, "train", task)["models"])

    return run


def _publish(workspace: Workspace, customers: int) -> int:
    _said(workspace, "publish")
    return customers


def _score(workspace: Workspace, customers: int) -> int:
    """Churn and value of everybody from the newest snapshot, in blocks."""
    import pandas as pd
    import pyarrow.parquet as pq

    from features import snapshot
    from training.package import champion, load

    for task in ("churn", "clv"):
        at = champion(workspace, task)
        assert at is not None, f"no champion of {task} in {workspace.root}; train first"
        package = load(at)
        wanted: dict[str, list[str]] = {}
        for ref in package.refs:
            view, _, column = ref.partition(":")
            wanted.setdefault(view, []).append(column)
        tables = {view: pq.read_table(snapshot.path(workspace, view, workspace.now()), columns=columns) for view, columns in wanted.items()}
        for start in range(0, next(iter(tables.values())).num_rows, BLOCK):
            parts = [each.slice(start, BLOCK).to_pandas().add_prefix(f"{view}__") for view, each in tables.items()]
            package.predict(pd.concat(parts, axis=1))
    return customers


def _lists(workspace: Workspace, customers: int) -> int:
    """A list of ten of anything for everybody."""
    import numpy as np

    from features import interactions
    from retain import engine
    from training.package import champion, load

    at = champion(workspace, "recommend")
    assert at is not None, f"no champion of recommend in {workspace.root}; train first"
    package = load(at)
    with engine.of(workspace) as sql:
        history = interactions.load(sql, workspace.now(), "category" if package.card.item == "category" else "product")
    for start in range(0, len(history.customers), BLOCK):
        package.ranker.rank(history, np.arange(start, min(start + BLOCK, len(history.customers))), 10, "all")
    return customers


def _said(workspace: Workspace, *words: str) -> Any:
    """What a command of the product answers."""
    from retain.cli import main as retain

    answer = io.StringIO()
    with contextlib.redirect_stdout(answer):
        code = retain([*words, "--json", "--workspace", str(workspace.root)])
    if code not in (0, 1):
        raise SystemExit(code)
    return json.loads(answer.getvalue())


Stage = tuple[Callable[[Workspace, int], int], str]
STAGES: dict[str, Stage] = {
    "simulate": (_simulate, "lines"),
    "features to learn from": (_history, "customers and moments"),
    "features, one moment": (_moment, "customers"),
    "train churn": (_train("churn"), "learned from"),
    "train clv": (_train("clv"), "learned from"),
    "train recommend": (_train("recommend"), "purchases"),
    "score": (_score, "customers, two scores"),
    "lists": (_lists, "customers, one list"),
    "online store": (_online, "customers"),
    "publish": (_publish, "customers"),
}
"""Name to what is done, which returns its rows, and what those are."""


if __name__ == "__main__":
    main()
