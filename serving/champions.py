"""Opens champion folders, verified, and scores rows with them. Neither MLflow nor Feast is needed to answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retain.errors import DataError, IntegrityError
from retain.workspace import Workspace
from training.contracts import Fitted, Floats
from training.encoding import UNSEEN
from training.models.explained import contributions
from training.package import Package, champion, load, previous

SCORED = ("churn", "clv")
BROKEN = (IntegrityError, DataError)
"""What is raised by a model that is there and is not what it should be."""


@dataclass(frozen=True)
class Scorer:
    """A verified model on the columns of the serving rows. One row alone and the same row among others are scored the same way."""

    model_id: str
    fitted: Fitted
    columns: NDArray[np.intp]
    """Where each of the model's columns stands in a raw row."""
    codes: Mapping[int, Floats]
    """For each column of words (its place among the model's columns): code by position in the row's vocabulary."""

    def predict(self, raw: Floats) -> Floats:
        """(rows, raw columns) -> (rows,)."""
        return self.fitted.predict(self.encoded(raw))

    def contributions(self, raw: Floats) -> Floats | None:
        """(rows, raw columns) -> (rows, columns of the model + 1), what each feature adds to the score; None where the model cannot say."""
        return contributions(self.fitted, self.encoded(raw))

    def encoded(self, raw: Floats) -> Floats:
        """(rows, raw columns) -> (rows, columns of the model), words as the model's codes."""
        x = raw[:, self.columns]
        for place, codes in self.codes.items():
            words = x[:, place]
            known = np.isfinite(words)
            x[known, place] = codes[words[known].astype(np.intp)]
        return x


@dataclass(frozen=True)
class Champions:
    """The models that answer."""

    scorers: Mapping[str, Scorer]
    degraded: tuple[str, ...] = ()
    """``churn_previous_model``, ``churn_no_model`` and the like."""

    def model_id(self, task: str) -> str | None:
        """Version of the model behind a task."""
        return self.scorers[task].model_id if task in self.scorers else None


def packages(
    workspace: Workspace,
    task: str,
    load: Callable[[Path], Package] = load,
    passed: tuple[type[Exception], ...] = (*BROKEN, OSError),
) -> tuple[Package | None, str | None]:
    """The champion of a task, or the one before where the champion does not verify; and what is degraded by that.

    Args:
        workspace: where the pointers are.
        task: whose champion.
        load: opens a model's folder, verified.
        passed: after which errors the one before is taken.
    """
    tried = False
    for find, code in ((champion, None), (previous, f"{task}_previous_model")):
        try:
            folder = find(workspace, task)
            if folder is not None:
                return load(folder), code
        except passed:
            # The next rung of the ladder answers, and every answer says so.
            tried = True
            continue
    return None, f"{task}_no_model" if not tried else f"{task}_model_refused"


def on_rows(package: Package, columns: Sequence[str], vocabulary: Mapping[str, Sequence[str]]) -> Scorer:
    """A package as a scorer of rows with these columns and words.

    Raises:
        DataError: the rows lack a column, or the model ranks items.
    """
    if package.encoder is None or not isinstance(package.fitted, Fitted):
        raise DataError(f"{package.card.model_id} ranks items and scores no customers; promote a model that scores")
    missing = [name for name in package.card.columns if name not in columns]
    if missing:
        raise DataError(f"rows: column {missing[0]} of {package.card.model_id} is missing; run `retain publish`")
    codes: dict[int, Floats] = {}
    for place, name in enumerate(package.card.columns):
        if name in package.encoder.categories:
            learned = {word: float(code) for code, word in enumerate(package.encoder.categories[name])}
            codes[place] = np.array([learned.get(word, UNSEEN) for word in vocabulary.get(name, ())], dtype=np.float64)
    where = np.array([columns.index(name) for name in package.card.columns], dtype=np.intp)
    return Scorer(package.card.model_id, package.fitted, where, codes)


def open_champions(
    workspace: Workspace, columns: Sequence[str], vocabulary: Mapping[str, Sequence[str]], load: Callable[[Path], Package] = load
) -> Champions:
    """The champions of the scored tasks on the rows of a workspace; one that fails to verify is replaced by the one before, or left out.

    Args:
        workspace: where the pointers are.
        columns: raw columns of the rows.
        vocabulary: words of the columns that hold words.
        load: opens a model's folder, verified.
    """
    scorers: dict[str, Scorer] = {}
    degraded: list[str] = []
    for task in SCORED:
        package, code = packages(workspace, task, load)
        try:
            if package is not None:
                scorers[task] = on_rows(package, columns, vocabulary)
        except DataError:
            code = f"{task}_rows_lack_features"
        if code is not None:
            degraded.append(code)
    return Champions(scorers, tuple(degraded))
