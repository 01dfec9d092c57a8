"""The end of a contract as the outcome, and leavers whom nobody drove away: counted by hand."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from features.commands import fill
from retain import engine
from retain.engine import Engine
from retain.tables import TABLES
from retain.workspace import State, Workspace
from training.labels import contracts, left
from training.pipeline import train
from training.tasks.churn import Churn

CUT = datetime(2024, 6, 1, tzinfo=UTC)
NOW = CUT + timedelta(days=90)
STATE = State(source="mine", stored_zone="UTC")


def _at(days: float | None) -> datetime | None:
    return None if days is None else CUT + timedelta(days=days)


def contract(customer: str, start: float, end: float | None = None, *, told: float = -300, number: int = 1, cause: str | None = None, **more) -> dict:
    """A version of a contract, ``told`` days from the cutoff; times in days from it."""
    row = {
        "subscription_id": f"{customer}{number}",
        "customer_id": customer,
        "occurred_at": _at(told),
        "known_at": _at(more.pop("known", told)),
        "started_at": _at(start),
        "ends_at": _at(more.pop("agreed", None)),
        "ended_at": _at(end),
        "end_cause": cause,
        "is_renewed_automatically": more.pop("renews", None),
    }
    return row | more


CONTRACTS = [
    contract("stays", -200),
    contract("leaves", -200),
    contract("leaves", -200, 10, told=10, cause="price"),
    contract("leaves on the last moment", -200),
    contract("leaves on the last moment", -200, 29.9, told=29.9),
    contract("leaves later", -200),
    contract("leaves later", -200, 30, told=30),
    contract("dies", -200),
    contract("dies", -200, 5, told=5, cause="involuntary"),
    contract("dies after a quarrel", -200),
    contract("dies after a quarrel", -200, 5, told=5, cause="price"),
    contract("dies after a quarrel", -100, 8, told=8, number=2, cause="involuntary"),
    contract("left before", -200, -1, told=-1),
    contract("left before, told later", -200),
    contract("left before, told later", -200, -1, told=-1, known=4),
    contract("gave notice", -200, 12, told=-20),
    contract("runs out", -200, agreed=15, renews=False),
    contract("renews itself", -200, agreed=15, renews=True),
    contract("signs anew", -200),
    contract("signs anew", -200, 6, told=6),
    contract("signs anew", 9, told=9, number=2),
    contract("holds two", -200),
    contract("holds two", -200, 6, told=6),
    contract("holds two", -100, number=2),
    contract("comes later", 3, told=3),
    contract("is not known yet", -10, told=-10, known=2),
]


def _engine(**tables: list[dict]) -> Engine:
    """An engine with these rows, and with none in the other tables that are read."""
    columns = {
        "subscriptions": list(contract("x", 0)),
        "events": ["customer_id", "occurred_at", "known_at", "cause"],
        "transactions": ["order_id", "customer_id", "occurred_at", "known_at", "kind", "amount", "margin"],
    }
    result = Engine()
    for name, names in columns.items():
        frame = pd.DataFrame(tables.get(name, []), columns=names)
        kinds = {column: "datetime64[us, UTC]" if column.endswith("_at") else "string" for column in names}
        kinds |= {"amount": "float64", "margin": "float64", "is_renewed_automatically": "boolean"}
        result.attach({name: frame.astype({column: kind for column, kind in kinds.items() if column in names})})
    return result


@pytest.fixture
def holders() -> Iterator[Engine]:
    with _engine(subscriptions=CONTRACTS) as engine:
        yield engine


def test_whose_contract_ends_within_the_window(holders: Engine) -> None:
    found = contracts(holders, [CUT], 30, "UTC", NOW).set_index("customer_id")
    assert found["is_closed"].all()
    assert found["returned"].to_dict() == {
        "dies": False,
        "gave notice": False,
        "holds two": True,
        "leaves": False,
        "leaves later": True,
        "leaves on the last moment": False,
        "left before, told later": False,
        "renews itself": True,
        "runs out": False,
        "signs anew": True,
        "stays": True,
    } | {"dies after a quarrel": False}
    assert found.index[found["is_involuntary"]].tolist() == ["dies", "dies after a quarrel"]


def test_the_task_asks_for_contracts_where_it_or_the_source_says_so(holders: Engine) -> None:
    by_task = Churn(leaving="subscriptions")
    found = by_task.after(holders, [CUT], 30, STATE, NOW)
    outcome = dict(zip(found["customer_id"], by_task.outcome(found), strict=True))
    assert (outcome["stays"], outcome["leaves"], outcome["signs anew"]) == (0, 1, 0)
    assert np.isnan([outcome["dies"], outcome["dies after a quarrel"]]).all()
    by_source = Churn().after(holders, [CUT], 30, STATE.model_copy(update={"churn": "subscriptions"}), NOW)
    assert by_source.equals(found)
    assert Churn().after(holders, [CUT], 30, STATE, NOW).empty


def test_a_snapshot_tells_who_has_left(holders: Engine) -> None:
    found = left(holders).set_index("customer_id")
    assert not found.loc["leaves", "returned"]
    assert found.loc["signs anew", "returned"]
    assert found.index[found["is_involuntary"]].tolist() == ["dies", "dies after a quarrel"]


def _bought(customer: str, days: float) -> dict:
    at = _at(days)
    return {"order_id": f"{customer}{days}", "customer_id": customer, "occurred_at": at, "known_at": at, "kind": "sale", "amount": 5.0, "margin": 1.0}


def _said(customer: str, days: float, cause: str) -> dict:
    return {"customer_id": customer, "occurred_at": _at(days), "known_at": _at(days), "cause": cause}


def test_whoever_stops_buying_for_a_cause_that_nobody_chose_does_not_count() -> None:
    sales = [_bought(who, -20) for who in ("moves", "moves later", "is cross", "died long ago, they said", "closes", "returns", "moved before")]
    sales += [_bought("returns", 9)]
    events = [
        _said("moves", 3, "involuntary"),
        _said("moves later", 31, "involuntary"),
        _said("is cross", 3, "staff"),
        # It was recorded, and then there was another purchase: what came after that has no recorded cause.
        _said("died long ago, they said", -25, "involuntary"),
        _said("returns", 3, "involuntary"),
        _said("moved before", -5, "involuntary"),
    ]
    passes = [contract("closes", -200, 4, told=4, cause="involuntary")]
    with _engine(transactions=sales, events=events, subscriptions=passes) as engine:
        found = Churn().after(engine, [CUT], 30, STATE, NOW)
        outcome = dict(zip(found["customer_id"], Churn().outcome(found), strict=True))
    assert {who for who, y in outcome.items() if np.isnan(y)} == {"moves", "closes", "moved before"}
    assert {who for who, y in outcome.items() if y == 1} == {"moves later", "is cross", "died long ago, they said"}
    assert outcome["returns"] == 0


def test_the_card_says_how_many_rows_do_not_count(trained: Workspace) -> None:
    from training.package import champion, read_card

    folder = champion(trained, "churn")
    assert folder is not None
    card = read_card(folder)
    words = [note for note in card.notes if "a cause that nobody chose" in note]
    assert len(words) == 1
    assert int(words[0].split()[0]) > 0


def test_contractual_churn_is_learned_over_windows(filled: Workspace, tmp_path: Path) -> None:
    """Everybody of the shop holds a contract since the first purchase; it ends three weeks after the last one."""
    shutil.copytree(filled.root, tmp_path / "w")
    workspace = Workspace.at(tmp_path / "w")
    with engine.of(workspace) as sql:
        rows = sql.query(
            """
            with held as (
                select customer_id, min(occurred_at) as first_at, max(occurred_at) + interval 21 day as over_at from transactions group by all
            )
            select customer_id as subscription_id, customer_id, first_at as occurred_at, first_at as known_at, first_at as started_at,
                cast(null as timestamptz) as ends_at, cast(null as timestamptz) as ended_at, cast(null as varchar) as end_cause,
                true as is_renewed_automatically from held
            union all by name
            select customer_id as subscription_id, customer_id, over_at as occurred_at, over_at as known_at, first_at as started_at,
                over_at as ended_at from held where over_at < $now
            """.replace("$now", f"timestamptz '{workspace.now().isoformat()}'")
        )
    missing = {column.name: pd.Series(dtype="object") for column in TABLES["subscriptions"].columns if column.name not in rows}
    rows.assign(**missing).to_parquet(workspace.table("subscriptions"))
    # Other tables: their features are made anew.
    workspace.write_state(workspace.state().model_copy(update={"digest": "with contracts", "churn": "subscriptions"}))
    fill(workspace)
    found = train("churn", workspace, models=("prevalence", "logistic"), quick=True)
    assert found.task == "churn"
    assert {each.card.title for each in found.trained} == {"prevalence", "logistic"}
    logistic = next(each.card for each in found.trained if each.card.title == "logistic")
    assert logistic.task_spec["leaving"] == "subscriptions"
    # Silence says who is about to end the contract, and the model has seen how.
    assert logistic.metrics["auc"].low > 0.5
