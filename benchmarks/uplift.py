"""Effects on Hillstrom's e-mail test beside learners and simple orders, scored by the reference evaluator on paired resamples.

    python -m benchmarks.uplift --data DIR --evaluator models_eval.py [--out DIR] [--tasks womens_visit ...] [--reps 300]
    python -m benchmarks.uplift --check

The ladder is fitted as `retain crossfit` fits it, on the evaluator's folds: everything that it chooses it chooses inside the other folds.
Every learner beside it is fitted once per fold. ``--check`` holds our curves against a plain loop over customers and, where scikit-uplift is
installed, against its Qini curve; it is no dependency of ours.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from experiments.effects import opened
from training.contracts import Floats
from training.crossfit import given
from training.experiment import plan
from training.models.one_hot import Spread
from training.models.uplift.contacts import Comparison
from training.models.uplift.ladder import held_out
from training.uplift_metrics import Trialled, curves
from training.uplift_trial import cross_fitted

ARMS = {"womens": "Womens E-Mail", "mens": "Mens E-Mail"}
OUTCOMES = {"visit": "visit", "conversion": "purchase", "spend": "spend"}
RUNGS = tuple(
    f"{learner}_{base}" for base in ("linear", "trees") for learner in ("s", "t", "x", "dr", "r", "transformed", "mean", "response", "risk")
)
FIGURES = {"qini": 1000, "auuc": 1000, "uplift10": 100, "uplift30": 100, "gain_top30": 1000, "gain_top50": 1000}
OURS = "ladder"


def predictions(task: str, data: Path, folds: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, int]]:
    """``customer_id`` and one column per way to rank, each out of fold; and which rungs the ladder held."""
    arm, outcome = task.split("_")
    with TemporaryDirectory() as folder:
        test = opened("hillstrom", Path(folder), data / "hillstrom", OUTCOMES[outcome], ARMS[arm], lambda _: None)
    contacts, names = test.contacts, test.contacts.frame.customer_id
    fold = given(folds, names).of[0]
    ladder = next(each for each in plan("uplift").experiments((OURS,)) if each.title == OURS).answer()
    ours = cross_fitted(contacts, ladder, fold)
    _, pair = test.trial.pairs[0]
    rows = Comparison(Spread.learn(pair.frame, 20, 50).wide(pair.frame), pair.trial, pair.grade)
    noise = np.array([int(hashlib.sha256(f"random:{name}".encode()).hexdigest()[:12], 16) for name in names], dtype=np.float64)
    columns = {OURS: ours.value[:, 0], **held_out(rows, RUNGS, fold), "random": noise}
    rungs = [each[0] for each in ours.rungs]
    return pd.DataFrame({"customer_id": names.astype(np.int64), **columns}), {rung: rungs.count(rung) for rung in dict.fromkeys(rungs)}


def judged(evaluator: Any, truth: pd.DataFrame, found: pd.DataFrame, reps: int) -> dict[str, pd.DataFrame]:
    """Way to rank -> figures, the first row on the customers as they are, then one row per resample; resamples are the same for all."""
    merged = truth.merge(found, on="customer_id", how="left", validate="one_to_one")
    asked = {name: evaluator.Uplift(merged.y, merged.t, merged[name]) for name in found.columns[1:]}
    rows: dict[str, list[dict[str, float]]] = {name: [metric(np.ones(len(merged)))] for name, metric in asked.items()}
    for weights in evaluator.draws(len(merged), merged.t.to_numpy(), reps):
        for name, metric in asked.items():
            rows[name].append(metric(weights))
    return {name: pd.DataFrame(each) for name, each in rows.items()}


def interval(values: pd.Series, scale: float = 1.0, digits: int = 2) -> str:
    """Value and 95 % interval."""
    low, high = np.quantile(values.to_numpy()[1:], [0.025, 0.975])
    return f"{values.iloc[0] * scale:.{digits}f} [{low * scale:.{digits}f}, {high * scale:.{digits}f}]"


def report(task: str, figures: dict[str, pd.DataFrame], rungs: dict[str, int]) -> list[str]:
    """The tables of one task as Markdown."""
    ours, order = figures[OURS], sorted(figures, key=lambda name: -figures[name].qini.iloc[0])
    lines = [f"### {task}", "", "Rungs held, fold by fold: " + ", ".join(f"{name} {count}" for name, count in rungs.items()) + ".", ""]
    lines += ["| ranked by | " + " | ".join(f"{name} x{scale}" for name, scale in FIGURES.items()) + " | Qini, ladder minus this, x1000 |"]
    lines += ["|---" * (len(FIGURES) + 2) + "|"]
    for name in order:
        cells = [interval(figures[name][figure], scale) for figure, scale in FIGURES.items()]
        behind = "" if name == OURS else interval(ours.qini - figures[name].qini, 1000)
        lines.append(f"| {'**ladder**' if name == OURS else name} | " + " | ".join(cells) + f" | {behind} |")
    lines += ["", "Treating part of the customers, outcome per 1,000 customers over treating nobody, and the ladder's difference from each:", ""]
    lines += ["| top | ladder | random | response | risk | minus random | minus response | minus risk | treating all |", "|---" * 9 + "|"]
    every = ours.gain_all
    for top in (10, 30, 50, 70):
        own, share = ours[f"gain_top{top}"], top / 100
        others = [share * every, figures["response_linear"][f"gain_top{top}"], figures["risk_linear"][f"gain_top{top}"]]
        cells = [interval(each, 1000) for each in (own, *others, *(own - other for other in others), every)]
        lines.append(f"| {top} % | " + " | ".join(cells) + " |")
    return [*lines, ""]


def check(seed: int = 7) -> dict[str, float]:
    """Largest differences of our curves from a loop over customers, with unequal chances, ties and resampling weights."""
    random = np.random.default_rng(seed)
    rows = 400
    chance = random.uniform(0.2, 0.8, rows)
    trial = Trialled(random.gamma(1.0, 2.0, rows) * (random.random(rows) < 0.3), random.random(rows) < chance, chance)
    score, weights = random.integers(0, rows, rows).astype(float), random.poisson(1.0, (3, rows)).astype(float)
    found = curves(trial, score, weights)
    loops = np.array([loop(trial, score, each) for each in weights])
    answer = {"gain": float(np.abs(found.gain - loops[:, 0]).max()), "qini": float(np.abs(found.qini - loops[:, 1]).max())}
    if importlib.util.find_spec("sklift"):
        from sklift.metrics import qini_curve

        plain = Trialled((trial.y > 0).astype(float), trial.treated, np.full(rows, 0.5))
        apart = random.permutation(rows).astype(float)
        x, theirs = qini_curve(plain.y, apart, plain.treated.astype(int))
        ours = curves(plain, apart).qini[0] * plain.treated.sum()
        answer["scikit-uplift qini"] = float(np.abs(ours - np.interp(np.arange(1, 101) / 100 * rows, x, theirs)).max())
    return answer


def loop(trial: Trialled, score: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """Both curves customer by customer: each is worth ``weight`` customers, and a group of equal scores is taken in proportion."""
    gain, qini = np.zeros(100), np.zeros(100)
    total, values = float(weight.sum()), sorted(set(score.tolist()), reverse=True)
    treated_of_all = sum(w / e for w, e, t in zip(weight, trial.chance, trial.treated, strict=True) if t)
    for place in range(100):
        left, sums = total * (place + 1) / 100, {True: [0.0, 0.0], False: [0.0, 0.0]}
        for value in values:
            inside = np.flatnonzero(score == value)
            size = float(weight[inside].sum())
            part = min(1.0, left / size) if size > 0 else 0.0
            for row in inside:
                t = bool(trial.treated[row])
                one = part * weight[row] / (trial.chance[row] if t else 1 - trial.chance[row])
                sums[t][0] += one
                sums[t][1] += one * trial.y[row]
            left -= part * size
            if left <= 1e-12:
                break
        (n_t, y_t), (n_c, y_c) = sums[True], sums[False]
        gain[place] = (place + 1) / 100 * (y_t / n_t - y_c / n_c) if n_t and n_c else 0.0
        qini[place] = (y_t - (y_c * n_t / n_c if n_c else 0.0)) / treated_of_all
    return gain, qini


def main() -> None:
    """Tables of each task."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", type=Path, help="the folder that holds hillstrom/")
    options.add_argument("--evaluator", type=Path, help="the reference evaluator, models_eval.py")
    options.add_argument("--out", type=Path, help="also write predictions and tables here")
    options.add_argument("--tasks", nargs="+", default=[f"{arm}_{outcome}" for outcome in OUTCOMES for arm in ARMS])
    options.add_argument("--reps", type=int, default=300)
    options.add_argument("--check", action="store_true", help="only check the metrics")
    arguments = options.parse_args()
    print(json.dumps({"largest difference from a plain loop": check()}))
    if arguments.check:
        return
    if arguments.data is None or arguments.evaluator is None:
        options.error("--data and --evaluator are needed")
    spec = importlib.util.spec_from_file_location("models_eval", arguments.evaluator)
    if spec is None or spec.loader is None:
        options.error(f"{arguments.evaluator} is no Python file")
    evaluator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(evaluator)
    for task in arguments.tasks:
        before = time.process_time()
        truth = evaluator.truth(f"uplift:hillstrom_{task}", str(arguments.data))
        found, rungs = predictions(task, arguments.data, truth[["customer_id", "fold"]])
        fitted = time.process_time()
        text = "\n".join(report(task, judged(evaluator, truth, found, arguments.reps), rungs))
        print(text, f"fitted in {fitted - before:.0f} s, scored in {time.process_time() - fitted:.0f} s of processor time", sep="\n", flush=True)
        if arguments.out is not None:
            arguments.out.mkdir(parents=True, exist_ok=True)
            found.to_parquet(arguments.out / f"{task}.parquet", index=False)
            (arguments.out / f"{task}.md").write_text(text + "\n")


if __name__ == "__main__":
    main()
