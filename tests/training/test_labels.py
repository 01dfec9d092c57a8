"""Hand-counted outcomes, and the populations and truths of the reference evaluator."""

from __future__ import annotations

import importlib.util
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from retain.engine import Engine
from retain.errors import RefusedError
from training.labels import after
from training.tasks.churn import Churn
from training.tasks.clv import Clv

CUT = datetime(2017, 6, 1, tzinfo=UTC)
NOW = CUT + timedelta(days=60)


def line(
    customer: str | None, days: float, amount: float, *, kind: str = "sale", known: float | None = None, order: str = "", margin: float | None = 1.0
) -> dict:
    """A line ``days`` after the cutoff."""
    at = CUT + timedelta(days=days)
    return {
        "order_id": order or f"{customer}{days}",
        "customer_id": customer,
        "occurred_at": at,
        "known_at": at if known is None else CUT + timedelta(days=known),
        "kind": kind,
        "amount": amount,
        "margin": margin,
    }


LINES = [
    line("stays", -10, 5),
    line("stays", 0, 10, order="a"),
    line("stays", 0, 2.5, order="a"),
    line("stays", 27.99, 7, order="b"),
    line("stays", 28, 99),
    line("leaves", -100, 5),
    line("leaves", 40, 5),
    line("returns", -1, 50),
    line("returns", 3, -50, kind="return"),
    line("fee only", -364, 5),
    line("fee only", 5, 3, kind="fee"),
    line("too old", -366, 5),
    line("gift", -5, 0),
    line("free", -5, 0, kind="free"),
    line("free", 6, 0, kind="free"),
    line("late", -5, 5, known=2),
    line("future", 4, 5),
    line(None, -5, 5),
]


@pytest.fixture
def engine():
    frame = pd.DataFrame(LINES)
    for name in ("occurred_at", "known_at"):
        frame[name] = frame[name].astype("datetime64[us, UTC]")
    with Engine() as engine:
        engine.attach({"transactions": frame})
        yield engine


def test_hand_counted(engine: Engine) -> None:
    found = after(engine, [CUT], 28, "UTC", NOW).set_index("customer_id")
    assert list(found.index) == ["fee only", "free", "leaves", "returns", "stays"]
    assert found["is_closed"].all()
    assert found["spend"].to_dict() == {"fee only": 3, "free": 0, "leaves": 0, "returns": -50, "stays": 19.5}
    assert found["purchases"].to_dict() == {"fee only": 0, "free": 1, "leaves": 0, "returns": 0, "stays": 2}
    assert found["returned"].to_dict() == {"fee only": False, "free": True, "leaves": False, "returns": False, "stays": True}
    assert found["margin"].to_dict() == {"fee only": 1, "free": 1, "leaves": 0, "returns": 1, "stays": 3}


def test_tasks_read_their_outcome(engine: Engine) -> None:
    found = after(engine, [CUT], 28, "UTC", NOW)
    assert Churn().outcome(found).tolist() == [1, 0, 1, 1, 0]
    assert Clv().outcome(found).tolist() == [3, 0, 0, -50, 19.5]
    assert Clv(measure="margin").outcome(found).tolist() == [1, 1, 0, 1, 3]


def test_a_window_that_is_still_open_says_so(engine: Engine) -> None:
    found = after(engine, [CUT - timedelta(days=40), CUT], 28, "UTC", CUT + timedelta(days=27))
    closed = found.groupby("cutoff")["is_closed"].all()
    assert closed.tolist() == [True, False]


def test_rows_are_sorted_by_cutoff_and_customer_whatever_was_asked_first(engine: Engine) -> None:
    cutoffs = [CUT, CUT - timedelta(days=7)]
    found = after(engine, cutoffs, 28, "UTC", NOW)
    assert found.equals(after(engine, cutoffs[::-1], 28, "UTC", NOW))
    assert found["cutoff"].is_monotonic_increasing
    assert all(group["customer_id"].is_monotonic_increasing for _, group in found.groupby("cutoff"))


def test_unknown_margin_is_refused_not_zero(engine: Engine) -> None:
    engine.execute(
        "create or replace view transactions_ as select * replace (case when amount = 7 then null else margin end as margin) from transactions"
    )
    lines = engine.query("select * from transactions_")
    engine.attach({"transactions": lines})
    found = after(engine, [CUT], 28, "UTC", NOW)
    assert found.loc[found["margin"].isna(), "customer_id"].tolist() == ["stays"]
    with pytest.raises(RefusedError, match="1 of 5"):
        Clv(measure="margin").outcome(found)


def test_evaluate_gives_every_metric(engine: Engine) -> None:
    y = np.array([0.0, 1.0, 0.0, 1.0])
    for task in (Churn(), Clv()):
        found = task.evaluate(y, np.array([0.1, 0.7, 0.4, 0.6]))
        assert set(found) == set(task.metrics)
        assert task.primary in found
        assert np.isfinite(list(found.values())).all()


@pytest.fixture(scope="module")
def evaluator(shared: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("models_eval", shared / "references" / "models_eval.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_complete_journey_is_the_evaluators(shared: Path, evaluator: ModuleType) -> None:
    horizon = 28
    data = shared / "data" / "completejourney" / "transactions.parquet"
    cut = datetime(2017, 10, 1, tzinfo=UTC)
    with Engine() as engine:
        engine.execute(f"""
            create view transactions as select
                cast(basket_id as varchar) as order_id, cast(household_id as varchar) as customer_id, 'sale' as kind, sales_value as amount,
                null as margin, cast(transaction_timestamp as timestamptz) as occurred_at, occurred_at as known_at
            from read_parquet('{data}')
        """)
        found = after(engine, [cut], horizon, "UTC", datetime(2018, 1, 1, tzinfo=UTC))
    found = found.assign(id=found["customer_id"].astype("int64")).sort_values("id")
    churn, value = (evaluator.truth(f"{task}:completejourney_h{horizon}", shared / "data") for task in ("churn", "clv"))
    assert found["id"].tolist() == churn["customer_id"].tolist()
    assert Churn().outcome(found).tolist() == churn["y"].tolist()
    assert np.allclose(Clv().outcome(found), value["y"], atol=1e-6)
