"""A workspace on disk over the shop by hand: versions of rows and constant models that pointers name, for what opens and swaps them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from retain.files import atomic_folder, read_json, write_json
from retain.workspace import State, Workspace
from serving import fixed
from serving.rows import POINTER, Fed, Rows
from training import package
from training.card import Card, Windows
from training.controls import controls
from training.encoding import Encoder
from training.evidence import Evidence
from training.models.constant import FittedConstant

VALUE = {"churn": 0.5, "clv": 100.0}


def constant(workspace: Workspace, task: str, value: float) -> Path:
    """A model in a workspace that answers everybody with one value."""
    card = Card(
        task=task,
        title=f"constant {value}",
        kind="scorer",
        fitted="",
        task_spec={},
        model_spec={},
        baseline_spec={},
        is_simple=True,
        horizon_days=28,
        windows=Windows(),
        training_rows=1,
        test_rows=1,
        primary="auc",
        metrics={},
        moment=datetime(2026, 1, 1, tzinfo=UTC),
        seed=1,
        data_digest="hand",
        features_digest="hand",
        code_version="0",
    )
    evidence = Evidence("hand", 1, {"auc": 0.5}, {"auc": np.full(4, 0.5)})
    return package.package(FittedConstant(value), card, workspace.models, evidence=evidence, golden=np.zeros((3, 0)), encoder=Encoder({}))


def point(folder: Path) -> None:
    """Make a model the champion of its task."""
    pointer = folder.parent / package.POINTER
    before = read_json(pointer)["model_id"] if pointer.is_file() else None
    write_json(pointer, {"model_id": folder.name, "previous": before})


@dataclass(frozen=True)
class Pointed:
    """The workspace, and what changes it as the commands would: whole folders first, then the pointer."""

    workspace: Workspace
    make: Callable[..., Any]

    def promote(self, task: str, value: float) -> Path:
        """Make a model and the champion of it."""
        folder = constant(self.workspace, task, value)
        point(folder)
        return folder

    def rows(self, version: str, moment: datetime | None = None, fed: Fed | None = None, **arrays: Any) -> Path:
        """Write a version of the rows."""
        made: Rows = self.make().rows
        card = replace(made.card, version=version, moment=moment or made.card.moment, fed=fed, models={}, wishes=controls().model_dump())
        with atomic_folder(self.workspace.rows / version) as partial:
            for name, array in fixed.stored({**made.arrays, **arrays}).items():
                np.save(partial / f"{name}.npy", array, allow_pickle=False)
            (partial / "card.json").write_bytes(msgspec.json.encode(card))
            (partial / "shop.json").write_bytes(msgspec.json.encode(msgspec.structs.replace(made.shop, moment=card.moment)))
        return self.workspace.rows / version

    def name(self, version: str) -> None:
        """Point to a version of the rows."""
        pointer = self.workspace.rows / POINTER
        before = read_json(pointer)["version"] if pointer.is_file() else None
        write_json(pointer, {"version": version, "previous": before})

    def publish(self, version: str, moment: datetime | None = None, fed: Fed | None = None, **arrays: Any) -> Path:
        """Write a version of the rows and point to it."""
        folder = self.rows(version, moment, fed, **arrays)
        self.name(version)
        return folder


def pointed(root: Path, make: Callable[..., Any], clock: datetime) -> Pointed:
    """A published workspace whose clock stands."""
    place = Pointed(Workspace.at(root), make)
    place.workspace.write_state(State(source="hand", currency="EUR", as_of=clock, digest="hand"))
    place.publish("r1")
    for task, value in VALUE.items():
        place.promote(task, value)
    return place
