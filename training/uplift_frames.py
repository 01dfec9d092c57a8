"""Contacts with what was known of each customer before, and the customers of today with what is known now."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pandas as pd

from retain import engine
from retain.engine import Engine
from retain.workspace import State, Workspace
from training.contracts import Frame
from training.encoding import Encoder
from training.models.enough import MOST_CELLS, few
from training.models.uplift.contacts import Contacts
from training.tasks.uplift import Uplift

MOST_NEWEST = 20_000
"""Customers of today whose effects are looked at when a model is packaged."""


def contacts(workspace: Workspace, task: Uplift) -> tuple[Contacts, Frame, Encoder]:
    """What a task learns from, the customers of today, and how their categories were coded.

    Features are those of the moment of the contact, as the feature store knew them then. A source without time has one description of each
    customer, written before the contact.

    Raises:
        NotReadyError: the source has no contacts, or no features were built.
    """
    state, now = workspace.state(), workspace.now()
    with engine.of(workspace) as sql:
        found = task.contacted(sql, state, now)
        described = _described(sql, state) if state.kind == "snapshot" else None
    if described is None:
        return _known_then(workspace, task, found, state, now)
    raw = described.set_index("customer_id")
    columns = tuple(raw.columns)
    encoder = Encoder.learn(raw, [name for name in columns if raw[name].dtype == object])
    x = encoder.encode(raw.reindex(found["customer_id"]).reset_index(drop=True))
    rows = task.contacts(found, x, columns, encoder, state)
    return rows, rows.frame, encoder


def _described(sql: Engine, state: State) -> pd.DataFrame:
    from features.standing import standing

    raw = standing(sql, state.descriptive)
    return raw.drop(columns=[name for name in raw.columns if name != "customer_id" and raw[name].isna().all()])


def _known_then(workspace: Workspace, task: Uplift, found: pd.DataFrame, state: State, now: datetime) -> tuple[Contacts, Frame, Encoder]:
    from features import services, store
    from features.snapshot import spine

    refs = services.refs(task.name)
    columns = [ref.replace(":", "__", 1) for ref in refs]
    found = found[few(found["customer_id"].to_numpy(), MOST_CELLS // len(refs))].reset_index(drop=True)
    with engine.of(workspace) as sql:
        today = spine(sql, now).to_pandas()
    today = today[few(today["customer_id"].to_numpy(), MOST_NEWEST)].reset_index(drop=True)
    asked = pd.concat([found[["customer_id"]].assign(event_timestamp=found["cutoff"]), today], ignore_index=True)
    features = store.historical(workspace, refs, asked, tell_known=False)[columns]
    # Before the first snapshot nothing was known of anybody; such contacts teach nothing about whom to contact.
    is_known = features.notna().any(axis=1).to_numpy()
    then, newest = is_known[: len(found)], is_known[len(found) :]
    encoder = Encoder.learn(features, [ref.replace(":", "__", 1) for ref in services.categorical(refs)])
    x = encoder.encode(features)
    rows = task.contacts(found[then].reset_index(drop=True), x[: len(found)][then], tuple(columns), encoder, state)
    at = np.full(int(newest.sum()), np.datetime64(now.replace(tzinfo=None), "us"))
    names = today["customer_id"].to_numpy(dtype=object)[newest]
    unknown = np.full(len(names), np.nan)
    frame = Frame(names, at, tuple(columns), x[len(found) :][newest], unknown, rows.frame.horizon_days, frozenset(encoder.categories))
    return rows, frame, encoder
