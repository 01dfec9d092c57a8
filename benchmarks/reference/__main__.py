"""The reference's rows rebuilt, and ours beside them with paired differences by the reference's evaluators.

    python -m benchmarks.reference rebuild SET --data DATA --references DIR --rows ROWS [--trials 12] [--only churn clv]
    python -m benchmarks.reference table SET --data DATA --references DIR --rows ROWS --ours OURS [--json FILE]

SET is a window (online_retail_h90, completejourney_h28, completejourney_h90, cdnow_sample_h273), telco_churn, or a split (online_retail_90d,
grocery_product_28d, grocery_category_28d). DATA holds the folders of the data sets, DIR the reference's evaluators and pages. OURS is the folder
that `retain backtest` wrote into, for telco_churn the file that `retain crossfit` wrote. Slow: minutes of processor time for each set.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.reference import contract, listed, protocol, published, scored, sources, table
from benchmarks.reference.bought import TARGETS

SHOWN = {"churn": ("auc", "log_loss"), "attrition": ("auc", "log_loss"), "clv": ("mae", "gini_norm")}
ANSWERS = {"churn": "p_churn", "clv": "expected_value"}
LISTED = "ndcg@10"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("rebuild", "table"))
    parser.add_argument("set")
    for name in ("--data", "--references", "--rows"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--ours", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--trials", type=int, default=12, help="settings tried for each recommender")
    parser.add_argument("--only", nargs="+", choices=tuple(ANSWERS), default=tuple(ANSWERS))
    asked = parser.parse_args()
    models, recsys = (sources.evaluator(asked.references, name) for name in ("models_eval", "recsys_eval"))
    if asked.what == "rebuild":
        for task, row, predictions in _rebuilt(asked, models, recsys):
            folder = asked.rows / asked.set / task
            folder.mkdir(parents=True, exist_ok=True)
            predictions.to_parquet(folder / f"{row}.parquet", index=False)
            print(f"{asked.set} {task} {row}: {len(predictions)} predictions", flush=True)
        return
    if asked.ours is None:
        parser.error("table needs --ours")
    if asked.set in recsys.SPLITS:
        tables = _of_lists(asked, recsys)
    else:
        tasks = ["attrition"] if asked.set in models.TABLES else list(asked.only)
        tables = [_of_scores(task, asked, models) for task in tasks]
    for title, compared, own in tables:
        print(f"\n{title}\n")
        print("\n".join(table.markdown(compared, own)))
    if asked.json:
        asked.json.write_text(json.dumps({title: [asdict(each) for each in compared] for title, compared, _ in tables}, indent=1) + "\n")


def _rebuilt(asked: argparse.Namespace, models: Any, recsys: Any) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Task or target, row, predictions."""
    if asked.set in recsys.SPLITS:
        definition = recsys.SPLITS[asked.set]
        for row, target, lists in listed.rows(recsys, definition, recsys.load_events(definition, asked.data), asked.trials):
            yield target, row, lists
        return
    if asked.set in models.TABLES:
        people = pd.read_parquet(asked.data / models.TABLES[asked.set][0] / "customers.parquet")
        folds = models.truth(f"attrition:{asked.set}", asked.data).drop(columns="y")
        for row, predictions in contract.rows(people, folds).items():
            yield "attrition", row, predictions
        return
    dataset, cut, horizon_days = models.WINDOWS[asked.set]
    test = protocol.asked(sources.ledger(models, dataset, asked.data), pd.Timestamp(cut), horizon_days)
    shop = scored.Shop(test, has_stable=horizon_days * protocol.DAY < test.at - test.ledger.ts.min())
    print(f"{asked.set}: learned at {', '.join(str(moment.at.date()) for moment in shop.closed)}", flush=True)
    for task, rows in (("churn", scored.churn), ("clv", scored.value)):
        if task not in asked.only:
            continue
        for row, said in rows(shop):
            yield task, row, pd.DataFrame({"customer_id": test.population(), "as_of": test.at, ANSWERS[task]: said})


Table = tuple[str, list[table.Compared], dict[str, tuple[float, float, float]]]


def _of_scores(task: str, asked: argparse.Namespace, models: Any) -> Table:
    """Ours against each row of a window, or of the contracts."""
    name = f"{task}:{asked.set}"
    ours = pd.read_parquet(asked.ours if task == "attrition" else asked.ours / f"{task}.parquet")
    population, figures = models.truth(name, asked.data), published.figures(asked.references, name)
    found, own = [], {}
    for row, predictions in _files(asked.rows / asked.set / task, figures):
        result = models.score(name, asked.data, ours, predictions, pop=population)
        for metric in SHOWN[task]:
            value, column = result["metrics"][metric], published.HEADS[metric]
            difference = result["difference"][metric]
            own[column] = (value["value"], *value["ci95"])
            found.append(
                table.Compared(
                    row, column, metric, value["value"], value["value"] - difference["value"], figures.get(row, {}).get(metric),
                    (difference["value"], *difference["ci95"]),
                )
            )  # fmt: skip
    return name, found, own


def _of_lists(asked: argparse.Namespace, recsys: Any) -> list[Table]:
    """Ours against each row of a split: one table, the three targets side by side."""
    definition = recsys.SPLITS[asked.set]
    train, targets, _ = recsys.make_split(definition, recsys.load_events(definition, asked.data))
    found, own = [], {}
    for target in TARGETS:
        figures = published.figures(asked.references, f"{asked.set}, target {target}")
        ours, coverage = recsys.score(pd.read_parquet(asked.ours / f"recommend_{target}.parquet"), train, targets, target)
        own[target] = tuple(recsys.summarise(ours, coverage)[LISTED])
        for row, lists in _files(asked.rows / asked.set / target, figures):
            other, _ = recsys.score(lists, train, targets, target)
            difference = (ours - other)[[LISTED]].to_numpy()
            low, high = recsys.interval(difference)[:, 0]
            found.append(
                table.Compared(
                    row, target, LISTED, float(ours[LISTED].mean()), float(other[LISTED].mean()), figures.get(row, {}).get(LISTED),
                    (float(difference.mean()), float(low), float(high)),
                )
            )  # fmt: skip
    return [(f"{asked.set}, NDCG@10", found, own)]


def _files(folder: Path, figures: dict[str, Any]) -> Iterator[tuple[str, pd.DataFrame]]:
    """Rebuilt rows in the order of the reference's page, others after them."""
    paths = {path.stem: path for path in sorted(folder.glob("*.parquet"))}
    if not paths:
        raise SystemExit(f"{folder} holds no rows; rebuild them first")
    for row in sorted(paths, key=lambda each: (list(figures).index(each) if each in figures else len(figures), each)):
        yield row, pd.read_parquet(paths[row])


if __name__ == "__main__":
    main()
