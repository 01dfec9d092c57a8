"""Judgements that are kept: a recipe is fitted for a test window once, and whoever asks again is answered from disk.

``judgements/<task>/<state>/<key>/`` in the workspace. The state is what every judgement depends on: data, features and code; folders of
another state are removed. The key is the recipe and its windows. Nothing is lost with them but time.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from features import catalog
from retain.config import spec as spec_of
from retain.errors import RetainError
from retain.files import atomic_folder, read_json, verify_folder, write_json
from retain.workspace import Workspace
from training import provenance
from training.card import Curve, Windows
from training.evidence import Evidence
from training.judgement import Cost, Judged
from training.trials import Trial

FILE = "judged.json"


@dataclass(frozen=True)
class Kept:
    """Where the judgements of one task in one state lie."""

    folder: Path

    @classmethod
    def of(cls, workspace: Workspace, task: str) -> Kept:
        """The judgements that hold for the data, the features and the code of today; the others are removed."""
        state = hashlib.sha256(f"{workspace.state().digest}/{catalog.digest()}/{provenance.code()}".encode()).hexdigest()[:12]
        home = workspace.judgements / task
        for other in home.glob("*"):
            if other.name != state:
                shutil.rmtree(other, ignore_errors=True)
        return cls(home / state)

    def find(self, trial: Trial, model: Any, seed: int) -> Judged | None:
        """A judgement made before; None where there is none, or it cannot be read."""
        folder = self.folder / key(trial, model, seed)
        if not folder.is_dir():
            return None
        try:
            verify_folder(folder)
            values = read_json(folder / FILE)
            curves = {name: Curve.model_validate(curve) for name, curve in values["curves"].items()}
            cost = None if values["cost"] is None else Cost.model_validate(values["cost"])
            return Judged(Evidence.load(folder), curves, Windows.model_validate(values["windows"]), cost)
        except (RetainError, ValidationError, KeyError):
            return None

    def keep(self, trial: Trial, model: Any, seed: int, judged: Judged) -> None:
        """Write a judgement down, whole or not at all."""
        with atomic_folder(self.folder / key(trial, model, seed)) as partial:
            judged.evidence.save(partial)
            values = {
                "model": spec_of(model),
                "windows": judged.windows.model_dump(mode="json"),
                "curves": {name: curve.model_dump(mode="json") for name, curve in judged.curves.items()},
                "cost": None if judged.cost is None else judged.cost.model_dump(mode="json"),
            }
            write_json(partial / FILE, values)


def key(trial: Trial, model: Any, seed: int) -> str:
    """What a judgement is found by: the question, the recipe, the windows, the seed."""
    asked = {
        "task": spec_of(trial.task),
        "model": spec_of(model),
        "windows": trial.windows.model_dump(mode="json"),
        "horizon": trial.horizon_days,
        "item": trial.item,
        "seed": seed,
    }
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:24]
