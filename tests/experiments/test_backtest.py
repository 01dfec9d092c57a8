"""As if today were that date: nothing later is touched, ids come back in their own type, and short histories are scaled and say so."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from retain.cli import main

MAPPING = """
name: corner_shop
stored_zone: Europe/London
currency: GBP
as_of: last_complete_day
assume:
  consent: {value: "*:*", basis: made up for a test}
tables:
  transactions:
    files: {lines: lines.parquet}
    columns:
      order_id: order_no
      customer_id: customer
      product_id: product
      occurred_at: sold
      kind: "'sale'"
      quantity: quantity
      amount: quantity * price
      currency: "'GBP'"
"""
START = datetime(2020, 1, 1)
CUT = 170


def _lines(days: int, seed: int = 4) -> pd.DataFrame:
    """A hundred customers who buy at their own pace, a third of whom stop halfway."""
    rng = np.random.default_rng(seed)
    rows = []
    for customer in range(100):
        pace, stops = rng.uniform(4, 20), days * (0.5 if customer % 3 == 0 else 1.0)
        day, order = rng.uniform(0, 10), 0
        while day < stops:
            at = START + timedelta(days=float(day), hours=10)
            for product in rng.choice(12, size=2, replace=False):
                rows.append(
                    (f"{customer}-{order}", 1000 + customer, 1 + int(product), at, 1 + int(rng.integers(3)), round(float(rng.uniform(1, 9)), 2))
                )
            order += 1
            day += rng.exponential(pace) + 0.5
    table = pd.DataFrame(rows, columns=["order_no", "customer", "product", "sold", "quantity", "price"])
    return table.astype({"customer": "int32"}).sort_values(["sold", "order_no"], ignore_index=True)


def _run(folder: Path, lines: pd.DataFrame, as_of: str, horizon: int, *options: str) -> int:
    folder.mkdir()
    (folder / "shop.yaml").write_text(MAPPING)
    lines.to_parquet(folder / "lines.parquet")
    arguments = [
        str(folder / "shop.yaml"),
        "--data",
        str(folder),
        "--as-of",
        as_of,
        "--horizon",
        str(horizon),
        "--out",
        str(folder / "out"),
        "--quick",
        *options,
    ]
    return main(["backtest", *arguments])


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Predictions of a shop known for 170 days, thirty days ahead."""
    folder = tmp_path_factory.mktemp("backtest") / "whole"
    cut = (START + timedelta(days=CUT)).date().isoformat()
    assert _run(folder, _lines(240), cut, 30) == 0
    return folder


def test_the_population_is_predicted_once_each_in_the_source_s_own_type(done: Path) -> None:
    lines = pd.read_parquet(done / "lines.parquet")
    cut = pd.Timestamp(START + timedelta(days=CUT))
    known = np.sort(lines.loc[lines["sold"] < cut, "customer"].unique())
    for name, column, intervals in (("churn", "p_churn", []), ("clv", "expected_value", ["lo80", "hi80", "lo95", "hi95"])):
        found = pd.read_parquet(done / "out" / f"{name}.parquet")
        assert list(found.columns) == ["customer_id", "as_of", column, *intervals]
        assert found["customer_id"].dtype == np.int32
        np.testing.assert_array_equal(np.sort(found["customer_id"]), known)
        assert (found["as_of"] == cut).all(), "the naive clock of the source, although London had summer time"
        assert np.isfinite(found[column]).all()
    value = pd.read_parquet(done / "out" / "clv.parquet")
    assert (value["lo95"] <= value["lo80"]).all()
    assert value["expected_value"].between(value["lo80"], value["hi80"]).all()
    assert (value["hi80"] <= value["hi95"]).all()
    churn = pd.read_parquet(done / "out" / "churn.parquet")
    assert churn["p_churn"].between(0, 1).all()
    stopped = (churn["customer_id"] - 1000) % 3 == 0
    assert churn.loc[stopped, "p_churn"].mean() > churn.loc[~stopped, "p_churn"].mean() + 0.2


def test_lists_hold_what_each_purpose_allows(done: Path) -> None:
    lines = pd.read_parquet(done / "lines.parquet")
    before = lines[lines["sold"] < pd.Timestamp(START + timedelta(days=CUT))]
    bought = set(zip(before["customer"], before["product"], strict=True))
    for purpose in ("all", "new", "repeat"):
        found = pd.read_parquet(done / "out" / f"recommend_{purpose}.parquet")
        assert list(found.columns) == ["user_id", "item_id", "rank"]
        assert found["user_id"].dtype == np.int32
        assert found["item_id"].dtype == np.int64
        assert not found.duplicated(["user_id", "item_id"]).any()
        assert (found.groupby("user_id")["rank"].max() == found.groupby("user_id").size()).all()
        pairs = [pair in bought for pair in zip(found["user_id"], found["item_id"], strict=True)]
        if purpose != "all":
            assert all(known is (purpose == "repeat") for known in pairs)
    assert set(pd.read_parquet(done / "out" / "recommend_all.parquet")["user_id"]) == set(before["customer"])


def test_the_future_changes_nothing(done: Path, tmp_path: Path) -> None:
    lines = pd.read_parquet(done / "lines.parquet")
    cut = START + timedelta(days=CUT)
    later = lines["sold"] >= cut
    changed = lines.assign(quantity=lines["quantity"].where(~later, 999), product=lines["product"].where(~later, 77))
    assert _run(tmp_path / "changed", changed, cut.date().isoformat(), 30) == 0
    for file in sorted((done / "out").glob("*.parquet")):
        assert pq.read_table(file).equals(pq.read_table(tmp_path / "changed" / "out" / file.name)), file.name


def test_a_short_history_is_scaled_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cut = (START + timedelta(days=75)).date().isoformat()
    assert _run(tmp_path / "short", _lines(240), cut, 60, "--tasks", "churn", "clv") == 0
    assert "too short" in capsys.readouterr().out
    summary = json.loads((tmp_path / "short" / "out" / "summary.json").read_text())
    assert summary["horizon_days"] == 60
    for task in ("churn", "clv"):
        assert "60 days" in summary["tasks"][task]["windows"]["words"]
    assert len(pd.read_parquet(tmp_path / "short" / "out" / "churn.parquet")) > 50


def test_too_little_is_refused_in_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cut = (START + timedelta(days=20)).date().isoformat()
    assert _run(tmp_path / "tiny", _lines(60), cut, 30, "--tasks", "churn") == 5
    assert "at least" in capsys.readouterr().err
    assert main(["backtest", "nowhere", "--as-of", cut, "--horizon", "30", "--out", str(tmp_path / "x")]) == 2
    assert main(["backtest", "online_retail", "--as-of", cut, "--horizon", "30", "--out", str(tmp_path / "x"), "--tasks", "churm"]) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "cut", "horizon", "window", "split", "item"),
    [
        ("completejourney", "2017-10-01", 28, "completejourney_h28", "grocery_category_28d", "category"),
        ("online_retail", "2011-09-10", 90, "online_retail_h90", "online_retail_90d", "product"),
    ],
)
def test_the_reference_evaluators_accept_the_files(
    shared: Path, tmp_path: Path, source: str, cut: str, horizon: int, window: str, split: str, item: str
) -> None:
    import importlib.util

    arguments = ["--data", str(shared / "data" / source), "--as-of", cut, "--horizon", str(horizon), "--item", item, "--out", str(tmp_path)]
    assert main(["backtest", source, *arguments]) == 0
    evaluators = {}
    for name in ("models_eval", "recsys_eval"):
        spec = importlib.util.spec_from_file_location(name, shared / "references" / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        evaluators[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(evaluators[name])
    models, lists = evaluators["models_eval"], evaluators["recsys_eval"]
    auc = models.score(f"churn:{window}", shared / "data", pd.read_parquet(tmp_path / "churn.parquet"), reps=20)["metrics"]["auc"]["value"]
    gini = models.score(f"clv:{window}", shared / "data", pd.read_parquet(tmp_path / "clv.parquet"), reps=20)["metrics"]["gini_norm"]["value"]
    assert auc > {"completejourney_h28": 0.873, "online_retail_h90": 0.735}[window]
    assert gini > {"completejourney_h28": 0.782, "online_retail_h90": 0.693}[window]
    definition = lists.SPLITS[split]
    train, targets, _ = lists.make_split(definition, lists.load_events(definition, shared / "data"))
    for purpose, floor in zip(("all", "new", "repeat"), {"category": (0.645, 0.182, 0.691), "product": (0.376, 0.111, 0.522)}[item], strict=True):
        table, _ = lists.score(pd.read_parquet(tmp_path / f"recommend_{purpose}.parquet"), train, targets, purpose)
        assert table["ndcg@10"].mean() > floor - 0.01


def test_a_shop_that_sells_one_thing_has_nothing_new_to_recommend_and_says_so(tmp_path: Path) -> None:
    assert _run(tmp_path / "one", _lines(300).assign(product=1), str((START + timedelta(days=CUT)).date()), 30, "--tasks", "recommend") == 0
    summary = json.loads((tmp_path / "one" / "out" / "summary.json").read_text())
    values = [value for each in summary["tasks"]["recommend"]["judged"].values() for value in each.values()]
    assert None in values
    assert pq.read_table(tmp_path / "one" / "out" / "recommend_new.parquet").num_rows == 0
