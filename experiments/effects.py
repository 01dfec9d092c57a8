"""Cross-fitted effects for a test that came as one table: written in the form that evaluators read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from experiments.predictions import ids
from experiments.snapshots import table
from retain.config import build
from retain.errors import ConfigError
from retain.files import atomic_path
from retain.workspace import State, Workspace
from training import uplift_frames
from training.crossfit import FOLDS, given, hashed
from training.encoding import Encoder
from training.evidence import Evidence
from training.experiment import plan
from training.models.uplift.contacts import Contacts
from training.uplift_trial import CrossFitted, UpliftTrial, cross_fitted

Say = Callable[[str], None]


@dataclass(frozen=True)
class ArmTest:
    """One treatment of a test beside its controls."""

    trial: UpliftTrial
    state: State

    @property
    def contacts(self) -> Contacts:
        """Treated and controls."""
        return self.trial.contacts


@dataclass(frozen=True)
class Crossed:
    """What a cross-fitting came to."""

    source: str
    treatment: str
    outcome: str
    grade: str
    customers: int
    treated: int
    chosen: dict[str, int]
    """How customers are ranked -> how many folds it was chosen for."""
    evidence: Evidence
    out: Path

    def summary(self) -> dict[str, Any]:
        """Everything for programs."""
        intervals = {name: self.evidence.interval(name).__dict__ for name in self.evidence.values}
        return {**{name: value for name, value in self.__dict__.items() if name != "evidence"}, "out": str(self.out), "metrics": intervals}


def opened(source: str, folder: Path, data: Path | None, outcome: str, treatment: str, say: Say) -> ArmTest:
    """Ingest a source and take one treatment with its controls.

    Raises:
        ConfigError: the source has times, or several treatments and none was named.
    """
    from retain.ingest import ingest
    from retain.mapping import load as mapping

    if (found := mapping(source)).kind != "snapshot":
        raise ConfigError(f"{found.name} has times: its features are those of each contact; ingest it and use `retain train uplift`", field="source")
    workspace = Workspace.at(folder)
    ingest(source, workspace, data=data, say=say)
    task = build({**plan("uplift").task, "outcome": outcome, "treatments": [treatment] if treatment else []}, "task")
    contacts, _, encoder = uplift_frames.contacts(workspace, task)
    if len(contacts.treatments) > 1:
        raise ConfigError(f"{source} has the treatments {', '.join(contacts.treatments)}; name one with --treatment", field="treatment")
    return ArmTest(_trial(task, contacts.take(contacts.of(0)), encoder, workspace), workspace.state())


def _trial(task: Any, contacts: Contacts, encoder: Encoder, workspace: Workspace) -> UpliftTrial:
    return UpliftTrial(task, contacts, contacts.frame, encoder, workspace.now())


def cross(
    source: str,
    out: Path,
    *,
    data: Path | None = None,
    outcome: str = "visit",
    treatment: str = "",
    folds: Path | None = None,
    name: str = "",
    model: str = "",
    quick: bool = False,
    say: Say = lambda _: None,
) -> Crossed:
    """Write ``customer_id``, ``fold``, ``uplift``: what the treatment changes for each customer, by a model of other customers.

    Args:
        source: A name in ``configs/sources`` or the path of a mapping of ``kind: snapshot``.
        out: The Parquet file.
        data: Where the source's files lie.
        outcome: visit, purchase, spend or margin.
        treatment: Which arm; not needed where there is one.
        folds: A Parquet file with the folds; drawn by hash where not given.
        name: What the hash begins with; the source's name where empty.
        model: A name in the plan; its preferred one where empty.
        quick: Smaller settings where the plan has them.
        say: Told what is being done.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    chosen = plan("uplift")
    recipe = chosen.experiments((model or chosen.preferred,), quick)[0]
    with TemporaryDirectory(dir=out.parent, prefix=".crossfit-") as folder:
        test = opened(source, Path(folder), data, outcome, treatment, say)
    rows = test.contacts
    strata = np.asarray((rows.arm >= 0) * 2 + (rows.frame.y > 0), dtype=np.float64)
    named = name or test.state.source
    drawn = given(table(folds), rows.frame.customer_id) if folds is not None else hashed(rows.frame.customer_id, strata, named, 1, FOLDS)
    say(f"cross-fitting {recipe.title}")
    test.trial.guards()
    found = cross_fitted(rows, recipe.answer(), drawn.of[0])
    _write(out, test, found, drawn.of[0])
    pair = test.trial.pairs[0][1]
    return Crossed(
        source=test.state.source,
        treatment=rows.treatments[0],
        outcome=outcome,
        grade=pair.grade,
        customers=len(rows),
        treated=int(pair.treated.sum()),
        chosen=dict(Counter(fold[0] for fold in found.rungs)),
        evidence=test.trial.evidence(found.value, recipe.seed),
        out=out,
    )


def _write(out: Path, test: ArmTest, found: CrossFitted, fold: np.ndarray[Any, np.dtype[np.int64]]) -> None:
    columns = {
        "customer_id": ids(test.contacts.frame.customer_id, "customer_id", test.state),
        "fold": pa.array(fold, pa.int32()),
        "uplift": pa.array(found.value[:, 0], pa.float64()),
    }
    with atomic_path(out) as partial:
        pq.write_table(pa.table(columns), partial, compression="zstd")
