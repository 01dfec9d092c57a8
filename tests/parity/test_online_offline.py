"""Serving sees what training saw: the online store equals the historical join, for every feature, on a shop built by our own SQL."""

from __future__ import annotations

import pandas as pd
import pyarrow.parquet as pq

from features import audit, catalog, store
from features.snapshot import cadence, path
from retain.workspace import Workspace


def test_online_equals_offline_for_every_feature_of_every_sampled_customer(filled: Workspace) -> None:
    at = filled.now()
    ids = audit.sample(filled, at, 100)
    found = audit.differences(filled, ids, at)
    assert found.empty, found.head(10).to_string()
    assert len(ids) == 100


def test_the_comparison_is_about_something(filled: Workspace) -> None:
    """Two stores that both answer null agree too."""
    served = store.online(filled, audit.all_refs(), audit.sample(filled, filled.now(), 100), filled.now())
    assert served.known.all()
    assert not served.stale.any()
    assert (served.age_s == 0).all()
    assert served.values.notna().any(axis=0).mean() > 0.8


def test_both_give_what_the_snapshot_file_holds(filled: Workspace) -> None:
    at = filled.now()
    for view in catalog.views():
        file = pq.read_table(path(filled, view.name, at)).to_pandas().head(50)
        refs = [f"{view.name}:{name}" for name in view.names]
        served = store.online(filled, refs, file[view.key].tolist(), at).values
        learned = store.historical(filled, refs, file[[view.key, "event_timestamp"]])
        for feature in view.columns:
            want = file[feature.name].astype(object if feature.dtype == "String" else "float64")
            want = want.where(want.notna(), None) if feature.dtype == "String" else want
            for got in (served, learned):
                pd.testing.assert_series_equal(got[f"{view.name}__{feature.name}"], want, check_names=False, check_exact=True)


def test_every_earlier_moment_is_served_as_it_was_then(filled: Workspace) -> None:
    """Historical rows of several moments at once equal those of each moment alone, and lapse to the file of their own moment."""
    moments = cadence(filled)[-3:]
    ids = audit.sample(filled, moments[0], 20)
    rows = pd.DataFrame([(who, at) for who in ids for at in reversed(moments)], columns=["customer_id", "event_timestamp"])
    rows["event_timestamp"] = rows["event_timestamp"].astype("datetime64[us, UTC]")
    refs = [f"purchases:{name}" for name in catalog.view("purchases").names]
    together = store.historical(filled, refs, rows)
    assert together["is_known"].all()
    for at in moments:
        here = rows["event_timestamp"] == at
        file = pq.read_table(path(filled, "purchases", at)).to_pandas().set_index("customer_id").loc[ids]
        for name in catalog.view("purchases").names:
            got = together.loc[here, f"purchases__{name}"].set_axis(pd.Index(ids))
            pd.testing.assert_series_equal(got, file[name].astype("float64"), check_names=False, check_exact=True)
