"""A search for better settings of one recipe, on windows before the test window; the test window is looked at once, at the end.

The search goes on where it stopped: its trials lie in a journal of the workspace, under a name made of the question, the recipe and the
data. What it found is a file that ``retain train`` takes, and it says how much the search brought over the settings that stood.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from experiments import spaces
from retain.config import build
from retain.errors import ConfigError, RefusedError, RetainError
from retain.files import write_text
from retain.workspace import Workspace
from training import provenance
from training.experiment import Experiment, Plan, plan
from training.intervals import Interval
from training.pipeline import Bench, bench_of
from training.registry import Search, Tried
from training.trials import Trial

WINDOWS = 2
"""Windows that settings are chosen on, where history holds so many before the test windows."""
MINUTES = 5.0
RANDOM = 10
"""Trials before the search begins to believe what it has seen."""

Say = Callable[[str], None]


def _silent(text: str) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class Tuned:
    """What a search came to."""

    search: Search
    primary: str
    new: int
    """Trials of this call."""
    standing: float
    """The primary metric of the settings that stood, on the windows of the search."""
    best: float
    """Of the settings chosen, on the same windows."""
    settings: dict[str, Any]
    """What was chosen, by path; empty where nothing was better than what stood."""
    value: Interval
    """Of the settings chosen, on the test windows."""
    gain: Interval
    """Over the settings that stood, on the test windows: paired, more is better."""
    file: Path
    """The experiment, for ``retain train``."""
    out_of_range: tuple[str, ...]
    """Settings that stand outside the range that was searched."""

    @property
    def verdict(self) -> str:
        """What the test window allows to be said."""
        if not self.settings:
            return "nothing better than the settings that stood was found"
        if self.gain.low > 0:
            return "tuning gains"
        return "tuning loses" if self.gain.high < 0 else "no difference shown"


def tune(
    task: str,
    workspace: Workspace,
    *,
    model: str = "",
    minutes: float = MINUTES,
    trials: int | None = None,
    windows: int = WINDOWS,
    out: Path | None = None,
    say: Say = _silent,
) -> Tuned:
    """Search for the best settings of a model.

    Args:
        task: A name in ``configs/tasks/`` or the path of a YAML file.
        workspace: Where features lie; the journal is written there.
        model: Name of the model in the file; the last one that has settings to search where empty.
        minutes: No trial begins after so long.
        trials: At most so many trials, earlier calls included.
        windows: Windows to choose on, at most.
        out: Where the experiment is written; in the workspace where not given.
        say: Told each time something better was found.

    Raises:
        ConfigError: no such model, or it has no settings to search.
        RefusedError: history holds no window before the test window to choose on.
    """
    chosen = plan(task, workspace.state().churn)
    experiment = _experiment(chosen, model)
    opened = bench_of(experiment, workspace, experiment.tests + windows)
    if len(opened.trials) <= experiment.tests:
        raise RefusedError(
            f"{opened.trial.name}: history holds {len(opened.trials)} windows, and {experiment.tests} of them judge; settings are chosen on earlier "
            "windows, so ingest more history or choose a shorter horizon"
        )
    test, earlier = opened.trials[: experiment.tests], opened.trials[experiment.tests :]
    study, new = _search(experiment, earlier, workspace, minutes, trials, say)
    done = [trial for trial in study.trials if trial.state.name == "COMPLETE"]
    stood, best = done[0], max(done, key=lambda trial: (trial.value, -trial.number))
    settings = {} if best.number == 0 else dict(best.params)
    final = Bench(test, experiment.seed, opened.kept)
    ours = final.judge(build(spaces.chosen(experiment.model, settings), "the settings found")).evidence
    theirs = final.judge(experiment.answer()).evidence
    primary, better = opened.trial.primary, opened.trial.directions[opened.trial.primary]
    gain = ours.minus(theirs, primary, better)
    if gain is None:
        raise RefusedError(f"{primary} cannot be compared on the test window")
    sign = 1.0 if better == "higher" else -1.0
    target = out or workspace.tuning / f"{opened.trial.name}-{experiment.title}.yaml"
    write_text(target, _yaml(experiment, settings, study.study_name))
    tried = tuple(
        Tried(trial.number, dict(trial.params), None if trial.value is None else sign * trial.value, tuple(trial.user_attrs.get("windows", ())))
        for trial in study.trials
        if trial.state.is_finished()
    )
    search = Search(opened.trial.name, experiment.title, study.study_name, primary, tried, best.number, gain)
    outside = tuple(path for path, setting in spaces.settings(experiment.model).items() if not spaces.holds(setting, _stood(experiment)[path]))
    return Tuned(search, primary, new, sign * stood.value, sign * best.value, settings, ours.interval(primary), gain, target, outside)


def _experiment(chosen: Plan, model: str) -> Experiment:
    able = [each for each in chosen.experiments((model,) if model else ()) if spaces.settings(each.model)]
    if not able:
        raise ConfigError(f"{model or 'no model of the task'} has settings to search; experiments/spaces.py declares them by class", field="model")
    order = list(chosen.models)
    return max(able, key=lambda each: order.index(each.title))


def _stood(experiment: Experiment) -> dict[str, Any]:
    return spaces.standing(experiment.model)


def _search(experiment: Experiment, earlier: tuple[Trial, ...], workspace: Workspace, minutes: float, most: int | None, say: Say) -> tuple[Any, int]:
    """Go on with the study of this question, recipe and data; return it and how many trials were new."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    workspace.tuning.mkdir(parents=True, exist_ok=True)
    storage = JournalStorage(JournalFileBackend(str(workspace.tuning / f"{earlier[0].name}.journal")))
    name = f"{experiment.title}-{_key(experiment, earlier, workspace)}"
    study = optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)
    before = len(study.trials)
    # A sampler that always began with the same seed would propose again what it proposed in the call before.
    study.sampler = optuna.samplers.TPESampler(seed=experiment.seed + before, n_startup_trials=RANDOM)
    opened = Bench(earlier, experiment.seed)
    sign = 1.0 if earlier[0].directions[earlier[0].primary] == "higher" else -1.0
    space = spaces.settings(experiment.model)

    def judged(trial: Any) -> float:
        # The first trial is the recipe as it stands, whatever the ranges are.
        values = {} if trial.number == 0 else {path: _suggest(trial, path, setting) for path, setting in space.items()}
        try:
            model = build(spaces.chosen(experiment.model, values), f"trial {trial.number}")
            parts = [part.evidence.values[earlier[0].primary] for part in opened.at_each(model)]
        except (RetainError, ValueError, ArithmeticError) as error:
            raise optuna.TrialPruned(str(error)) from error
        trial.set_user_attr("windows", parts)
        return sign * sum(parts) / len(parts)

    def told(study: Any, trial: Any) -> None:
        if trial.value is not None and study.best_trial.number == trial.number:
            say(f"trial {trial.number}: {earlier[0].primary} {sign * trial.value:.5g}")

    left = None if most is None else max(most - before, 0)
    if left != 0:
        study.optimize(judged, n_trials=left, timeout=minutes * 60, callbacks=[told])
    if not any(trial.state.name == "COMPLETE" for trial in study.trials):
        raise RefusedError(f"{experiment.title}: no trial could be judged; try more --minutes, or look at `retain train`")
    return study, len(study.trials) - before


def _suggest(trial: Any, path: str, setting: spaces.Setting) -> Any:
    if isinstance(setting, spaces.Choice):
        return trial.suggest_categorical(path, setting.values)
    if setting.is_whole:
        return trial.suggest_int(path, int(setting.low), int(setting.high), log=setting.is_log)
    return trial.suggest_float(path, setting.low, setting.high, log=setting.is_log)


def _key(experiment: Experiment, earlier: tuple[Trial, ...], workspace: Workspace) -> str:
    asked: Mapping[str, Any] = {
        "task": experiment.task,
        "model": experiment.model,
        "windows": [trial.windows.model_dump(mode="json") for trial in earlier],
        "data": workspace.state().digest,
        "code": provenance.code(),
    }
    return hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()[:10]


def _yaml(experiment: Experiment, settings: Mapping[str, Any], study: str) -> str:
    values = {
        "name": f"{experiment.title}_tuned",
        "task": experiment.task,
        "model": spaces.chosen(experiment.model, settings),
        "baseline": experiment.baseline,
        "seed": experiment.seed,
        "tests": experiment.tests,
    }
    if experiment.cutoffs:
        values["cutoffs"] = [moment.isoformat() for moment in experiment.cutoffs]
    return f"# Found by `retain tune`, search {study}. Train it with `retain train` and this file.\n{yaml.safe_dump(values, sort_keys=False)}"
