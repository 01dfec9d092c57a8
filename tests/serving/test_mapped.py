"""A mapped file: its bytes, no open file, nothing read ahead, gone when nobody holds it."""

from __future__ import annotations

import ctypes
import gc
import mmap
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from serving.mapped import mapped


def lines(path: Path) -> list[str]:
    return [line for line in Path("/proc/self/maps").read_text().splitlines() if str(path) in line]


def test_it_is_the_file_as_it_was_opened_and_nobody_can_write_into_it(tmp_path: Path) -> None:
    path = tmp_path / "some.index"
    content = bytes(range(256)) * 100
    path.write_bytes(content)
    found = mapped(path)
    part = found[8:24].view(np.uint64)
    (tmp_path / "other").write_bytes(b"other")
    (tmp_path / "other").rename(path)
    assert found.tobytes() == content
    path.unlink()
    del found
    gc.collect()
    assert part.tobytes() == content[8:24]
    with pytest.raises(ValueError, match="read-only"):
        part[0] = 1


@pytest.mark.skipif(sys.platform != "linux", reason="what a process holds is read from /proc")
def test_no_file_stays_open_and_the_map_goes_with_the_last_view(tmp_path: Path) -> None:
    path = tmp_path / "some.index"
    path.write_bytes(bytes(10_000))
    before = len(os.listdir("/proc/self/fd"))
    found = mapped(path)[100:]
    assert len(os.listdir("/proc/self/fd")) == before
    assert len(lines(path)) == 1
    del found
    gc.collect()
    assert lines(path) == []


@pytest.mark.skipif(sys.platform != "linux", reason="what of a file is in memory is asked of Linux")
def test_nothing_is_read_that_nobody_looks_at(tmp_path: Path) -> None:
    path = tmp_path / "some.index"
    pages = 2_000
    with path.open("wb") as out:
        out.write(bytes(pages * mmap.PAGESIZE))
        out.flush()
        os.fsync(out.fileno())
        os.posix_fadvise(out.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    found = mapped(path)
    seen = (ctypes.c_ubyte * pages)()
    if ctypes.CDLL(None).mincore(ctypes.c_void_p(found.ctypes.data), ctypes.c_size_t(found.size), seen) or sum(seen) == pages:
        pytest.skip("this file system keeps what it is told to forget")
    assert sum(each & 1 for each in seen) == 0
    assert found[0] == 0


def test_an_empty_file_is_no_bytes_and_a_missing_one_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert mapped(tmp_path / "empty").size == 0
    with pytest.raises(FileNotFoundError, match="missing"):
        mapped(tmp_path / "missing")
    with pytest.raises(OSError, match=str(tmp_path)):
        mapped(tmp_path)
