"""What has changed since the champion was trained: its data, inputs, scores, outcomes and calibration, and where a change likely comes from.

The champion's own folder answers, on customers and windows from after its training; nothing is fitted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from experiments.drift_lists import of_lists
from experiments.findings import KINDS, LOOKED_BACK, Finding, figures, run_since, since_words
from features import catalog, snapshot
from retain import engine
from retain.config import build
from retain.errors import NotReadyError
from retain.files import write_json
from retain.tables import TABLES
from retain.workspace import Workspace, shift_days
from training import gate
from training.candidates import rules
from training.contracts import Frame, score
from training.drift import chance
from training.evidence import Evidence, of_scores
from training.frames import frame
from training.package import Package, champion, load
from training.reference import Reference

MOVED = 8
"""Exit code when something has moved."""
DAYS = 28
"""Days of rows that a table is measured by."""
HALVED = 0.5
"""A table that brings less than this share of the rows it brought, or more than its inverse, has moved."""
NAMED = 5
"""Features that are named as what moved most."""


@dataclass(frozen=True)
class Drift:
    """What a look came to."""

    task: str
    model_id: str
    title: str
    trained: datetime
    now: datetime
    findings: tuple[Finding, ...]
    """Of each kind the worst first."""
    unknown: tuple[str, ...]
    """What cannot be said yet, and from when on it can."""
    source: str
    """Where the change likely comes from; empty where nothing has moved."""

    @property
    def moved(self) -> tuple[Finding, ...]:
        """What has moved."""
        return tuple(each for each in self.findings if each.is_moved)

    def values(self) -> dict[str, Any]:
        """Everything for programs, and for the file that the service's metrics are read from."""
        return {
            "task": self.task,
            "model_id": self.model_id,
            "title": self.title,
            "trained": self.trained.isoformat(),
            "now": self.now.isoformat(),
            "moved": {kind: sum(each.is_moved for each in self.findings if each.kind == kind) for kind in KINDS},
            "worst": {kind: max((each.value for each in self.findings if each.kind == kind), default=None) for kind in KINDS},
            "findings": [
                {**vars(each), "since": None if each.since is None else each.since.isoformat()}
                for each in self.findings
                if each.is_moved or each.kind != "inputs"
            ],
            "inputs_looked_at": sum(each.kind == "inputs" for each in self.findings),
            "unknown": list(self.unknown),
            "source": self.source,
        }


def drift(workspace: Workspace, task: str) -> Drift:
    """Look at the champion of a task today, and write ``drift/<task>.json`` for the service's metrics.

    Raises:
        NotReadyError: there is no champion, it keeps nothing to compare with, or features of today are missing.
    """
    at = champion(workspace, task)
    if at is None:
        raise NotReadyError(f"{task} has no champion; run `retain train {task}` first")
    package, reference = load(at), Reference.load(at)
    limits, now = rules(), workspace.now()
    data = _tables(workspace, package.card.moment, now)
    if package.card.kind == "ranker":
        found, unknown = of_lists(workspace, package, reference, limits, now)
    else:
        found, unknown = _scorer(workspace, package, reference, limits, now)
    findings = tuple(sorted([*data, *found], key=lambda each: (KINDS.index(each.kind), not each.is_moved, -each.value)))
    card = package.card
    result = Drift(task, card.model_id, card.title, card.moment, now, findings, unknown, _source(findings))
    write_json(workspace.drift / f"{task}.json", result.values())
    return result


def _tables(workspace: Workspace, then: datetime, now: datetime) -> list[Finding]:
    """How many rows each table brought lately, against what it brought before the training."""
    found = []
    with engine.of(workspace) as sql:
        for name in ("transactions", "events", "contacts", "outcomes"):
            counts = [sql.rows(f"select count(*) from {name} where {_between(moment)}")[0][0] for moment in (then, now)]
            if not counts[0]:
                continue
            ratio = counts[1] / counts[0]
            words = f"{name}: {counts[1]:,} rows in the last {DAYS} days, {counts[0]:,} in those before the training"
            found.append(Finding("data", name, ratio, HALVED, not HALVED <= ratio <= 1 / HALVED, words))
    return found


def _between(moment: datetime) -> str:
    begin, end = (f"timestamptz '{each.isoformat()}'" for each in (moment - timedelta(days=DAYS), moment))
    return f"occurred_at >= {begin} and occurred_at < {end} and known_at < {end}"


def _scorer(workspace: Workspace, package: Package, reference: Reference, limits: gate.Rules, now: datetime) -> tuple[list[Finding], tuple[str, ...]]:
    card, task = package.card, build(package.card.task_spec, "task")
    zone = workspace.state().stored_zone
    moments = [moment for moment in snapshot.cadence(workspace) if moment >= card.moment]
    closed = [moment for moment in moments if shift_days(moment, card.horizon_days, zone) <= now][-1:]
    newer = [moment for moment in moments if card.moment < moment < now]
    back = newer[:: max(1, -(-len(newer) // LOOKED_BACK))]
    rows, _ = frame(workspace, task, sorted({*back, *closed, now}), horizon_days=card.horizon_days, encoder=package.encoder)
    today = rows.at((now,))
    found = _inputs(reference, today, rows, back, limits)
    evidence = Evidence.load(package.folder)
    if len(evidence.newest):
        said = Evidence(evidence.rows, 0, {}, {}).with_newest(score(package.scorer, today))
        shift, limit = said.shift_from(evidence) or 0.0, max(limits.psi, chance(12, reference.rows, len(today)))
        found.append(Finding("scores", "score", shift, limit, shift > limit, f"scores of {len(today)} customers: stability index {shift:.3f}"))
    if not closed:
        first = next((moment for moment in [card.moment, *moments] if moment >= card.moment), card.moment)
        ready = shift_days(first, card.horizon_days, zone)
        return found, (f"outcomes and calibration can be said from {ready:%Y-%m-%d} on, when the first window after the training has closed",)
    judged = rows.at((closed[0],))
    judged = judged.take(np.flatnonzero(~np.isnan(judged.y)))
    metrics = {name: metric for name, (metric, _) in task.metrics.items()}
    fresh = of_scores(judged, score(package.scorer, judged), metrics, card.seed)
    return [*found, *figures(card, fresh, evidence, closed[0])], ()


def _inputs(reference: Reference, today: Frame, rows: Frame, back: Sequence[datetime], limits: gate.Rules) -> list[Finding]:
    """Each feature today against the day of training; of the worst, since which snapshot."""
    index = reference.drift(today)
    limit = {name: max(limits.psi, chance(reference.bins(name), reference.rows, len(today))) for name in index}
    moved = sorted((name for name in index if index[name] > limit[name]), key=lambda name: -index[name])
    past = {moment: reference.drift(rows.at((moment,))) for moment in back} if moved else {}
    found = []
    for name, value in index.items():
        since = run_since(back, {at: past[at][name] for at in past}, limit[name]) if name in moved else None
        words = f"{name}: stability index {value:.3f}{since_words(since)}"
        found.append(Finding("inputs", name, value, limit[name], name in moved, words, since))
    return found


def _source(findings: Sequence[Finding]) -> str:
    """Where a change likely comes from: a table that stopped or doubled, else the tables that the features that moved share."""
    tables = [each for each in findings if each.kind == "data" and each.is_moved]
    inputs = [each for each in findings if each.kind == "inputs" and each.is_moved]
    fed = {table: [each for each in inputs if table in _reads(each.what)] for table in TABLES}
    if tables:
        return "; ".join(
            f"{each.words}, and {len(fed[each.what])} of the {len(inputs)} inputs that moved read it{_since(fed[each.what])}"
            for each in sorted(tables, key=lambda each: -len(fed[each.what]))
        )
    if inputs:
        table = max(fed, key=lambda name: (len(fed[name]), -len(name)))
        names = ", ".join(each.what for each in inputs[:NAMED])
        place = f"the table {table}, which {len(fed[table])} of the {len(inputs)} inputs that moved read" if fed[table] else "what customers buy"
        return f"{place}: {names}{_since(fed[table] or inputs)}"
    if any(each.is_moved for each in findings):
        return "not the inputs: what customers do has changed while they look the same; train again"
    return ""


def _since(inputs: Sequence[Finding]) -> str:
    since = min((each.since for each in inputs if each.since), default=None)
    return f", since the snapshot of {since:%Y-%m-%d}" if since else ""


def _reads(feature: str) -> set[str]:
    """Contract tables behind a feature, ``view__column``."""
    name, _, column = feature.partition("__")
    views = {view.name: view for view in catalog.customer_views()}
    if not column or name not in views:
        return set()
    text = views[name].sql + " ".join(catalog.intermediate(each) for each in catalog.needs(views[name].reads))
    return {table for table in TABLES if re.search(rf"\b{table}\b", text)}
