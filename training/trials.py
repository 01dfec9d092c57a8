"""One task on one workspace: its windows and rows are opened once, then each model is judged and learns on them.

A scorer's trial and a ranker's trial answer to the same protocol, so that pipeline, gate, comparison and backtest are written once.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, Protocol

from retain.errors import ConfigError
from retain.workspace import Workspace
from training.card import Windows
from training.experiment import Experiment
from training.judgement import Judged, Learned
from training.metrics import Direction


class Trial(Protocol):
    """What a run needs of its task."""

    @property
    def kind(self) -> Literal["scorer", "ranker"]:
        """Whether models give a score per customer or a list."""

    @property
    def task(self) -> Any:
        """The question."""

    @property
    def name(self) -> str:
        """Name of the task."""

    @property
    def primary(self) -> str:
        """The metric that the gate compares."""

    @property
    def directions(self) -> dict[str, Direction | None]:
        """Which value of each metric is better; None where it only describes."""

    @property
    def calibration(self) -> str | None:
        """The metric that is the calibration error, where scores are probabilities."""

    @property
    def windows(self) -> Windows:
        """The cutoffs."""

    @property
    def horizon_days(self) -> int:
        """Days in which the outcome falls."""

    @property
    def item(self) -> Literal["product", "category", ""]:
        """What is ranked; empty for a scorer."""

    @property
    def test_rows(self) -> int:
        """Rows, or customers, judged."""

    def judge(self, model: Any, seed: int) -> Judged:
        """Learn before the test window, judge on it."""

    def learn(self, model: Any) -> Learned:
        """Learn on every closed window."""


def kind_of(experiment: Experiment) -> Literal["scorer", "ranker", "effects"]:
    """Which kind of trial the task of an experiment needs.

    Raises:
        ConfigError: the task can neither score nor rank, nor tell effects.
    """
    task = experiment.question()
    if hasattr(task, "contacted"):
        return "effects"
    if hasattr(task, "outcome"):
        return "scorer"
    if hasattr(task, "targets"):
        return "ranker"
    raise ConfigError(f"task {experiment.task['use']} has no outcome, targets or contacts; see training/tasks for examples", field="task")


def cutoffs(experiment: Experiment, workspace: Workspace) -> list[datetime]:
    """The moments that an experiment names, in UTC; those of the cadence where it names none. Effects are learned at contacts instead."""
    if kind_of(experiment) == "effects":
        return []
    from features.snapshot import cadence
    from retain.workspace import moment

    if experiment.cutoffs:
        zone = workspace.history().stored_zone
        return sorted(moment(cutoff.isoformat(), zone) for cutoff in experiment.cutoffs)
    return cadence(workspace)


def open_trials(experiment: Experiment, workspace: Workspace, moments: list[datetime], tests: int) -> tuple[Trial, ...]:
    """One trial per test window, the newest first, at most ``tests`` and as many as history holds; each learns before its own window.

    Raises:
        NotReadyError: snapshots are missing.
        RefusedError: the data are too few, or a feature holds the outcome.
    """
    if kind_of(experiment) == "effects":
        from training.uplift_trial import UpliftTrial

        return (UpliftTrial.open(experiment.question(), workspace),)
    if kind_of(experiment) == "ranker":
        from training.ranking_trial import RankingTrial

        return RankingTrial.rolling(experiment.question(), workspace, tests)
    from training.scoring_trial import ScoringTrial

    return ScoringTrial.rolling(experiment.question(), workspace, moments, tests)
