"""What a model depends on beside its data and settings: the text of the code that made it, and the libraries that ran it."""

from __future__ import annotations

import hashlib
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path

CODE = ("retain", "features", "training")
"""Packages whose text can change a model or a judgement of one."""
LIBRARIES = ("duckdb", "feast", "implicit", "lightgbm", "numpy", "pandas", "pyarrow", "scikit-learn", "scipy")
"""Libraries whose release can change the last bit of a model."""


@cache
def code() -> str:
    """One hash over the Python and SQL text of the packages that make models."""
    whole = hashlib.sha256()
    for package in CODE:
        root = Path(str(files(package)))
        for path in sorted([*root.rglob("*.py"), *root.rglob("*.sql")]):
            whole.update(f"{package}/{path.relative_to(root).as_posix()} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return whole.hexdigest()[:16]


def environment() -> dict[str, str]:
    """Python, machine and the libraries that models are made with."""
    found = {"python": platform.python_version(), "machine": f"{platform.system()} {platform.machine()}"}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found
