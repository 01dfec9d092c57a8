"""Killed, or out of space, at any moment of packaging and promoting: no half model is ever seen, and the champion stands."""

from __future__ import annotations

import os
import random
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from features.interactions import Interactions
from retain.errors import LockedError
from retain.workspace import Workspace
from training import promotions
from training.card import Card
from training.evidence import Evidence
from training.gate import Verdict
from training.models.popular import FittedPopularity, Popularity
from training.package import champion, folders, load, package

# The child process is a copy that runs plain Python and file calls only, and it never returns to pytest.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
YES = Verdict(True, ("won",))
KILLS = 50


class Shop:
    """Packages and promotes one small model after another."""

    def __init__(self, workspace: Workspace, history: Interactions, card: Callable[..., Card], evidence: Evidence) -> None:
        self.workspace, self.history, self.card, self.evidence = workspace, history, card, evidence
        self.seen: set[Path] = set()
        self.fitted: FittedPopularity = Popularity(window_days=60).fit(history)

    def make(self, number: int) -> Path:
        folder = package(self.fitted, self.card("ranker", seed=number), self.workspace.models, evidence=self.evidence, golden=self.history)
        with self.workspace.lock("test"):
            promotions.follow(self.workspace)
            promotions.promote(self.workspace, "recommend", folder.name, YES, self.workspace.now())
        return folder

    def is_sound(self) -> None:
        """Everything that can be seen is whole, and the pointer says what the ledger says."""
        promotions.follow(self.workspace)
        for folder in set(folders(self.workspace, "recommend")) - self.seen:
            load(folder)
            self.seen.add(folder)
        stack = promotions.reigns(promotions.entries(self.workspace), "recommend")
        at = champion(self.workspace, "recommend")
        assert at is not None
        assert at.name == stack[-1]
        load(at)


@pytest.fixture
def shop(workspace: Workspace, history: Interactions, card: Callable[..., Card], evidence: Callable[..., Evidence]) -> Shop:
    return Shop(workspace, history, card, evidence())


def _child(work: Callable[[], None]) -> int:
    child = os.fork()
    if child:
        return child
    _work_and_leave(work)


def _work_and_leave(work: Callable[[], None]) -> NoReturn:
    try:
        work()
    except OSError:
        os._exit(3)
    os._exit(0)


@pytest.mark.fault("B1")
def test_killed_at_fifty_points(shop: Shop) -> None:
    shop.make(0)
    start = time.monotonic()
    shop.make(1)
    one = time.monotonic() - start
    rng = random.Random(5)
    for kill in range(KILLS):
        first = 100 * (kill + 1)

        def work(first: int = first) -> None:
            for number in range(first, first + 50):
                shop.make(number)

        child = _child(work)
        # Every tenth gets time for several, so that on a busy machine too some are killed between one promotion and the next.
        time.sleep(rng.uniform(0, 2 * one) + (6 * one if kill % 10 == 9 else 0))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        shop.is_sound()
    shop.make(99)
    shop.is_sound()
    assert len(promotions.entries(shop.workspace)) > 3


@pytest.mark.fault("B3")
def test_out_of_space_at_every_size_of_file(shop: Shop) -> None:
    before = shop.make(0)
    failed = 0
    for limit in (0, 40, 100, 300, 1000, 2000, 3000, 5000, 10_000):

        def work(limit: int = limit) -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            shop.make(limit + 7)

        _, status = os.waitpid(_child(work), 0)
        code = os.waitstatus_to_exitcode(status)
        assert code in (0, 3), "a clean error, or done"
        shop.is_sound()
        if code == 3:
            failed += 1
            at = champion(shop.workspace, "recommend")
            assert at is not None
            assert at == before
    assert failed >= 5


@pytest.mark.fault("B7")
def test_the_lock_of_a_killed_training_is_free_at_once(shop: Shop) -> None:
    ready, told = os.pipe()

    def work() -> None:
        with shop.workspace.lock("retain train churn"):
            os.write(told, b"x")
            time.sleep(60)

    child = _child(work)
    os.read(ready, 1)
    with pytest.raises(LockedError, match="retain train churn"), shop.workspace.lock("another"):
        pass
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with shop.workspace.lock("another"):
        pass
