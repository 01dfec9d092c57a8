"""On the real sources the ingested tables give the population, the truth and the interactions of the reference evaluators exactly."""

from __future__ import annotations

import importlib.util
from datetime import datetime
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from retain import engine
from retain.facts import INTERACTION, PURCHASE, SELLABLE, VALUED
from retain.ingest import ingest
from retain.workspace import State, Workspace, moment, shift_days

GROCERY, RETAIL, COHORT = "completejourney", "online_retail", "cdnow_sample"
SOURCES = {COHORT: "cdnow"}
"""Folder of the data -> mapping, where they are not called the same."""
POPULATIONS = ["churn:completejourney_h28", "clv:completejourney_h28", "churn:completejourney_h90", "clv:completejourney_h90"]
RECOMMENDATIONS = ["grocery_product_28d", "grocery_category_28d"]


def _reference(shared: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, shared / "references" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Ingested:
    """Each source, ingested when it is first asked for."""

    def __init__(self, data: Path, folder: Path) -> None:
        self._data, self._folder = data, folder

    def __getitem__(self, source: str) -> Workspace:
        workspace = Workspace.at(self._folder / source)
        if not workspace.is_filled:
            ingest(SOURCES.get(source, source), workspace, data=self._data / source)
        return workspace


@pytest.fixture(scope="module")
def ingested(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Ingested:
    return Ingested(shared / "data", tmp_path_factory.mktemp("ingested"))


def _window(state: State, cut: str, days: int) -> tuple[datetime, datetime, datetime]:
    """A year before, the cut and the end of the horizon, by whole days on the stored clock."""
    start = moment(cut, state.stored_zone)
    return shift_days(start, -365, state.stored_zone), start, shift_days(start, days, state.stored_zone)


def _outcomes(workspace: Workspace, cut: str, days: int) -> pd.DataFrame:
    before, start, end = (f"timestamptz '{one.isoformat(sep=' ')}'" for one in _window(workspace.state(), cut, days))
    with engine.of(workspace) as sql:
        return sql.query(
            f"""
            with population as (
                select distinct t.customer_id from transactions as t where {PURCHASE} and t.occurred_at >= {before} and t.occurred_at < {start}
            )
            select p.customer_id, count(t.order_id) filter (where {PURCHASE}) as purchases,
                coalesce(sum(t.amount) filter (where {VALUED}), 0) as spend
            from population as p
            left join transactions as t on t.customer_id = p.customer_id and t.occurred_at >= {start} and t.occurred_at < {end}
            group by p.customer_id
            """
        )


@pytest.mark.parametrize(
    "task",
    [
        *(pytest.param(name, marks=pytest.mark.slow) for name in POPULATIONS),
        "churn:online_retail_h90",
        "clv:online_retail_h90",
        "churn:cdnow_sample_h273",
        "clv:cdnow_sample_h273",
    ],
)
def test_population_and_truth_equal_the_reference(shared: Path, ingested: Ingested, task: str) -> None:
    reference = _reference(shared, "models_eval")
    kind, name = task.split(":")
    source, cut, days = reference.WINDOWS[name]
    expected = reference.truth(task, shared / "data")
    found = _outcomes(ingested[source], cut, days)
    found["customer_id"] = found["customer_id"].astype("int64")
    found = found.sort_values("customer_id").reset_index(drop=True)
    assert found["customer_id"].tolist() == expected["customer_id"].tolist()
    if kind == "churn":
        assert (found["purchases"] == 0).astype(int).tolist() == expected["y"].tolist()
    else:
        np.testing.assert_allclose(found["spend"], expected["y"], rtol=0, atol=1e-6)


def _events(workspace: Workspace, item: str, numeric: bool) -> pd.DataFrame:
    """One row per user, item and basket, at its first moment; ids as numbers where the source has numbers."""
    chosen = "t.product_id" if item == "product" else "p.category"
    kind = "bigint" if numeric else "varchar"
    with engine.of(workspace) as sql:
        return sql.query(
            f"""
            select cast(t.customer_id as bigint) as user_id, cast({chosen} as {"varchar" if item == "category" else kind}) as item_id,
                cast(t.order_id as {kind}) as basket, min(t.occurred_at) as time
            from transactions as t left join products as p using (product_id)
            where {INTERACTION} and {SELLABLE} and {chosen} is not null
            group by all
            """
        )


def _same(ours: pd.DataFrame, theirs: pd.DataFrame) -> bool:
    """Whether two frames hold the same rows, each as often."""
    columns = list(ours.columns)
    left, right = (frame[columns].sort_values(columns).reset_index(drop=True) for frame in (ours, theirs))
    return len(left) == len(right) and all((left[name].to_numpy() == right[name].to_numpy()).all() for name in columns)


@pytest.mark.parametrize("split", [*(pytest.param(name, marks=pytest.mark.slow) for name in RECOMMENDATIONS), "online_retail_90d"])
def test_interactions_and_targets_equal_the_reference(shared: Path, ingested: Ingested, split: str) -> None:
    reference = _reference(shared, "recsys_eval")
    definition = reference.SPLITS[split]
    train, targets, _ = reference.make_split(definition, reference.load_events(definition, shared / "data"))
    source = definition["file"].split("/")[0]
    events = _events(ingested[source], "category" if "category" in split else "product", numeric=source == GROCERY)
    _, start, end = _window(ingested[source].state(), definition["cut"], definition["horizon_days"])
    before = events[events["time"] < start]
    buyers = before.groupby("item_id")["user_id"].nunique()
    catalogue = buyers.index[buyers >= definition.get("min_item_users", 1)]
    before = before[before["item_id"].isin(catalogue)]
    after = events[(events["time"] >= start) & (events["time"] < end) & events["item_id"].isin(catalogue)]
    pairs = after.loc[after["user_id"].isin(before["user_id"]), ["user_id", "item_id"]].drop_duplicates()
    pairs = pairs.merge(before[["user_id", "item_id"]].drop_duplicates().assign(seen=True), how="left")
    assert _same(before[["user_id", "item_id", "basket"]], train)
    assert _same(pairs.assign(seen=pairs["seen"].notna()), targets)


def test_ids_keep_the_type_of_their_source(ingested: Ingested) -> None:
    grocery, retail = (ingested[name].state() for name in (GROCERY, RETAIL))
    assert grocery.id_types["customer_id"] == "int32"
    assert retail.id_types["customer_id"] == "int32"
    assert retail.id_types["product_id"] == "string"


def test_the_clock_is_the_end_of_the_last_day_that_is_whole(ingested: Ingested) -> None:
    assert ingested[GROCERY].now().isoformat() == "2018-01-01T00:00:00+00:00"
    assert ingested[RETAIL].now().isoformat() == "2011-12-09T00:00:00+00:00"
