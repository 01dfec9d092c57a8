"""Cross-fitted predictions for a source without time: ingested, learned by folds, written in the form that evaluators read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from experiments.predictions import ids
from retain.config import build
from retain.errors import ConfigError, DataError
from retain.files import atomic_path
from retain.terminal import progress
from retain.workspace import State, Workspace
from training.crossfit import CrossFitted, Folds, crossfit, given, hashed
from training.experiment import plan
from training.frames import standing_frame

TASKS = {"attrition": "attrition", "churn": "attrition"}
"""Name of the question -> plan. In a snapshot churn can only be the end of a contract."""

Say = Callable[[str], None]


def _silent(text: str) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class Crossed:
    """What a cross-fitting came to."""

    source: str
    customers: int
    left_out: int
    """Customers who left for a cause that nobody chose: predicted, never learned from."""
    repeats: int
    folds: int
    chosen: dict[str, int]
    """Recipe -> how many folds it was chosen for."""
    metrics: dict[str, float]
    """The mean over the repetitions, over customers whose outcome counts."""
    out: Path

    def summary(self) -> dict[str, Any]:
        """Everything for programs."""
        return {**self.__dict__, "out": str(self.out)}


def cross(
    source: str,
    out: Path,
    *,
    data: Path | None = None,
    task: str = "attrition",
    folds: Path | None = None,
    name: str = "",
    models: tuple[str, ...] = (),
    quick: bool = False,
    say: Say = _silent,
) -> Crossed:
    """Write ``customer_id``, ``repeat``, ``fold``, ``p_churn``: each customer's chance by models that did not see it.

    Args:
        source: A name in ``configs/sources`` or the path of a mapping of ``kind: snapshot``.
        out: The Parquet file.
        data: Where the source's files lie.
        task: attrition or churn: the same question here.
        folds: A Parquet file with the folds; drawn by hash where not given.
        name: What the hash begins with; the source's name where empty.
        models: Names in the plan to choose from; all where empty.
        quick: Smaller settings where the plan has them.
        say: Told what is being done.
    """
    from retain.ingest import ingest
    from retain.mapping import load as mapping

    if task not in TASKS:
        raise ConfigError(f"there is no task {task!r} to cross-fit; choose from {', '.join(TASKS)}", field="task")
    if (found := mapping(source)).kind != "snapshot":
        raise ConfigError(f"{found.name} has times, so models are judged on later windows; use `retain backtest {source}`", field="source")
    chosen = plan(TASKS[task])
    question = build(chosen.task, "task")
    recipes = {each.title: each.answer() for each in chosen.experiments(models, quick)}
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=out.parent, prefix=".crossfit-") as folder:
        workspace = Workspace.at(Path(folder))
        ingest(source, workspace, data=data, say=say)
        state, (frame, _) = workspace.state(), standing_frame(workspace, question)
    drawn = given(table(folds), frame.customer_id) if folds is not None else hashed(frame.customer_id, frame.y, name or state.source)
    say(f"cross-fitting {', '.join(recipes)}")
    result = crossfit(frame, recipes, drawn, question.metrics[question.primary], lambda items, total: progress(items, total, "folds"))
    known = ~np.isnan(frame.y)
    judged = [question.evaluate(frame.y[known], row[known]) for row in result.predicted]
    _write(out, frame.customer_id, drawn, result, question.output, state)
    return Crossed(
        source=state.source,
        customers=len(frame),
        left_out=int((~known).sum()),
        repeats=len(drawn.of),
        folds=drawn.count,
        chosen={title: result.chosen.count(title) for title in recipes},
        metrics={metric: float(np.mean([each[metric] for each in judged])) for metric in judged[0]},
        out=out,
    )


def table(path: Path) -> pd.DataFrame:
    """Folds that somebody else drew.

    Raises:
        DataError: there is no such file, or it is no Parquet.
    """
    try:
        return pd.read_parquet(path)
    except FileNotFoundError as error:
        raise DataError(f"--folds {path}: there is no such file", field="folds") from error
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"--folds {path}: cannot be read as Parquet ({error})", field="folds") from error


def _write(out: Path, customers: np.ndarray[Any, np.dtype[np.object_]], drawn: Folds, result: CrossFitted, column: str, state: State) -> None:
    repeats, rows = drawn.of.shape
    table = pa.table(
        {
            "customer_id": ids(np.tile(customers, repeats), "customer_id", state),
            "repeat": pa.array(np.repeat(np.arange(repeats), rows), pa.int32()),
            "fold": pa.array(drawn.of.ravel(), pa.int32()),
            column: pa.array(result.predicted.ravel(), pa.float64()),
        }
    )
    with atomic_path(out) as partial:
        pq.write_table(table, partial, compression="zstd")
