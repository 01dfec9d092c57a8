"""Frames of the simulated shop: its population, its outcomes, features through the store only."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from features import services, store
from features.snapshot import cadence
from retain import engine
from retain.errors import NotReadyError
from retain.workspace import Workspace
from training.contracts import Frame, score
from training.encoding import Encoder
from training.frames import frame
from training.guards import sound
from training.horizons import lengthen
from training.labels import after
from training.models.period import LastPeriod
from training.models.rules import RecencyRule
from training.models.stretched import FittedStretched
from training.splits import by_time
from training.tasks.churn import Churn
from training.tasks.clv import Clv

HORIZON = 28


@pytest.fixture(scope="module")
def made(filled: Workspace) -> tuple[Frame, Encoder]:
    moments = cadence(filled)
    return frame(filled, Churn(), [moments[-6], moments[-1]], horizon_days=HORIZON)


def test_rows_are_the_population_of_each_cutoff(filled: Workspace, made: tuple[Frame, Encoder]) -> None:
    moments = cadence(filled)
    with engine.of(filled) as sql:
        found = after(sql, [moments[-6], moments[-1]], HORIZON, filled.state().stored_zone, filled.now())
    assert made[0].customer_id.tolist() == found["customer_id"].tolist()
    assert made[0].cutoff.dtype == np.dtype("datetime64[us]")
    assert len(made[0].at((moments[-6],))) == (found["cutoff"] == moments[-6]).sum() > 100


def test_a_frame_says_what_its_amounts_are(filled: Workspace, made: tuple[Frame, Encoder]) -> None:
    moment = cadence(filled)[-6]
    assert made[0].measure == "spend"
    assert frame(filled, Clv(measure="margin"), [moment], horizon_days=HORIZON)[0].measure == "margin"


def test_outcomes_are_known_where_the_window_has_closed(filled: Workspace, made: tuple[Frame, Encoder]) -> None:
    moments = cadence(filled)
    closed = made[0].at((moments[-6],))
    assert set(np.unique(closed.known().y)) == {0.0, 1.0}
    # Who moved away or died was not lost by dissatisfaction.
    assert 0 < np.isnan(closed.y).sum() < 0.05 * len(closed)
    assert np.isnan(made[0].at((moments[-1],)).y).all()


def test_features_are_what_the_store_says(filled: Workspace, made: tuple[Frame, Encoder]) -> None:
    moments, name = cadence(filled), "purchases__orders_90d"
    rows = made[0].at((moments[-6],)).take(np.arange(40))
    spine = {"customer_id": rows.customer_id, "event_timestamp": [moments[-6]] * 40}

    raw = store.historical(filled, [name.replace("__", ":")], pd.DataFrame(spine))
    assert np.array_equal(rows.select((name,)).x[:, 0], raw[name].to_numpy(dtype=float), equal_nan=True)
    assert made[0].columns == tuple(ref.replace(":", "__") for ref in services.refs("churn"))


def test_the_encoder_of_training_codes_later_frames(filled: Workspace, made: tuple[Frame, Encoder]) -> None:
    moments, (_, encoder) = cadence(filled), made
    nothing = Encoder(dict.fromkeys(encoder.categories, ()))
    later, same = frame(filled, Clv(), [moments[-6]], horizon_days=HORIZON, encoder=nothing)
    assert same is nothing
    first = later.columns.index(next(iter(encoder.categories)))
    codes = later.x[:, first]
    assert set(np.unique(codes[~np.isnan(codes)])) <= {-1.0}


def test_the_frame_may_train(filled: Workspace, made: tuple[Frame, Encoder]) -> None:
    found = sound(made[0], "churn")
    moments = cadence(filled)
    assert found.open_rows == len(made[0].at((moments[-1],))) + np.isnan(made[0].at((moments[-6],)).y).sum()
    assert len(found.frame.columns) > 30


def test_a_moment_without_snapshots_is_named(filled: Workspace) -> None:
    far = cadence(filled)[0] - timedelta(days=20)
    with pytest.raises(NotReadyError, match=f"{far:%Y-%m-%d}"):
        frame(filled, Churn(), [far], horizon_days=HORIZON)


def test_a_short_history_is_learned_on_shorter_windows_and_lengthened(filled: Workspace) -> None:
    moments, zone = cadence(filled), filled.state().stored_zone
    with engine.of(filled) as sql:
        first = sql.rows("select min(occurred_at) from transactions")[0][0]
    asked = (filled.now() - first).days
    split = by_time(moments, asked, filled.now(), zone, first, max_train=2)
    assert split.is_scaled
    for task in (Churn(), Clv()):
        every, _ = frame(filled, task, split.final, horizon_days=split.horizon_days)
        rows = every.known()
        simple = RecencyRule() if task.kind == "chance" else LastPeriod()
        fitted = simple.fit(rows)
        longer = lengthen(filled, task, task.kind, fitted, rows, split)
        assert isinstance(longer, FittedStretched)
        assert 1 < longer.factor <= asked / split.horizon_days + 1e-9
        # A longer window leaves fewer who did not return, and brings more money.
        gained = score(longer, rows).mean() - score(fitted, rows).mean()
        assert gained < 0 if task.kind == "chance" else gained > 0
        assert lengthen(filled, task, task.kind, fitted, rows, replace(split, asked_days=split.horizon_days)) is fitted


def test_a_thinned_frame_says_so_and_keeps_everybody_of_the_present_moment(filled: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    when = cadence(filled)
    chosen = [when[-20], when[-12], when[-1]]
    whole, encoder = frame(filled, Churn(), chosen, horizon_days=28)
    monkeypatch.setattr("training.frames.MOST_CELLS", 200 * len(whole.columns))
    thin, _ = frame(filled, Churn(), chosen, horizon_days=28, encoder=encoder)
    assert whole.share == 1.0
    assert 0.2 < thin.share < 0.8
    assert thin.at((when[-1],)).customer_id.tolist() == whole.at((when[-1],)).customer_id.tolist()
    rows = {(each, at): values for each, at, values in zip(whole.customer_id, whole.cutoff, whole.x, strict=True)}
    for each, at, values in zip(thin.customer_id, thin.cutoff, thin.x, strict=True):
        np.testing.assert_array_equal(values, rows[each, at])
    assert set(thin.at((when[-20],)).customer_id) <= set(whole.at((when[-20],)).customer_id)
