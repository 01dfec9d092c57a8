"""Rules for marketers, the shop's wishes for a list, and what is said of items nobody has bought."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import fisher_exact

from features.descriptions import Descriptions, describe
from features.interactions import Interactions
from serving.associations import COLUMNS, rows, rules
from serving.export import write_rows
from tests.contracts.ranker_contract import RankerContract, history
from training.contracts import FittedRanker, Ranking
from training.controls import Controls, controlled, price
from training.models.content import Content, FittedContent
from training.models.segmented import shrunk

LIST = Ranking(np.array([[0, 1, 2, 3], [4, 0, -1, -1]], dtype=np.int32), np.array([[1.0, 0.9, 0.8, 0.7], [0.5, 0.4, np.nan, np.nan]]))
CATEGORY = np.array([7, 7, 7, 8, -1])


def _described(extra: tuple[str, ...] = ()) -> Descriptions:
    ids = sorted([f"i{number:02d}" for number in range(40)] + list(extra))
    taste = ["low" if item < "i20" else "high" for item in ids]
    return describe(ids, [f"{word} thing {item}" for word, item in zip(taste, ids, strict=True)], [None] * len(ids), [None] * len(ids))


class _Described:
    """Content with its descriptions, as the shared suite calls a model."""

    def fit(self, past: Interactions) -> FittedContent:
        described = _described()
        return Content().fit(
            past, described if len(past.items) else replace(described, items=past.items, start=described.start[:1], word=described.word[:0])
        )


class TestContent(RankerContract):
    model: Any = _Described()

    def test_config_round_trip(self) -> None:
        assert Content.model_validate(Content().model_dump()) == Content()

    def test_an_item_that_nobody_bought_is_proposed_to_those_of_its_kind(self, past: Interactions) -> None:
        fitted = Content().fit(past, _described(("i19b", "i39b")))
        ranking = fitted.rank(past, np.array([0, 1]), 60, "new").items
        fresh = [fitted.items.tolist().index(name) for name in ("i19b", "i39b")]
        assert np.flatnonzero(ranking[0] == fresh[0])[0] < np.flatnonzero(ranking[0] == fresh[1])[0]
        assert np.flatnonzero(ranking[1] == fresh[1])[0] < np.flatnonzero(ranking[1] == fresh[0])[0]

    def test_without_words_nothing_is_alike(self, past: Interactions) -> None:
        fitted: FittedRanker = Content().fit(past)
        assert (fitted.rank(past, np.array([0]), 5, "all").items == -1).all()


def test_words_are_those_of_names_categories_and_brands() -> None:
    said = describe(["a", "b"], ["Red mug", None], ["Home > Kitchen", "Home"], [None, "ACME"])
    assert said.words == ("brand: acme", "category: home", "category: kitchen", "mug", "red")
    assert said.start.tolist() == [0, 4, 6]
    assert said.word.tolist() == [1, 2, 3, 4, 0, 1]


def test_rules_are_hand_counted() -> None:
    rows = [(f"c{n}", item, f"o{n}", 5.0) for n in range(30) for item in ("tea", "cup")]
    rows += [(f"d{n}", item, f"p{n}", 5.0) for n in range(70) for item in (("tea",) if n < 10 else ("bread",))]
    found = rules(history(rows), least_orders=5)
    assert [(found.items[a], found.items[b]) for a, b in zip(found.first, found.second, strict=True)] == [("cup", "tea"), ("tea", "cup")]
    assert (found.baskets, found.tested, found.orders.tolist()) == (100, 1, [30, 30])
    assert found.support.tolist() == [0.3, 0.3]
    assert found.confidence.tolist() == [1.0, 0.75]
    assert found.lift == pytest.approx([2.5, 2.5])
    assert found.p[0] == pytest.approx(fisher_exact([[30, 0], [10, 60]], alternative="greater").pvalue, rel=1e-6)


def test_noise_makes_no_rules() -> None:
    random = np.random.default_rng(5)
    rows = [(f"c{n}", f"i{item}", f"o{n}", 5.0) for n in range(300) for item in random.choice(30, 5, replace=False)]
    found = rules(history(rows), least_orders=3)
    assert found.tested > 200
    assert len(found) == 0
    assert len(rules(history([], customers=("a",)))) == 0


def test_no_wish_changes_nothing() -> None:
    assert Controls().is_neutral
    assert controlled(LIST, 3, Controls(), CATEGORY).items.tolist() == [[0, 1, 2], [4, 0, -1]]


def test_a_cap_and_variety_bring_other_categories_up() -> None:
    assert controlled(LIST, 3, Controls(most_of_category=2), CATEGORY).items.tolist() == [[0, 1, 3], [4, 0, -1]]
    assert controlled(LIST, 3, Controls(variety=0.25), CATEGORY).items.tolist() == [[0, 3, 1], [4, 0, -1]]


def test_margin_brings_what_earns_more_up() -> None:
    ranking = controlled(LIST, 2, Controls(margin=1.0), CATEGORY, np.array([1.0, 1.0, 2.0, 1.0, 1.0]))
    assert ranking.items.tolist() == [[2, 0], [4, 0]]
    assert ranking.scores.tolist() == [[2.0, 1.0], [2.0, 1.0]]


def test_the_price_is_a_paired_difference() -> None:
    paid = price(np.array([0.5, 0.4, 0.6]), np.array([0.4, 0.4, 0.5]))
    assert paid.value == pytest.approx(-0.2 / 3)
    assert paid.low < paid.value < paid.high


def test_rules_are_written_as_a_table(tmp_path: Path) -> None:
    found = rules(
        history([(f"c{n}", item, f"o{n}", 5.0) for n in range(30) for item in ("=tea", "cup")] + [("x", "z", "p", 1.0)] * 1), least_orders=5
    )
    made = rows(found, {"cup": "A cup"})
    write_rows(tmp_path / "rules.csv", COLUMNS, made)
    written = list(csv.reader((tmp_path / "rules.csv").read_text(encoding="utf-8-sig").splitlines()))
    assert tuple(written[0]) == COLUMNS
    assert {tuple(row[:4]) for row in written[1:]} == {("'=tea", "'=tea", "cup", "A cup"), ("cup", "A cup", "'=tea", "'=tea")}


def test_a_segment_known_before_the_first_order_ranks_for_new_customers() -> None:
    rows_ = [(f"n{c}", "skis", f"o{c}", 5.0) for c in range(40)] + [(f"s{c}", "sandals", f"p{c}", 5.0) for c in range(40)]
    past = history(rows_)
    north = np.array([int(name.startswith("s")) for name in past.customers])
    table = shrunk(past, north, 3, 30, 10.0)
    assert past.items[table.argmax(axis=1)[:2]].tolist() == ["skis", "sandals"]
    assert table[2, 0] == pytest.approx(table[2, 1])
    assert shrunk(past, north, 3, 30, 1e9)[0] == pytest.approx(table[2], rel=1e-3)
