"""The question that recommendation asks: what counts as found, and that the figures are those of the reference evaluator."""

from __future__ import annotations

import importlib.util
import sys
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from features.interactions import Interactions
from tests.contracts.ranker_contract import NOW, history, shop
from training.contracts import PURPOSES, Ranking
from training.models.blend import Blend
from training.models.personal import Personal
from training.tasks.recommend import Recommend


def test_targets_are_distinct_pairs_after_the_moment_of_what_was_known() -> None:
    past = history([("a", "x", "1", 5.0), ("b", "y", "2", 5.0)])
    end = NOW + timedelta(days=28)
    rows = [("a", "x", "1", 33.0), ("b", "y", "2", 33.0), ("a", "x", "3", 28.0), ("a", "x", "4", 2.0), ("a", "y", "4", 2.0)]
    rows += [("b", "new item", "5", 3.0), ("c", "x", "6", 3.0)]
    targets = Recommend().targets(past, history(rows, end))
    assert targets.customers[targets.customer].tolist() == ["a", "a"]
    assert targets.items[targets.item].tolist() == ["x", "y"]
    assert targets.is_known.tolist() == [True, False]
    assert [targets.eligible(purpose).tolist() for purpose in PURPOSES] == [[0], [0], [0]]
    assert len(targets.of("new").item) == 1


def test_a_customer_without_history_on_the_catalogue_is_not_judged() -> None:
    past = history([("a", "x", "1", 5.0)], customers=("b",))
    later = history([("a", "x", "1", 33.0), ("b", "x", "2", 3.0)], NOW + timedelta(days=28))
    assert Recommend().targets(past, later).eligible("all").tolist() == []


def test_an_eligible_customer_without_a_list_scores_zero() -> None:
    past = history([("a", "x", "1", 5.0), ("b", "x", "2", 5.0)])
    later = history([("a", "x", "3", 1.0), ("b", "x", "4", 1.0)], NOW + timedelta(days=28))
    task = Recommend(k=2)
    targets = task.targets(past, later)
    judged = task.evaluate(Ranking(np.array([[0, -1]], dtype=np.int32), np.array([[1.0, np.nan]])), np.array([1]), targets, "all")
    assert judged.customers.tolist() == ["a", "b"]
    assert judged.values["ndcg@2"].tolist() == [0.0, 1.0]
    assert judged.means()["recall@2"] == 0.5


def test_a_large_catalogue_needs_more_buyers() -> None:
    past = shop()
    count = len(past.items)
    assert len(Recommend(large_catalogue=count).history(past).items) == count
    rare = history([(f"c{c}", "often", f"o{c}", 3.0) for c in range(5)] + [("c1", "rare", "o1", 3.0)])
    assert Recommend(large_catalogue=1).history(rare).items.tolist() == ["often"]
    assert Recommend(min_customers=1, large_catalogue=1).history(rare).items.tolist() == ["often", "rare"]


def test_models_that_learn_on_windows_are_told_the_horizon() -> None:
    assert Recommend().ready(Blend(), 90) == Blend(horizon_days=90)
    assert Recommend().ready(Personal(), 90) == Personal()


@pytest.fixture(scope="module")
def reference(shared: Path) -> Any:
    """The reference evaluator as a module."""
    spec = importlib.util.spec_from_file_location("recsys_eval", shared / "references" / "recsys_eval.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["recsys_eval"] = module
    spec.loader.exec_module(module)
    return module


def test_figures_are_those_of_the_reference_evaluator(reference: Any) -> None:
    past, task = shop(), Recommend(k=10)
    end = NOW + timedelta(days=40)
    later_rows = _table(shop(seed=2), shift_days=40.0)
    later = _from_table(pd.concat([_table(past), later_rows]), end)
    history_now = task.history(past)
    targets = task.targets(history_now, later)
    judged = task.judge(Personal().fit(history_now), history_now, targets)
    train = _table(history_now)
    seen = set(zip(train["user_id"], train["item_id"], strict=True))
    wanted = pd.DataFrame({"user_id": targets.customers[targets.customer], "item_id": targets.items[targets.item]})
    wanted["seen"] = [pair in seen for pair in zip(wanted["user_id"], wanted["item_id"], strict=True)]
    assert wanted["seen"].tolist() == targets.is_known.tolist()
    everyone = np.arange(len(past.customers))
    for purpose in PURPOSES:
        ranking = Personal().fit(history_now).rank(history_now, everyone, 10, purpose)
        row, rank = np.nonzero(ranking.items >= 0)
        lists = pd.DataFrame({"user_id": past.customers[row], "item_id": history_now.items[ranking.items[row, rank]], "rank": rank + 1})
        table, coverage = reference.score(lists, train, wanted, purpose, ks=(10,))
        assert judged[purpose].customers.tolist() == table.index.tolist()
        for name, values in judged[purpose].values.items():
            assert values == pytest.approx(table[name].to_numpy(), abs=1e-12), (purpose, name)
        assert judged[purpose].coverage == pytest.approx(coverage["coverage@10"])


def _table(interactions: Interactions, shift_days: float = 0.0) -> pd.DataFrame:
    at = interactions.at + np.timedelta64(round(shift_days * 86400e6), "us")
    ids = {"user_id": interactions.customers[interactions.customer], "item_id": interactions.items[interactions.item]}
    return pd.DataFrame({**ids, "basket": interactions.order, "time": at})


def _from_table(table: pd.DataFrame, moment: Any) -> Interactions:
    age = (pd.Timestamp(moment.astimezone(UTC).replace(tzinfo=None)) - table["time"]) / pd.Timedelta(days=1)
    built: Interactions = history(list(zip(table["user_id"], table["item_id"], table["basket"].astype(str), age, strict=True)), moment)
    return built
