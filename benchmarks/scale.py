"""How cost grows with customers: processor seconds and peak memory of features, training and scoring, on simulated shops.

    python -m benchmarks.scale --customers 10000 100000        whole: features, training, publishing
    python -m benchmarks.scale --customers 1000000 --parts     features of one moment and scoring; the models are those of the largest whole run

Each stage is a process of its own, the product's own command where there is one. What was measured is kept in FOLDER/scale.json, and
the table and the picture show all of it. A shop of the simulator holds the first customers of every larger one of the same seed, so models
of a smaller shop are models learned on a sample of the larger one's customers.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from retain.files import atomic_path
from retain.workspace import Workspace

SEED = 7
LINES = 20.0
"""Transaction lines per customer in two years."""
WHOLE = ("features", "train churn", "train clv", "train recommend", "publish")
PARTS = ("features, one moment", "score", "lists")
SIMULATE = "simulate"
BLOCK = 50_000
"""Customers scored at once."""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--customers", type=int, nargs="*", default=[])
    options.add_argument("--parts", action="store_true", help="features of one moment, scores and lists of everybody, by models of a smaller shop")
    options.add_argument("--stages", nargs="+", choices=(*WHOLE, *PARTS), default=None, metavar="STAGE", help="only these")
    options.add_argument("--quick", action="store_true", help="train with the smaller settings of the tasks' files; said in the table")
    options.add_argument("--folder", type=Path, default=Path("var/scale"), help="where shops and figures are kept (default: var/scale)")
    options.add_argument("--picture", type=Path, default=None, metavar="FILE", help="also draw it, as SVG or PNG")
    options.add_argument("--stage", help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.stage:
        print(json.dumps(_measured(given.stage, given.folder, given.customers[0], is_quick=given.quick)))
        return
    for customers in given.customers:
        for stage in (SIMULATE, *(given.stages or (PARTS if given.parts else (*WHOLE, *PARTS)))):
            _keep(given.folder, customers, stage, is_quick=given.quick and stage.startswith("train"))
    rows = _read(given.folder)
    print(table(rows))
    if given.picture is not None:
        draw(rows, given.picture)


def table(rows: list[dict[str, Any]]) -> str:
    """Stages down, shops across: processor seconds, milliseconds of them per customer, peak memory."""
    sizes = sorted({row["customers"] for row in rows})
    found = {(row["stage"], row["customers"]): row for row in rows}
    head = "| stage | " + " | ".join(f"{size:,}" for size in sizes) + " |\n| --- |" + " ---: |" * len(sizes)
    lines = []
    for stage in (*WHOLE, *PARTS):
        cells = []
        for size in sizes:
            row = found.get((stage, size))
            quick = " (quick)" if row is not None and row.get("quick") else ""
            words = "" if row is None else f"{row['cpu_s']:,.0f} s, {1000 * row['cpu_s'] / size:.2f} ms each, {row['peak_mb'] / 1024:.1f} GB"
            cells.append(words + quick or "-")
        lines.append(f"| {stage} | " + " | ".join(cells) + " |")
    return "\n".join([head, *lines])


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Processor seconds and peak memory against customers, both axes in powers of ten."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "scale"
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(11, 4.4), constrained_layout=True)
    for each, (name, label, unit) in zip(axes, (("cpu_s", "processor seconds", 1.0), ("peak_mb", "peak memory, GB", 1024.0)), strict=True):
        for stage in (*WHOLE, *PARTS):
            points = sorted((row["customers"], row[name] / unit) for row in rows if row["stage"] == stage)
            if points:
                style = "--" if stage in PARTS else "-"
                each.plot(*zip(*points, strict=True), marker="o", markersize=4, linewidth=1.6, linestyle=style, label=stage)
        each.set(xscale="log", yscale="log", xlabel="customers", ylabel=label)
        each.grid(visible=True, which="major", color="#d9dee3", linewidth=0.6)
        each.spines[["top", "right"]].set_visible(False)
    axes[1].legend(loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as partial:
        figure.savefig(partial, format=path.suffix[1:], dpi=110, metadata={"Date": None} if path.suffix == ".svg" else {"Software": None})
    plt.close(figure)


def _keep(folder: Path, customers: int, stage: str, *, is_quick: bool) -> None:
    """Measure one stage in a process of its own, and keep the figures."""
    if stage == SIMULATE and Workspace.at(folder / str(customers)).is_filled:
        return
    command = [sys.executable, "-m", "benchmarks.scale", "--stage", stage, "--folder", str(folder), "--customers", str(customers)]
    command += ["--quick"] if is_quick else []
    ran = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    row = {"customers": customers, "stage": stage, "quick": is_quick, **json.loads(ran.stdout.splitlines()[-1])}
    print(json.dumps(row), flush=True)
    others = [each for each in _read(folder) if (each["customers"], each["stage"]) != (customers, stage)]
    with atomic_path(folder / "scale.json") as partial:
        partial.write_text(json.dumps([*others, row], indent=1))


def _read(folder: Path) -> list[dict[str, Any]]:
    path = folder / "scale.json"
    return json.loads(path.read_text()) if path.is_file() else []


def _measured(stage: str, folder: Path, customers: int, *, is_quick: bool) -> dict[str, float]:
    workspace = Workspace.at(folder / str(customers))
    models = _models(folder, customers)
    began, before = time.perf_counter(), time.process_time()
    work: dict[str, Callable[[], object]] = {
        SIMULATE: lambda: _simulate(workspace, customers),
        "features": lambda: _command(workspace, "features", "build"),
        "publish": lambda: _command(workspace, "publish"),
        "features, one moment": lambda: _one_moment(workspace),
        "score": lambda: _score(workspace, models),
        "lists": lambda: _lists(workspace, models),
        **{
            f"train {task}": lambda task=task: _command(workspace, "train", task, *(["--quick"] if is_quick else []))
            for task in ("churn", "clv", "recommend")
        },  # type: ignore[misc]
    }
    work[stage]()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"cpu_s": round(time.process_time() - before, 1), "wall_s": round(time.perf_counter() - began, 1), "peak_mb": round(peak)}


def _models(folder: Path, customers: int) -> Workspace:
    """The largest shop with champions, at most so large."""
    sizes = sorted(int(each.name) for each in folder.iterdir() if each.is_dir() and each.name.isdigit()) if folder.is_dir() else []
    known = [size for size in sizes if size <= customers and Workspace.at(folder / str(size)).promotions.is_file()]
    return Workspace.at(folder / str(known[-1] if known else customers))


def _simulate(workspace: Workspace, customers: int) -> None:
    from retain.simulate import simulate

    simulate(workspace, customers=customers, seed=SEED, lines_per_customer=LINES, progress=False)


def _command(workspace: Workspace, *words: str) -> None:
    from retain.cli import main as retain

    code = retain([*words, "--json", "--workspace", str(workspace.root)])
    if code not in (0, 1):
        raise SystemExit(code)


def _one_moment(workspace: Workspace) -> None:
    """The newest snapshot of every view of customers, from the tables."""
    from features import catalog, snapshot

    now = workspace.now()
    for view in catalog.customer_views():
        snapshot.path(workspace, view.name, now).unlink(missing_ok=True)
    snapshot.build(workspace, [now], catalog.customer_views())


def _score(workspace: Workspace, models: Workspace) -> None:
    """Churn and value of everybody from the newest snapshot, in blocks; what has no champion is left out."""
    import pandas as pd
    import pyarrow.parquet as pq

    from features import snapshot
    from training.package import champion, load

    for task in ("churn", "clv"):
        at = champion(models, task)
        if at is None:
            continue
        package = load(at)
        wanted: dict[str, list[str]] = {}
        for ref in package.refs:
            view, _, column = ref.partition(":")
            wanted.setdefault(view, []).append(column)
        tables = {view: pq.read_table(snapshot.path(workspace, view, workspace.now()), columns=columns) for view, columns in wanted.items()}
        for start in range(0, next(iter(tables.values())).num_rows, BLOCK):
            parts = [each.slice(start, BLOCK).to_pandas().add_prefix(f"{view}__") for view, each in tables.items()]
            package.predict(pd.concat(parts, axis=1))


def _lists(workspace: Workspace, models: Workspace) -> None:
    """A list of ten of anything for everybody."""
    import numpy as np

    from features import interactions
    from retain import engine
    from training.package import champion, load

    at = champion(models, "recommend")
    assert at is not None, f"no champion of recommend in {models.root}; run a smaller shop whole first"
    package = load(at)
    with engine.of(workspace) as sql:
        history = interactions.load(sql, workspace.now(), "category" if package.card.item == "category" else "product")
    for start in range(0, len(history.customers), BLOCK):
        package.ranker.rank(history, np.arange(start, min(start + BLOCK, len(history.customers))), 10, "all")


if __name__ == "__main__":
    main()
