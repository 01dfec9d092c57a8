"""One YAML, one run: judge a recipe beside its baseline, learn it on every closed window, package it; then the gate."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any

from features import catalog
from retain import __version__
from retain.config import build
from retain.config import spec as spec_of
from retain.errors import RefusedError
from retain.files import remove_partials
from retain.terminal import progress
from retain.workspace import Workspace
from training import foresight, needs, promotions, provenance
from training.candidates import Contender, choose, unusable
from training.card import Card, Measure
from training.evidence import Evidence
from training.experiment import Experiment, Plan, plan
from training.gate import Verdict
from training.judgement import Judged, together
from training.kept import Kept
from training.package import champion, package
from training.registry import Mirrored, mirror
from training.trials import Trial, cutoffs, open_trials


@dataclass(frozen=True)
class Bench:
    """The trials of one task and what has been judged on them: the same recipe is fitted once for each test window, whoever asks."""

    trials: tuple[Trial, ...]
    """One per test window, the newest first."""
    seed: int
    kept: Kept | None = None
    """Judgements of earlier commands on the same data, features and code."""
    held: tuple[str, ...] = ()
    """What the guards looked at and found sound."""
    _judged: dict[str, tuple[Judged, ...]] = field(default_factory=dict)

    @property
    def trial(self) -> Trial:
        """The newest trial, on which models are learned."""
        return self.trials[0]

    def judge(self, model: Any) -> Judged:
        """How good a recipe is over all test windows."""
        return together(self.at_each(model))

    def at_each(self, model: Any) -> tuple[Judged, ...]:
        """How good a recipe is on each test window, the newest first."""
        key = repr(spec_of(model))
        if key not in self._judged:
            self._judged[key] = tuple(self._at(trial, model) for trial in self.trials)
        return self._judged[key]

    def _at(self, trial: Trial, model: Any) -> Judged:
        found = None if self.kept is None else self.kept.find(trial, model, self.seed)
        if found is None:
            found = trial.judge(model, self.seed)
            if self.kept is not None:
                self.kept.keep(trial, model, self.seed, found)
        return found


@dataclass(frozen=True)
class Outcome:
    """What training a task came to."""

    task: str
    trained: tuple[Contender, ...]
    verdicts: dict[str, Verdict]
    """Model id to the gate's word, for those it was asked about."""
    champion: str | None
    mirrored: Mirrored
    lost: str = ""
    """Why the champion before this run no longer verified; empty if it did."""


def bench(chosen: Plan, workspace: Workspace, tests: int | None = None) -> Bench:
    """Open the trials of a plan's task: as many test windows as it says, unless ``tests`` are asked for."""
    return bench_of(chosen.experiments()[0], workspace, tests)


def bench_of(experiment: Experiment, workspace: Workspace, tests: int | None = None) -> Bench:
    """The same for one experiment."""
    trials = open_trials(experiment, workspace, cutoffs(experiment, workspace), experiment.tests if tests is None else tests)
    return Bench(trials, experiment.seed, Kept.of(workspace, trials[0].name))


def guarded(opened: Bench, workspace: Workspace) -> Bench:
    """The same, when its guards hold.

    Raises:
        RefusedError: something that would be learned from knows the future, or a guard does not do its work.
    """
    return replace(opened, held=foresight.check(opened.trial, workspace))


def run(experiment: Experiment, workspace: Workspace, bench: Bench, commit: str = "") -> Contender:
    """Judge, learn, package and verify one model; equal data, code and file give an equal model."""
    trial, model, baseline = bench.trial, experiment.answer(), build(experiment.baseline, "baseline")
    judged, against = bench.judge(model), bench.judge(baseline)
    learned = trial.learn(model)
    evidence = judged.evidence.with_newest(learned.newest)
    state = workspace.state()
    card = Card(
        task=trial.name,
        title=experiment.title,
        kind=trial.kind,
        fitted="",
        task_spec=spec_of(experiment.question()),
        model_spec=spec_of(model),
        baseline_spec=spec_of(baseline),
        is_simple=experiment.is_simple,
        columns=getattr(learned.fitted, "columns", ()),
        horizon_days=trial.horizon_days,
        item=trial.item,
        windows=judged.windows,
        training_rows=learned.rows,
        test_rows=sum(each.test_rows for each in bench.trials),
        primary=trial.primary,
        metrics=measures(evidence, against.evidence, trial, experiment.title),
        curves=judged.curves,
        moment=workspace.now(),
        seed=bench.seed,
        tests=experiment.tests,
        cutoffs=experiment.cutoffs,
        data_digest=state.digest,
        features_digest=catalog.digest(),
        code_version=__version__,
        commit=commit,
        code_digest=provenance.code(),
        environment=provenance.environment(),
        assumptions=state.assumed,
        synthetic=state.synthetic,
        guards=bench.held,
        notes=learned.notes,
    )
    folder = package(
        learned.fitted, card, workspace.models, evidence=evidence, golden=learned.golden, encoder=learned.encoder, reference=learned.reference
    )
    return Contender.open(folder)


def train(
    task: str,
    workspace: Workspace,
    *,
    models: Sequence[str] = (),
    quick: bool = False,
    reason: str = "",
    commit: str = "",
    show: bool = False,
) -> Outcome:
    """Train the models of a task, judge each beside the baseline, package them, and let the gate choose the champion.

    Args:
        task: A name in ``configs/tasks/`` or the path of a YAML file.
        workspace: Where features lie; models, ledger and MLflow's catalogue are written there.
        models: Names to train; all where empty.
        quick: Smaller settings where the task's file has them.
        reason: Lets a challenger that is not worse replace the champion.
        commit: Commit of the code, for the card.
        show: Progress on a terminal.

    Raises:
        RetainError: memory did not suffice; no model was left half-written.
    """
    chosen = plan(task, workspace.state().churn)
    experiments: Iterable[Experiment] = chosen.experiments(tuple(models), quick)
    first = chosen.experiments()[0]
    need = needs.need(workspace.state(), first.question().name, len(cutoffs(first, workspace)))
    with workspace.lock(f"retain train {task}"):
        with needs.within(need):
            promotions.follow(workspace)
            opened = guarded(bench(chosen, workspace), workspace)
            name = opened.trial.name
            remove_partials(workspace.models / name)
            lost = unusable(workspace, name)
            if show:
                experiments = progress(experiments, len(list(experiments)), f"models of {name}")
            trained = tuple(run(experiment, workspace, opened, commit) for experiment in experiments)
            verdicts = choose(workspace, name, trained, lambda model: opened.judge(model).evidence, reason)
        at = champion(workspace, name)
        return Outcome(name, trained, verdicts, None if at is None else at.name, mirror(workspace, name), lost)


def measures(ours: Evidence, baseline: Evidence, trial: Trial, title: str) -> dict[str, Measure]:
    """Every metric that is a number, beside the baseline's."""
    result: dict[str, Measure] = {}
    for name, better in trial.directions.items():
        mine, theirs, gain = ours.interval(name), baseline.interval(name), ours.minus(baseline, name, better)
        if gain is None or not all(isfinite(value) for each in (mine, theirs, gain) for value in (each.value, each.low, each.high)):
            continue
        result[name] = Measure(
            value=mine.value,
            low=mine.low,
            high=mine.high,
            baseline=theirs.value,
            baseline_low=theirs.low,
            baseline_high=theirs.high,
            gain=gain.value,
            gain_low=gain.low,
            gain_high=gain.high,
            better=better or "",
        )
    if trial.primary not in result:
        raise RefusedError(f"{title}: {trial.primary} cannot be measured on the test window of {trial.test_rows} rows; ingest more history")
    return result
