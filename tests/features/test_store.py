"""The door to Feast against hand-made snapshots: each trap that Feast leaves open, with the real Feast."""

from __future__ import annotations

import shutil
import sqlite3
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features import store
from features.catalog import Feature, View
from retain.errors import ConfigError, DataError, IntegrityError, NotReadyError, RefusedError, RetainError
from retain.workspace import Workspace

WEEKS = [datetime(2024, 1, day, tzinfo=UTC) for day in (1, 8, 15, 22)]
NOW = WEEKS[-1]
MONEY = View(
    name="money",
    description="Money.",
    entity="customer",
    ttl_days=8,
    columns=(Feature("orders", "Int64", "Orders.", "orders"), Feature("amount", "Float64", "Money.", "currency")),
    sql="select 1",
    reads=(),
    kind="transaction",
)
PROFILE = replace(MONEY, name="profile", columns=(Feature("region", "String", "Region.", "name"), Feature("size", "Int64", "People.", "people")))
GOODS = replace(MONEY, name="goods", entity="product", columns=(Feature("price", "Float64", "Price.", "currency"),))
VIEWS = (MONEY, PROFILE, GOODS)
REFS = ["money:orders", "money:amount", "profile:region", "profile:size"]
COLUMNS = [ref.replace(":", "__") for ref in REFS]


def write(workspace: Workspace, view: View, name: str, rows: list[tuple[object, ...]], created: datetime | None = None) -> Path:
    """A snapshot file by hand: rows of (id, moment, features...); created at the moment unless given."""
    kinds = {"Int64": pa.int64(), "Float64": pa.float64(), "String": pa.string()}
    instant = pa.timestamp("us", tz="UTC")
    columns = {
        view.key: pa.array([row[0] for row in rows], pa.string()),
        "event_timestamp": pa.array([row[1] for row in rows], instant),
        "created_at": pa.array([created or row[1] for row in rows], instant),
    }
    columns |= {each.name: pa.array([row[2 + i] for row in rows], kinds[each.dtype]) for i, each in enumerate(view.columns)}
    path = workspace.snapshots / view.name / f"{name}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


def fill(root: Path) -> Workspace:
    """Weekly snapshots: ann in all of them, bob lapsed after the first week, cat since the third."""
    workspace = Workspace.at(root)
    for week, moment in enumerate(WEEKS):
        present = ["ann"] + ["bob"] * (week == 0) + ["cat"] * (week >= 2)
        write(workspace, MONEY, f"{week}", [(who, moment, None if who == "cat" else 10 * week + len(who), week + 0.1) for who in present])
        write(workspace, PROFILE, f"{week}", [(who, moment, None if week == 3 else f"{who}-{week}", week) for who in present])
        write(workspace, GOODS, f"{week}", [("tea", moment, 1.5 + week)])
    store.apply(workspace, VIEWS)
    store.materialize(workspace, NOW)
    return workspace


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return fill(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def own(tiny: Workspace, tmp_path: Path) -> Workspace:
    """A copy that a test may change."""
    shutil.copytree(tiny.root, tmp_path / "own")
    workspace = Workspace.at(tmp_path / "own")
    store.apply(workspace, VIEWS)
    return workspace


def spine(*rows: tuple[str, datetime]) -> pd.DataFrame:
    return pd.DataFrame({"customer_id": [who for who, _ in rows], "event_timestamp": pd.Series([at for _, at in rows], dtype="datetime64[us, UTC]")})


def test_historical_is_the_latest_snapshot_at_each_moment(tiny: Workspace) -> None:
    got = store.historical(tiny, REFS, spine(("ann", WEEKS[1]), ("ann", WEEKS[1] - timedelta(microseconds=1)), ("ann", WEEKS[2] + timedelta(days=3))))
    assert got["money__orders"].tolist() == [13.0, 3.0, 23.0]
    assert got["profile__region"].tolist() == ["ann-1", "ann-0", "ann-2"]
    assert got["is_known"].tolist() == [True, True, True]
    assert list(got.columns) == [*COLUMNS, "is_known"]
    assert {str(got[name].dtype) for name in ("money__orders", "money__amount", "profile__size")} == {"float64"}


def test_lapsed_customers_do_not_vanish(tiny: Workspace) -> None:
    """Feast's built-in store drops rows without a value within ttl: the lapsed customers that a churn model is about."""
    last = WEEKS[0] + timedelta(days=8)
    got = store.historical(tiny, REFS, spine(("bob", NOW), ("ann", NOW), ("bob", last), ("bob", last + timedelta(seconds=1))))
    assert len(got) == 4
    assert got["money__amount"].isna().tolist() == [True, False, False, True]
    assert got["is_known"].tolist() == [True, True, True, True]


def test_unknown_customers_are_said_to_be_unknown(tiny: Workspace) -> None:
    got = store.historical(tiny, REFS, spine(("nobody", NOW), ("cat", WEEKS[0]), ("cat", NOW)))
    assert got["is_known"].tolist() == [False, False, True]
    assert got.loc[:1, COLUMNS].isna().all(axis=None)


def test_rows_come_back_in_the_asked_order_and_repeated_ones_are_kept(tiny: Workspace) -> None:
    """Feast reorders rows, and entity rows with equal key and time collapse (feast#6787)."""
    rows = [(who, at) for at in WEEKS for who in ("cat", "ann", "bob", "ann", "nobody")] * 40
    order = np.random.default_rng(3).permutation(len(rows))
    shuffled = [rows[i] for i in order]
    got = store.historical(tiny, REFS, spine(*shuffled))
    alone = {pair: store.historical(tiny, REFS, spine(pair)).iloc[0] for pair in {("ann", WEEKS[2]), ("bob", WEEKS[0]), ("cat", WEEKS[3])}}
    assert len(got) == len(rows)
    for i, pair in enumerate(shuffled):
        if pair in alone:
            pd.testing.assert_series_equal(got.iloc[i], alone[pair], check_names=False)


def test_the_index_and_other_columns_of_the_spine_change_nothing(tiny: Workspace) -> None:
    plain = spine(("ann", WEEKS[0]), ("cat", WEEKS[3]))
    odd = plain.assign(asked_row=9, extra="x").set_index(pd.Index([7, 7]))
    pd.testing.assert_frame_equal(store.historical(tiny, REFS, odd), store.historical(tiny, REFS, plain))
    assert odd["asked_row"].tolist() == [9, 9]


def test_an_empty_spine_gives_an_empty_typed_frame(tiny: Workspace) -> None:
    got = store.historical(tiny, REFS, spine())
    assert len(got) == 0
    assert got["money__amount"].dtype == np.float64
    assert got["profile__region"].dtype == object


def test_rows_known_later_are_not_served_to_earlier_moments(own: Workspace) -> None:
    """Feast serves a correction to moments before it was known unless it is told not to (feast#6617)."""
    write(own, MONEY, "9", [("ann", WEEKS[1], 999, 999.0), ("dan", WEEKS[1], 5, 5.0)], created=WEEKS[2])
    moments = spine(("ann", WEEKS[1]), ("ann", WEEKS[2] - timedelta(seconds=1)), ("dan", WEEKS[1]), ("dan", WEEKS[2]))
    late = store.historical(own, ["money:orders"], moments)
    assert late["money__orders"].tolist()[:2] == [13.0, 13.0]
    assert late["is_known"].tolist() == [True, True, False, True]
    assert np.isnan(late["money__orders"][2])
    assert late["money__orders"][3] == 5.0


def test_materialize_refuses_rows_known_only_later(own: Workspace) -> None:
    write(own, MONEY, "9", [("ann", NOW, 999, 999.0)], created=NOW + timedelta(days=1))
    before = (own.feast / "online.db").read_bytes()
    with pytest.raises(IntegrityError, match="known only after"):
        store.materialize(own, NOW)
    assert (own.feast / "online.db").read_bytes() == before


def test_a_source_without_a_created_column_is_refused(own: Workspace) -> None:
    path = own.snapshots / "money" / "3.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["created_at"]), path)
    with pytest.raises(RefusedError, match="no created column"):
        store.historical(own, REFS, spine(("ann", NOW)))
    with pytest.raises(RefusedError, match="no created column"):
        store.materialize(own, NOW)


def test_a_source_registered_without_a_created_column_is_refused(own: Workspace) -> None:
    from features.repo import layout

    feast = layout.opened(own.feast)
    view = feast.get_feature_view("money")
    view.batch_source.created_timestamp_column = ""
    feast.apply([view])
    with pytest.raises(RefusedError, match="no created column"):
        store.historical(own, REFS, spine(("ann", NOW)))
    with pytest.raises(RefusedError, match="no created column"):
        store.online(own, REFS, ["ann"], NOW)


def test_a_half_written_snapshot_is_not_read(own: Workspace) -> None:
    """DuckDB's ``*`` finds names that begin with a dot."""
    source = own.snapshots / "money" / "3.parquet"
    source.rename(source.with_name(".partial-abc-3.parquet"))
    got = store.historical(own, ["money:orders"], spine(("cat", NOW - timedelta(microseconds=1)), ("ann", NOW)))
    assert got["money__orders"].tolist()[1] == 23.0
    (source.with_name(".partial-abc-4.parquet")).write_bytes(b"PAR1 cut off")
    assert store.historical(own, ["money:orders"], spine(("ann", NOW)))["money__orders"].tolist() == [23.0]


def test_online_equals_historical_for_every_feature(tiny: Workspace) -> None:
    ids = ["cat", "ann", "cat"]
    served = store.online(tiny, REFS, ids, NOW)
    learned = store.historical(tiny, REFS, spine(*[(who, NOW) for who in ids]))
    pd.testing.assert_frame_equal(served.values, learned[COLUMNS], check_exact=True)
    assert np.isnan(served.values["money__orders"][0])
    assert served.values["profile__region"].tolist() == [None, None, None]


def test_online_says_who_is_unknown(tiny: Workspace) -> None:
    """To Feast an unknown customer is a customer with nulls, and a model scores it."""
    served = store.online(tiny, REFS, ["nobody", "ann", "bob"], NOW)
    assert served.known.tolist() == [False, True, False]
    assert served.stale.tolist() == [False, False, False]
    assert np.isnan(served.age_s).tolist() == [True, False, True]
    assert served.values.iloc[0].isna().all()


def test_online_checks_the_age_that_feast_ignores(tiny: Workspace) -> None:
    """Feast gives values of any age as present (feast#6821)."""
    for days, stale in ((0, False), (8, False), (9, True)):
        served = store.online(tiny, REFS, ["ann"], NOW + timedelta(days=days))
        assert served.age_s.tolist() == [days * 86400.0]
        assert served.stale.tolist() == [stale]
        assert served.values["money__orders"].tolist() == [33.0]


def test_a_customer_missing_from_one_view_is_stale(own: Workspace) -> None:
    write(own, MONEY, "8", [("eve", NOW, 1, 1.0)])
    store.materialize(own, NOW)
    served = store.online(own, REFS, ["eve", "ann"], NOW)
    assert served.known.tolist() == [True, True]
    assert served.stale.tolist() == [True, False]


def test_features_from_the_future_are_refused(tiny: Workspace) -> None:
    with pytest.raises(IntegrityError, match="from after"):
        store.online(tiny, REFS, ["ann"], NOW - timedelta(seconds=1))


def test_online_order_in_blocks(tiny: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "BLOCK", 3)
    ids = ["nobody", "cat", "ann", "ann", "cat", "bob", "ann", "nobody"]
    served = store.online(tiny, ["money:amount", "money:orders"], ids, NOW)
    assert served.known.tolist() == [who in ("ann", "cat") for who in ids]
    assert list(served.values.columns) == ["money__amount", "money__orders"]
    assert served.values["money__orders"].fillna(-1).tolist() == [33.0 if who == "ann" else -1.0 for who in ids]


def test_nobody_asked(tiny: Workspace) -> None:
    served = store.online(tiny, REFS, [], NOW)
    assert len(served.values) == len(served.known) == len(served.age_s) == len(served.stale) == 0


def test_materialize_writes_the_latest_row_within_ttl_and_twice_is_once(own: Workspace) -> None:
    assert store.materialize(own, NOW) == {"goods": 1, "money": 2, "profile": 2}
    first = store.online(own, REFS, ["ann", "bob", "cat"], NOW).values
    assert store.materialize(own, NOW) == {"goods": 1, "money": 2, "profile": 2}
    pd.testing.assert_frame_equal(store.online(own, REFS, ["ann", "bob", "cat"], NOW).values, first)
    assert store.materialize(own, WEEKS[0]) == {"goods": 1, "money": 2, "profile": 2}
    assert store.online(own, REFS, ["ann", "bob", "cat"], WEEKS[0]).known.tolist() == [True, True, False]
    assert not list(own.feast.glob(".partial-*"))


def test_the_online_store_holds_what_the_snapshot_holds(tiny: Workspace) -> None:
    with sqlite3.connect(tiny.feast / "online.db") as connection:
        micros = [row[0] for row in connection.execute("select distinct event_us from money")]
    connection.close()
    assert micros == [int(NOW.timestamp() * 1_000_000)]


def test_a_forgotten_customer_is_unknown_online_and_the_others_are_not(own: Workspace) -> None:
    assert store.online(own, REFS, ["ann", "cat"], NOW).known.tolist() == [True, True]
    assert store.forget(own, ["ann"]) == {"money": 1, "profile": 1}
    assert store.online(own, REFS, ["ann", "cat"], NOW).known.tolist() == [False, True]
    assert store.forget(own, ["ann", "nobody"]) == {}
    assert store.forget(own, []) == {}
    assert b"ann" not in (own.feast / "online.db").read_bytes()


def test_a_copied_workspace_reads_its_own_snapshots(tiny: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sources hold absolute paths; a copy must not read the original."""
    shutil.copytree(tiny.root, tmp_path / "copy")
    copy = Workspace.at(tmp_path / "copy")
    monkeypatch.setattr("features.catalog.views", lambda: VIEWS)
    monkeypatch.setattr("features.services.TASKS", ())
    write(copy, MONEY, "3", [("ann", NOW, 77, 7.7)])
    assert store.historical(copy, ["money:orders"], spine(("ann", NOW)))["money__orders"].tolist() == [77.0]
    assert store.online(copy, ["money:orders"], ["ann"], NOW).values["money__orders"].tolist() == [33.0]


def test_product_features_have_a_spine_of_products(tiny: Workspace) -> None:
    asked = spine(("tea", WEEKS[1]), ("salt", WEEKS[1])).rename(columns={"customer_id": "product_id"})
    got = store.historical(tiny, ["goods:price"], asked)
    assert got["goods__price"].fillna(0).tolist() == [2.5, 0.0]
    assert got["is_known"].tolist() == [True, False]
    with pytest.raises(ConfigError, match="one entity"):
        store.historical(tiny, ["goods:price", "money:orders"], asked)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (spine(("ann", NOW)).drop(columns="customer_id"), "customer_id is missing"),
        (spine(("ann", NOW)).assign(customer_id=None), "customer_id is null"),
        (spine(("ann", NOW)).assign(event_timestamp=pd.NaT), "event_timestamp is null"),
        (spine(("ann", NOW)).assign(event_timestamp=datetime(2024, 1, 1)), "no time zone"),
    ],
)
def test_a_spine_that_cannot_be_asked_is_refused(tiny: Workspace, rows: pd.DataFrame, message: str) -> None:
    with pytest.raises(DataError, match=message):
        store.historical(tiny, REFS, rows)


def test_what_was_not_built_is_said(tiny: Workspace, tmp_path: Path) -> None:
    with pytest.raises(NotReadyError, match="retain features build"):
        store.historical(Workspace.at(tmp_path), REFS, spine(("ann", NOW)))
    with pytest.raises(NotReadyError, match="money:nothing"):
        store.historical(tiny, ["money:nothing"], spine(("ann", NOW)))
    with pytest.raises(NotReadyError, match="not registered"):
        store.online(tiny, ["none:orders"], ["ann"], NOW)


def test_an_online_store_that_was_never_filled_is_said(own: Workspace) -> None:
    (own.feast / "online.db").unlink()
    with pytest.raises(NotReadyError, match="online store"):
        store.online(own, REFS, ["ann"], NOW)


def test_features_added_after_the_fill_are_said(own: Workspace) -> None:
    more = replace(MONEY, columns=(*MONEY.columns, Feature("new", "Int64", "New.", "units")))
    store.apply(own, (more, PROFILE, GOODS))
    with pytest.raises(NotReadyError, match="without new"):
        store.online(own, ["money:new"], ["ann"], NOW)


def test_any_time_zone_of_the_machine_gives_the_same(own: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Feast's own SQLite store keeps times on the local clock, and its DuckDB casts times in the zone of the session."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        assert store.materialize(own, NOW) == {"goods": 1, "money": 2, "profile": 2}
        served = store.online(own, ["money:orders"], ["ann"], NOW)
        learned = store.historical(own, ["money:orders"], spine(("ann", NOW), ("ann", NOW - timedelta(microseconds=1))))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert served.age_s.tolist() == [0.0]
    assert served.values["money__orders"].tolist() == [33.0]
    assert learned["money__orders"].tolist() == [33.0, 23.0]


def test_feast_apply_by_hand_finds_each_definition_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A settings file beside a package made Feast import everything twice; one sub-folder with one file of definitions works."""
    from feast.repo_operations import parse_repo

    from features import catalog, services
    from features.repo import layout

    folder = layout.TEMPLATE.parent
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    found = parse_repo(folder)
    assert sorted(view.name for view in found.feature_views) == sorted(view.name for view in catalog.views())
    assert sorted(service.name for service in found.feature_services) == sorted(services.TASKS)
    assert {source.created_timestamp_column for source in found.data_sources} == {"created_at"}
    assert all(source.path.startswith(str(folder.parents[1] / "var")) for source in found.data_sources)


@pytest.mark.parametrize(
    ("said", "becomes"),
    [
        (RuntimeError("Query interrupted"), KeyboardInterrupt),
        (RuntimeError("other"), RuntimeError),
        (duckdb.OutOfMemoryException("no room"), RetainError),
        (duckdb.IOException("no such file"), RetainError),
    ],
)
def test_what_stops_a_join_of_feast_is_said_as_for_all_other_sql(tmp_path: Path, said: Exception, becomes: type[BaseException]) -> None:
    """DuckDB takes a signal for itself and Ibis passes on what it says (a training told to stop at every moment is among the slow tests)."""
    from features.repo import layout

    with pytest.raises(becomes), layout.engine(Workspace.at(tmp_path)):
        raise said
    assert not list(tmp_path.rglob("feast-*")), "nothing that was spilled is left"
