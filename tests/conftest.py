"""Fixtures that every floor's tests share: the public data where they are at hand, and one simulated shop taken through every stage once."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

# Thread pools beyond the two cores only slow the suite down, and with two processes each has one of them; set before the numeric libraries load.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1" if "PYTEST_XDIST_WORKER" in os.environ else "2")

from benchmarks import faults  # noqa: E402
from retain.workspace import Workspace  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
START_S = 120


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fault-table", default=None, metavar="FILE", help="write what became of each case of tests/faults/cases.yaml")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--fault-table") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_FaultTable(Path(config.getoption("--fault-table"))))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Reports carry the cases that a test shows."""
    for item in items:
        item.user_properties += [(faults.FAULT, case) for mark in item.iter_markers(faults.FAULT) for case in mark.args]


class _FaultTable:
    """Hears every report, and writes the table at the end."""

    def __init__(self, target: Path) -> None:
        self.target, self.results = target, faults.Results()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.results.hear(report)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        self.target.parent.mkdir(parents=True, exist_ok=True)
        self.target.write_text(faults.page(self.results.by_case, faults.machine()), encoding="utf-8")
        terminalreporter.section("cases")
        for line in faults.text(self.results.by_case):
            terminalreporter.write_line(line)


@pytest.fixture
def happened(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Say what happened, for the table of faults: ``happened("400 requests, 0 failed")``."""
    return lambda words: record_property(faults.HAPPENED, words)


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


@pytest.fixture
def place(served: Workspace, tmp_path: Path) -> Workspace:
    """A workspace of its own, with nothing but what serving reads: neither snapshots, Feast's files, tables nor MLflow's."""
    for name in ("rows", "models"):
        shutil.copytree(served.root / name, tmp_path / name)
    shutil.copy(served.root / "workspace.json", tmp_path)
    return Workspace.at(tmp_path)


@pytest.fixture
def bentoml_environment() -> Callable[[Workspace], dict[str, str]]:
    """The environment in which BentoML serves a workspace and keeps its own things there."""
    return _bentoml_environment


class RedisServer:
    """A redis-server on a free port of loopback, which keeps nothing."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1.0):
                return
            time.sleep(0.01)
        raise AssertionError("redis-server does not answer")

    def ask(self, *words: bytes | str | int) -> Any:
        """What a command answers."""
        from serving.resp import Connection

        asked = Connection(self.url)
        try:
            return asked.call(*words, within_s=5.0)
        finally:
            asked.close()

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """A Redis of our own: ``start``, ``kill``, ``signal``, ``ask``; its address is ``url``."""
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed; `apt-get install redis-server` brings it")
    server = RedisServer()
    server.start()
    yield server
    server.kill()


@pytest.fixture
def running() -> Callable[..., AbstractContextManager[tuple[httpx.Client, subprocess.Popen[bytes]]]]:
    """Start the service of a workspace, wait until it is ready, end it afterwards: ``with running(place, "uvicorn") as (client, process)``."""
    return _running


def _bentoml_environment(place: Workspace) -> dict[str, str]:
    home = {"BENTOML_HOME": str(place.root / "bentoml"), "BENTOML_DO_NOT_TRACK": "true", "RETAIN_WORKSPACE": str(place.root)}
    return {**os.environ, **home}


@contextmanager
def _running(
    place: Workspace, runner: str = "uvicorn", bento: str | None = None, options: tuple[str, ...] = (), prefix: tuple[str, ...] = ()
) -> Iterator[tuple[httpx.Client, subprocess.Popen[bytes]]]:
    """The service of a workspace; where a bento is named, the one that was built, run away from the checkout."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [*prefix, sys.executable, "-m", "retain", "serve", "--runner", runner, "--port", str(port), "--workspace", str(place.root), *options]
    environment = _bentoml_environment(place)
    if bento is not None:
        command = [sys.executable, "-m", "bentoml", "serve", bento, "--host", "127.0.0.1", "--port", str(port)]
        environment = {name: value for name, value in environment.items() if name != "PYTHONPATH"}
    log = (place.root / "log").open("wb")
    cwd = None if bento is None else place.root
    process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True, cwd=cwd)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
            end = time.monotonic() + START_S
            while time.monotonic() < end:
                assert process.poll() is None, (place.root / "log").read_text()
                try:
                    if client.get("/readyz").status_code == 200:
                        break
                except httpx.TransportError:
                    pass
                time.sleep(0.1)
            yield client, process
    finally:
        if process.poll() is None:
            # BentoML's workers are in a session of their own: only its own shutdown ends them.
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        log.close()


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
