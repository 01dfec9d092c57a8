"""What comes in changes the next answer as a night's batch would: rows made again equal the batch at the same moment, bit for bit."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features import catalog, interactions
from features.snapshot import snapshot
from retain.engine import of
from retain.workspace import Workspace, shift_days
from serving import candidates, freshening, gather, scored
from serving.decisions.facts import HABITS
from serving.decisions.value_parts import KINDS, amounts, value_parts
from serving.desk import Desk
from serving.feedback import fed, feedback
from serving.freshening import Freshener
from serving.ledger import micros
from serving.refreshing import Refresher, Rules, just_after
from serving.rows import Rows
from serving.schemas import DecisionRequest, EventsRequest, ScoresRequest
from serving.served import audit
from training import segments

MOMENT = timedelta(microseconds=1)


@pytest.fixture
def own(served: Workspace, tmp_path: Path) -> Workspace:
    shutil.copytree(served.root, tmp_path / "own", ignore=shutil.ignore_patterns("ledger", "mlruns"))
    return Workspace.at(tmp_path / "own")


@pytest.fixture
def desk(own: Workspace) -> Iterator[Desk]:
    desk = Desk.open(own)
    yield desk
    desk.close()


def product(own: Workspace, number: int) -> str:
    found: str = pq.read_table(own.table("products"), columns=["product_id"])["product_id"][number].as_py()
    return found


def came_in(own: Workspace, people: list[str]) -> dict[str, Any]:
    """Visits, carts, complaints, ratings and points; purchases, a return, something free and an offer that was used; some of it late."""
    now = own.now()
    offer = pq.read_table(own.table("offers"), columns=["offer_id"])["offer_id"][0].as_py()
    events, lines = [], []
    kinds = ("visit", "view", "cart", "app_open", "complaint", "rating", "points_earned", "survey", "support_call", "complaint_resolved")
    for number, customer in enumerate(people):
        for step in range(1 + number % 3):
            at = now - timedelta(hours=1 + 17 * number * (step + 1) % 400, microseconds=number)
            kind = kinds[(number + step) % len(kinds)]
            row = {"event_id": f"e{number}-{step}", "customer_id": customer, "occurred_at": at.isoformat(), "kind": kind}
            events.append({**row, "value": 4.0} if kind in ("rating", "points_earned") else {**row, "score": 7.0} if kind == "survey" else row)
        if number % 2 == 0:
            for line in range(1 + number % 4):
                at = now - timedelta(minutes=5 + 60 * 24 * (number % 7))
                base = {"order_id": f"o{number}", "line_id": str(line), "customer_id": customer, "occurred_at": at.isoformat(), "channel": "web"}
                bought = {"product_id": product(own, (7 * number + line) % 20), "kind": "sale", "quantity": 2.0, "amount": 12.35 + line}
                lines.append({**base, **bought, "discount": 0.5, **({"offer_id": offer} if line == 1 else {})})
            if number % 6 == 0:
                back = {**lines[-1], "line_id": "back", "kind": "return", "quantity": -1.0, "amount": -6.1, "offer_id": None, "discount": None}
                lines.append({name: value for name, value in back.items() if value is not None})
            if number % 8 == 0:
                lines.append({**base, "line_id": "free", "product_id": product(own, 3), "kind": "free", "quantity": 1.0, "amount": 0.0})
    return {"events": events, "transactions": lines}


def posted(desk: Desk, body: dict[str, Any]) -> Any:
    return asyncio.run(desk.events(msgspec.convert(body, EventsRequest)))


def decided(desk: Desk, customer: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(desk.answered(DecisionRequest(customer, placement="inbound_end", goal="cross_sell"))[0])
    return answer


def flowed_back(own: Workspace, later: datetime) -> None:
    """Into the tables, on a clock that stands a little later."""
    own.write_state(own.state().model_copy(update={"as_of": later}))
    feedback(own)


def test_rows_made_again_are_those_of_a_batch_and_the_audit_says_so(own: Workspace, desk: Desk) -> None:
    rows = desk.answers.rows
    people = [rows.id(place) for place in range(0, len(rows), 7)]
    before = {each: scored.scores(desk.answers, ScoresRequest([each])).scores[0] for each in people}
    body = came_in(own, people)
    answer = posted(desk, body)
    assert (answer.kept, answer.duplicates) == (len(body["events"]) + len(body["transactions"]), 0)
    again = posted(desk, body)
    assert (again.kept, again.duplicates) == (0, answer.kept)
    assert all(scored.scores(desk.answers, ScoresRequest([each])).freshness.as_of_rows[0] == "features" for each in people), "not yet"
    freshener = Freshener(desk, own)
    assert freshener.round() == len(people)
    assert freshener.round() == 0, "nobody waits any more"
    freshener.stop()
    for each in people:
        decided(desk, each)
    after = {each: scored.scores(desk.answers, ScoresRequest([each])) for each in people}
    assert all(one.freshness.as_of_rows == ["lists", "band", "cause"] for one in after.values())
    assert sum(after[each].scores[0].churn != before[each].churn for each in people) > len(people) // 3
    made = [desk.answers.overlay.get(each) for each in people]
    moment = own.now() + MOMENT
    flowed_back(own, moment + MOMENT)
    with of(own) as engine:
        touched = {name: {row["customer_id"] for row in body[name]} for name in body}
        equal_to_batch(own, engine, [each.row for each in made if each is not None], touched, moment)
    found = audit(own, desk.ledger)
    assert (found.causes, found.share) == ((), 1.0)
    assert found.values > 30 * len(people)


def equal_to_batch(own: Workspace, engine: Any, made: list[Any], touched: dict[str, set[str]], moment: datetime) -> None:
    """Everything that was made again, against the same queries over all tables and all customers."""
    state, ids = own.state(), np.array(sorted(touched["events"]), dtype=object)
    told, bought = (np.isin(ids, sorted(touched[name])) for name in ("events", "transactions"))
    assert 0 < bought.sum() < told.sum() == len(ids)
    assert [row.rows.id(row.position) for row in made] == list(ids)
    spine = pa.table({"customer_id": pa.array(ids, pa.string()), "event_timestamp": pa.array([moment] * len(ids), pa.timestamp("us", "UTC"))})
    card, compared = made[0].rows.card, 0
    raw = np.stack([row.raw[0] for row in made])
    at = np.stack([np.frombuffer(row.features_at, dtype=np.int64) for row in made])
    for number, view in enumerate(map(catalog.view, sorted(card.views))):
        whose = np.zeros(len(ids), dtype=bool)
        for name, mine in (("events", told), ("transactions", bought)):
            whose |= mine & (name in catalog.tables(view))
        assert (at[:, number] == micros(moment)).tolist() == whose.tolist(), "only what was touched is of now"
        batch = snapshot(view, spine, engine).to_pandas()
        for place, name in enumerate(card.columns):
            if name.partition("__")[0] == view.name:
                expected = batch[name.partition("__")[2]].to_numpy(dtype=np.float64, na_value=np.nan)
                np.testing.assert_array_equal(raw[whose, place], expected[whose], err_msg=name)
                compared += whose.any()
    assert compared >= 30
    gather.attach_current(engine, moment)
    everybody = gather.customers(engine)
    where = np.searchsorted(everybody, ids)
    habits = gather.habits(engine, everybody, moment, state.stored_zone, segments.rules()).iloc[where]
    found = np.stack([row.rows.array("habits")[row.position] for row in made])
    np.testing.assert_array_equal(found[bought], habits[list(HABITS)].to_numpy(np.float64)[bought])
    assert np.array([row.stored.stage for row in made])[bought].tolist() == segments.stages(habits, segments.rules())[bought].tolist()
    np.testing.assert_array_equal([row.rows.array("complaint")[row.position] for row in made], gather.complaints(engine, everybody, moment)[where])
    parts = value_parts()
    counts = gather.events(engine, everybody, shift_days(moment, -parts.window_days, state.stored_zone), [k for n in KINDS for k in parts.kinds(n)])
    expected = amounts(parts, counts, state.horizon_days, len(everybody))[where]
    np.testing.assert_array_equal(np.stack([row.rows.array("parts")[row.position] for row in made]), expected)
    names = np.array(card.names, dtype=object)
    owning = candidates.owning(interactions.load(engine, moment, state.item, zone=state.stored_zone), everybody, names, moment, state.stored_zone)
    taken = gather.taken(engine, everybody)
    for row, place, is_mine in zip(made, where.tolist(), bought.tolist(), strict=True):
        if not is_mine:
            continue
        start, end = owning["owned.start"][place : place + 2]
        columns = [owning[f"owned.{name}"][start:end].tolist() for name in ("item", "orders", "days")]
        assert row.rows.entries("owned", row.position, ("item", "orders", "days")) == list(zip(*columns, strict=True))
        offers = taken.columns["offer_id"][taken.start[place] : taken.start[place + 1]].tolist()
        codes = row.rows.entries("taken", row.position, ("offer_id",))
        assert sorted(row.rows.vocabulary_word("offer_id", code) for (code,) in codes) == sorted(offers)


def test_who_is_new_to_the_feature_store_gets_every_feature(own: Workspace, desk: Desk) -> None:
    rows = desk.answers.rows
    place = next(place for place in range(len(rows)) if rows.array("is_known")[place])
    arrays = {name: rows.array(name) for name in rows.names}
    for name, nothing in (("raw", np.nan), ("is_known", False), ("features_at", -1), ("age_s", np.nan)):
        arrays[name] = arrays[name].copy()
        arrays[name][place] = nothing
    bare = Rows(rows.card, rows.shop, arrays)
    visit = {"event_id": "first", "customer_id": rows.id(place), "occurred_at": own.now().isoformat(), "kind": "visit"}
    posted(desk, {"events": [visit]})
    facts = {rows.id(place): desk.ledger.facts_of(rows.id(place))}
    refresher = Refresher(own, Rules(segments.rules(), value_parts()))
    moment = just_after(facts, own.now())
    made = refresher.made(bare, desk.answers.champions, facts, moment)
    refresher.close()
    assert made.array("is_known").all()
    assert set(made.array("features_at")[0].tolist()) == {micros(moment)}
    assert np.isfinite(made.array("scores")).all()
    flowed_back(own, moment + MOMENT)
    spine = pa.table({"customer_id": [rows.id(place)], "event_timestamp": pa.array([moment], pa.timestamp("us", "UTC"))})
    with of(own) as engine:
        for view in map(catalog.view, rows.card.views):
            batch = snapshot(view, spine, engine).to_pandas()
            for column, name in enumerate(rows.card.columns):
                if name.partition("__")[0] == view.name and name not in rows.card.vocabulary:
                    expected = batch[name.partition("__")[2]].to_numpy(dtype=np.float64, na_value=np.nan)
                    np.testing.assert_array_equal(made.array("raw")[:, column], expected, err_msg=name)


def test_what_came_in_flows_into_the_tables_once_whatever_the_source_brings(own: Workspace, desk: Desk) -> None:
    rows = desk.answers.rows
    people = [rows.id(place) for place in range(0, len(rows), 40)]
    body = came_in(own, people)
    posted(desk, body)
    later = own.now() + timedelta(hours=1)
    plain = {name: pq.read_table(own.table(name)) for name in ("events", "transactions")}
    flowed_back(own, later)
    digest = own.state().digest
    for name in plain:
        table = pq.read_table(own.table(name))
        assert table.num_rows == plain[name].num_rows + len(body[name])
        assert pa.compute.sum(pa.compute.equal(table["source"], "ledger")).as_py() == len(body[name])
    assert feedback(own).is_changed is False
    assert own.state().digest == digest
    assert fed(own, digest) is not None
    # The source brings one of the rows itself: it is held once, as the source has it.
    mine = body["transactions"][0]
    table = plain["transactions"]
    line = {name: table[name][0].as_py() for name in table.column_names}
    line |= {name: mine[name] for name in ("order_id", "line_id", "customer_id", "product_id")}
    brought = pa.concat_tables([table, pa.Table.from_pylist([line], schema=table.schema)])
    pq.write_table(brought, own.table("transactions"))
    flowed_back(own, later)
    held = pq.read_table(own.table("transactions"))
    assert held.num_rows == brought.num_rows + len(body["transactions"]) - 1
    same = [row for row in held.to_pylist() if (row["order_id"], row["line_id"]) == (mine["order_id"], mine["line_id"])]
    assert [row["source"] for row in same] == [line["source"]]


def test_a_purchase_changes_the_next_answer_with_and_without_tables(own: Workspace, desk: Desk) -> None:
    rows = desk.answers.rows
    customer = next(name for name in map(rows.id, range(len(rows))) if decided(desk, name)["offers"])
    first = decided(desk, customer)
    # Chance may show an offer of the shop first.
    best = next(one["offer_id"] for one in first["offers"] if ":" in one["offer_id"]).partition(":")[2]
    line = {"order_id": "now", "line_id": "1", "customer_id": customer, "product_id": best, "occurred_at": own.now().isoformat(), "kind": "sale"}
    posted(desk, {"transactions": [{**line, "quantity": 1.0, "amount": 9.0}]})
    second = decided(desk, customer)
    if rows.shop.item_kind == "product":
        assert best not in {offer["offer_id"].partition(":")[2] for offer in second["offers"]}, "what was bought just now is not new any more"
    assert second["freshness"]["as_of_rows"][0] == "features"
    shutil.move(own.tables, own.root / "elsewhere")
    freshener = Freshener(desk, own)
    with pytest.raises(Exception, match="no table"):
        freshener.round()
    assert desk.answers.fresh.waiting == 1, "and goes on waiting"
    shutil.move(own.root / "elsewhere", own.tables)
    assert freshener.round() == 1
    freshener.stop()
    third = decided(desk, customer)
    assert third["freshness"]["as_of_rows"] == ["lists", "band", "cause"]
    made = desk.answers.row(customer, desk.answers.clock())
    assert made is not None
    assert made.habits().recency_days == 0.0 or made.habits().recency_days == 1.0
    earlier = desk.answers.row(customer, own.now() - timedelta(seconds=1))
    assert earlier is not None
    assert earlier.rows is rows, "a moment before it came in knows nothing of it"


def test_a_table_that_was_cut_short_is_told_and_once_it_is_whole_rows_are_made(own: Workspace, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freshening, "AGAIN_S", 0.1)
    customer, whole = desk.answers.rows.id(0), own.table("events").read_bytes()
    own.table("events").write_bytes(whole[: len(whole) // 2])
    freshener = Freshener(desk, own).start()
    try:
        until(lambda: freshening.NOT_MADE in desk.answers.codes)
        posted(desk, {"events": [{"event_id": "v", "customer_id": customer, "occurred_at": own.now().isoformat(), "kind": "visit"}]})
        said = scored.scores(desk.answers, ScoresRequest([customer]))
        assert freshening.NOT_MADE in said.degraded
        assert said.freshness.as_of_rows[0] == "features"
        assert desk.waiting == 1
        own.table("events").write_bytes(whole)
        until(lambda: scored.scores(desk.answers, ScoresRequest([customer])).freshness.as_of_rows[:1] == ["lists"])
        until(lambda: freshening.NOT_MADE not in desk.answers.codes)
    finally:
        freshener.stop()


def until(is_so: Callable[[], bool], patience_s: float = 60.0) -> None:
    end = time.monotonic() + patience_s
    while not is_so():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.02)
