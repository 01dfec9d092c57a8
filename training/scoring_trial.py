"""The trial of a task that gives each customer a score: churn, value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from time import process_time
from typing import ClassVar, Literal, Protocol

import numpy as np

from retain import engine
from retain.workspace import Workspace
from training import segments, slices
from training.card import Curve, Windows
from training.contracts import PROMISED, Fitted, Floats, Frame, Model, bounds, score
from training.encoding import Encoder
from training.evidence import of_scores
from training.frames import Asked, frame
from training.golden import ROWS
from training.guards import Sound, sound
from training.horizons import lengthen
from training.judgement import Cost, Judged, Learned
from training.metrics import Direction, Metric, tenths
from training.models import held_out
from training.models.enough import MOST_CELLS, few
from training.models.once import spared_s
from training.models.remarks import remarks
from training.models.seasons import is_unseen
from training.reference import of_rows
from training.splits import Split, rolling

STEPS = 20
"""Points of a lift curve."""
UNSEEN = (
    "season unseen: history holds no window that began near this day of an earlier year, so the level of the {days} days after {now:%Y-%m-%d} is "
    "that of the windows before, and intervals are wider"
)


class Scoring(Asked, Protocol):
    """A task that scores customers."""

    kind: ClassVar[Literal["chance", "amount"]]
    output: ClassVar[str]
    primary: ClassVar[str]
    metrics: ClassVar[Mapping[str, tuple[Metric, Direction | None]]]

    @property
    def horizon_days(self) -> int | None:
        """Days asked for; None is the source's own."""


@dataclass(frozen=True)
class ScoringTrial:
    """Rows of every cutoff that a task's models learn from, are judged on and answer for."""

    workspace: Workspace
    task: Scoring
    split: Split
    frame: Frame
    encoder: Encoder
    now: datetime

    kind: ClassVar[Literal["scorer"]] = "scorer"
    item: ClassVar[Literal[""]] = ""

    @classmethod
    def open(cls, task: Scoring, workspace: Workspace, moments: list[datetime]) -> ScoringTrial:
        """Read features and outcomes at the cutoffs that ``moments`` allow, and at the present moment."""
        return cls.rolling(task, workspace, moments, 1)[0]

    @classmethod
    def rolling(cls, task: Scoring, workspace: Workspace, moments: list[datetime], tests: int) -> tuple[ScoringTrial, ...]:
        """One trial per test window, the newest first, on one reading of the features."""
        chosen = splits(task, workspace, moments, tests)
        now = workspace.now()
        wanted = sorted({now, *(cutoff for each in chosen for cutoff in (*each.judged, *each.test, *each.final))})
        rows, encoder = frame(workspace, task, wanted, horizon_days=chosen[0].horizon_days)
        return tuple(cls(workspace, task, each, rows, encoder, now) for each in chosen)

    @property
    def name(self) -> str:
        """Name of the task."""
        return self.task.name

    @property
    def primary(self) -> str:
        """The metric that the gate compares."""
        return self.task.primary

    @property
    def directions(self) -> dict[str, Direction | None]:
        """Which value of each metric is better."""
        return {name: direction for name, (_, direction) in self.task.metrics.items()}

    @property
    def calibration(self) -> str | None:
        """Chances have a calibration error, amounts have none that a limit could be put on."""
        return "ece" if self.task.kind == "chance" else None

    @property
    def windows(self) -> Windows:
        """The cutoffs."""
        return Windows(
            train=self.split.judged,
            valid=self.split.valid,
            test=self.split.test,
            final=self.split.final,
            words=self.split.words,
            season=self._season,
        )

    @cached_property
    def _season(self) -> str:
        unseen = is_unseen(self.frame.at(self.split.final).before(self.now))
        return UNSEEN.format(days=self.horizon_days, now=self.now) if unseen else ""

    @property
    def horizon_days(self) -> int:
        """Days that the packaged model answers for."""
        return self.split.asked_days

    @property
    def test(self) -> Frame:
        """The rows that judge; who left for a cause that nobody chose does not."""
        return self.frame.at(self.split.test).known()

    @property
    def newest(self) -> Frame:
        """The customers of the present moment; their outcomes are unknown."""
        return self.frame.at((self.now,))

    @cached_property
    def _judged(self) -> Sound:
        """What the judged models learn from; looked at by the guards once, for all recipes."""
        return sound(self.frame.at(self.split.judged).before(self.split.test[0]), f"{self.name}, judging")

    @cached_property
    def _final(self) -> Sound:
        """The same of the packaged models."""
        return sound(self.frame.at(self.split.final).before(self.now), f"{self.name}, final")

    @property
    def test_rows(self) -> int:
        """Rows judged."""
        return len(self.test)

    def judge(self, model: Model, seed: int) -> Judged:
        """Learn on the windows that closed before the test window, judge on it."""
        test = self.test
        usable = self._judged.frame
        before = process_time() + spared_s()
        learned = held_out.fit(model, usable)
        # What another recipe had learned before counts as if it had been learned anew.
        spent, fitted = process_time() + spared_s() - before, process_time()
        predicted = score(learned, test)
        cost = Cost(
            fit_cpu_s=spent,
            rows_per_s=len(test) / max(process_time() - fitted, 1e-6),
            training_rows=len(usable),
            features=len(learned.columns),
        )
        metrics = {name: metric for name, (metric, _) in self.task.metrics.items()}
        apart = slices.chosen(slices.of_frame(test, self.encoder, segments.rules()), test.customer_id)
        evidence = of_scores(test, predicted, metrics, seed, primary=self.primary, slices=apart)
        curves = {"calibration": calibration(test.y, predicted), "lift": lift(test.y, predicted), **coverage(learned, test)}
        return Judged(evidence, curves, self.windows, cost)

    def learn(self, model: Model) -> Learned:
        """Learn on every closed window; where windows are scaled, the model answers for the asked horizon all the same."""
        usable = self._final
        fitted = lengthen(self.workspace, self.task, self.task.kind, held_out.fit(model, usable.frame), usable.frame, self.split)
        newest = self.newest
        newest = newest.take(np.flatnonzero(few(newest.customer_id, MOST_CELLS // max(len(newest.columns), 1))))
        rows = newest if len(newest) else usable.frame
        golden = rows.select(fitted.columns).x[:ROWS]
        notes = []
        if usable.dropped:
            notes.append(f"{len(usable.dropped)} features that never vary are left out: {', '.join(usable.dropped)}")
        if self.frame.share < 1:
            notes.append(f"{self.frame.share:.0%} of the rows were learned from and judged on: those of customers chosen by a hash of their id")
        # Every window that is learned from has closed: what has no outcome there left for a cause that nobody chose.
        if usable.open_rows:
            notes.append(f"{usable.open_rows} rows of customers who left for a cause that nobody chose are neither learned from nor judged")
        notes += remarks(fitted)
        return Learned(fitted, self.encoder, golden, len(usable.frame), score(fitted, newest), of_rows(rows.select(fitted.columns)), tuple(notes))


def split(task: Scoring, workspace: Workspace, moments: list[datetime]) -> Split:
    """Which of the moments train and which judge."""
    return splits(task, workspace, moments, 1)[0]


def splits(task: Scoring, workspace: Workspace, moments: list[datetime], tests: int) -> tuple[Split, ...]:
    """The same for several test windows, the newest first."""
    state, now = workspace.state(), workspace.now()
    with engine.of(workspace) as sql:
        first = sql.rows("select min(occurred_at) from transactions")[0][0]
    horizon = task.horizon_days or state.horizon_days
    return rolling(moments, horizon, now, state.stored_zone, now if first is None else first, tests=tests)


def calibration(y: Floats, p: Floats) -> Curve:
    """Mean prediction and mean outcome of each tenth of the predictions."""
    tenth = tenths(p)
    groups = [np.flatnonzero(tenth == k) for k in np.unique(tenth)]
    return Curve(
        x=tuple(float(p[rows].mean()) for rows in groups),
        y=tuple(float(y[rows].mean()) for rows in groups),
        weight=tuple(float(len(rows)) for rows in groups),
    )


def coverage(fitted: Fitted, test: Frame) -> dict[str, Curve]:
    """Share of customers whose outcome lies within the interval that promised so many; empty for a model without intervals."""
    found = bounds(fitted, test)
    if found is None:
        return {}
    held = [float(np.mean((test.y >= found[:, 2 * k]) & (test.y <= found[:, 2 * k + 1]))) for k in range(len(PROMISED))]
    return {"coverage": Curve(x=PROMISED, y=tuple(held))}


def lift(y: Floats, p: Floats) -> Curve:
    """Share of the outcome found among the highest predictions, by share of customers."""
    found = np.r_[0.0, np.cumsum(y[np.argsort(-p, kind="stable")])]
    share = np.linspace(0, 1, STEPS + 1)
    total = found[-1] if found[-1] else 1.0
    return Curve(x=tuple(share.tolist()), y=tuple((np.interp(share * len(y), np.arange(len(found)), found) / total).tolist()))
