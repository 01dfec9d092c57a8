"""Predict as if today were a date in the past: later rows are never ingested, so nothing can look at them.

The product's own recipes are trained and judged on windows that had closed by then; the preferred one, or the best where its baseline
clearly beats it, is learned on all of them and answers for the population of that day.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import inf, isfinite
from pathlib import Path
from typing import Any, Literal

from experiments import predictions
from retain.config import build
from retain.errors import ConfigError, RefusedError
from retain.files import write_json
from retain.workspace import Workspace, moment
from training.card import Card
from training.contracts import PURPOSES, bounds, score
from training.evidence import Evidence
from training.experiment import Plan, plan
from training.metrics import Direction
from training.package import load
from training.pipeline import Bench, bench, run
from training.ranking_trial import RankingTrial
from training.scoring_trial import ScoringTrial, split

TASKS = ("churn", "clv", "recommend")
LENGTH = 50
"""Length of a list."""

Say = Callable[[str], None]


def _silent(text: str) -> None:
    """Say nothing."""


def _number(value: float) -> float | None:
    """What JSON can hold: null where nothing could be measured, such as new items of a shop that sells one."""
    return value if isfinite(value) else None


@dataclass(frozen=True)
class Predicted:
    """One task of a backtest that ended."""

    card: Card
    judged: dict[str, dict[str, float]]
    """Model to its metrics on the test window; the best of them was learned again on every closed window."""
    files: dict[str, int]
    """File to rows."""


@dataclass(frozen=True)
class Backtest:
    """What a backtest wrote."""

    source: str
    as_of: datetime
    horizon_days: int
    out: Path
    predicted: dict[str, Predicted]
    refused: dict[str, str]
    """Task to why it could not be learned."""

    def summary(self) -> dict[str, Any]:
        """Everything for programs, and for ``summary.json``."""
        return {
            "source": self.source,
            "as_of": self.as_of.isoformat(),
            "horizon_days": self.horizon_days,
            "tasks": {
                task: {
                    "model": each.card.title,
                    "model_id": each.card.model_id,
                    "model_spec": each.card.model_spec,
                    "primary": each.card.primary,
                    "item": each.card.item,
                    "windows": each.card.windows.model_dump(mode="json"),
                    "training_rows": each.card.training_rows,
                    "test_rows": each.card.test_rows,
                    "judged": {title: {name: _number(value) for name, value in values.items()} for title, values in each.judged.items()},
                    "data_digest": each.card.data_digest,
                    "notes": each.card.notes,
                    "synthetic": each.card.synthetic,
                    "assumed": [assumption.model_dump(mode="json") for assumption in each.card.assumptions],
                    "files": each.files,
                }
                for task, each in self.predicted.items()
            },
            "refused": self.refused,
        }


def backtest(
    source: str,
    as_of: str,
    horizon_days: int,
    out: Path,
    *,
    data: Path | None = None,
    item: Literal["product", "category"] | None = None,
    tasks: Sequence[str] = TASKS,
    quick: bool = False,
    say: Say = _silent,
) -> Backtest:
    """Ingest what was known before a date, train on it, and write predictions for the days after.

    Args:
        source: A name in ``configs/sources`` or the path of a mapping.
        as_of: The date, on the source's stored clock.
        horizon_days: Days after it to predict.
        out: Folder of the prediction files and ``summary.json``; ``workspace`` below it holds the state.
        data: Where the source's files lie.
        item: What recommendation ranks; the source's own where not given.
        tasks: Which of churn, clv and recommend.
        quick: Smaller settings where the plans have them.
        say: Told what is being done.
    """
    from retain.ingest import ingest
    from retain.mapping import load as mapping

    for task in tasks:
        if task not in TASKS:
            raise ConfigError(f"there is no task {task!r} to backtest; choose from {', '.join(TASKS)}", field="tasks")
    if horizon_days < 1:
        raise ConfigError(f"horizon of {horizon_days} days: at least one is needed", field="horizon")
    found = mapping(source)
    if found.kind == "snapshot":
        raise ConfigError(f"{found.name} is a snapshot: it has no date to go back to; use `retain crossfit {source}`", field="source")
    today = moment(as_of, found.stored)
    workspace = Workspace.at(out / "workspace")
    ingest(source, workspace, data=data, until=today, say=say)
    with workspace.lock("retain backtest"):
        plans = {task: _asked(plan(task, workspace.state().churn), horizon_days, item) for task in tasks}
        predicted: dict[str, Predicted] = {}
        refused: dict[str, str] = {}
        for task, chosen in plans.items():
            try:
                predicted[task] = _predict(chosen, workspace, out, quick, say)
            except RefusedError as error:
                refused[task] = error.message
        result = Backtest(source, today, horizon_days, out, predicted, refused)
        write_json(out / "summary.json", result.summary())
    return result


def _asked(chosen: Plan, horizon_days: int, item: str | None) -> Plan:
    """The plan with the horizon, and for a ranker the item, that the caller asks for."""
    task = {**chosen.task, "horizon_days": horizon_days}
    if item is not None and "item" in type(build(chosen.task, "task")).model_fields:
        task["item"] = item
    return chosen.model_copy(update={"task": task})


def _predict(chosen: Plan, workspace: Workspace, out: Path, quick: bool, say: Say) -> Predicted:
    task = build(chosen.task, "task")
    if hasattr(task, "outcome"):
        say(f"features of {task.name}")
        _build(task, workspace)
    say(f"training {task.name}")
    opened = bench(chosen, workspace)
    experiments = chosen.experiments(quick=quick)
    evidence = {each.title: opened.judge(each.answer()).evidence for each in experiments}
    judged = {title: each.values for title, each in evidence.items()}
    answering = _answering(chosen, evidence, opened.trial.primary, opened.trial.directions[opened.trial.primary])
    best = next(each for each in experiments if each.title == answering)
    say(f"predicting {task.name} with {best.title}")
    contender = run(best, workspace, opened)
    if contender.failures:
        raise RefusedError("; ".join(contender.failures))
    return Predicted(contender.card, judged, _files(opened, contender.folder, workspace, out))


def _answering(chosen: Plan, evidence: Mapping[str, Evidence], primary: str, better: Direction | None) -> str:
    """Title of the model that answers: the preferred one unless the baseline is clearly better, else the best of the window."""
    if chosen.preferred in evidence and isfinite(evidence[chosen.preferred].values[primary]):
        lead = evidence[chosen.preferred].minus(evidence[chosen.baseline], primary, better)
        if lead is None or not lead.high < 0:
            return chosen.preferred
    sign = 1.0 if better == "higher" else -1.0
    worth = {title: sign * each.values[primary] for title, each in evidence.items()}
    return max(worth, key=lambda title: worth[title] if isfinite(worth[title]) else -inf)


def _build(task: Any, workspace: Workspace) -> None:
    """Snapshots at the moments that this task needs, and no others."""
    from features import catalog, snapshot, store

    chosen = split(task, workspace, snapshot.cadence(workspace))
    views = catalog.customer_views()
    snapshot.build(workspace, [*chosen.judged, *chosen.test, *chosen.final, workspace.now()], views)
    store.apply(workspace, views)


def _files(opened: Bench, folder: Path, workspace: Workspace, out: Path) -> dict[str, int]:
    state, now, model = workspace.state(), workspace.now(), load(folder)
    trial = opened.trial
    if isinstance(trial, RankingTrial):
        names = {purpose: f"recommend_{purpose}.parquet" for purpose in PURPOSES}
        return {name: predictions.lists(out / name, model.ranker, trial.now, purpose, LENGTH, trial.item, state) for purpose, name in names.items()}
    if isinstance(trial, ScoringTrial):
        newest = trial.newest
        name = f"{trial.name}.parquet"
        said = score(model.scorer, newest)
        return {name: predictions.scores(out / name, trial.task.output, newest.customer_id, said, now, state, bounds(model.scorer, newest))}
    raise ConfigError(f"task {trial.name} gives neither scores nor lists")
