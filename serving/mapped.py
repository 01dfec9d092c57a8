"""A file in memory, read-only, with no file kept open and none of it read before it is looked at.

Python's own map keeps its file open (before 3.13 always), Arrow's reads all of it ahead: neither suits a log whose every full segment has an
index that is seldom looked into, in a process that lives for months.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import weakref
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_FAILED = ctypes.c_void_p(-1).value


def mapped(path: Path) -> NDArray[np.uint8]:
    """The bytes of a file, for as long as the array or a view of it lives, also if the file is replaced or removed.

    Raises:
        OSError: it cannot be opened or mapped.
    """
    file = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(file).st_size
        if size == 0:
            return np.empty(0, dtype=np.uint8)
        start = _libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, file, 0)
        if start == _FAILED:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(path))
    finally:
        os.close(file)
    held = (ctypes.c_ubyte * size).from_address(start)
    # At the end of the process the system does it; somebody may still be looking.
    weakref.finalize(held, _libc.munmap, start, size).atexit = False
    whole: NDArray[np.uint8] = np.frombuffer(memoryview(held).toreadonly(), dtype=np.uint8)
    return whole


__all__ = ["mapped"]
