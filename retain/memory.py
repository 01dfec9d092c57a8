"""How much memory this process may still take, by everything that limits it."""

from __future__ import annotations

import os
import resource
from pathlib import Path

_GROUPS = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"), Path("/sys/fs/cgroup/memory/memory.usage_in_bytes")),
)


def free_bytes() -> int | None:
    """The smallest of what the machine has left, what its control group lets it have, and what a limit of the process leaves; None if unknown."""
    found = [each for each in (_machine(), *(_group(most, now) for most, now in _GROUPS), _process()) if each is not None]
    return max(min(found), 0) if found else None


def _machine() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _group(most: Path, now: Path) -> int | None:
    try:
        return int(most.read_text(encoding="ascii")) - int(now.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _process() -> int | None:
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    try:
        taken = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        taken = 0
    return None if limit == resource.RLIM_INFINITY else limit - taken


def gigabytes(size: int) -> str:
    """For people.

    >>> gigabytes(1_610_612_736), gigabytes(1)
    ('1.5 GB', '0.1 GB')
    """
    return f"{max(size / 2**30, 0.1):.1f} GB"
