"""Writes that are whole or not at all, and readers that check.

A file is written beside its place, synced, renamed, and its folder synced: whoever reads the name sees the old content or the
new one. A folder is built beside its place with its manifest last; a folder without a valid manifest does not exist for readers.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

from retain.errors import DataError, IntegrityError

MANIFEST = "manifest.json"
PARTIAL = ".partial-"
"""How the name of what is half-written begins."""
_PASSING = re.compile(r"[a-z]+-[0-9a-f]{12}")
"""Names of folders for what nobody needs afterwards."""
_HALF = re.compile(re.escape(PARTIAL) + r"[0-9a-f]{12}-.")
"""Names of what is half-written begin like this."""
_ASIDE = re.compile(re.escape(PARTIAL) + r"aside-[0-9a-f]{12}-(.+)", re.DOTALL)
"""Names of folders that stood under a name and wait for another to take it."""
_AT_CWD, _EXCHANGE = -100, 2
"""Of Linux's ``renameat2``: paths as they are given, and both names change places."""


def sync_folder(folder: Path) -> None:
    """Make the names inside ``folder`` durable; a file's content, where one is given."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a path beside ``target`` to write to; on success it becomes ``target``, on any error it is removed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.parent / f"{PARTIAL}{uuid.uuid4().hex[:12]}-{target.name}"
    try:
        yield partial
        with partial.open("rb") as handle:
            os.fsync(handle.fileno())
        partial.replace(target)
        sync_folder(target.parent)
    finally:
        partial.unlink(missing_ok=True)


def _unsigned(_files: Mapping[str, str]) -> str | None:
    """Nobody signs."""


def _nothing() -> None:
    """Nothing goes before."""


@contextmanager
def atomic_folder(target: Path, sign: Callable[[Mapping[str, str]], str | None] = _unsigned, last: Callable[[], None] = _nothing) -> Iterator[Path]:
    """Yield a new folder beside ``target``; on success a manifest of hashes is written last, signed, and it becomes ``target``.

    A folder that stood there before is replaced. On any error the new one is removed and the old one stays. What must go before the new one stands
    goes in ``last``, when all that takes long or may fail is done.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.parent / f"{PARTIAL}{uuid.uuid4().hex[:12]}-{target.name}"
    with half_folder(partial):
        yield partial
        for file in _files(partial):
            with (partial / file).open("rb") as handle:
                os.fsync(handle.fileno())
        files = {name: sha256(partial / name) for name in _files(partial)}
        mark = sign(files)
        write_json(partial / MANIFEST, {"files": files} if mark is None else {"files": files, "signature": mark})
        last()
        if target.exists():
            change_places(partial, target)
        else:
            partial.rename(target)
        sync_folder(target.parent)


@contextmanager
def half_folder(partial: Path, mode: int = 0o777) -> Iterator[None]:
    """Make a folder that gets another name in this block, and hold it as long; whatever has its name at the end is removed."""
    partial.mkdir(mode=mode, parents=True)
    handle = _held(partial)
    try:
        yield
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        os.close(handle)


def remove_halves(target: Path) -> None:
    """Remove folders that killed processes left half-made beside ``target``; what stood aside gets its name back.

    Those are the ones that nobody holds, and all of its own name: where a file system cannot hold a folder, that at least can be said.
    """
    put_back(target.parent)
    for half in target.parent.glob(f"{PARTIAL}*"):
        if half.name.endswith(f"-{target.name}") or (_HALF.match(half.name) is not None and _is_free(half)):
            shutil.rmtree(half, ignore_errors=True)


def change_places(one: Path, other: Path) -> None:
    """Each folder gets the other's name, at no moment none: a kill between two renames would leave nothing under a name that pointers know.

    Where a file system cannot, ``other`` stands aside for a moment; who is killed in it leaves it to ``remove_partials``, which puts it back.
    """
    call = getattr(ctypes.CDLL(None), "renameat2", None)
    if call is not None and call(_AT_CWD, os.fsencode(one), _AT_CWD, os.fsencode(other), _EXCHANGE) == 0:
        return
    # Neither every system nor every file system can.
    aside = other.parent / f"{PARTIAL}aside-{uuid.uuid4().hex[:12]}-{other.name}"
    try:
        other.rename(aside)
        one.rename(other)
    except BaseException:
        if aside.exists() and not other.exists():
            aside.rename(other)
        raise
    aside.rename(one)


def verify_folder(folder: Path) -> dict[str, str]:
    """Return name -> sha256 of a folder whose every file is what its manifest says.

    Raises:
        IntegrityError: the manifest is missing or unreadable, a file is missing, changed, or not listed.
    """
    manifest = folder / MANIFEST
    if not manifest.is_file():
        raise IntegrityError(f"{folder.name}: {MANIFEST} is missing, so the folder was never finished; build it again")
    listed = read_json(manifest).get("files")
    if not isinstance(listed, dict):
        raise IntegrityError(f"{folder.name}: {MANIFEST} does not list files; build the folder again")
    present = {name for name in _files(folder) if name != MANIFEST}
    if present != set(listed):
        odd = sorted(present ^ set(listed))
        raise IntegrityError(f"{folder.name}: {odd[0]} is missing or not listed in {MANIFEST}; build the folder again")
    for name, digest in listed.items():
        if sha256(folder / name) != digest:
            raise IntegrityError(f"{folder.name}: {name} is not the file that {MANIFEST} describes; restore it or build it again")
    return dict(listed)


def remove_partials(folder: Path, held: Mapping[str, Path] = MappingProxyType({})) -> int:
    """Remove what an interrupted process left in ``folder``, but put back what only stood aside; return how many.

    Args:
        folder: where nobody else writes now but ``held``.
        held: names of files that others write here, each while they hold a path (``alone``).
    """
    put_back(folder)
    orphans = list(folder.glob(f"{PARTIAL}*")) if folder.is_dir() else []
    for orphan in orphans:
        path = next((path for name, path in held.items() if orphan.name.endswith(f"-{name}")), None)
        with nullcontext() if path is None else alone(path):
            shutil.rmtree(orphan) if orphan.is_dir() else orphan.unlink(missing_ok=True)
    return len(orphans)


def put_back(folder: Path) -> None:
    """Whatever stands aside in ``folder`` and has no successor gets its name back."""
    for orphan in folder.glob(f"{PARTIAL}aside-*"):
        aside = _ASIDE.fullmatch(orphan.name)
        if aside is not None and not (folder / aside[1]).exists():
            orphan.rename(folder / aside[1])


@contextmanager
def passing_folder(base: Path, kind: str) -> Iterator[Path]:
    """Yield a new folder ``base/<kind>-...`` for what nobody needs afterwards; it is removed however the block ends. ``base`` is for such alone.

    It is held while the block lasts, and the kernel lets go when a process is killed: whoever makes the next one removes those that nobody holds.
    Where a file system cannot hold a folder, what was left there stays.

    Raises:
        OSError: nothing can be written there.
    """
    base.mkdir(parents=True, exist_ok=True)
    with _holding(base):
        # Under the same hold, or somebody would remove ours between its making and its holding.
        for other in base.glob("*-*"):
            if _PASSING.fullmatch(other.name) and _is_free(other):
                shutil.rmtree(other, ignore_errors=True)
        folder = base / f"{kind}-{uuid.uuid4().hex[:12]}"
        folder.mkdir()
        handle = _held(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


@contextmanager
def _holding(folder: Path) -> Iterator[None]:
    handle = _held(folder)
    try:
        yield
    finally:
        os.close(handle)


def _held(folder: Path) -> int:
    """A handle that holds a folder until it is closed, as far as the file system can."""
    handle = os.open(folder, os.O_RDONLY)
    with suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_EX)
    return handle


def _is_free(folder: Path) -> bool:
    """Whether nobody holds a folder; not where that cannot be said."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` atomically as readable JSON; keys keep their order, NaN is refused."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write ``text`` atomically as UTF-8."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")


def append_line(path: Path, line: str) -> None:
    """Append one line to a log and sync it; what this returned from survives a crash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
    try:
        rest = memoryview((line.rstrip("\n") + "\n").encode())
        while rest:
            # On a disk with room for a part, a part is written and no error raised: that comes with the rest.
            rest = rest[os.write(handle, rest) :]
        os.fsync(handle)
    finally:
        os.close(handle)
    sync_folder(path.parent)


@contextmanager
def alone(path: Path, *, is_made: bool = True) -> Iterator[None]:
    """Hold a file against other processes that do the same, for a change that reads it first; the kernel lets go however the process ends.

    Args:
        path: what is held, by a lock beside it.
        is_made: whether a lock is made where there is none; without one there was no change yet.

    Raises:
        OSError: the lock cannot be opened.
    """
    if is_made:
        path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | (os.O_CREAT if is_made else 0), 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def read_json(path: Path) -> Any:
    """Read JSON, or say which file is broken.

    Raises:
        DataError: the file is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path.name} is not JSON ({error}); restore it or run the command that writes it") from error


def _files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
