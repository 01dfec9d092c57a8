"""A model as a folder: card, native files, golden rows and hashes; opened only when all of them hold.

``models/<task>/<model id>/`` holds ``card.json``, ``encoder.json`` (scorers), ``golden.json``, ``evidence.npz``, ``reference.npz`` (what its
inputs looked like), the native files below ``model/``, and the manifest of hashes, written last. No file of it can run code.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError

from features.interactions import Interactions
from retain.errors import ConfigError, DataError, IntegrityError
from retain.files import MANIFEST, atomic_folder, read_json, sha256, verify_folder, write_json
from retain.signing import checked, signature
from retain.workspace import Workspace
from training.card import Card, migrate
from training.contracts import Fitted, FittedRanker, Floats
from training.encoding import Encoder
from training.evidence import Evidence
from training.golden import holds_for_ranker, holds_for_scorer, of_ranker, of_scorer
from training.reference import Reference

ALLOWED = "training.models."
"""Only classes below this are ever asked to read a model's files."""
SUFFIXES = (".json", ".txt", ".npy", ".npz")
"""Native text, JSON, and numpy arrays read with pickling off."""
MAX_BYTES = 2**31
POINTER = "champion.json"


@dataclass(frozen=True)
class Package:
    """A verified model, ready to answer."""

    card: Card
    folder: Path
    fitted: Fitted | FittedRanker
    encoder: Encoder | None
    """How raw features become numbers; None for a ranker."""

    @property
    def refs(self) -> list[str]:
        """The features to ask the store for, as ``view:column``, in the model's order."""
        return [column.replace("__", ":", 1) for column in self.card.columns]

    def predict(self, features: pd.DataFrame) -> Floats:
        """One score per row of raw features, as ``features.store`` gives them; columns are taken by name, in any order.

        Raises:
            DataError: a column is missing, or the model ranks instead of scoring.
        """
        if self.encoder is None:
            raise DataError(f"{self.card.model_id} ranks items and scores no customers; ask a churn or clv model")
        missing = [column for column in self.card.columns if column not in features.columns]
        if missing:
            raise DataError(f"{self.card.model_id}: column {missing[0]} is missing from the features; rebuild them with `retain features build`")
        return self.scorer.predict(self.encoder.encode(features[list(self.card.columns)]))

    @property
    def scorer(self) -> Fitted:
        """The model inside, for rows that are encoded already.

        Raises:
            DataError: the model ranks items.
        """
        if not isinstance(self.fitted, Fitted):
            raise DataError(f"{self.card.model_id} ranks items and scores no customers; ask a churn or clv model")
        return self.fitted

    @property
    def ranker(self) -> FittedRanker:
        """The ranker inside.

        Raises:
            DataError: the model scores customers.
        """
        if not isinstance(self.fitted, FittedRanker):
            raise DataError(f"{self.card.model_id} scores customers and ranks no items; ask a recommend model")
        return self.fitted


def package(
    fitted: Fitted | FittedRanker,
    card: Card,
    root: Path,
    *,
    evidence: Evidence,
    golden: Floats | Interactions,
    encoder: Encoder | None = None,
    reference: Reference | None = None,
) -> Path:
    """Write a model below ``root/<task>/`` under an id made of what it says and holds; equal models land in the same folder.

    Args:
        fitted: What was learned.
        card: Its card; ``model_id`` and ``fitted`` are filled here.
        root: ``Workspace.models``.
        evidence: What it was judged at.
        golden: Rows of features (scorer) or a history (ranker) to keep a few answers of.
        encoder: How raw features became the numbers it learned; for scorers.
        reference: What its inputs looked like on the day, to see drift.

    Returns:
        The folder, with its manifest.
    """
    kind = type(fitted)
    card = card.model_copy(update={"model_id": "", "fitted": f"{kind.__module__}:{kind.__qualname__}"})
    home = root / card.task
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=home) as name:
        stage = Path(name)
        (stage / "model").mkdir()
        fitted.save(stage / "model")
        evidence.save(stage)
        if reference is not None:
            reference.save(stage)
        if isinstance(golden, Interactions):
            if not isinstance(fitted, FittedRanker):
                raise ConfigError(f"{card.title}: golden histories need a ranker; give rows of features")
            write_json(stage / "golden.json", of_ranker(fitted, golden))
        else:
            if encoder is None or not isinstance(fitted, Fitted):
                raise ConfigError(f"{card.title}: a scorer is packaged with its encoder")
            encoder.save(stage / "encoder.json")
            write_json(stage / "golden.json", of_scorer(fitted, golden))
        content = {str(file.relative_to(stage)): sha256(file) for file in sorted(stage.rglob("*")) if file.is_file()}
        text = json.dumps({"card": card.model_dump(mode="json"), "files": content}, sort_keys=True, allow_nan=False)
        card = card.model_copy(update={"model_id": f"{card.task}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"})
        write_json(stage / "card.json", card.model_dump(mode="json"))
        target = home / card.model_id
        if not _stands(target):
            with atomic_folder(target, signature) as partial:
                shutil.copytree(stage, partial, dirs_exist_ok=True)
    return target


def _stands(folder: Path) -> bool:
    """Whether a model is there, whole and signed as the deployment wants it: its id says what it holds, and it may be the one that answers."""
    try:
        verify_folder(folder)
        checked(folder)
    except (IntegrityError, DataError, OSError):
        return False
    return True


def read_card(folder: Path) -> Card:
    """The card of a finished model folder, without opening the model.

    Raises:
        IntegrityError: the folder was never finished, or its card is changed, broken or of a newer release.
    """
    manifest = folder / MANIFEST
    if not manifest.is_file():
        raise IntegrityError(f"{folder.name}: {MANIFEST} is missing, so the model was never finished; train it again")
    listed = read_json(manifest).get("files", {})
    if not (folder / "card.json").is_file() or listed.get("card.json") != sha256(folder / "card.json"):
        raise IntegrityError(f"{folder.name}: card.json is missing or changed; restore the folder, or remove it and train the model again")
    try:
        return Card.model_validate(migrate(read_json(folder / "card.json"), folder.name))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise IntegrityError(f"{folder.name}: card.json: {place}: {first['msg']}; train the model again") from error


def load(folder: Path) -> Package:
    """Open a model: hashes, signature where the deployment has a key, then structure, then the native files, then its own golden rows.

    Raises:
        IntegrityError: any of them does not hold; nothing of the model was used.
    """
    _check_structure(folder)
    verify_folder(folder)
    checked(folder)
    card = read_card(folder)
    kind = _kind(card, folder.name)
    golden = read_json(folder / "golden.json")
    try:
        fitted = kind.load(folder / "model")
        if card.kind == "ranker":
            package = Package(card, folder, fitted, None)
            holds = isinstance(fitted, FittedRanker) and holds_for_ranker(fitted, golden)
        else:
            package = Package(card, folder, fitted, Encoder.load(folder / "encoder.json"))
            holds = isinstance(fitted, Fitted) and fitted.columns == card.columns and holds_for_scorer(fitted, golden)
    except (ValueError, TypeError, KeyError, IndexError, OSError, EOFError, DataError) as error:
        raise IntegrityError(f"{folder.name}: its files are no {kind.__name__} ({error}); restore them or train the model again") from error
    if not holds:
        raise IntegrityError(f"{folder.name}: it does not repeat its own golden answers; restore the folder or train the model again")
    return package


def champion(workspace: Workspace, task: str) -> Path | None:
    """Folder of the champion of a task, or None before the first promotion."""
    return _pointed(workspace, task, "model_id")


def previous(workspace: Workspace, task: str) -> Path | None:
    """Folder of the champion before, or None: what to fall back to, and what a rollback returns to."""
    return _pointed(workspace, task, "previous")


def folders(workspace: Workspace, task: str) -> list[Path]:
    """Finished models of a task, by id."""
    return sorted(path.parent for path in (workspace.models / task).glob(f"{task}-*/{MANIFEST}"))


def _pointed(workspace: Workspace, task: str, field: str) -> Path | None:
    pointer = workspace.models / task / POINTER
    if not pointer.is_file():
        return None
    named = read_json(pointer)
    if not isinstance(named, dict):
        raise IntegrityError(f"{POINTER} of {task} names no model; run `retain promote {task} MODEL`")
    name = named.get(field)
    if not name:
        return None
    if not isinstance(name, str) or Path(name).name != name:
        raise IntegrityError(f"{POINTER} of {task}: {field} {name!r} is no model id; run `retain promote {task} MODEL`")
    return workspace.models / task / name


def _check_structure(folder: Path) -> None:
    """Refuse what a model folder never holds, before a byte of it is parsed."""
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            raise IntegrityError(f"{folder.name}: {path.name} is a link; a model folder holds files of its own only")
        if path.is_file() and path.suffix not in SUFFIXES:
            raise IntegrityError(f"{folder.name}: {path.name} is of a kind that is never read; a model holds {', '.join(SUFFIXES)} files only")
        if path.is_file() and path.stat().st_size > MAX_BYTES:
            raise IntegrityError(f"{folder.name}: {path.name} is larger than {MAX_BYTES} bytes; no model of ours is")


def _kind(card: Card, place: str) -> Any:
    """The class that reads the native files."""
    module, _, name = card.fitted.partition(":")
    if not module.startswith(ALLOWED) or not name.isidentifier():
        raise IntegrityError(f"{place}: its card names {card.fitted}, which is outside {ALLOWED}*; it is not opened")
    try:
        kind = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise IntegrityError(f"{place}: this release has no {card.fitted}; install the release that trained it, or train the model again") from error
    if not (isinstance(kind, type) and kind.__module__ == module and callable(getattr(kind, "load", None))):
        raise IntegrityError(f"{place}: {card.fitted} is no model that can be loaded; train the model again")
    return kind
