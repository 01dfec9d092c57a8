"""Fixtures that every floor's tests share: the public data where they are at hand, and one simulated shop taken through every stage once."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

# Thread pools beyond the two cores only slow the suite down; set before the numeric libraries load.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "2")

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

    workspace = Workspace.at(tmp_path_factory.mktemp("shop"))
    simulate(workspace, customers=300, seed=7, progress=False)
    return workspace


@pytest.fixture(scope="session")
def filled(shop: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The shop with its feature store filled."""
    from features.commands import fill

    workspace = _copy(shop, tmp_path_factory.mktemp("filled"))
    fill(workspace)
    return workspace


@pytest.fixture(scope="session")
def trained(filled: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The filled shop with models of every task, of smaller settings, judged and champions chosen."""
    from training.pipeline import train

    workspace = _copy(filled, tmp_path_factory.mktemp("trained"))
    for task in ("churn", "clv", "recommend"):
        train(task, workspace, quick=True)
    return workspace


@pytest.fixture(scope="session")
def served(trained: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The trained shop with the rows that the service reads."""
    from serving.publishing import publish

    workspace = _copy(trained, tmp_path_factory.mktemp("served"))
    publish(workspace)
    return workspace


def _copy(source: Workspace, target: Path) -> Workspace:
    shutil.copytree(source.root, target, dirs_exist_ok=True)
    return Workspace.at(target)
