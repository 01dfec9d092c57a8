"""Fixtures that every floor's tests share: the public data where they are at hand, and one simulated shop taken through every stage once."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

# Thread pools beyond the two cores only slow the suite down, and with two processes each has one of them; set before the numeric libraries load.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1" if "PYTEST_XDIST_WORKER" in os.environ else "2")

from retain.workspace import Workspace  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of public datasets and reference evaluators beside the checkout."""
    folder = ROOT.parent / "shared"
    if not (folder / "references").is_dir():
        pytest.skip("the public datasets and evaluators (../shared) are not here")
    return folder


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A simulated shop of 300 customers: tables only. Read it, do not change it."""
    from retain.simulate import simulate

    return _once(tmp_path_factory, "shop", lambda workspace: simulate(workspace, customers=300, seed=7, progress=False))


@pytest.fixture(scope="session")
def filled(shop: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The shop with its feature store filled."""
    from features.commands import fill

    return _once(tmp_path_factory, "filled", fill, shop)


@pytest.fixture(scope="session")
def trained(filled: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The filled shop with models of every task, of smaller settings, judged and champions chosen."""
    from training.pipeline import train

    def learn(workspace: Workspace) -> None:
        for task in ("churn", "clv", "recommend"):
            train(task, workspace, quick=True)

    return _once(tmp_path_factory, "trained", learn, filled)


@pytest.fixture(scope="session")
def served(trained: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The trained shop with the rows that the service reads."""
    from serving.publishing import publish

    return _once(tmp_path_factory, "served", publish, trained)


def _once(factory: pytest.TempPathFactory, name: str, make: Callable[[Workspace], object], source: Workspace | None = None) -> Workspace:
    """A workspace made by the first process of a run that wants it; the others wait and read the same one."""
    shared = factory.getbasetemp().parent if "PYTEST_XDIST_WORKER" in os.environ else factory.getbasetemp()
    folder, done = shared / f"session-{name}", shared / f"session-{name}.done"
    with (shared / f"session-{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            if source is None:
                folder.mkdir()
            else:
                shutil.copytree(source.root, folder)
            make(Workspace.at(folder))
            done.touch()
    return Workspace.at(folder)
