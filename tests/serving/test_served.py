"""Served equals trained: what decisions read, computed again from the tables; and each fault that is put in is named."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from msgspec import structs

from features import catalog
from features.snapshot import build, path, snapshot, spine
from retain.cli import main
from retain.engine import Engine, identifier, of, quoted
from retain.simulate import simulate
from retain.tables import TABLES
from retain.workspace import Workspace
from serving.answers import Answers
from serving.desk import Desk
from serving.ledger import Ledger, micros
from serving.rows import Rows
from serving.schemas import DecisionRequest
from serving.served import Audit, audit

VIEWS = ("contacts", "profile", "purchases")
PEOPLE = 7
READ = 5
"""Of the seven of the shop by hand two must not be profiled: nothing of theirs is read."""
WEEK = timedelta(days=7)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A small shop with snapshots of three weeks."""
    workspace = Workspace.at(tmp_path_factory.mktemp("served"))
    simulate(workspace, customers=30, seed=7, days=200, progress=False)
    now = workspace.now()
    build(workspace, [now - 2 * WEEK, now - WEEK, now], [catalog.view(name) for name in VIEWS])
    return workspace


@pytest.fixture
def place(built: Workspace, tmp_path: Path) -> Workspace:
    shutil.copytree(built.root, tmp_path / "own")
    return Workspace.at(tmp_path / "own")


@pytest.fixture
def ledger(place: Workspace) -> Iterator[Ledger]:
    ledger = Ledger(place.ledger)
    yield ledger
    ledger.close()


Frames = dict[str, pd.DataFrame]


def stored(place: Workspace, moment: datetime) -> Frames:
    """What the snapshots on disk say at a moment, as a feature store would serve it."""
    return {name: pq.read_table(path(place, name, moment)).to_pandas() for name in VIEWS}


def computed(engine: Engine, moment: datetime) -> Frames:
    return {name: snapshot(catalog.view(name), spine(engine, moment), engine).to_pandas() for name in VIEWS}


def serve(place: Workspace, ledger: Ledger, answers: Answers, frames: Frames, at: datetime, **changes: Any) -> None:
    """Publish features as serving rows, and decide for everybody once and for the first twice."""
    ids = sorted(frames["purchases"]["customer_id"])[:PEOPLE]
    card, raw, words = answers.rows.card, [np.full(PEOPLE, 0.2), np.full(PEOPLE, 50.0)], dict(answers.rows.card.vocabulary)
    columns = ["churn", "clv"]
    for name, frame in frames.items():
        mine = frame.set_index("customer_id").loc[ids]
        for feature in catalog.view(name).names:
            values, column = mine[feature], f"{name}__{feature}"
            if values.dtype == object:
                words[column] = tuple(sorted(set(values.dropna())))
                values = values.map({word: code for code, word in enumerate(words[column])})
            raw.append(values.to_numpy(dtype=np.float64, na_value=np.nan))
            columns.append(column)
    arrays = {name: answers.rows.array(name) for name in answers.rows.arrays}
    arrays["raw"] = np.stack(raw, axis=1)
    arrays["ids"] = np.array([each.encode() for each in ids])
    arrays["is_known"] = np.ones(PEOPLE, dtype=bool)
    arrays["features_at"] = np.full((PEOPLE, len(VIEWS)), micros(at))
    views = {name: catalog.view(name).digest() for name in VIEWS}
    made = replace(
        card, columns=tuple(columns), vocabulary=words, views=views, moment=place.now(), data_digest=place.state().digest, version=str(changes)
    )
    made = replace(made, **changes.pop("card", {}))
    for one, other in changes.pop("swapped", ()):
        places = [columns.index(one), columns.index(other)]
        arrays["raw"][:, places] = arrays["raw"][:, places[::-1]]
    for column in changes.pop("raised", ()):
        arrays["raw"][:, columns.index(column)] += 1
    desk = Desk(replace(answers, rows=Rows(made, structs.replace(answers.rows.shop, moment=place.now()), arrays), clock=place.now), ledger)
    for customer in (*ids, ids[0]):
        asyncio.run(desk.decide(DecisionRequest(customer, placement="inbound_end")))


def named(found: Audit) -> set[tuple[str, str]]:
    return {(cause.name, cause.view) for cause in found.causes}


def test_without_a_fault_every_bit_is_equal(
    place: Workspace, ledger: Ledger, make: Callable[..., Answers], capsys: pytest.CaptureFixture[str]
) -> None:
    serve(place, ledger, make(), stored(place, place.now()), place.now())
    found = audit(place, ledger)
    features = sum(len(catalog.view(name).names) for name in VIEWS)
    assert (found.decisions, found.without_features, found.without_receipt) == (PEOPLE + 1, PEOPLE - READ, 0)
    assert (found.values, found.equal, found.share) == ((READ + 1) * features, (READ + 1) * features, 1.0)
    assert (found.equal_decisions, found.causes) == (READ + 1, ())
    assert main(["decisions", "audit", "--workspace", str(place.root), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["share"] == 1.0


def test_a_stale_store_is_named(place: Workspace, ledger: Ledger, make: Callable[..., Answers], capsys: pytest.CaptureFixture[str]) -> None:
    before = place.now() - WEEK
    serve(place, ledger, make(), stored(place, before), before)
    found = audit(place, ledger)
    assert {cause.name for cause in found.causes} == {"stale store"}
    assert ("stale store", "purchases") in named(found)
    assert found.causes[0].detail == f"of {before:%Y-%m-%d %H:%M}, {place.now():%Y-%m-%d %H:%M} was there"
    assert found.equal < found.values
    assert main(["decisions", "audit", "--workspace", str(place.root)]) == 8
    assert "stale store" in capsys.readouterr().out


def test_permuted_columns_are_named_also_across_views(place: Workspace, ledger: Ledger, make: Callable[..., Answers]) -> None:
    swapped = [("purchases__orders_365d", "contacts__contact_cost_365d")]
    serve(place, ledger, make(), stored(place, place.now()), place.now(), swapped=swapped)
    found = audit(place, ledger)
    assert named(found) == {("permuted columns", "purchases"), ("permuted columns", "contacts")}
    assert {cause.detail for cause in found.causes} == {
        "orders_365d holds contacts__contact_cost_365d",
        "contact_cost_365d holds purchases__orders_365d",
    }


def test_version_skew_is_named(place: Workspace, ledger: Ledger, make: Callable[..., Answers]) -> None:
    views = {name: catalog.view(name).digest() for name in VIEWS} | {"purchases": "another"}
    serve(place, ledger, make(), stored(place, place.now()), place.now(), card={"views": views}, raised=["purchases__orders_365d"])
    found = audit(place, ledger)
    assert named(found) == {("version skew", "purchases")}
    assert found.causes[0].decisions == READ + 1
    assert found.causes[0].values == READ + 1
    assert "served by another" in found.causes[0].detail


def test_a_moment_read_on_another_clock_is_named(place: Workspace, ledger: Ledger, make: Callable[..., Answers]) -> None:
    with of(place) as engine:
        frames = computed(engine, place.now() - timedelta(hours=8))
    serve(place, ledger, make(), frames, place.now())
    found = audit(place, ledger)
    assert {cause.name for cause in found.causes} == {"time zone"}
    for cause in found.causes:
        hours = [float(each) for each in re.findall(r"([+-][0-9.]+) h", cause.detail)]
        assert min(hours) <= -8 <= max(hours)


def rewrite(place: Workspace, name: str, sql: str) -> None:
    with of(place) as engine:
        engine.write(sql, place.root / "new.parquet")
    (place.root / "new.parquet").replace(place.table(name))


LATE = "select * replace (timestamptz '2030-01-01' as known_at) from transactions where occurred_at >= timestamptz '{since}'"


def test_rows_counted_before_they_were_known_are_named(place: Workspace, ledger: Ledger, make: Callable[..., Answers]) -> None:
    since = (place.now() - timedelta(days=60)).isoformat()
    kept = f"select * from transactions where occurred_at < timestamptz '{since}'"
    rewrite(place, "transactions", f"{LATE.format(since=since)} union all {kept} order by customer_id, occurred_at, order_id, line_id")
    with of(place) as engine:
        for name in TABLES:
            rows = f"select * replace (occurred_at as known_at) from read_parquet({quoted(place.table(name))})"
            engine.execute(f"create or replace view {identifier(name)} as {rows}")
        frames = computed(engine, place.now())
    serve(place, ledger, make(), frames, place.now())
    found = audit(place, ledger)
    assert ("late rows", "purchases") in named(found)
    assert {(cause.name, cause.detail) for cause in found.causes} == {("late rows", "counted before they were known")}


def test_rows_that_came_after_the_decision_are_named(place: Workspace, ledger: Ledger, make: Callable[..., Answers]) -> None:
    serve(place, ledger, make(), stored(place, place.now()), place.now())
    assert audit(place, ledger).share == 1.0
    since = (place.now() - timedelta(days=60)).isoformat()
    rewrite(
        place, "transactions", f"select * from transactions where occurred_at < timestamptz '{since}' order by customer_id, occurred_at, order_id"
    )
    place.write_state(place.state().model_copy(update={"digest": "other tables"}))
    found = audit(place, ledger)
    assert ("late rows", "purchases") in named(found)
    assert {cause.detail for cause in found.causes} == {"the tables hold other rows than when it was decided"}


def test_faults_at_once_are_each_named_and_what_nothing_explains_is_said(place: Workspace, ledger: Ledger, make: Callable[..., Answers]) -> None:
    now, before = place.now(), place.now() - 2 * WEEK
    answers = make()
    with of(place) as engine:
        shifted = computed(engine, now - timedelta(hours=8))
    serve(place, ledger, answers, stored(place, now), now)
    serve(place, ledger, answers, stored(place, before), before, card={"version": "b"})
    serve(place, ledger, answers, shifted, now, card={"version": "c"})
    serve(place, ledger, answers, stored(place, now), now, swapped=[("purchases__orders_365d", "purchases__orders_30d")], card={"version": "d"})
    serve(place, ledger, answers, stored(place, now), now, raised=["contacts__contact_cost_365d"], card={"version": "e"})
    found = audit(place, ledger)
    assert {cause.name for cause in found.causes} == {"stale store", "time zone", "permuted columns", "unexplained"}
    assert ("unexplained", "contacts") in named(found)
    assert found.equal_decisions == READ + 1
