"""What one YAML file says about one run, and what the file of a task says about all its runs."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from retain.config import build, read, read_yaml, shipped, validate
from retain.errors import ConfigError
from training.card import Card

Leaving = Literal["purchases", "subscriptions"]
Spec = dict[str, Any]
"""``{use: module:Class, field: value, ...}`` as ``retain.config.build`` reads it."""


class Experiment(BaseModel):
    """One run: a question, an answer, and the answer that it must beat."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: Spec
    model: Spec
    baseline: Spec
    cutoffs: tuple[datetime, ...] = ()
    """Moments to learn and judge at, on the source's stored clock unless a zone is written; empty: the weekly cadence."""
    seed: int = 7
    """Seed of the bootstrap."""
    tests: int = Field(default=1, ge=1, le=12)
    """Test windows to judge on, as many as history holds; a recipe is fitted anew before each."""
    is_simple: bool = False
    """Whether the model may become the first champion."""
    name: str = ""
    """What people call the model; the name of its class unless said otherwise."""

    @field_validator("task", "model", "baseline")
    @classmethod
    def _says_use(cls, value: Spec) -> Spec:
        if "use" not in value:
            raise ValueError("`use: module:Class` is missing")
        return value

    @property
    def title(self) -> str:
        """What people call the model."""
        return self.name or str(self.model["use"]).partition(":")[2].lower()

    def question(self) -> Any:
        """The task object."""
        return build(self.task, "task")

    def answer(self) -> Any:
        """The model object."""
        return build(self.model, f"model {self.title}")


class Plan(BaseModel):
    """All runs of one task: ``configs/tasks/<task>.yaml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: Spec
    models: dict[str, Spec] = Field(min_length=1)
    """Name to spec; the names are what ``--models`` selects."""
    baseline: str
    """Name of the model that each must beat."""
    simple: tuple[str, ...]
    """Names of the models simple enough to become the first champion."""
    preferred: str = ""
    """Name of the model that answers where nobody promotes, as in a backtest, unless the baseline is clearly better: one window tells a good
    recipe from a bad one, but the best of several good ones by chance. Empty: the best of the window."""
    quick: dict[str, Spec] = {}
    """With ``--quick``: fields of some models that differ."""
    contractual: str = ""
    """Task file whose recipes answer where leaving is the end of a contract: a process of purchases says nothing of contracts. Empty: these."""
    cutoffs: tuple[datetime, ...] = ()
    seed: int = 7
    tests: int = Field(default=1, ge=1, le=12)
    """Test windows that the gate judges on; `retain compare --cutoffs` looks at more without training again."""

    @model_validator(mode="after")
    def _names_exist(self) -> Plan:
        for name in (self.baseline, *self.simple, *self.quick, *([self.preferred] if self.preferred else [])):
            if name not in self.models:
                raise ValueError(f"{name!r} is not among the models {sorted(self.models)}")
        return self

    def experiments(self, names: tuple[str, ...] = (), quick: bool = False) -> list[Experiment]:
        """The runs of some models (default: all), the simple ones first, in the order of the file.

        Raises:
            ConfigError: a name is not in the file.
        """
        for name in names:
            if name not in self.models:
                raise ConfigError(f"there is no model {name!r} for this task; choose from {', '.join(self.models)}", field="models")
        chosen = [name for name in self.models if not names or name in names]

        def spec(name: str) -> Spec:
            return {**self.models[name], **(self.quick.get(name, {}) if quick else {})}

        return [
            Experiment(
                task=self.task,
                model=spec(name),
                baseline=spec(self.baseline),
                cutoffs=self.cutoffs,
                seed=self.seed,
                tests=self.tests,
                is_simple=name in self.simple,
                name=name,
            )
            for name in sorted(chosen, key=lambda name: name not in self.simple)
        ]


def plan(task: str, leaving: Leaving = "purchases") -> Plan:
    """The plan of a task: a name in ``configs/tasks/``, or the path of a file that holds a plan or one experiment.

    Args:
        task: Its name or path.
        leaving: What leaving means for the source, unless the task says it itself.

    Raises:
        ConfigError: no such task, or its file says what cannot be.
    """
    path = Path(task) if task.endswith((".yaml", ".yml")) else shipped("tasks", f"{task}.yaml")
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in shipped("tasks").glob("*.yaml")))
        raise ConfigError(f"there is no task {task!r}; choose from {known}, or give the path of a YAML file", field="task")
    if "model" not in read_yaml(path):
        found = read(path, Plan)
        is_contractual = (found.task.get("leaving") or leaving) == "subscriptions"
        return plan(found.contractual) if found.contractual and is_contractual else found
    run = validate(read_yaml(path), Experiment, str(path))
    names = {"baseline": run.baseline, run.title: run.model}
    return Plan(task=run.task, models=names, baseline="baseline", simple=("baseline",), cutoffs=run.cutoffs, seed=run.seed, tests=run.tests)


def of_card(card: Card) -> Experiment:
    """The run that made a model, as its card tells it."""
    return Experiment(
        task=card.task_spec,
        model=card.model_spec,
        baseline=card.baseline_spec,
        cutoffs=card.cutoffs,
        seed=card.seed,
        tests=card.tests,
        is_simple=card.is_simple,
        name=card.title,
    )
