"""A backup made a workspace again: every byte checked before anything stands under the final name, and nobody who was erased comes back.

The copy is made beside its place and takes its name last. Tombstones that are newer than the backup (where RETAIN_TOMBSTONES points, at
the place itself, where the backup was made, or in a folder that is named) are merged with those of the backup, and everybody they mean is
removed again before. Where nobody knows who was erased later, that is said.
"""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import ValidationError

from retain import erasure, signing
from retain.erasure import HASHES
from retain.errors import DataError, IntegrityError, NotReadyError, RefusedError, RetainError
from retain.files import MANIFEST, PARTIAL, change_places, half_folder, put_back, read_json, remove_halves, sync_folder
from retain.settings import Settings
from retain.workspace import Workspace
from serving import pull_log
from serving.backups import ABOUT, CATALOGUE, TOMBSTONES, WORKSPACE, About, damaged
from serving.erasure import erase
from serving.keys import load as keys_of
from serving.ledger import reading
from training import promotions

_PLACES = ("artifact_location", "artifact_uri", "source", "storage_location")
"""Columns in which MLflow's database says where files lie."""


@dataclass(frozen=True)
class Restored:
    """A workspace that was made from a backup."""

    about: About
    files: int
    signed: signing.Signed
    tombstones: int
    removed: dict[str, int]
    """What of the erased the backup held, by where; none of it stands in the workspace."""
    is_later_known: bool
    """Whether somebody told who was erased after the backup."""
    keys: int
    """API keys that hold again, also those that were revoked after the backup."""
    problems: tuple[str, ...]
    """What was not in order in the workspace already when it was backed up."""


def restore(folder: Path, workspace: Workspace, newer: Path | None = None) -> Restored:
    """Make a workspace of a backup, under a name that is free.

    Args:
        folder: the backup; it is read, never changed.
        workspace: where nothing stands yet, but tombstones perhaps.
        newer: further tombstones, of the workspace that was lost.

    Raises:
        IntegrityError: a file of the backup is missing, changed or not listed, or the backup is not signed as this deployment demands.
        RefusedError: something stands at the place, or tombstones were made under different keys.
        NotReadyError: there is no backup.
    """
    files, signed, about = _checked(folder)
    put_back(workspace.root.parent)
    _free(workspace)
    workspace.root.parent.mkdir(parents=True, exist_ok=True)
    remove_halves(workspace.root)
    remove_halves(workspace.mlruns)
    mark = uuid.uuid4().hex[:12]
    root = workspace.root.with_name(f"{PARTIAL}{mark}-{workspace.root.name}")
    is_inside = workspace.mlruns.is_relative_to(workspace.root)
    made = Workspace(root, root / "mlruns" if is_inside else workspace.mlruns.with_name(f"{PARTIAL}{mark}-mlruns"))
    with half_folder(made.root, 0o700), nullcontext() if is_inside else half_folder(made.mlruns, 0o700):
        targets = {WORKSPACE: made.root, CATALOGUE: made.mlruns, TOMBSTONES: made.root / "backed-up-tombstones"}
        for target in targets.values():
            target.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, digest in files.items():
            if name != ABOUT:
                place, _, rest = name.partition("/")
                _copied(folder / name, targets[place] / rest, digest, name)
        buried, is_later_known = _tombstones(workspace, made, targets[TOMBSTONES], newer, about)
        problems = (*(f"{name} is not what its own manifest says" for name in damaged(folder, files)), *_problems(made))
        _relocate(made, about.catalogue, str(workspace.mlruns.resolve()))
        removed = erase(made, None, b"")["removed"] if buried else {}
        _name(made, workspace)
    try:
        keys = sum(key.revoked_at is None for key in keys_of(workspace.keys))
    except RetainError as error:
        keys, problems = 0, (*problems, error.message)
    return Restored(about, len(files), signed, buried, removed, is_later_known, keys, problems)


def _checked(folder: Path) -> tuple[dict[str, str], signing.Signed, About]:
    """The list of a backup, once it is known to be whole and to lead nowhere else."""
    if not folder.is_dir():
        raise NotReadyError(f"there is no backup at {folder}; `retain backup --out DIR` makes one")
    if not (folder / MANIFEST).is_file():
        raise IntegrityError(f"{folder.name}: {MANIFEST} is missing, so this is no backup, or one that was never finished; use another")
    manifest = _json(folder, MANIFEST)
    signed = signing.check(manifest, folder.name)
    files = manifest.get("files")
    if not isinstance(files, dict) or not all(isinstance(name, str) and _is_ours(name) for name in files) or ABOUT not in files:
        raise IntegrityError(f"{folder.name}: {MANIFEST} does not list the files of a backup; use another")
    present = set()
    for path in folder.rglob("*"):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise IntegrityError(f"{folder.name}: {path.relative_to(folder)} is no file of its own; a backup has none such, use another")
        if path.is_file():
            present.add(path.relative_to(folder).as_posix())
    odd = sorted((present - {MANIFEST}) ^ set(files))
    if odd:
        raise IntegrityError(f"{folder.name}: {odd[0]} is {'missing' if odd[0] in files else 'not listed'}; the backup was changed, use another")
    if hashlib.sha256((folder / ABOUT).read_bytes()).hexdigest() != files[ABOUT]:
        raise _changed(ABOUT)
    try:
        about = About.model_validate(_json(folder, ABOUT))
    except ValidationError as error:
        raise IntegrityError(f"{folder.name}: {ABOUT} is of another release of retain; restore it with that one") from error
    return files, signed, about


def _json(folder: Path, name: str) -> dict[str, Any]:
    try:
        found = read_json(folder / name)
    except DataError as error:
        raise _changed(name) from error
    if not isinstance(found, dict):
        raise _changed(name)
    return found


def _is_ours(name: str) -> bool:
    """Whether a name of the manifest stays within the backup."""
    path = PurePosixPath(name)
    is_inside = not path.is_absolute() and ".." not in path.parts and path.as_posix() == name and "\0" not in name
    return is_inside and (name == ABOUT or (path.parts[0] in (WORKSPACE, CATALOGUE, TOMBSTONES) and len(path.parts) > 1))


def _free(workspace: Workspace) -> None:
    """Nothing is overwritten; tombstones may wait at the place."""
    root = workspace.root
    if root.exists() and not (root.is_dir() and all(path.name in ("tombstones", "erasures", ".lock") for path in root.iterdir())):
        raise RefusedError(f"--workspace {root}: something is there already, and a restore overwrites nothing; name a new folder", field="workspace")
    if workspace.mlruns.exists() and not workspace.mlruns.is_relative_to(root):
        raise RefusedError(f"{workspace.mlruns} is there already and belongs to --workspace {root}; move it away", field="workspace")


def _copied(source: Path, target: Path, digest: str, name: str) -> None:
    """Copy a file, and check what was copied, not what was read at another time."""
    target.parent.mkdir(parents=True, exist_ok=True)
    found = hashlib.sha256()
    with source.open("rb") as read, target.open("wb") as write:
        while piece := read.read(1 << 20):
            found.update(piece)
            write.write(piece)
        write.flush()
    if found.hexdigest() != digest:
        raise _changed(name)
    shutil.copystat(source, target)


def _changed(name: str) -> IntegrityError:
    return IntegrityError(f"{name} of the backup is not what was backed up; nothing was restored, use another backup")


def _tombstones(workspace: Workspace, made: Workspace, backed_up: Path, newer: Path | None, about: About) -> tuple[int, bool]:
    """Bring together whoever was erased, by every place that knows; return how many, and whether one tells who was after the backup."""
    elsewhere = Settings.read().tombstones
    place = made.root / "tombstones" if elsewhere is None else elsewhere
    if newer is not None and not (newer / HASHES).is_file():
        raise NotReadyError(f"--tombstones {newer}: there are no tombstones; name the folder that holds {HASHES}", field="tombstones")
    key = erasure.tombstones(backed_up).key
    later = [folder for folder in (workspace.root / "tombstones", newer, elsewhere) if folder is not None and (folder / HASHES).is_file()]
    is_known = any(not key or erasure.tombstones(folder).key == key for folder in later)
    source = None if about.tombstones is None else Path(about.tombstones)
    if source is not None and key and _key(source) == key:
        later.append(source)
        is_known = True
    for folder in (*later, backed_up):
        erasure.merge(place, folder)
    shutil.rmtree(backed_up)
    return len(erasure.tombstones(place).hashes), is_known


def _key(folder: Path) -> bytes:
    """The key of tombstones that may be there; of other customers' it is another."""
    try:
        return erasure.tombstones(folder).key
    except (RetainError, OSError):
        return b""


def _problems(made: Workspace) -> Iterator[str]:
    """What does not verify although every file is the one that was backed up."""
    for check in (lambda: pull_log.entries(made.pulls), lambda: promotions.entries(made)):
        try:
            check()
        except RetainError as error:
            yield error.message
    if (made.ledger / "log").is_dir():
        try:
            reading(
                made.ledger,
                lambda ledger: (*(sum(1 for _ in kind) for kind in (ledger.decisions(), ledger.facts())), ledger.everything(), ledger.conflicts()),
            )
        except RetainError as error:
            yield error.message
    for path in sorted((*made.root.rglob("*.db"), *made.mlruns.rglob("*.db"))):
        if path.read_bytes()[:15] == b"SQLite format 3":
            with closing(sqlite3.connect(path)) as database:
                (found,) = database.execute("pragma quick_check(1)").fetchone()
            if found != "ok":
                yield f"{path.name}: {found}"


def _relocate(made: Workspace, was: str, now: str) -> None:
    """MLflow's database names its files by where they lay; they lie elsewhere now."""
    path = made.mlruns / "mlflow.db"
    if was == now or not path.is_file():
        return
    with closing(sqlite3.connect(path)) as database, database:
        tables = [name for (name,) in database.execute("select name from sqlite_master where type = 'table'").fetchall()]
        for table in tables:
            for column in {row[1] for row in database.execute(f'pragma table_info("{table}")').fetchall()} & set(_PLACES):
                for old, new in ((f"file://{was}/", f"file://{now}/"), (f"{was}/", f"{now}/")):
                    database.execute(
                        f'update "{table}" set "{column}" = ? || substr("{column}", ?) where substr("{column}", 1, ?) = ?',
                        (new, len(old) + 1, len(old), old),
                    )


def _name(made: Workspace, workspace: Workspace) -> None:
    """Everything durable, then the final names, the workspace's last."""
    paths = [path for root in {made.root, made.mlruns} for path in (root, *root.rglob("*"))]
    with ThreadPoolExecutor(16) as syncs:
        # Syncs that run at once share the disk's own commits; a refusal is raised here.
        list(syncs.map(sync_folder, paths))
    if not made.mlruns.is_relative_to(made.root):
        made.mlruns.rename(workspace.mlruns)
    if workspace.root.exists():
        for path in workspace.root.glob("erasures/*.json"):
            kept = made.root / "erasures" / path.name
            kept.parent.mkdir(exist_ok=True)
            shutil.copy2(path, kept)
        # At no moment without the tombstones that stood there: they go with what changed places.
        change_places(made.root, workspace.root)
    else:
        made.root.rename(workspace.root)
    sync_folder(workspace.root.parent)
