"""What a running service answers from, opened from what a workspace points to now, and each part of it only once.

At the start the ladder holds: what does not verify is answered by the version before. Later nothing is taken up that does not verify as
named: whoever is refused changes nothing. Parts of the answers that are in use and of those before them stay open, so that a rollback reads nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from retain import config
from retain.errors import IntegrityError, RetainError
from retain.files import MANIFEST
from retain.workspace import STATE, Workspace
from serving.answers import Answers
from serving.champions import SCORED, Champions, Scorer, on_rows, open_champions
from serving.lists import prices, running
from serving.rows import POINTER, Rows, open_rows, versions
from serving.schemas import DecisionRequest
from training import package
from training.package import Package, champion, load, previous

RULES = ("decisions.yaml", "causes.yaml", "controls.yaml")
TASKS = (*SCORED, "recommend")
WARMED = 16
"""Customers who are decided for before the first caller is, and whose stored scores are compared with what the champions say."""
TOLERANCE = 1e-9
"""Relative; what was published on another machine may differ in the last bits."""

T = TypeVar("T")


class Stamp(NamedTuple):
    """What tells whether a file is another one than before, without reading it."""

    inode: int
    size: int
    changed_ns: int


class Stamps(NamedTuple):
    """Stamps of all that answers depend on."""

    pointers: tuple[Stamp | None, ...]
    named: tuple[Stamp | None, ...]
    """Of the manifests that the pointers name, and of the folders of campaigns."""


class SwapError(RetainError):
    """What is named now cannot be taken up."""

    code = "swap_refused"

    def __init__(self, part: str, message: str) -> None:
        super().__init__(message)
        self.part = part
        """What is said of the answers meanwhile: the code in ``degraded``."""


class Opener:
    """Opens answers of one workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._open: dict[tuple[Path, Stamp | None], Any] = {}
        """Rows and models that are open, by folder and the stamp of its manifest."""
        self._used: list[set[tuple[Path, Stamp | None]]] = [set()]
        """Parts of what is being opened, of what is in use, and of what was before it."""
        self._rules = tuple(config.shipped(name) for name in RULES)
        self._folders: tuple[tuple[Stamp | None, ...], tuple[Path, ...]] = ((), ())
        self.opened = self.stamps()
        """What was there before anything was opened: what is another later was not seen."""

    def first(self) -> Answers:
        """Answers as they are at the start, by the ladder.

        Raises:
            NotReadyError: nothing was published.
            IntegrityError: neither version of the rows verifies.
        """
        rows = open_rows(self._workspace, self._rows)
        answers = Answers.on(self._workspace, rows, open_champions(self._workspace, rows.card.columns, rows.card.vocabulary, self._model))
        self.taken()
        return answers

    def newest(self, now: Answers) -> Answers:
        """Answers from exactly what is named now, verified and warm.

        Args:
            now: what is answered from; a task that it has a model of does not lose it.

        Raises:
            SwapError: a part of it does not verify, or they do not fit together.
        """
        self._used[-1] = set()
        try:
            answers = self._named_now(now)
        finally:
            # What did open stays for the next try; what an earlier one opened does not.
            self._close()
        warm(answers)
        return answers

    def _named_now(self, now: Answers) -> Answers:
        with _refused("previous_rows"):
            rows = self._rows(versions(self._workspace)[0])
        scorers: dict[str, Scorer] = {}
        for task in SCORED:
            with _refused(f"{task}_previous_model" if now.champions.model_id(task) is not None else f"{task}_model_refused"):
                folder = champion(self._workspace, task)
                if folder is not None:
                    scorers[task] = on_rows(self._model(folder), rows.card.columns, rows.card.vocabulary)
                elif now.champions.model_id(task) is not None:
                    raise IntegrityError(f"no champion of {task} is named any more; run `retain promote {task} MODEL`")
        with _refused("previous_rules"):
            champions = Champions(scorers, tuple(f"{task}_no_model" for task in SCORED if task not in scorers))
            return Answers.on(self._workspace, rows, champions)

    def taken(self) -> None:
        """What was opened last is in use from now on: only its parts and those of what was in use before stay open."""
        self._used = [*self._used[-2:], set()]
        self._close()

    def forget(self) -> None:
        """Close what is not in use: what was before it may hold somebody who was erased."""
        self._used = [*self._used[-2:-1], set()]
        self._close()

    def stamps(self) -> Stamps:
        """Stamps of what the workspace points to now; a few calls to the file system, and a look into pointers only where one is another."""
        place, models = self._workspace, self._workspace.models
        files = [place.root / STATE, place.rows / POINTER, place.lists / prices.FILE, *(models / task / package.POINTER for task in TASKS)]
        pointers = tuple(stamp(each) for each in (*files, *self._rules))
        if pointers != self._folders[0]:
            self._folders = (pointers, tuple(self._named()))
        campaigns = self._workspace.lists / running.FOLDER
        folders = (campaigns, *(campaigns / name for name in _names(campaigns)))
        return Stamps(pointers, tuple(stamp(each) for each in (*(folder / MANIFEST for folder in self._folders[1]), *folders)))

    def _named(self) -> Iterator[Path]:
        """Folders that pointers name, as far as they can be read."""
        finds: list[Callable[[], tuple[Path | None, ...]]] = [lambda: versions(self._workspace)]
        finds.extend(lambda task=task: (champion(self._workspace, task), previous(self._workspace, task)) for task in SCORED)  # type: ignore[misc]
        for find in finds:
            try:
                yield from (folder for folder in find() if folder is not None)
            except (RetainError, OSError, KeyError, TypeError):
                continue

    def _rows(self, folder: Path) -> Rows:
        return self._part(folder, Rows.open)

    def _model(self, folder: Path) -> Package:
        return self._part(folder, load)

    def _part(self, folder: Path, read: Callable[[Path], T]) -> T:
        key = (folder, stamp(folder / MANIFEST))
        if key not in self._open:
            self._open[key] = read(folder)
        self._used[-1].add(key)
        found: T = self._open[key]
        return found

    def _close(self) -> None:
        used = set().union(*self._used)
        for key in [key for key in self._open if key not in used]:
            del self._open[key]


def stamp(path: Path) -> Stamp | None:
    """The stamp of a file; None where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return Stamp(found.st_ino, found.st_size, found.st_mtime_ns)


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def warm(answers: Answers) -> None:
    """Answer for a few customers, so that the first caller waits for nothing, and see that rows and champions fit together.

    Raises:
        SwapError: they do not.
    """
    rows = answers.rows
    positions = np.unique(np.linspace(0, max(len(rows) - 1, 0), WARMED).astype(np.intp))[: len(rows)]
    with _refused("swap_refused"):
        if answers.is_scored:
            said, stored = answers.predict(positions), rows.array("scores")[positions]
            if not np.allclose(said, stored, rtol=TOLERANCE, atol=0, equal_nan=True):
                raise IntegrityError("the champions do not repeat the scores of the rows that name them; run `retain publish`")
        else:
            _ = answers.everybody
        for position in positions.tolist():
            answers.decision(DecisionRequest(rows.id(position)), None)


@contextmanager
def _refused(part: str) -> Iterator[None]:
    """Whatever goes wrong within is the refusal of one part."""
    try:
        yield
    except SwapError:
        raise
    except Exception as error:
        raise SwapError(part, error.message if isinstance(error, RetainError) else type(error).__name__) from error
