"""Snapshots: which moments, which rows, which files; whole or not at all, and written again only when something changed."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features import catalog, snapshot
from retain.engine import of
from retain.errors import DataError
from retain.files import sha256
from retain.workspace import Workspace

VIEWS = ("purchases", "profile", "product_profile")


@pytest.fixture
def place(shop, tmp_path) -> Workspace:
    """The shop's tables in a workspace of its own."""
    workspace = Workspace.at(tmp_path)
    workspace.tables.symlink_to(shop.tables)
    workspace.write_state(shop.state())
    return workspace


def chosen(*names: str) -> list[catalog.View]:
    return [catalog.view(name) for name in names or VIEWS]


def test_moments_count_backwards_and_now_is_always_one():
    now = datetime(2024, 6, 15, 13, 30, tzinfo=UTC)
    assert snapshot.moments(now, "UTC", 7, count=3) == [now - timedelta(days=14), now - timedelta(days=7), now]
    assert snapshot.moments(now, "UTC", 7, since=now - timedelta(days=8)) == [now - timedelta(days=7), now]
    assert snapshot.moments(now, "UTC", 7, since=now + timedelta(days=1)) == [now]
    with pytest.raises(ValueError, match="count or since"):
        snapshot.moments(now, "UTC")


def test_moments_are_calendar_days_where_the_source_keeps_its_clock():
    # Midnight in London is 23:00 UTC in summer; the clock changed on 31 March 2024.
    now = datetime(2024, 4, 3, 23, tzinfo=UTC)
    assert snapshot.moments(now, "Europe/London", 7, count=2) == [datetime(2024, 3, 28, tzinfo=UTC), now]


def test_a_running_clock_keeps_its_moments_and_its_last_whole_hour_is_one():
    tuesday = datetime(2024, 4, 2, 13, 30, 17, tzinfo=UTC)
    # Mondays at midnight in London: the clock changed on 31 March 2024.
    mondays = [datetime(2024, 3, 25, tzinfo=UTC), datetime(2024, 3, 31, 23, tzinfo=UTC)]
    assert snapshot.running(tuesday, "Europe/London", 7, count=3) == [*mondays, datetime(2024, 4, 2, 13, tzinfo=UTC)]
    assert snapshot.running(tuesday + timedelta(minutes=29), "Europe/London", 7, count=3)[-1] == datetime(2024, 4, 2, 13, tzinfo=UTC)
    for later in (timedelta(hours=1), timedelta(days=3)):
        assert snapshot.running(tuesday + later, "Europe/London", 7, count=3)[:2] == mondays
    assert snapshot.running(mondays[1], "Europe/London", 7, count=2) == mondays
    assert snapshot.running(tuesday, "Europe/London", 7, since=mondays[1]) == [mondays[1], datetime(2024, 4, 2, 13, tzinfo=UTC)]
    assert snapshot.running(tuesday, "Europe/London", 7, since=tuesday) == [datetime(2024, 4, 2, 13, tzinfo=UTC)]


def test_a_live_workspace_finds_the_files_of_the_build_before(place, monkeypatch):
    place.write_state(place.state().model_copy(update={"as_of": None}))
    # The clock of the computer, half an hour apart: a live workspace has no other.
    monkeypatch.setattr("retain.workspace.computer_time", lambda: datetime(2025, 8, 13, 11, 2, 3, 4, tzinfo=UTC))
    first = snapshot.build(place, views=chosen("profile"))
    monkeypatch.setattr("retain.workspace.computer_time", lambda: datetime(2025, 8, 13, 11, 32, tzinfo=UTC))
    again = snapshot.build(place, views=chosen("profile"))
    assert (first.files, again.files, again.kept) == (len(snapshot.cadence(place)), 0, first.files)
    monkeypatch.setattr("retain.workspace.computer_time", lambda: datetime(2025, 8, 14, 9, tzinfo=UTC))
    assert snapshot.build(place, views=chosen("profile")).files == 1


def test_the_cadence_ends_now_and_begins_after_the_first_transactions(place):
    when = snapshot.cadence(place)
    assert when[-1] == place.now()
    assert len(when) == snapshot.rule().max_count
    with of(place) as engine:
        first = engine.rows("select min(occurred_at) from transactions")[0][0]
    assert when[0] >= first + timedelta(days=27)


def test_a_file_holds_everybody_known_before_its_moment_and_what_the_view_says(place):
    moment = datetime(2025, 8, 13, 11, 47, 3, tzinfo=UTC)
    snapshot.build(place, [moment], chosen("purchases"))
    table = pq.read_table(snapshot.path(place, "purchases", moment))
    with of(place) as engine:
        spine = snapshot.spine(engine, moment)
        alone = snapshot.snapshot(catalog.view("purchases"), spine, engine)
    assert snapshot.path(place, "purchases", moment).name == "20250813T114703Z.parquet"
    assert table.column_names == ["customer_id", "event_timestamp", "created_at", *catalog.view("purchases").names]
    assert table["customer_id"].to_pylist() == sorted(spine["customer_id"].to_pylist())
    assert table["event_timestamp"].type == pa.timestamp("us", "UTC")
    assert set(table["event_timestamp"].to_pylist()) == set(table["created_at"].to_pylist()) == {moment}
    assert table.drop_columns("created_at").equals(alone)


def test_somebody_is_known_through_any_fact_and_not_before(tiny):
    at = datetime(2024, 6, 1, tzinfo=UTC)
    late = {"occurred_at": at, "known_at": at + timedelta(days=2)}
    tiny.fill(
        customers=[{"customer_id": "described", "occurred_at": at}],
        transactions=[
            {"customer_id": who, "order_id": "1", "product_id": "milk", "quantity": 1.0, "amount": 1.0, "occurred_at": at} for who in ("buyer", None)
        ],
        events=[{"customer_id": "visitor", "kind": "visit", "occurred_at": at}],
        contacts=[{"customer_id": "contacted", **late}],
        subscriptions=[{"customer_id": "subscriber", "subscription_id": "1", "occurred_at": at, "started_at": at}],
    )
    assert snapshot.spine(tiny.engine, at)["customer_id"].to_pylist() == []
    soon = snapshot.spine(tiny.engine, at + timedelta(days=1))["customer_id"].to_pylist()
    assert soon == ["buyer", "described", "subscriber", "visitor"]
    assert snapshot.spine(tiny.engine, at + timedelta(days=2, seconds=1))["customer_id"].to_pylist() == ["buyer", "contacted", *soon[1:]]
    assert snapshot.spine(tiny.engine, at + timedelta(days=1), "product")["product_id"].to_pylist() == ["milk"]


def test_files_of_the_same_tables_and_views_are_kept(place):
    when = snapshot.cadence(place)[-3:]
    first = snapshot.build(place, when[:2], chosen())
    assert (first.files, first.kept) == (6, 0)
    inodes = {path: path.stat().st_ino for path in place.snapshots.rglob("*.parquet")}
    second = snapshot.build(place, when, chosen())
    assert (second.files, second.kept) == (3, 6)
    assert {path: path.stat().st_ino for path in inodes} == inodes
    assert snapshot.build(place, when, chosen()) == snapshot.Built(0, 0, 9)


def test_files_of_other_tables_or_an_older_view_go(place):
    old, new = snapshot.cadence(place)[-2:]
    snapshot.build(place, [old, new], chosen("purchases", "profile"))
    changed = dataclasses.replace(catalog.view("profile"), sql=catalog.view("profile").sql + "\n-- changed")
    built = snapshot.build(place, [new], [catalog.view("purchases"), changed])
    assert (built.files, built.kept) == (1, 1)
    assert not snapshot.path(place, "profile", old).exists()
    place.write_state(place.state().model_copy(update={"digest": "other tables"}))
    assert snapshot.build(place, [new], chosen("purchases")).files == 1
    assert not snapshot.path(place, "purchases", old).exists()


def test_several_moments_in_one_query_equal_one_at_a_time(place, monkeypatch):
    when = snapshot.cadence(place)[-4:]
    views = chosen(*(view.name for view in catalog.views()))
    snapshot.build(place, when, views)
    together = {path.name: sha256(path) for path in sorted(place.snapshots.rglob("*.parquet"))}
    monkeypatch.setattr(snapshot, "ROWS_AT_ONCE", 1)
    place.write_state(place.state().model_copy(update={"digest": "again"}))
    snapshot.build(place, when, views)
    assert {path.name: sha256(path) for path in sorted(place.snapshots.rglob("*.parquet"))} == together


def test_an_interrupted_build_leaves_no_half_file_and_goes_on(place, monkeypatch):
    when = snapshot.cadence(place)[-3:]

    def interrupted(items, total, what):
        for number, item in enumerate(items):
            if number == 1:
                raise KeyboardInterrupt
            yield item

    with monkeypatch.context() as patch:
        patch.setattr(snapshot, "progress", interrupted)
        with pytest.raises(KeyboardInterrupt):
            snapshot.build(place, when, chosen("purchases"))
    left = [path for path in place.root.rglob("*") if path.is_file() and path.suffix == ".parquet" and place.tables not in path.parents]
    assert all(pq.read_table(path).num_rows for path in left)
    assert not list(place.temporary.iterdir())
    snapshot.build(place, when, chosen("purchases"))
    assert all(snapshot.path(place, "purchases", moment).is_file() for moment in when)


def test_a_moment_finer_than_a_second_is_refused(place):
    with pytest.raises(DataError, match="whole seconds"):
        snapshot.build(place, [datetime(2025, 8, 13, 11, 47, 3, 5, tzinfo=UTC)], chosen("purchases"))


def test_products_are_described_at_the_newest_moments_only(place):
    when = snapshot.cadence(place)[-7:]
    snapshot.build(place, when, chosen("product_profile"))
    assert [snapshot.path(place, "product_profile", moment).is_file() for moment in when] == [False] * 2 + [True] * snapshot.rule().product_count


def test_columns_that_the_words_do_not_declare_are_refused(tiny):
    view = catalog.view("profile")
    fewer = dataclasses.replace(view, columns=view.columns[1:])
    swapped = dataclasses.replace(view, columns=(view.columns[1], view.columns[0], *view.columns[2:]))
    spine = pd.DataFrame({"customer_id": ["a"], "event_timestamp": [pd.Timestamp("2024-06-15", tz="UTC")]})
    for wrong in (fewer, swapped):
        with pytest.raises(DataError, match=r"profile\.sql and profile\.yaml"):
            snapshot.snapshot(wrong, spine, tiny.fill().engine)


def test_a_row_too_many_is_refused(tiny):
    at = datetime(2024, 6, 1, tzinfo=UTC)
    tiny.fill(customers=[{"customer_id": "a", "occurred_at": at}])
    tiny.engine.execute("insert into customers select * from customers")
    spine = pd.DataFrame({"customer_id": ["a", "a"], "event_timestamp": [pd.Timestamp("2024-06-15", tz="UTC")] * 2})
    with pytest.raises(DataError, match="rows for 2 of the spine"):
        snapshot.snapshot(catalog.view("purchases"), spine, tiny.engine)


def test_whoever_was_never_seen_still_gets_a_row(tiny):
    spine = pd.DataFrame({"customer_id": ["nobody"], "event_timestamp": [pd.Timestamp("2024-06-15", tz="UTC")]})
    said = snapshot.snapshot(catalog.view("purchases"), spine, tiny.fill().engine).to_pylist()
    assert (said[0]["customer_id"], said[0]["orders_365d"], said[0]["days_since_order_365d"]) == ("nobody", 0, None)
