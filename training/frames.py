"""Features and labels joined at cutoffs; features come through the feature store only, and guards look at every frame that trains."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import numpy as np
import pandas as pd

from retain import engine
from retain.engine import Engine
from retain.errors import NotReadyError
from retain.workspace import State, Workspace
from training import labels
from training.contracts import Floats, Frame
from training.encoding import Encoder
from training.models.enough import MOST_CELLS, few


class Asked(Protocol):
    """What a frame needs to know of its task."""

    @property
    def name(self) -> str:
        """Name of the task; its features are those of ``features.services``."""

    def after(self, engine: Engine, cutoffs: Sequence[datetime], horizon_days: int, state: State, now: datetime) -> pd.DataFrame:
        """The population of each cutoff and what became of it, from ``training.labels``."""

    def outcome(self, after: pd.DataFrame) -> Floats:
        """The outcome per row of ``after``; NaN where it counts for nothing."""


def frame(
    workspace: Workspace, task: Asked, cutoffs: Sequence[datetime], *, horizon_days: int, encoder: Encoder | None = None
) -> tuple[Frame, Encoder]:
    """The task's population at the cutoffs, its features as known then, and its outcomes; NaN where the window is open or it counts for nothing.

    Args:
        workspace: Where tables and snapshots lie.
        task: Whose question.
        cutoffs: Moments at or before the workspace's clock, each with snapshots.
        horizon_days: Days after the cutoff in which the outcome falls.
        encoder: How categories were coded in training; learned from these rows where not given.

    Raises:
        NotReadyError: a cutoff has no snapshots, or no customer.
    """
    from features import services, store

    state, now = workspace.state(), workspace.now()
    with engine.of(workspace) as sql:
        whole = task.after(sql, cutoffs, horizon_days, state, now)
    refs = services.refs(task.name)
    # Whom the model answers for now, whose windows are open, stay whole.
    is_closed = whole["is_closed"].to_numpy(dtype=bool)
    kept = ~is_closed
    kept[is_closed] = few(whole["customer_id"].to_numpy()[is_closed], MOST_CELLS // len(refs))
    after = whole[kept].reset_index(drop=True)
    spine = after[["customer_id"]].assign(event_timestamp=after["cutoff"])
    columns = tuple(ref.replace(":", "__", 1) for ref in refs)
    features = store.historical(workspace, refs, spine, tell_known=False)[list(columns)]
    _known(after["cutoff"], features.notna().any(axis=1).to_numpy(dtype=bool), cutoffs)
    learned = Encoder.learn(features, [ref.replace(":", "__", 1) for ref in services.categorical(refs)]) if encoder is None else encoder
    outcome = np.where(after["is_closed"].to_numpy(dtype=bool), task.outcome(after), np.nan)
    return (
        Frame(
            customer_id=after["customer_id"].to_numpy(dtype=object),
            cutoff=after["cutoff"].dt.tz_convert("UTC").dt.tz_localize(None).to_numpy(dtype="datetime64[us]"),
            columns=columns,
            x=learned.encode(features),
            y=outcome,
            horizon_days=horizon_days,
            categorical=frozenset(learned.categories),
            measure=getattr(task, "measure", "spend"),
            share=float(kept[is_closed].mean()) if is_closed.any() else 1.0,
        ),
        learned,
    )


def standing_frame(workspace: Workspace, task: Asked) -> tuple[Frame, Encoder]:
    """The customers of a snapshot source with a contract, what is known of them, and whether they left; NaN where that was nobody's choice.

    Raises:
        NotReadyError: the source has no contracts, so nobody can have left.
    """
    from features.standing import standing

    state, now = workspace.state(), workspace.now()
    with engine.of(workspace) as sql:
        left, raw = labels.left(sql), standing(sql, state.descriptive)
    if left.empty:
        raise NotReadyError(f"{state.source}: nobody has a contract that could end; map the table subscriptions with `ended_at`")
    raw = left[["customer_id"]].merge(raw, on="customer_id", how="left")
    features = raw.drop(columns="customer_id").dropna(axis="columns", how="all")
    learned = Encoder.learn(features, [name for name in features.columns if features[name].dtype == object])
    return (
        Frame(
            customer_id=left["customer_id"].to_numpy(dtype=object),
            cutoff=np.full(len(left), np.datetime64(now.replace(tzinfo=None), "us")),
            columns=tuple(features.columns),
            x=learned.encode(features),
            y=task.outcome(left),
            horizon_days=state.horizon_days,
            categorical=frozenset(learned.categories),
        ),
        learned,
    )


def _known(cutoff: pd.Series, has_features: np.ndarray[tuple[int], np.dtype[np.bool_]], asked: Sequence[datetime]) -> None:
    """A customer that came after the newest snapshot has no row; a cutoff at which nobody has one was never built."""
    known = pd.Series(has_features).groupby(cutoff.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy()).any()
    for moment in asked:
        stamp = pd.Timestamp(moment).tz_convert("UTC").tz_localize(None).to_datetime64()
        if stamp not in known.index:
            raise NotReadyError(
                f"no customer had bought anything in the year before {moment:%Y-%m-%d}; ingest more history or ask about a later date"
            )
        if not known[stamp]:
            raise NotReadyError(f"no features are stored at {moment:%Y-%m-%d}; run `retain features build` for that moment first")
