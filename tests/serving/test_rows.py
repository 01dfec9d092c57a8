"""Published rows: facts as counted by hand, verified on opening, the version before kept."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from retain.engine import Engine
from retain.errors import IntegrityError, NotReadyError
from retain.files import atomic_folder, write_json
from retain.tables import ARROW, TABLES
from retain.workspace import Assumption, State, Workspace
from serving import candidates, fixed, gather
from serving.rows import Rows, open_rows
from training.segments import Rules

NOW = datetime(2026, 3, 10, tzinfo=UTC)
STATE = State(source="hand", stored_zone="UTC", horizon_days=28, item="product", currency="EUR")
KINDS = {
    "string": pa.string(),
    "float": pa.float64(),
    "int": pa.int64(),
    "bool": pa.bool_(),
    "timestamp": pa.timestamp("us", "UTC"),
    "strings": pa.list_(pa.string()),
}


def day(offset: float) -> datetime:
    return NOW + timedelta(days=offset)


def engine(**tables: list[dict[str, Any]]) -> Engine:
    """An engine with the contract tables, filled with what matters to the test."""
    made = Engine()
    for name, table in TABLES.items():
        rows = [{"known_at": row["occurred_at"], **row} for row in tables.get(name, [])]
        made.attach({name: pa.table({c.name: pa.array([row.get(c.name) for row in rows], KINDS[c.kind]) for c in table.columns})})
    gather.attach_current(made, NOW)
    return made


def sale(customer: str, at: float, amount: float = 10.0, product: str = "p", **more: Any) -> dict[str, Any]:
    line = {"order_id": f"{customer}{at}", "customer_id": customer, "product_id": product, "occurred_at": day(at), "kind": "sale", "quantity": 1.0}
    return {**line, "amount": amount, **more}


def ids(*names: str) -> np.ndarray[Any, Any]:
    return np.array(names, dtype=object)


def test_the_contract_types_are_known_here() -> None:
    assert set(KINDS) == set(ARROW)


def test_habits_counted_by_hand() -> None:
    lines = [
        sale("a", -200),
        sale("a", -50, 30),
        sale("a", -40, 20),
        sale("a", -10, 40),
        sale("a", -10, -5, kind="return", quantity=-1.0),
        sale("b", 0),
        sale("c", -1, known_at=day(0)),
    ]
    with engine(transactions=lines) as made:
        found = gather.habits(made, ids("a", "b", "c"), NOW, "UTC", Rules())
    assert found.loc["a"].to_dict() == {
        "recency_days": 10, "tenure_days": 200, "usual_gap_days": pytest.approx((150 + 10 + 30) / 3), "pause_days": 150,
        "spend": 85, "spend_before": 0, "orders": 3, "orders_before": 0, "returned_share": pytest.approx(5 / 100), "is_active": True,
    }  # fmt: skip
    # What happened, or became known, at the moment itself is not known yet.
    assert found.loc[["b", "c"], "recency_days"].isna().all()
    assert not found.loc[["b", "c"], "is_active"].any()


def test_days_are_those_of_the_stored_clock() -> None:
    with engine(transactions=[sale("a", -1 / 24)]) as made:
        assert gather.habits(made, ids("a"), NOW, "UTC", Rules()).loc["a", "recency_days"] == 1
        assert gather.habits(made, ids("a"), NOW, "Europe/Amsterdam", Rules()).loc["a", "recency_days"] == 0


def test_consent_is_the_last_known_one_and_what_is_missing_is_what_the_source_assumes() -> None:
    people = [
        {"customer_id": "a", "occurred_at": day(-9), "consents": ["*:*"]},
        {"customer_id": "a", "occurred_at": day(-3), "consents": ["email:marketing"], "do_not_contact": True},
        {"customer_id": "a", "occurred_at": day(-2), "known_at": day(1), "consents": []},
        {"customer_id": "b", "occurred_at": day(-9)},
        {"customer_id": "c", "occurred_at": day(-9), "consents": []},
    ]
    with engine(customers=people) as made:
        names = gather.customers(made)
        none = gather.descriptions(made, names, None)
        assumed = gather.descriptions(made, names, "*:*")
    assert none["consents"].to_list() == ["email:marketing", "", ""]
    assert assumed["consents"].to_list() == ["email:marketing", "*:*", ""]
    assert none["do_not_contact"].to_list() == [True, False, False]


def test_contacts_complaints_and_leaving() -> None:
    contacts = [
        {"customer_id": "a", "occurred_at": day(-1), "channel": "email", "offer_id": "O"},
        {"customer_id": "a", "occurred_at": day(-2), "channel": "sms", "is_control": True},
        {"customer_id": "a", "occurred_at": day(-40), "channel": "sms"},
    ]
    events = [
        {"customer_id": "a", "occurred_at": day(-5), "kind": "complaint"},
        {"customer_id": "b", "occurred_at": day(-5), "kind": "complaint"},
        {"customer_id": "b", "occurred_at": day(-4), "kind": "complaint_resolved"},
        {"customer_id": "c", "occurred_at": day(-5), "kind": "complaint", "resolved_at": day(-1)},
    ]
    outcomes = [
        {"customer_id": "a", "occurred_at": day(-5), "kind": "unsubscribed", "channel": "sms"},
        {"customer_id": "b", "occurred_at": day(-5), "kind": "unsubscribed"},
        {"customer_id": "c", "occurred_at": day(-5), "kind": "unsubscribed", "channel": "sms"},
    ]
    people = [{"customer_id": "c", "occurred_at": day(-1), "consents": ["sms:*"]}]
    with engine(contacts=contacts, events=events, outcomes=outcomes, customers=people) as made:
        sent = gather.contacts(made, ids("a", "b", "c"), NOW, "UTC")
        open_since = gather.complaints(made, ids("a", "b", "c"), NOW)
        left = gather.unsubscribed(made, ids("a", "b", "c"))
    assert sent.start.tolist() == [0, 1, 1, 1]
    assert sent.columns["channel"].tolist() == ["email"]
    assert (open_since > 0).tolist() == [True, False, False]
    assert left.tolist() == ["sms", "*", ""]


def test_margins_say_where_they_come_from() -> None:
    products = [{"product_id": "p", "occurred_at": day(-9), "margin_rate": 0.2}, {"product_id": "q", "occurred_at": day(-9)}]
    lines = [sale("a", -5, 10, "p"), sale("a", -4, 20, "q", margin=6.0), sale("b", -3, 40, "r"), sale("b", -2, 1, "post")]
    products.append({"product_id": "post", "occurred_at": day(-9), "is_sellable": False})
    with engine(transactions=lines, products=products) as made:
        found = gather.items(made, "product", NOW, STATE).set_index("item_id")
        rate = gather.margin_rate(made, NOW, STATE)
        assumed = STATE.model_copy(update={"assumed": (Assumption(name="margin_rate", value=0.25, basis="guess"),)})
        guessed = gather.items(made, "product", NOW, assumed).set_index("item_id")
    assert found.index.to_list() == ["p", "q", "r"]
    assert found.loc["p", ["margin", "margin_basis"]].to_list() == [2.0, "declared"]
    assert found.loc["q", ["margin", "margin_basis"]].to_list() == [6.0, "observed"]
    assert found.loc["r", ["margin", "margin_basis"]].isna().all()
    assert found["share"].to_list() == [0.5, 0.5, 0.5]
    assert rate == (pytest.approx(0.3), "observed")
    assert guessed.loc["r", ["margin", "margin_basis"]].to_list() == [10.0, "assumed"]
    assert set(guessed["margin_basis"]) == {"assumed"}


def test_offers_name_the_items_they_cover() -> None:
    products = [{"product_id": name, "occurred_at": day(-9), "category": name[0]} for name in ("p1", "p2", "q1")]
    offers = [
        {"offer_id": "A", "occurred_at": day(-9), "kind": "coupon", "product_ids": ["p1", "q1"]},
        {"offer_id": "B", "occurred_at": day(-9), "kind": "coupon", "category": "p", "valid_to": day(1)},
        {"offer_id": "C", "occurred_at": day(-9), "kind": "coupon", "valid_to": NOW},
    ]
    with engine(products=products, offers=offers) as made:
        by_product = gather.offers(made, "product", NOW).set_index("offer_id")["items"]
        by_category = gather.offers(made, "category", NOW).set_index("offer_id")["items"]
    assert {name: sorted(items) for name, items in by_product.items()} == {"A": ["p1", "q1"], "B": ["p1", "p2"]}
    assert {name: sorted(items) for name, items in by_category.items()} == {"A": ["p", "q"], "B": ["p"]}


def test_shares_by_rank_never_rise() -> None:
    shares = np.array([0.2, 0.5, 0.1, 0.1, 0.3])
    result = candidates.falling(shares, np.ones(5))
    assert (np.diff(result) <= 0).all()
    assert result.sum() == pytest.approx(shares.sum())
    assert candidates.falling(np.zeros(0), np.zeros(0)).tolist() == []


def written(folder: Path, rows: Rows, arrays: dict[str, Any] | None = None) -> Path:
    with atomic_folder(folder) as partial:
        for name, array in (fixed.stored(rows.arrays) if arrays is None else arrays).items():
            np.save(partial / f"{name}.npy", array, allow_pickle=False)
        (partial / "card.json").write_bytes(msgspec.json.encode(rows.card))
        (partial / "shop.json").write_bytes(msgspec.json.encode(rows.shop))
    return folder


def test_rows_on_disk_are_the_rows_in_memory(tmp_path: Path, make: Any) -> None:
    rows = make().rows
    again = Rows.open(written(tmp_path / "v", rows))
    assert again.card == rows.card
    assert again.shop == rows.shop
    for position in range(len(rows)):
        one, other = rows.get(rows.id(position)), again.get(rows.id(position))
        assert one is not None
        assert other is not None
        assert one.customer(NOW, one.stored) == other.customer(NOW, other.stored)


@pytest.mark.parametrize("change", ["schema", "layout", "missing", "loose"])
def test_rows_of_another_release_are_refused_with_what_to_do(tmp_path: Path, make: Any, change: str) -> None:
    rows = make().rows
    if change == "schema":
        rows.card = replace(rows.card, schema_version=3)
    stored = fixed.stored(rows.arrays)
    if change == "layout":
        records = stored[fixed.NAME]
        stored[fixed.NAME] = records.astype([(name, "<i8" if name == "band" else records.dtype[name]) for name in records.dtype.names])
    elif change == "loose":
        stored = dict(rows.arrays)
    elif change == "missing":
        del stored[fixed.NAME]
    folder = written(tmp_path / "v", rows, stored)
    with pytest.raises(IntegrityError, match=r"^v: .*run `retain publish`$"):
        Rows.open(folder)


@pytest.mark.parametrize("unknown", ["", "an", "ann ", "annn", "zzz", "Ann", "\ud800"])
def test_nobody_else_answers_for_an_unknown_id(make: Any, unknown: str) -> None:
    assert make().rows.get(unknown) is None


@pytest.mark.fault("B10")
def test_a_flipped_bit_in_any_file_is_refused(tmp_path: Path, make: Any) -> None:
    folder = written(tmp_path / "v", make().rows)
    for file in sorted(folder.iterdir()):
        before = file.read_bytes()
        file.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
        with pytest.raises((IntegrityError, Exception)) as caught:
            Rows.open(folder)
        assert caught.type.__module__ == "retain.errors"
        file.write_bytes(before)
    assert len(Rows.open(folder)) == len(make().rows)


@pytest.mark.fault("B10")
def test_the_version_before_answers_where_the_present_one_is_broken(tmp_path: Path, make: Any) -> None:
    workspace = Workspace.at(tmp_path)
    with pytest.raises(NotReadyError, match="retain publish"):
        open_rows(workspace)
    written(workspace.rows / "old", make().rows)
    broken = written(workspace.rows / "new", make().rows)
    write_json(workspace.rows / "current.json", {"version": "new", "previous": "old"})
    assert len(open_rows(workspace)) == len(make().rows)
    (broken / "raw.npy").write_bytes(b"")
    assert len(open_rows(workspace)) == len(make().rows)
    (workspace.rows / "old" / "raw.npy").write_bytes(b"")
    with pytest.raises(IntegrityError):
        open_rows(workspace)


def test_owned_counts_orders_and_remembers_the_last() -> None:
    from features.interactions import Interactions

    at = np.array(["2026-03-01", "2026-03-05", "2026-03-02"], dtype="datetime64[us]")
    history = Interactions(
        NOW, ids("a", "b"), ids("x", "y"), np.array([0, 0, 1], np.int32), np.array([1, 1, 0], np.int32), np.array([1, 2, 3]), at, np.ones(3)
    )
    found = candidates.owned(history, ids("a", "aa", "b"), ids("w", "x", "y"))
    assert found.start.tolist() == [0, 1, 1, 2]
    assert found.columns["item"].tolist() == [2, 1]
    assert found.columns["orders"].tolist() == [2, 1]
    assert pd.to_datetime(found.columns["micros"], unit="us").strftime("%d").to_list() == ["05", "02"]
