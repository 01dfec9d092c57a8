"""A workspace copied to another place while its service runs, whole or not at all, each file with its hash.

Nobody trains, ingests or publishes meanwhile: the workspace is locked. The service goes on: of the ledger everything is taken that was
acknowledged before, SQLite gives its own consistent copy, and what is only ever replaced as a whole is linked where the file system can,
else copied. What is written in place is never linked: the backup stays what it is.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import shutil
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict

from retain import __version__, erasure, signing
from retain.errors import NotReadyError, RefusedError
from retain.files import MANIFEST, PARTIAL, alone, atomic_folder, read_json, remove_halves, write_json
from retain.workspace import Workspace, computer_time
from serving.pull_log import HEAD
from serving.segments import parse

ABOUT = "backup.json"
WORKSPACE, CATALOGUE, TOMBSTONES = "workspace", "mlruns", "tombstones"
"""Folders of a backup: the workspace, MLflow's catalogue, and who was erased."""
WHOLE = frozenset({".parquet", ".npy", ".npz", ".txt", ".json", ".html", ".csv", ".xlsx", ".md", ".svg", ".png", ".yaml", ".index"})
"""Kinds of files that are only ever replaced as a whole; a link to one keeps what it was."""
_PASSING = ("-wal", "-shm", "-journal")
"""What SQLite lays beside a database and takes away again."""
_SQLITE = b"SQLite format 3\0"


class About(BaseModel):
    """What a backup is of."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = 1
    made_at: AwareDatetime
    """On the computer's clock."""
    release: str
    source: str
    """Name of the source that was ingested; empty where none was."""
    digest: str
    """Hash of the tables."""
    catalogue: str
    """Where MLflow's catalogue lay: its database names its files by it."""
    tombstones: str | None = None
    """Where whoever is erased later is found; None of a backup of an earlier release, which does not say."""
    segments: int
    """Segments of the ledger."""
    ledger_bytes: int


@dataclass(frozen=True)
class Made:
    """A backup that was made."""

    about: About
    files: int
    bytes: int
    linked: int
    """Files that share their place on the disk with the workspace's."""
    signed: bool
    damaged: tuple[str, ...]
    """Files that were no longer what their own manifest says before they were copied."""


def backup(workspace: Workspace, target: Path, now: datetime | None = None, *, link: bool = True) -> Made:
    """Copy a workspace into a new folder; the service may run.

    Args:
        workspace: what is copied.
        target: a folder that is not there yet.
        now: when, on the computer's clock.
        link: link what is only replaced as a whole, where the file system can.

    Raises:
        RefusedError: there is something at the target already, or it lies within the workspace.
        NotReadyError: there is no workspace.
        LockedError: somebody trains, ingests or publishes.
    """
    if not workspace.root.is_dir():
        raise NotReadyError(f"the workspace {workspace.root} is not there; name another with --workspace")
    if target.exists() or target.is_symlink():
        raise RefusedError(f"--out {target}: it is there already, and a backup overwrites nothing; name a new folder", field="out")
    if target.resolve().is_relative_to(workspace.root.resolve()):
        raise RefusedError(f"--out {target}: it lies within the workspace that is copied; name a folder outside", field="out")
    remove_halves(target)
    copy = _Copy(link)
    buried = erasure.place(workspace)
    with atomic_folder(target, signing.signature) as made:
        made.chmod(0o700)
        with workspace.lock("retain backup"):
            # By this key a restore knows the tombstones of whoever is erased from now on.
            erasure.prepare(buried, os.urandom(32))
            segments = copy.log(workspace.ledger / "log", made / WORKSPACE / "ledger" / "log")
            copy.pulls(workspace, made / WORKSPACE)
            copy.tree(workspace.root, made / WORKSPACE, besides={workspace.mlruns, buried})
            copy.tree(workspace.mlruns, made / CATALOGUE)
            copy.tree(buried, made / TOMBSTONES)
            state = workspace.state() if workspace.is_filled else None
        about = About(
            made_at=now or computer_time(),
            release=__version__,
            source="" if state is None else state.source,
            digest="" if state is None else state.digest,
            catalogue=str(workspace.mlruns.resolve()),
            tombstones=str(buried.resolve()),
            segments=len(segments),
            ledger_bytes=sum(segments),
        )
        write_json(made / ABOUT, about.model_dump(mode="json"))
    manifest = read_json(target / MANIFEST)
    files: dict[str, str] = manifest["files"]
    size = sum((target / name).stat().st_size for name in files)
    return Made(about, len(files), size, copy.linked, "signature" in manifest, tuple(damaged(target, files)))


def damaged(folder: Path, files: dict[str, str]) -> Iterator[str]:
    """Files of a backup that are not what the manifest of their own folder says, by the hashes that the backup lists."""
    for name in files:
        place, _, last = name.rpartition("/")
        if last != MANIFEST or not place:
            continue
        said = read_json(folder / name).get("files")
        for within, digest in (said if isinstance(said, dict) else {}).items():
            if files.get(f"{place}/{within}") != digest:
                yield f"{place}/{within}"


class _Copy:
    """Copies of one backup; what was copied already is left alone."""

    def __init__(self, link: bool) -> None:
        self.linked = 0
        self._link = link

    def tree(self, source: Path, target: Path, besides: Collection[Path] = ()) -> None:
        """A folder and all below it, but for folders that are copied by themselves and what is only there for the moment."""
        target.mkdir(parents=True, exist_ok=True)
        if not source.is_dir():
            return
        skipped = {path.resolve() for path in besides}
        for path in sorted(source.iterdir()):
            if _is_passing(path) or path.resolve() in skipped:
                continue
            if path.is_symlink():
                raise RefusedError(f"{path.name} in {source} is a symbolic link; a backup would miss what it points to: put the files there")
            if path.is_dir():
                self.tree(path, target / path.name, besides)
            elif path.is_file() and not (target / path.name).exists():
                # What is replaced as a whole may go between the listing and the copy; its successor has another name or the same.
                with suppress(FileNotFoundError):
                    self.file(path, target / path.name)

    def file(self, path: Path, target: Path) -> None:
        """One file in the way that its kind demands."""
        with path.open("rb") as handle:
            is_database = handle.read(len(_SQLITE)) == _SQLITE
        if is_database:
            with closing(sqlite3.connect(path)) as live, closing(sqlite3.connect(target)) as kept:
                live.backup(kept)
            shutil.copymode(path, target)
            return
        if self._link and path.suffix in WHOLE:
            # Another file system, or one without links: the copy below does as well.
            with suppress(OSError):
                os.link(path, target)
                self.linked += 1
                return
        shutil.copy2(path, target)

    def log(self, source: Path, target: Path) -> list[int]:
        """The segments of the ledger as far as they reach now, whole records only; return their sizes."""
        if not source.is_dir():
            return []
        target.mkdir(parents=True)
        with _nobody_writes(source):
            sizes = {path: path.stat().st_size for path in sorted(source.glob("[0-9]*.log"))}
        for path, size in sizes.items():
            _first_bytes(path, target / path.name, size)
        last = target / max(path.name for path in sizes) if sizes else None
        if last is not None:
            os.truncate(last, _whole(last))
        for path in source.glob("[0-9]*.index"):
            if (target / path.name).with_suffix(".log").is_file():
                self.file(path, target / path.name)
        for path in source.glob("*.torn"):
            self.file(path, target / path.name)
        return [(target / path.name).stat().st_size for path in sizes]

    def pulls(self, workspace: Workspace, target: Path) -> None:
        """The log of pulled lists and its head, which belong together."""
        target.mkdir(parents=True, exist_ok=True)
        if workspace.pulls.is_file():
            with alone(workspace.pulls):
                for path in (workspace.pulls, workspace.pulls.with_name(HEAD)):
                    if path.is_file():
                        shutil.copy2(path, target / path.name)


def _is_passing(path: Path) -> bool:
    """Locks, half-written files, how far other machines were told, where SQL spills: nothing of what a workspace holds."""
    name = path.name
    is_lock = name in (".lock", ".gate", ".exchange.json") or (name.startswith(".") and name.endswith(".lock"))
    return is_lock or name == "temporary" or name.startswith(PARTIAL) or name.endswith(_PASSING)


@contextmanager
def _nobody_writes(log: Path) -> Iterator[None]:
    """Hold the gate of a ledger for a moment: between two records nothing is half-written."""
    gate = os.open(log / ".gate", os.O_RDWR | os.O_CREAT, 0o640)
    try:
        fcntl.flock(gate, fcntl.LOCK_EX)
        yield
    finally:
        os.close(gate)


def _first_bytes(source: Path, target: Path, size: int) -> None:
    with source.open("rb") as read, target.open("wb") as write:
        left = size
        while left > 0:
            piece: bytes = read.read(min(left, 1 << 20))
            if not piece:
                break
            write.write(piece)
            left -= len(piece)
    shutil.copymode(source, target)


def _whole(segment: Path) -> int:
    """Bytes of whole records at the beginning of a segment; what a death left torn stands behind them."""
    if segment.stat().st_size == 0:
        return 0
    end = 0
    with segment.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for _, after in parse(data, 0, 0):
            end = after
    return end


def told(made: Made) -> dict[str, Any]:
    """A backup as JSON says it."""
    return {
        **made.about.model_dump(mode="json"),
        "files": made.files,
        "bytes": made.bytes,
        "linked": made.linked,
        "signed": made.signed,
        "damaged": list(made.damaged),
    }
