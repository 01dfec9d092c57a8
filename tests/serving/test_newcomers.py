"""Who has bought nothing is served by segment, what nobody has bought by content, and lists as the shop wishes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from msgspec import structs

from experiments.wishes import single
from features import interactions, profiles
from features.interactions import Interactions
from retain import engine
from retain.errors import ConfigError
from retain.workspace import Workspace
from serving import candidates, newcomers
from serving.answers import Answers
from serving.candidates import Maker, Terms
from serving.new_items import new_items
from serving.rows import Rows
from serving.schemas import DecisionRequest, RecommendationsRequest
from training import controls as wishes
from training.contracts import Integers, Purpose, Ranking
from training.controls import Controls

Make = Callable[..., Answers]
NOW = datetime(2026, 3, 1, tzinfo=UTC)
CATEGORY = np.array([0, 0, 1, 1], dtype=np.int64)


def _history(rows: list[tuple[str, str, float]], customers: tuple[str, ...] = ()) -> Interactions:
    people, items = sorted({*customers, *(row[0] for row in rows)}), sorted({row[1] for row in rows})
    rows = sorted(rows, key=lambda row: (row[0], -row[2], row[1]))
    at = [np.datetime64(NOW.replace(tzinfo=None), "us") - np.timedelta64(int(days * 1440), "m") for *_, days in rows]
    return Interactions(
        NOW,
        np.array(people, dtype=object),
        np.array(items, dtype=object),
        np.array([people.index(row[0]) for row in rows], dtype=np.int32),
        np.array([items.index(row[1]) for row in rows], dtype=np.int32),
        np.arange(len(rows), dtype=np.int64),
        np.array(at, dtype="datetime64[us]"),
        np.ones(len(rows)),
    )


class _Same:
    """A ranker with one list for everybody."""

    items = np.array(["a", "b", "c", "d"], dtype=object)

    def rank(self, history: Interactions, customers: Integers, k: int, purpose: Purpose) -> Ranking:
        del history, purpose
        listed = np.full((len(customers), k), -1, dtype=np.int32)
        listed[:, : len(self.items)] = np.arange(min(k, len(self.items)))
        return Ranking(listed, np.where(listed >= 0, 2.5, np.nan))

    def save(self, folder: Path) -> None:
        raise AssertionError(folder)


def _shop_of_two_countries() -> tuple[newcomers.Segments, np.ndarray[Any, Any], Interactions]:
    past = _history([(f"n{c}", "skis" if c < 60 else "tea", 3.0) for c in range(80)] + [(f"s{c}", "sandals", 3.0) for c in range(600)])
    country = np.array(["NO" if name.startswith("n") else "ES" for name in past.customers], dtype=object)
    said, table = newcomers.tabled({"country": country, "one": np.full(len(country), "x", dtype=object)}, past, 28)
    return said, table, past


def test_a_segment_s_list_is_its_own_drawn_towards_everybody_s() -> None:
    said, table, _ = _shop_of_two_countries()
    assert set(said.cells) == {"country"}, "a column with one word parts nobody"
    assert said.customers == (680, 600, 80)
    north = newcomers.likings(said, table, tuple(said.rows({"country": "NO"}).values()), 2)
    south = newcomers.likings(said, table, tuple(said.rows({"country": "ES"}).values()), 2)
    nobody = newcomers.likings(said, table, (), 3)
    assert [each.item for each in nobody] == ["sandals", "skis", "tea"]
    assert [each.item for each in south] == ["sandals", "skis"]
    skis = {each.item: each.p for each in north}["skis"]
    # 60 of 80, filled up with 50 customers of whom 60 in 680 buy.
    assert skis.value == pytest.approx((60 + 50 * 60 / 680) / 130, rel=1e-3)
    assert skis.low < skis.value < skis.high


def test_of_two_segments_the_mean_answers() -> None:
    said, table, _ = _shop_of_two_countries()
    both = newcomers.likings(said, table, (1, 2), 3)
    assert both[0].p.value == pytest.approx(float(table[[1, 2]].mean(axis=0).max()), rel=1e-6)


def _with_segments(answers: Answers) -> Answers:
    said, table, _ = _shop_of_two_countries()
    said = replace(said, items=("jam", "milk", "tea"))
    rows = answers.rows
    arrays = {name: rows.array(name) for name in (*rows.arrays,)}
    code = np.full((len(rows), 1), -1, dtype=np.int32)
    code[[rows.id(place) for place in range(len(rows))].index("gus")] = said.cells["country"]["NO"]
    return replace(answers, rows=Rows(replace(rows.card, segments=said), rows.shop, {**arrays, "segment": code, "segments.share": table}))


def test_the_service_answers_newcomers_by_segment(make: Make) -> None:
    answers = _with_segments(make())
    known = answers.recommendations(RecommendationsRequest("gus"))
    assert (known.source, known.segment, known.degraded) == ("popularity", {"country": "NO"}, ["no_features", "no_history"])
    north = [each.item_id for each in known.recommendations]
    unknown = answers.recommendations(RecommendationsRequest("who", described={"country": "ES"}))
    assert (unknown.source, unknown.segment, unknown.degraded) == ("popularity", {"country": "ES"}, ["unknown_customer"])
    assert north != [each.item_id for each in unknown.recommendations]
    assert sorted(north) == ["jam", "milk", "tea"]
    # The tables know better than the caller; what is no segment is said, and popularity answers.
    assert answers.recommendations(RecommendationsRequest("gus", described={"country": "ES"})).segment == {"country": "NO"}
    odd = answers.recommendations(RecommendationsRequest("who", described={"planet": "Mars"}))
    assert (odd.segment, odd.degraded[-1], odd.recommendations[0].item_id) == ({}, "description_not_understood", "bread")
    plain = answers.recommendations(RecommendationsRequest("gus", personalised=False))
    assert (plain.segment, plain.degraded[-1], plain.recommendations[0].item_id) == ({}, "not_personalised", "bread")
    assert answers.recommendations(RecommendationsRequest("ann", described={"country": "ES"})).segment == {}


def test_a_decision_for_a_newcomer_rests_on_the_segment(make: Make) -> None:
    answers = _with_segments(make())
    answer, _, basis = answers.decision(DecisionRequest("gus", channel="email", placement="inbound_end", goal="cross_sell"), "d")
    assert basis.customer is not None
    assert {each.item for each in basis.customer.likings["new"]} == {"jam", "milk", "tea"}
    assert set(basis.customer.likings) == {"new"}
    assert (answer.source, "no_history" in answer.degraded) == ("popularity", True)


def test_what_is_no_ware_to_propose_is_not_recommended(make: Make) -> None:
    answers = make()
    everything = [each.item_id for each in answers.recommendations(RecommendationsRequest("nobody")).recommendations]
    items = {name: structs.replace(thing, is_offerable=name != everything[0]) for name, thing in answers.rows.shop.items.items()}
    shop = structs.replace(answers.rows.shop, items=items)
    without = replace(answers, rows=Rows(answers.rows.card, shop, answers.rows.arrays))
    assert [each.item_id for each in without.recommendations(RecommendationsRequest("nobody")).recommendations] == everything[1:]


def test_lists_are_made_as_the_shop_wishes() -> None:
    past = _history([("ann", "a", 40.0), ("bob", "a", 40.0), ("ann", "b", 3.0), ("bob", "c", 3.0)])
    names, ids = np.array(["a", "b", "c", "d"], dtype=object), np.array(["ann", "bob", "new"], dtype=object)
    before = replace(past, moment=NOW - timedelta(days=28), customer=past.customer[:0], item=past.item[:0])
    made = {
        title: candidates.ranked(_Same(), past, before, ids, names, Terms(wish, CATEGORY, None))["new"].items[:, :4].tolist()
        for title, wish in (("none", Controls()), ("cap", Controls(most_of_category=1)))
    }
    assert made == {"none": [[0, 1, 2, 3], [0, 1, 2, 3], [-1] * 4], "cap": [[0, 2, -1, -1], [0, 2, -1, -1], [-1] * 4]}


def test_margin_is_weighed_by_how_often_a_rank_is_bought() -> None:
    maker = Maker(_Same(), _Same.items, Terms(Controls(margin=1.0), CATEGORY, np.array([1.0, 1.0, 1.0, 3.0])), "new")
    own = maker.own(_history([("ann", "a", 3.0)]), np.array([0]))
    falling = np.zeros(maker.width)
    falling[:4] = (0.4, 0.2, 0.15, 0.1)
    assert maker.wished(own, falling)[0, :4].tolist() == [0, 3, 1, 2]


def test_places_for_new_items_are_filled_by_content(tmp_path: Path) -> None:
    workspace = _shop_with_a_launch(tmp_path)
    with engine.of(workspace) as sql:
        history = interactions.load(sql, workspace.now(), "product")
        found = new_items(sql, history)
        assert new_items(sql, replace(history, moment=history.moment - timedelta(days=100))) is None
    assert found is not None
    assert found.items.tolist() == ["fresh-tea", "fresh-wine"]
    who = {str(name): place for place, name in enumerate(history.customers)}
    nearest = found.nearest(history, np.array([who["t0"], who["w0"]]), 2)
    assert nearest[:, 0].tolist() == [0, 1]
    names = np.array(sorted({*history.items, *found.items}), dtype=object)
    maker = Maker(_Popular(history), names, Terms(Controls(new_items_every=2), np.full(len(names), -1), None), "new")
    rows = np.array([who["t0"]])
    lists = maker.placed(maker.own(history, rows), found, history, rows)
    assert [str(names[item]) for item in lists[0, :4] if item >= 0] == ["old-tea", "fresh-tea", "old-wine", "fresh-wine"]


class _Popular(_Same):
    """Everything in the order of the catalogue."""

    def __init__(self, history: Interactions) -> None:
        self.items = history.items


def _shop_with_a_launch(root: Path) -> Workspace:
    """Forty who drink tea and forty who drink wine for a year; a tea and a wine came to market last week, a third one is not out yet."""
    from retain.simulate import simulate

    workspace = Workspace.at(root)
    simulate(workspace, customers=30, seed=3, progress=False)
    import pyarrow.parquet as pq

    def rewrite(name: str, rows: list[dict[str, Any]]) -> None:
        path = workspace.tables / f"{name}.parquet"
        pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(path)), path)

    now = workspace.now()

    def product(name: str, words: str, days: float, **more: Any) -> dict[str, Any]:
        launched = now - timedelta(days=days)
        known = min(launched, now - timedelta(days=1))
        return {"product_id": name, "occurred_at": known, "known_at": known, "name": words, "launched_at": launched, "is_sellable": True, **more}

    rewrite(
        "products",
        [
            product("fresh-tea", "Green tea leaves", 7),
            # Taken off the market and put back: what its newest row does not say no longer holds.
            product("fresh-wine", "Red wine bottle", 7, retired_at=now - timedelta(days=3), stock=0.0),
            product("fresh-wine", "Red wine bottle", 7) | {"occurred_at": now - timedelta(days=2), "known_at": now - timedelta(days=2)},
            product("later-tea", "White tea leaves", -7),
            product("old-tea", "Black tea leaves", 500),
            product("old-wine", "White wine bottle", 500),
        ],
    )
    lines = [
        {
            "line_id": f"{kind}{c}-{days}", "order_id": f"{kind}{c}-{days}", "customer_id": f"{kind}{c}", "product_id": item, "kind": "sale",
            "occurred_at": now - timedelta(days=days), "known_at": now - timedelta(days=days), "quantity": 1.0, "amount": 5.0, "source": "hand",
        }
        for kind, item in (("t", "old-tea"), ("w", "old-wine"))
        for c in range(40)
        for days in (300, 200, 30)
    ]  # fmt: skip
    rewrite("transactions", sorted(lines, key=lambda line: (line["customer_id"], line["occurred_at"])))
    return workspace


def test_profiles_are_words_of_the_newest_version_known(shop: Workspace) -> None:
    with engine.of(shop) as sql:
        now = profiles.load(sql, shop.now())
        then = profiles.load(sql, shop.now() - timedelta(days=400))
    assert "region" in now.words or "country" in now.words
    assert not {"gender", "marital_status"} & set(now.words)
    assert len(then.customers) < len(now.customers)
    asked = now.of(np.array([now.customers[0], "nobody"], dtype=object))
    assert all(words[1] is None for words in asked.values())
    assert {column: words[0] for column, words in asked.items()} == {column: words[0] for column, words in now.words.items()}


def test_wishes_are_read_from_one_file_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert wishes.controls().is_neutral, "the shipped file wishes nothing of the order"
    assert set(single(Controls(variety=0.1, margin=1))) == {"variety 0.1", "margin 1", "all wishes"}
    assert single(Controls(variety=0.1)) == {"variety 0.1": Controls(variety=0.1)}
    (tmp_path / "controls.yaml").write_text("variety: 2\n", encoding="utf-8")
    monkeypatch.setattr(wishes.config, "shipped", lambda name: tmp_path / name)
    with pytest.raises(ConfigError, match="variety: Input should be less than or equal to 1"):
        wishes.controls()
