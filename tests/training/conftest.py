"""Small frames, histories, cards and evidence for the tests of package, registry and gate."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from features.interactions import Interactions
from retain.workspace import State, Workspace
from training.card import Card, Curve, Measure, Windows
from training.contracts import Frame
from training.encoding import Encoder
from training.evidence import Evidence
from training.models.logistic import Logistic
from training.package import package

NOW = datetime(2018, 1, 1, tzinfo=UTC)
COLUMNS = ("purchases__days_since_order_365d", "purchases__orders_365d")


def _frame(rows: int = 60, seed: int = 1) -> Frame:
    rng = np.random.default_rng(seed)
    x = rng.integers(1, 90, (rows, len(COLUMNS))).astype(np.float64)
    x[::7, 1] = np.nan
    y = (x[:, 0] + rng.normal(0, 20, rows) > 45).astype(np.float64)
    customers = np.array([f"c{i:03d}" for i in range(rows)], dtype=object)
    return Frame(customers, np.full(rows, np.datetime64("2017-12-04", "us")), COLUMNS, x, y, 28)


def _history(customers: int = 20, items: int = 8, seed: int = 3) -> Interactions:
    rng = np.random.default_rng(seed)
    rows = [(c, int(i), c * 10 + o, o) for c in range(customers) for o in range(3) for i in rng.choice(items, 3, replace=False)]
    table = np.array(sorted(rows))
    at = np.datetime64((NOW - timedelta(days=40)).replace(tzinfo=None), "us") + table[:, 3].astype("timedelta64[D]")
    return Interactions(
        moment=NOW,
        customers=np.array([f"c{i:03d}" for i in range(customers)], dtype=object),
        items=np.array([f"i{i}" for i in range(items)], dtype=object),
        customer=table[:, 0].astype(np.int32),
        item=table[:, 1].astype(np.int32),
        order=table[:, 2].astype(np.int64),
        at=at,
        price=np.full(len(table), 2.5),
    )


def _card(kind: str = "scorer", **differs: object) -> Card:
    values: dict[str, object] = {
        "task": "churn" if kind == "scorer" else "recommend",
        "title": "logistic",
        "kind": kind,
        "fitted": "",
        "task_spec": {"use": "training.tasks.churn:Churn"},
        "model_spec": {"use": "training.models.logistic:Logistic"},
        "baseline_spec": {"use": "training.models.constant:Prevalence"},
        "is_simple": True,
        "columns": COLUMNS if kind == "scorer" else (),
        "horizon_days": 28,
        "windows": Windows(train=(NOW - timedelta(days=84),), test=(NOW - timedelta(days=28),)),
        "training_rows": 60,
        "test_rows": 60,
        "primary": "log_loss",
        "metrics": {
            "log_loss": Measure(
                value=0.5,
                low=0.4,
                high=0.6,
                baseline=0.69,
                baseline_low=0.68,
                baseline_high=0.7,
                gain=0.19,
                gain_low=0.1,
                gain_high=0.3,
                better="lower",
            )
        },
        "curves": {"calibration": Curve(x=(0.1, 0.5), y=(0.12, 0.45)), "lift": Curve(x=(0.0, 0.5, 1.0), y=(0.0, 0.8, 1.0))},
        "moment": NOW,
        "seed": 7,
        "data_digest": "d" * 8,
        "features_digest": "f" * 8,
        "code_version": "0.1.0",
    }
    return Card.model_validate(values | differs)


def _evidence(value: float = 0.5, seed: int = 5, rows: str = "same") -> Evidence:
    rng = np.random.default_rng(seed)
    return Evidence(rows, 60, {"log_loss": value}, {"log_loss": value + rng.normal(0, 0.01, 100)}, np.linspace(0, 1, 11))


@pytest.fixture
def frame() -> Frame:
    """Sixty customers at one cutoff, two columns, one of them with nulls."""
    return _frame()


@pytest.fixture
def history() -> Interactions:
    """Twenty customers, eight items, three orders each."""
    return _history()


@pytest.fixture
def card() -> Callable[..., Card]:
    """``card(kind, **what differs)``."""
    return _card


@pytest.fixture
def evidence() -> Callable[..., Evidence]:
    """``evidence(value, seed, rows)``."""
    return _evidence


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """An empty workspace with a fixed clock."""
    workspace = Workspace.at(tmp_path / "var")
    workspace.write_state(State(source="made", as_of=NOW, digest="d"))
    return workspace


@pytest.fixture
def made(frame: Frame, workspace: Workspace) -> Callable[..., Path]:
    """``made(title, value, seed, **what differs on the card)``: a packaged logistic model in the workspace."""

    def make(title: str = "logistic", value: float = 0.5, seed: int = 5, rows: str = "same", c: float = 1.0, **differs: object) -> Path:
        fitted = Logistic(columns=COLUMNS, c=c).fit(frame)
        card = _card(title=title, columns=fitted.columns, **differs)
        return package(fitted, card, workspace.models, evidence=_evidence(value, seed, rows), golden=frame.x, encoder=Encoder({}))

    return make
