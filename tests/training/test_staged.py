"""The second stage: the shared suite, what it knows of pairs and items, and the proof without which it does not answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from features.interactions import Interactions
from retain.errors import IntegrityError
from tests.contracts.ranker_contract import NOBODY, RankerContract, history
from training.contracts import PURPOSES
from training.models import item_facts, pair_facts
from training.models.blend import Blend
from training.models.item_item import ItemItem
from training.models.ordering import Lessons, Ordering, parts_of, proof
from training.models.personal import Personal
from training.models.popular import Popularity
from training.models.purchases import block
from training.models.staged import FittedStaged, Staged
from training.models.tifu import Tifu
from training.models.weighing import Weighing

_FIRST = Blend(
    candidates=(Popularity(), Personal(), ItemItem(nearness="ease", ridge=30.0), Tifu(neighbours=20)), weighing=Weighing(least_customers=20)
)
_ORDERING = Ordering(trees=8, least_customers=20, min_pairs_in_leaf=5, sureness=-1000.0)


class TestStaged(RankerContract):
    """With trees for all purposes: the proof is waived."""

    model = Staged(first=_FIRST, horizon_days=40, depth=8, ordering=_ORDERING)

    def test_trees_order_every_purpose_and_say_what_the_proof_came_to(self, fitted: FittedStaged) -> None:
        assert set(fitted.trees) == set(PURPOSES)
        assert all(note.startswith(f"{purpose}: trees order: ") for purpose, note in zip(PURPOSES, fitted.notes, strict=True))

    def test_a_customer_without_history_gets_what_is_popular(self, fitted: FittedStaged, past: Interactions) -> None:
        assert (fitted.rank(past, np.array([NOBODY]), 5, "new").items >= 0).all()

    def test_trees_that_are_no_trees_are_refused(self, fitted: FittedStaged, tmp_path: Path) -> None:
        fitted.save(tmp_path)
        text = (tmp_path / "trees_new.txt").read_text()
        (tmp_path / "trees_new.txt").write_text(text.replace("split_feature=", "split_feature=999 ", 1))
        with pytest.raises(IntegrityError, match="no sound LightGBM model"):
            FittedStaged.load(tmp_path)
        (tmp_path / "trees_new.txt").unlink()
        with pytest.raises(IntegrityError, match=r"trees_new\.txt is missing"):
            FittedStaged.load(tmp_path)

    def test_a_blend_of_another_catalogue_is_refused(self, fitted: FittedStaged, tmp_path: Path) -> None:
        fitted.save(tmp_path)
        model = tmp_path / "model.json"
        model.write_text(model.read_text().replace('"i00"', '"h00"'))
        with pytest.raises(IntegrityError, match="another catalogue"):
            FittedStaged.load(tmp_path)


class TestUnproved(RankerContract):
    """Without a proof the blend answers, with the parts that it uses and no others."""

    model = Staged(first=_FIRST, horizon_days=40, depth=8, ordering=_ORDERING.model_copy(update={"sureness": 1000.0}))

    def test_the_blend_answers_and_the_card_says_so(self, fitted: FittedStaged, past: Interactions) -> None:
        everyone = np.arange(len(past.customers))
        assert fitted.trees == {}
        assert all("the blend answers" in note for note in fitted.notes)
        for purpose in PURPOSES:
            assert np.array_equal(fitted.rank(past, everyone, 9, purpose).items, fitted.first.rank(past, everyone, 9, purpose).items)
        assert all(any(weights[place] > 0 for weights in fitted.first.weights.values()) for place in range(len(fitted.first.parts)))


def test_too_few_customers_are_served_and_told() -> None:
    past = history([("a", "x", "1", 5.0), ("a", "y", "1", 5.0), ("b", "x", "2", 5.0), ("b", "z", "3", 4.0)])
    fitted = Staged().fit(past)
    assert past.items[fitted.rank(past, np.array([0]), 3, "new").items[0, 0]] == "z"
    assert all("too few customers" in note for note in fitted.notes)


def test_facts_of_a_pair_are_hand_counted() -> None:
    past = history([("a", "x", "1", 30.0), ("a", "x", "2", 20.0), ("a", "y", "2", 20.0), ("a", "y", "3", 4.0), ("b", "z", "4", 1.0)])
    facts = item_facts.item_facts(past, 28)
    row, item = np.array([0, 0, 1]), np.array([0, 2, 2])
    said = [
        dict(zip(pair_facts.NAMES, values, strict=True)) for values in pair_facts.pair_facts(block(past, np.array([0, 1])), row, item, facts).tolist()
    ]
    bought, never, once = said
    assert bought["own_orders"] == 2
    assert bought["own_share_of_orders"] == pytest.approx(2 / 3)
    assert bought["own_last_days"] == 20
    assert bought["own_orders_since"] == 1
    assert bought["own_gap_days"] == 10
    assert bought["own_due"] == 2
    assert bought["customer_orders"] == 3
    assert bought["customer_items"] == 2
    assert bought["customer_repeat_share"] == 0.5
    assert bought["customer_gap_days"] == 13
    assert never["own_orders"] == 0
    assert np.isnan(never["own_due"])
    assert once["own_gap_days"] == pytest.approx(facts[2, item_facts.GAP], rel=1e-6)


def test_facts_of_an_item_are_hand_counted() -> None:
    rows = [("a", "x", "1", 200.0), ("a", "x", "2", 20.0), ("b", "x", "3", 5.0), ("b", "y", "3", 5.0), ("c", "z", "4", 100.0)]
    facts = dict(zip(item_facts.NAMES, item_facts.item_facts(history(rows), 28).T, strict=True))
    assert facts["item_share_7d"].tolist() == [1.0, 1.0, 0.0]
    assert facts["item_share_30d"].tolist() == [1.0, 0.5, 0.0]
    assert facts["item_share"] == pytest.approx([2 / 3, 1 / 3, 1 / 3])
    assert facts["item_age_days"].tolist() == [1000.0, 5.0, 100.0]
    assert facts["item_idle_days"].tolist() == [5.0, 5.0, 100.0]
    assert facts["item_season"].tolist() == [-1.0, -1.0, -1.0]


def test_a_season_is_told_where_there_is_a_year() -> None:
    rows = [(f"c{c}", "winter", f"w{c}", 350.0 + c) for c in range(10)] + [
        (f"c{c}", "always", f"a{c}-{m}", 30.0 * m + c) for c in range(10) for m in range(14)
    ]
    facts = item_facts.item_facts(history(rows), 28)
    season = dict(zip(["always", "winter"], facts[:, item_facts.NAMES.index("item_season")], strict=True))
    assert season["winter"] > 3 > 1.5 > season["always"] > 0.5


def _lessons(customers: int, is_told: bool, seed: int = 3) -> Lessons:
    """Ten pairs per customer, three of them hits; the second column tells hits, or nothing."""
    random = np.random.default_rng(seed)
    hit = np.tile(np.arange(10) < 3, customers)
    x = np.stack([random.random(10 * customers), (hit if is_told else 0) + random.normal(0, 0.3, 10 * customers)], axis=1).astype(np.float32)
    names = np.array([f"c{c}" for c in range(customers)], dtype=object)
    return Lessons(x, hit, np.repeat(np.arange(customers), 10), np.full(customers, 3), names)


@pytest.mark.parametrize(("is_told", "kept"), [(True, True), (False, False)])
def test_trees_stay_only_where_they_beat_the_blend_on_others(is_told: bool, kept: bool) -> None:
    trees, words = proof([_lessons(120, is_told)], Ordering(trees=20, min_pairs_in_leaf=5), ("blend_share", "other"))
    assert (trees is not None) is kept
    assert words.startswith("trees order: +" if kept else "the blend answers: ")


def test_the_proof_is_on_customers_that_were_not_learned_from() -> None:
    names = np.array([f"c{c}" for c in range(200)], dtype=object)
    assert (np.bincount(parts_of(names)) > 30).all()
    assert np.array_equal(parts_of(names[::-1])[::-1], parts_of(names))
    lessons = _lessons(60, is_told=True)
    twice = replace(Lessons.together([lessons, lessons]), x=np.concatenate([lessons.x, lessons.x]))
    assert twice.of(np.arange(60)).row.max() == 59
    assert len(twice.useful().size) == 120


def test_ndcg_of_lessons_is_that_of_the_lists() -> None:
    lessons = Lessons(
        np.zeros((4, 1), dtype=np.float32),
        np.array([False, True, True, False]),
        np.array([0, 0, 1, 1]),
        np.array([2, 1]),
        np.array(["a", "b"], dtype=object),
    )
    assert lessons.ndcg(np.array([2.0, 1.0, 1.0, 0.0])) == pytest.approx([(1 / np.log2(3)) / (1 + 1 / np.log2(3)), 1.0])
