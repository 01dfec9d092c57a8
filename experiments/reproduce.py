"""Is a model what its card says? It is made again from the same data, seed and code, and compared file by file."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from features import catalog
from retain import __version__
from retain.errors import ConfigError, NotReadyError
from retain.files import MANIFEST, read_json, verify_folder
from retain.workspace import Workspace
from training import provenance
from training.card import Card
from training.experiment import of_card
from training.package import champion, read_card
from training.pipeline import bench_of, guarded, run

SHARED = ("tables", "snapshots", "feast")
"""What a run reads; everything else it makes anew."""
MADE_BY = ("code_version", "code_digest", "commit", "environment", "model_id")
"""What a card says of the code and the machine: named on its own, and no part of the model."""
DIFFERENT = 8
"""Exit code when something differs."""


@dataclass(frozen=True)
class Difference:
    """Something that is not as the card says."""

    what: str
    then: str
    now: str


@dataclass(frozen=True)
class Reproduction:
    """What making a model again came to."""

    card: Card
    inputs: tuple[Difference, ...]
    """Data, features, code, environment: what the run was given."""
    again: str
    """Id of the model that came out; empty where it was not made again, because the data or the features are others."""
    files: dict[str, tuple[str, str]]
    """File to its hash then and now."""
    fields: tuple[Difference, ...]
    """Of the card, beside what the inputs explain."""

    @property
    def changed(self) -> list[str]:
        """Files that are not the same, byte by byte; the card is compared field by field instead."""
        return [name for name, (then, now) in self.files.items() if then != now and name != "card.json"]

    @property
    def is_same(self) -> bool:
        """Whether the model came out the same."""
        return bool(self.again) and not self.changed and not self.fields


def reproduce(workspace: Workspace, name: str) -> Reproduction:
    """Make a model again in a workspace of its own, with the clock at the moment of its training.

    Args:
        workspace: Where the model, its tables and its snapshots lie; nothing is written there.
        name: Id of a model, or a task: then its champion.

    Raises:
        ConfigError: no such model.
        IntegrityError: the model was changed since it was made.
    """
    folder = find(workspace, name)
    verify_folder(folder)
    card, then = read_card(folder), read_json(folder / MANIFEST)["files"]
    inputs = given(card, workspace)
    if {"data", "features"} & {difference.what for difference in inputs}:
        return Reproduction(card, inputs, "", {}, ())
    with tempfile.TemporaryDirectory(prefix="reproduce-") as root:
        shadow = _shadow(workspace, card, Path(root))
        experiment = of_card(card)
        made = run(experiment, shadow, guarded(bench_of(experiment, shadow), shadow), card.commit)
        now = read_json(made.folder / MANIFEST)["files"]
        files = {file: (then.get(file, "missing"), now.get(file, "missing")) for file in sorted({*then, *now})}
        return Reproduction(card, inputs, made.id, files, _fields(card, made.card))


def find(workspace: Workspace, name: str) -> Path:
    """Folder of a model by its id, or of a task's champion.

    Raises:
        NotReadyError: nothing has been trained.
        ConfigError: there is no such model.
    """
    found = sorted(path.parent for path in workspace.models.glob(f"*/*/{MANIFEST}"))
    if not found:
        raise NotReadyError("there are no models; run `retain train TASK` first")
    at = champion(workspace, name) if (workspace.models / name).is_dir() else None
    if at is not None:
        return at
    named = [folder for folder in found if folder.name == name]
    if not named:
        raise ConfigError(f"there is no model {name!r}; give an id from `retain compare TASK`, or a task to mean its champion", field="run")
    return named[0]


def given(card: Card, workspace: Workspace) -> tuple[Difference, ...]:
    """What the run was given that is another today."""
    today = {
        "data": (card.data_digest, workspace.state().digest),
        "features": (card.features_digest, catalog.digest()),
        "release": (card.code_version, __version__),
        "code": (card.code_digest, provenance.code()),
    }
    found = [Difference(what, then, now) for what, (then, now) in today.items() if then != now]
    environment = provenance.environment()
    found += [
        Difference(name, card.environment.get(name, "not said"), environment.get(name, "not said"))
        for name in sorted({*card.environment, *environment})
        if card.environment.get(name) != environment.get(name)
    ]
    return tuple(found)


def _shadow(workspace: Workspace, card: Card, root: Path) -> Workspace:
    """A workspace that reads the same tables and snapshots, at the time of the card, and keeps what it makes to itself."""
    shadow = Workspace.at(root)
    for name in SHARED:
        (root / name).symlink_to((workspace.root / name).resolve(), target_is_directory=True)
    shadow.write_state(workspace.state().model_copy(update={"as_of": card.moment}))
    return shadow


def _fields(then: Card, now: Card) -> tuple[Difference, ...]:
    before, after = (card.model_dump(mode="json", exclude=set(MADE_BY)) for card in (then, now))
    return tuple(Difference(f"card: {name}", *_short(before, after, name)) for name in before if before[name] != after[name])


def _short(before: Mapping[str, Any], after: Mapping[str, Any], name: str) -> tuple[str, str]:
    return str(before[name])[:60], str(after[name])[:60]
