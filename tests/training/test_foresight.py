"""What knows the future is found: in a feature's query, in a stored feature, in an outcome, in a history; what is sound passes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from features import catalog, snapshot
from features.catalog import Feature, View
from retain import engine
from retain.errors import RefusedError
from retain.workspace import Workspace
from training import foresight
from training.contracts import Frame
from training.guards import CANARY, prove
from training.ranking_trial import RankingTrial
from training.scoring_trial import ScoringTrial
from training.tasks.churn import Churn
from training.tasks.recommend import Recommend

LEAKY = View(
    name="leaky",
    description="Orders, whenever they were.",
    entity="customer",
    ttl_days=8,
    columns=(Feature("orders", "Int64", "Orders of the customer at any time.", "orders"),),
    sql=(
        "select spine.customer_id, spine.event_timestamp, count(distinct t.order_id) as orders from spine "
        "left join transactions as t on t.customer_id = spine.customer_id group by spine.customer_id, spine.event_timestamp"
    ),
    reads=(),
    kind="transaction",
)


@pytest.fixture(scope="module")
def scorer(filled: Workspace) -> ScoringTrial:
    return ScoringTrial.open(Churn(), filled, snapshot.cadence(filled))


def _with_column(trial: ScoringTrial, name: str, values: np.ndarray) -> ScoringTrial:
    frame = trial.frame
    x = frame.x.copy()
    x[:, frame.columns.index(name)] = values
    return replace(trial, frame=Frame(frame.customer_id, frame.cutoff, frame.columns, x, frame.y, frame.horizon_days))


def test_the_shop_is_sound_and_what_was_looked_at_is_said(scorer: ScoringTrial, filled: Workspace) -> None:
    held = foresight.check(scorer, filled)
    assert [words.partition(":")[0] for words in held] == ["future shuffle", "future shuffle", "leaks"]
    assert f"{len(scorer.frame.columns)} features of" in held[0]
    assert "purchases before" in foresight.check(RankingTrial.open(Recommend(), filled), filled)[0]


def test_a_query_that_looks_ahead_is_refused_with_its_name(scorer: ScoringTrial, filled: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    test = scorer.test
    spine = pd.DataFrame({"customer_id": test.customer_id.astype(str), "event_timestamp": pd.Timestamp(scorer.split.test[0])})
    with engine.of(filled) as sql:
        known = snapshot.snapshot(LEAKY, spine, sql).to_pandas().set_index("customer_id").loc[spine["customer_id"], "orders"]
    leaking = Frame(test.customer_id, test.cutoff, ("leaky__orders",), known.to_numpy(dtype=np.float64)[:, None], test.y, test.horizon_days)
    monkeypatch.setattr(catalog, "customer_views", lambda: (LEAKY,))
    monkeypatch.setattr(snapshot, "path", lambda *_: Path(__file__))
    with pytest.raises(RefusedError, match="leaky__orders .* knows the future") as refused:
        foresight.check(replace(scorer, frame=leaking), filled)
    assert refused.value.field == "leaky__orders"


def test_a_stored_feature_that_was_written_later_is_refused(scorer: ScoringTrial, filled: Workspace) -> None:
    name = "purchases__orders_90d"
    column = scorer.frame.x[:, scorer.frame.columns.index(name)] + np.nan_to_num(1 - scorer.frame.y)
    with pytest.raises(RefusedError, match=name):
        foresight.check(_with_column(scorer, name, column), filled)


def test_an_outcome_that_reaches_past_its_window_is_refused(scorer: ScoringTrial, filled: Workspace) -> None:
    frame = scorer.frame
    newest = np.isin(frame.cutoff, np.array([scorer.split.judged[-1].replace(tzinfo=None)], dtype="datetime64[us]"))
    longer = np.where(newest, 0.0, frame.y)
    other = replace(scorer, frame=Frame(frame.customer_id, frame.cutoff, frame.columns, frame.x, longer, frame.horizon_days))
    with pytest.raises(RefusedError, match="outcome of .* changes with what happened after"):
        foresight.check(other, filled)


def test_customers_whose_leaving_counts_for_nothing_change_nothing(scorer: ScoringTrial, filled: Workspace) -> None:
    """An outcome that is none stays none; and contracts, whose versions may tell of an earlier time, are looked at as they are."""
    cutoff = scorer.split.judged[-1]
    state, now = filled.state(), filled.now()
    for task in (Churn(), Churn(leaving="subscriptions")):
        with engine.of(filled) as sql:
            whole = task.after(sql, [cutoff], 28, state, now)
            foresight.attach_other_future(sql, filled, scorer.split.test[0], by_knowledge=False)
            other = task.after(sql, [cutoff], 28, state, now)
        pd.testing.assert_frame_equal(whole.drop(columns="is_involuntary"), other.drop(columns="is_involuntary"))
        np.testing.assert_array_equal(task.outcome(whole), task.outcome(other))


def test_a_history_that_holds_later_purchases_is_refused(filled: Workspace) -> None:
    trial = RankingTrial.open(Recommend(), filled)
    with pytest.raises(RefusedError, match="rankers would know the future"):
        foresight.check(replace(trial, before=trial.now), filled)


def test_the_other_world_has_the_same_past_and_another_future(filled: Workspace, scorer: ScoringTrial) -> None:
    cutoff = scorer.split.test[0]
    customer = str(scorer.test.customer_id[0])
    at = f"timestamptz '{cutoff.isoformat()}'"
    past = f"select count(*), sum(amount) from transactions where occurred_at < {at} and known_at < {at}"
    future = f"select count(*) from transactions where not (occurred_at < {at} and known_at < {at})"
    with engine.of(filled) as sql:
        before, later = sql.rows(past), sql.rows(future)[0][0]
        foresight.attach_other_future(sql, filled, cutoff, [customer])
        assert sql.rows(past) == before
        assert 0 < sql.rows(future)[0][0] < later
        canaries = sql.rows(f"select occurred_at < {at}, known_at < {at} from transactions where order_id like '{foresight.CANARY}%' order by 1")
    assert canaries == [(False, False), (True, False)], "one after the cutoff, one before it that became known after"


def test_the_leak_guard_proves_itself(scorer: ScoringTrial, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "canary" in prove(scorer.test, "churn")
    monkeypatch.setattr("training.guards.LEAK", 1.0)
    with pytest.raises(RefusedError, match="leaks would pass too") as refused:
        prove(scorer.test, "churn")
    assert refused.value.field == CANARY
