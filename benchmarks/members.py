"""What each member of the blends for risk and value adds, the weights, the map and the level, with 95 % intervals over customers.

    python -m benchmarks.members WORKSPACE [--horizon 28] [--windows 3]

The workspace holds an ingested source with its features built, its clock at a day before the one that figures are reported at: the windows
that judge here are the last to close before that clock, and each is asked of models that learned before it. Prints Markdown. Slow: minutes.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from features.snapshot import cadence
from retain.config import build
from retain.workspace import Workspace
from serving.decisions.outlook import MOST_DAYS, outlook
from training.contracts import PROMISED, Fitted, Floats, Frame, bounds, score
from training.evidence import Evidence, of_scores, pooled
from training.experiment import plan
from training.guards import sound
from training.metrics import Direction
from training.models.bounded import Bounded
from training.models.calibrated import FittedCalibrated, calibration
from training.models.ensemble import Ensemble, FittedEnsemble, Parts
from training.models.explained import pooled as pooled_chance
from training.models.purchase_process.models import BgNbd, FittedProcess
from training.scoring_trial import ScoringTrial
from training.tasks.churn import Churn
from training.tasks.clv import Clv

SHOWN = {"churn": ("log_loss", "auc", "ece"), "clv": ("gini_norm", "mae", "bias")}
USUAL = "baskets__amount_per_order_365d"
WHOLE = "the whole recipe"
SEED = 7

Recipes = Mapping[str, Fitted]


@dataclass(frozen=True)
class Seen:
    """A test window: its rows, and what each variant of the recipe said of them."""

    test: Frame
    said: Mapping[str, Floats]
    held: tuple[float, ...]
    """Of value, the share of customers whose outcome lay within each promised interval; empty for risk."""
    process: FittedProcess | None
    """A purchase process of its own, for what it would say beside the recipe."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--horizon", type=int, default=28)
    parser.add_argument("--windows", type=int, default=3, help="test windows, at most as many as history holds")
    asked = parser.parse_args()
    workspace = Workspace.at(asked.workspace)
    found = {}
    for name, task in (("churn", Churn(horizon_days=asked.horizon)), ("clv", Clv(horizon_days=asked.horizon))):
        seen = windows(workspace, task, asked.windows)
        found[name] = seen
        print(f"\n{name}, {asked.horizon} days, from {', '.join(str(each.test.cutoff.max())[:10] for each in seen)}\n")
        for line in table(task, seen):
            print(line, flush=True)
        if seen[0].held:
            shares = [np.mean([each.held[k] for each in seen]) for k in range(len(PROMISED))]
            print("\nintervals held: " + ", ".join(f"{said:.0%} {share:.1%}" for said, share in zip(PROMISED, shares, strict=True)))
    print(f"\nviolations of coherence: {contradictions(found['churn'], found['clv'], asked.horizon)}")


def windows(workspace: Workspace, task: Churn | Clv, most: int) -> list[Seen]:
    """Every variant on each test window, the newest first."""
    recipe = build(plan(task.name).models[plan(task.name).preferred], task.name)
    ensemble = build(recipe.inner, "inner") if isinstance(recipe, Bounded) else recipe
    seen = []
    for trial in ScoringTrial.rolling(task, workspace, cadence(workspace), most):
        frame = sound(trial.frame.at(trial.split.judged).before(trial.split.test[0]), task.name).frame
        parts = ensemble.parts(frame)
        if not isinstance(parts, Parts):
            raise SystemExit(f"{task.name}: too few customers to say how much each member counts")
        variants = (of_chance if task.kind == "chance" else of_amount)(ensemble, parts, frame)
        said = {name: score(fitted, trial.test) for name, fitted in variants.items()}
        held: tuple[float, ...] = ()
        if isinstance(recipe, Bounded):
            ranges = bounds(recipe.around(ensemble.blend(parts, frame), frame), trial.test)
            assert ranges is not None
            held = tuple(float(np.mean((trial.test.y >= ranges[:, 2 * k]) & (trial.test.y <= ranges[:, 2 * k + 1]))) for k in range(len(PROMISED)))
        process = BgNbd(kind="amount").fit(frame) if task.kind == "chance" else None
        seen.append(Seen(trial.test, said, held, process))
    return seen


def of_chance(ensemble: Ensemble, parts: Parts, frame: Frame) -> Recipes:
    """The recipe, without its map, without its level, with equal weights, and with and without each member."""
    plain = ensemble.model_copy(update={"method": "none", "level": "all"})
    alike = FittedEnsemble(parts.fitted, (1 / len(parts.fitted),) * len(parts.fitted), "chance")
    answer = pooled_chance(list(parts.said.T), alike.weights)
    return {
        WHOLE: ensemble.blend(parts, frame).fitted,
        "weights alone: no map, no level": plain.blend(parts, frame).fitted,
        "no level": ensemble.model_copy(update={"level": "all"}).blend(parts, frame).fitted,
        "equal weights": FittedCalibrated(alike, calibration(answer, frame, ensemble.method, ensemble.level)),
        **_members(ensemble, parts, frame),
    }


def of_amount(ensemble: Ensemble, parts: Parts, frame: Frame) -> Recipes:
    """The recipe, with equal weights, and with and without each member."""
    factors = [float(np.clip(frame.y.sum() / said.sum(), 1 / ensemble.widest, ensemble.widest)) for said in parts.said.T]
    alike = FittedEnsemble(parts.fitted, tuple(factor / len(factors) for factor in factors), "amount")
    return {WHOLE: ensemble.blend(parts, frame).fitted, "equal weights": alike, **_members(ensemble, parts, frame)}


def _members(ensemble: Ensemble, parts: Parts, frame: Frame) -> dict[str, Fitted]:
    names, found = [_name(member) for member in ensemble.members], {}
    for place, name in enumerate(names):
        found[f"{name} alone"] = ensemble.blend(parts.only([place]), frame).fitted
        found[f"without {name}"] = ensemble.blend(parts.only([k for k in range(len(names)) if k != place]), frame).fitted
    return found


def _name(member: Mapping[str, Any]) -> str:
    inner = member.get("inner")
    own = str(member["use"]).partition(":")[2]
    return _name(inner) if isinstance(inner, Mapping) else own


def table(task: Churn | Clv, seen: Sequence[Seen]) -> list[str]:
    """Markdown: each variant's figures over all windows, and what the whole recipe gains on it."""
    metrics = {name: task.metrics[name] for name in SHOWN[task.name]}
    evidence = {
        name: pooled([of_scores(each.test, each.said[name], {metric: function for metric, (function, _) in metrics.items()}, SEED) for each in seen])
        for name in seen[0].said
    }
    heads = [f"{metric} | the whole gains" for metric in metrics]
    lines = [f"| {' | '.join(['recipe', *heads])} |", "| --- |" + " --- |" * (2 * len(metrics))]
    for name, each in evidence.items():
        cells = [_cell(each, evidence[WHOLE], metric, better, name == WHOLE) for metric, (_, better) in metrics.items()]
        lines.append(f"| {' | '.join([name, *cells])} |")
    return lines


def _cell(each: Evidence, whole: Evidence, metric: str, better: Direction | None, is_whole: bool) -> str:
    own, gain = each.interval(metric), whole.minus(each, metric, better)
    value = f"{own.value:.4g} [{own.low:.4g}, {own.high:.4g}]" if is_whole else f"{own.value:.4g}"
    return f"{value} | {'' if is_whole or gain is None else f'{gain.value:+.2g} [{gain.low:+.2g}, {gain.high:+.2g}]'}"


def contradictions(risk: Sequence[Seen], value: Sequence[Seen], horizon_days: int) -> dict[str, Any]:
    """Customers whose figures contradict one another, by law; and how many would, were each figure taken from a model of its own."""
    counts: dict[str, int] = {}
    customers = 0
    for churn, clv in zip(risk, value, strict=True):
        place = {customer: row for row, customer in enumerate(clv.test.customer_id)}
        both = np.array([row for row, customer in enumerate(churn.test.customer_id) if customer in place], dtype=np.intp)
        none, test = churn.said[WHOLE][both], churn.test.take(both)
        money = clv.said[WHOLE][[place[customer] for customer in test.customer_id]]
        customers += len(both)
        for law, broken in _laws(none, money, test, horizon_days).items():
            counts[law] = counts.get(law, 0) + int(broken.sum())
        for law, broken in _apart(none, test, churn.process, horizon_days).items():
            counts[law] = counts.get(law, 0) + int(broken.sum())
    return {"customers": customers, **counts}


def _laws(none: Floats, money: Floats, test: Frame, horizon_days: int) -> dict[str, Any]:
    usual = test.x[:, test.columns.index(USUAL)]
    found = outlook(none, money, usual, horizon_days)
    total = np.where(found.orders > 0, found.orders * found.per_order, 0.0)
    soon = found.next_days <= horizon_days
    return {
        "fewer orders expected than a purchase is likely": found.orders < 1 - none - 1e-12,
        "money is not orders times the money of one": (found.orders > 0) & ~np.isclose(total, np.maximum(money, 0.0)),
        "next purchase within the horizon though none is likelier": soon & (none > 0.5 + 1e-9),
        "next purchase beyond it though one is likelier": ~soon & (none < 0.5 - 1e-9) & (horizon_days <= MOST_DAYS),
    }


def _apart(none: Floats, test: Frame, process: FittedProcess | None, horizon_days: int) -> dict[str, Any]:
    assert process is not None
    own = process.outlook(test.select(process.columns).x, horizon_days)
    return {
        "apart: BG/NBD expects fewer purchases than the recipe says one is likely": own.purchases < 1 - none - 1e-12,
        "apart: BG/NBD dates the next purchase on the other side of the horizon": (own.next <= horizon_days) != (none <= 0.5),
    }


if __name__ == "__main__":
    main()
