"""Does what a model learns from know the future? Recomputed in a world whose future is another, it must be the same.

In that world, rows that happened or became known at or after the cutoff are halved and handed to other customers, and canaries are set:
huge purchases that happened before the cutoff and became known after it, and others after it. A feature that changes has looked ahead.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from features import catalog, interactions, snapshot
from features.catalog import View
from features.interactions import Interactions
from retain import engine
from retain.engine import Engine, quoted
from retain.errors import RefusedError
from retain.tables import TABLES
from retain.workspace import Workspace
from training.contracts import Floats
from training.encoding import Encoder
from training.guards import prove
from training.trials import Trial

if TYPE_CHECKING:
    from training.ranking_trial import RankingTrial
    from training.scoring_trial import ScoringTrial

SAMPLE = 200
"""Customers whose features are computed anew."""
CANARY = "retain-canary"
VERSIONED = ("customers", "products", "offers", "subscriptions")
"""Tables whose rows are versions: a later one may tell of an earlier time."""
_CLOSE = 1e-9


def check(trial: Trial, workspace: Workspace) -> tuple[str, ...]:
    """What held, in words.

    Raises:
        RefusedError: a feature, an outcome or a history changes with what came after the cutoff; the message names it.
    """
    from training.ranking_trial import RankingTrial
    from training.scoring_trial import ScoringTrial
    from training.uplift_trial import UpliftTrial

    if isinstance(trial, ScoringTrial):
        return (*_features(trial, workspace), *_outcomes(trial, workspace), prove(trial.frame.at(trial.split.judged), trial.name))
    if isinstance(trial, RankingTrial):
        return _history(trial, workspace)
    if isinstance(trial, UpliftTrial):
        return trial.guards()
    return ()


def attach_other_future(sql: Engine, workspace: Workspace, cutoff: datetime, customers: Sequence[str] = (), *, by_knowledge: bool = True) -> None:
    """Replace the tables of an engine by those of a world with another future, and set canaries for some customers.

    Args:
        sql: has the tables attached.
        workspace: where they lie.
        cutoff: where the two worlds part.
        customers: who gets canaries.
        by_knowledge: the worlds part in what was known; if not, in what happened, so that late corrections of the past stay, and
            every version of a customer, a product or a contract.
    """
    at = f"timestamptz '{cutoff.astimezone(UTC).isoformat()}'"
    is_future = f"(occurred_at >= {at}" + (f" or known_at >= {at})" if by_knowledge else ")")
    for name, contract in TABLES.items():
        if not {"occurred_at", "known_at"} <= set(contract.names) or (not by_knowledge and name in VERSIONED):
            continue
        source = f"read_parquet({quoted(workspace.table(name))})"
        other = ""
        if "customer_id" in contract.names:
            other = " replace (coalesce(lag(customer_id) over (order by hash(occurred_at, customer_id), customer_id), customer_id) as customer_id)"
        future = f"select *{other} from {source} where {is_future} and hash(occurred_at, known_at) % 2 = 0"
        rows = [f"select * from {source} where not {is_future}", future]
        if name == "transactions" and customers:
            rows += [_canaries(source, cutoff - timedelta(days=1), cutoff, customers)] if by_knowledge else []
            rows += [_canaries(source, cutoff + timedelta(hours=1), cutoff, customers)]
        sql.execute(f"create or replace view {name} as {' union all '.join(rows)}")


def _canaries(source: str, happened: datetime, cutoff: datetime, customers: Sequence[str]) -> str:
    """Purchases that nobody can have known of before the cutoff: a copy of each customer's newest sale, a thousand times as large."""
    known = max(happened, cutoff) + timedelta(hours=1)
    changed = (
        f"{quoted(CANARY)} || customer_id as order_id, timestamptz '{happened.astimezone(UTC).isoformat()}' as occurred_at, "
        f"timestamptz '{known.astimezone(UTC).isoformat()}' as known_at, 1000 * abs(amount) + 1000 as amount, 1000.0 as quantity"
    )
    newest = "qualify row_number() over (partition by customer_id order by occurred_at desc, order_id, product_id) = 1"
    names = ", ".join(map(quoted, customers))
    return f"select * replace ({changed}) from (select * from {source} where kind = 'sale' and customer_id in ({names}) {newest})"


def _features(trial: ScoringTrial, workspace: Workspace) -> tuple[str, ...]:
    """Features of some customers of the test window, computed anew from the tables of the other world."""
    cutoff, test = trial.split.test[0], trial.test
    rows = np.unique(np.linspace(0, len(test) - 1, min(SAMPLE, len(test))).astype(np.intp)) if len(test) else np.empty(0, dtype=np.intp)
    some = test.take(rows)
    views = [view for view in catalog.customer_views() if snapshot.path(workspace, view.name, cutoff).is_file()]
    names = [name for view in views for name in (f"{view.name}__{column}" for column in view.names) if name in set(some.columns)]
    if not len(some) or not names:
        return ()
    anew = _anew(workspace, views, names, [str(customer) for customer in some.customer_id], cutoff, trial.encoder)
    for place, name in enumerate(names):
        before = some.x[:, some.columns.index(name)]
        differs = ~np.isclose(anew[:, place], before, rtol=_CLOSE, atol=_CLOSE, equal_nan=True)
        if differs.any():
            raise RefusedError(
                f"{trial.name}: feature {name} of {int(differs.sum())} of {len(some)} customers at {cutoff:%Y-%m-%d} is another when what came "
                "after is changed, so it knows the future; mend its query in features/sql, or build the features again if their files are old",
                field=name,
            )
    return (f"future shuffle: {len(names)} features of {len(some)} customers at {cutoff:%Y-%m-%d} do not change with what came after",)


def _anew(workspace: Workspace, views: Sequence[View], names: Sequence[str], customers: Sequence[str], cutoff: datetime, encoder: Encoder) -> Floats:
    """(customers, names) features in the other world, coded as in training."""
    spine = pd.DataFrame({"customer_id": customers, "event_timestamp": pd.Timestamp(cutoff)})
    columns: dict[str, Any] = {}
    with engine.of(workspace) as sql:
        attach_other_future(sql, workspace, cutoff, customers)
        ready = catalog.needs(tuple(dict.fromkeys(name for view in views for name in view.reads)))
        for name in ready:
            sql.execute(f"create temporary table {name} as {catalog.intermediate(name)}")
        for view in views:
            answer = snapshot.snapshot(view, spine, sql, ready).to_pandas().set_index(view.key).loc[customers]
            columns.update({f"{view.name}__{column}": answer[column].to_numpy() for column in view.names})
    return encoder.encode(pd.DataFrame(columns)[list(names)])


def _outcomes(trial: ScoringTrial, workspace: Workspace) -> tuple[str, ...]:
    """Outcomes of the newest window that trains, which had closed before the test window began."""
    cutoff, begin = trial.split.judged[-1], trial.split.test[0]
    frame = trial.frame.at((cutoff,))
    with engine.of(workspace) as sql:
        attach_other_future(sql, workspace, begin, [str(customer) for customer in frame.customer_id[:SAMPLE]], by_knowledge=False)
        after = trial.task.after(sql, [cutoff], frame.horizon_days, workspace.state(), workspace.now())
    known = dict(zip(after["customer_id"].astype(str), trial.task.outcome(after), strict=True))
    other = np.array([known.get(str(customer), np.inf) for customer in frame.customer_id], dtype=np.float64)
    differs = int((~np.isclose(other, frame.y, equal_nan=True)).sum())
    if differs:
        raise RefusedError(
            f"{trial.name}: the outcome of {differs} of {len(frame)} customers at {cutoff:%Y-%m-%d} changes with what happened after "
            f"{begin:%Y-%m-%d}, when its window had closed; the window is longer than it says, mend its query in training/labels.py"
        )
    return (f"future shuffle: {len(frame)} outcomes of {cutoff:%Y-%m-%d} do not change with what happened since {begin:%Y-%m-%d}",)


def _history(trial: RankingTrial, workspace: Workspace) -> tuple[str, ...]:
    """What rankers learn from before the test window."""
    before, cutoff = trial.before, trial.windows.test[0]
    with engine.of(workspace) as sql:
        attach_other_future(sql, workspace, cutoff, [str(customer) for customer in before.customers[:SAMPLE]])
        anew = trial.task.history(interactions.load(sql, cutoff, trial.item))
    if not _same(anew, before):
        raise RefusedError(
            f"{trial.name}: purchases known before {cutoff:%Y-%m-%d} change with what came after, so rankers would know the future; "
            "mend features/interactions.py"
        )
    return (f"future shuffle: {len(before)} purchases before {cutoff:%Y-%m-%d} do not change with what came after",)


def _same(one: Interactions, other: Interactions) -> bool:
    names = ("customers", "items", "customer", "item", "order", "at")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)
