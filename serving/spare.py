"""Room on the disk for the next segment of the log, made before it is needed.

A file that grows is given its blocks while what was written goes to disk. Whoever writes to it at that moment waits, and the file system may have
to read first where blocks are free: a tenth of a second on a busy disk, for whoever answers. A file that has its blocks makes nobody wait.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import sys
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_BEYOND_THE_END = 1
"""FALLOC_FL_KEEP_SIZE: the file does not grow, so nobody takes the room for records."""


class Spare:
    """A file of a folder that has room and no name yet. One thread makes it, another takes it."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / f"{uuid.uuid4().hex[:12]}.spare"
        self._file = -1

    @property
    def is_there(self) -> bool:
        """Whether it can be taken."""
        return self._file >= 0

    def make(self, size: int) -> bool:
        """Make it, with room for so many bytes; whether that could be done: not on every file system, nor on one that is nearly full."""
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o640)
        except OSError:
            return False
        if not (_is_ours(file) and _reserve(file, size)):
            os.close(file)
            self._path.unlink(missing_ok=True)
            return False
        self._file = file
        return True

    def take(self, path: Path) -> int:
        """The file under a name that nothing has yet; -1 where there is none."""
        file, self._file = self._file, -1
        if file < 0:
            return -1
        # Somebody may have removed it.
        with suppress(OSError):
            if not path.exists():
                self._path.rename(path)
                return file
        os.close(file)
        self._path.unlink(missing_ok=True)
        return -1

    def close(self) -> None:
        """Give the room back."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
            self._path.unlink(missing_ok=True)


def tidy(folder: Path) -> None:
    """Remove what those left who died: who lives holds a lock on it."""
    for path in folder.glob("*.spare"):
        with suppress(OSError), path.open("rb") as file:
            if _is_ours(file.fileno()):
                path.unlink()


def _is_ours(file: int) -> bool:
    """Whether nobody else holds a file, which is ours then until it is closed."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def fit(file: int) -> None:
    """Give back what room a file has beyond its end; nobody writes to it any more."""
    with suppress(OSError):
        if (held := os.fstat(file)).st_blocks * 512 > held.st_size + held.st_blksize:
            os.ftruncate(file, held.st_size)


def _fallocate() -> Callable[[int, int, int, int], int] | None:
    """The system's call, which Python does not have with this flag; None where there is none."""
    if not sys.platform.startswith("linux"):
        return None
    call = getattr(ctypes.CDLL(None, use_errno=True), "fallocate", None)
    if call is not None:
        call.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    return call


_call = _fallocate()


def _reserve(file: int, size: int) -> bool:
    return _call is not None and size > 0 and _call(file, _BEYOND_THE_END, 0, size) == 0
