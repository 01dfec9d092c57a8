"""The shared suite for every recommender, and what is each one's own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.sparse import csr_matrix

from features.interactions import Interactions
from retain.errors import DataError, IntegrityError
from tests.contracts.ranker_contract import NOBODY, RankerContract, history, shop
from training.contracts import Purpose
from training.models.als import Als
from training.models.blend import Blend, FittedBlend
from training.models.bpr import Bpr
from training.models.folder import parts
from training.models.item_item import FittedItemItem, ItemItem
from training.models.lists import top
from training.models.personal import Personal
from training.models.popular import Popularity
from training.models.products import best_products
from training.models.purchases import align, before, block, blocks, buyers, catalogue
from training.models.segmented import Segmented
from training.models.tifu import Tifu
from training.models.weighing import Weighing

ALONE = np.array([0])


class TestPopularity(RankerContract):
    model = Popularity()

    def test_it_counts_distinct_buyers_in_the_window(self) -> None:
        rows = [("a", "x", "1", 5.0), ("a", "x", "2", 6.0), ("a", "x", "3", 7.0), ("a", "y", "1", 5.0), ("b", "y", "4", 5.0)]
        rows += [(customer, "z", f"{customer}9", 90.0) for customer in "abc"]
        past = history(rows)
        ranking = Popularity(window_days=30).fit(past).rank(past, ALONE, 3, "all")
        assert past.items[ranking.items[0]].tolist() == ["y", "x", "z"]

    def test_a_customer_without_history_gets_the_same_list(self, past: Interactions) -> None:
        ranking = Popularity().fit(past).rank(past, np.array([0, NOBODY]), 5, "all")
        assert ranking.items[0].tolist() == ranking.items[1].tolist()


class TestPersonal(RankerContract):
    model = Personal()

    def test_hand_counted(self) -> None:
        past = history([("a", "x", "1", 10.0), ("a", "x", "2", 20.0), ("a", "y", "3", 0.5), ("b", "y", "4", 1.0), ("b", "z", "4", 1.0)])
        ranking = Personal(half_life_days=10, floor=0.2, mix=0.001).fit(past).rank(past, ALONE, 2, "all")
        assert past.items[ranking.items[0]].tolist() == ["x", "y"]
        assert ranking.scores[0] == pytest.approx([0.6 + 0.4 + 0.001 * (1 + 1 / 3) / (2 + 2 / 3), 0.2 + 0.8 * 2**-0.05 + 0.001])

    def test_what_is_bought_again_is_offered_again(self, past: Interactions) -> None:
        ranking = self.model.fit(past).rank(past, ALONE, 3, "all")
        assert set(ranking.items[0].tolist()) <= set(past.item[past.customer == 0].tolist())

    def test_one_order_counts_once_however_many_lines(self) -> None:
        past = history([("a", "x", "1", 5.0), ("a", "y", "2", 5.0), ("a", "y", "3", 5.0)])
        assert past.items[Personal().fit(past).rank(past, ALONE, 1, "all").items[0, 0]] == "y"


class _Collaborative(RankerContract):
    def test_a_customer_without_history_gets_no_arbitrary_items(self, past: Interactions) -> None:
        assert (self.model.fit(past).rank(past, np.array([NOBODY]), 5, "all").items == -1).all()

    def test_discovery_follows_taste(self, past: Interactions) -> None:
        everyone = np.setdiff1d(np.arange(len(past.customers)), [NOBODY])
        offered = self.model.fit(past).rank(past, everyone, 5, "new").items
        is_to_taste = (offered >= len(past.items) // 2) == (everyone % 2 == 1)[:, None]
        assert is_to_taste[offered >= 0].mean() > 0.75


class TestAls(_Collaborative):
    model = Als(factors=4, regularization=5.0, iterations=10)

    def test_folding_in_solves_the_normal_equations(self, past: Interactions) -> None:
        fitted = self.model.fit(past)
        own = block(align(past, fitted.items), np.array([0, 5]))
        confidence = fitted.config.confidence(own).toarray()
        for row, solved in enumerate(fitted.fold_in(own)):
            weight = np.where(confidence[row] > 0, confidence[row], 1.0)
            left = fitted.factors.T @ (weight[:, None] * fitted.factors) + self.model.regularization * np.eye(4)
            right = fitted.factors.T @ np.where(confidence[row] > 0, confidence[row], 0.0)
            assert solved == pytest.approx(np.linalg.solve(left, right), rel=1e-9)


class TestBm25(_Collaborative):
    model = ItemItem(nearness="bm25", neighbours=10)


class TestCosine(_Collaborative):
    model = ItemItem(nearness="cosine", neighbours=10)

    def test_hand_counted(self) -> None:
        bought = ["ax1", "ay1", "bx2", "by2", "cx3", "dz4"]
        past = history([(customer, item, order, 5.0) for customer, item, order in bought])
        ranking = ItemItem(nearness="cosine").fit(past).rank(past, np.array([2]), 5, "new")
        assert past.items[ranking.items[0, 0]] == "y"
        assert ranking.scores[0, 0] == pytest.approx(2 / np.sqrt(3 * 2))
        assert ranking.items[0, 1:].tolist() == [-1] * 4  # z goes with nothing: the list is short, not padded


class TestEase(_Collaborative):
    model = ItemItem(nearness="ease", ridge=10.0)

    def test_it_is_the_closed_form(self, past: Interactions) -> None:
        bought = block(past, np.arange(len(past.customers))).bought.astype(float)
        inverse = np.linalg.inv(bought.T @ bought + 10.0 * np.eye(len(past.items)))
        expected = np.eye(len(past.items)) - inverse / np.diag(inverse)
        np.fill_diagonal(expected, 0.0)
        assert ItemItem(nearness="ease", ridge=10.0).fit(past).near.toarray() == pytest.approx(expected, abs=1e-12)

    def test_beyond_its_limit_it_learns_the_most_bought(self, past: Interactions) -> None:
        fitted = ItemItem(nearness="ease", max_items=10).fit(past)
        learned = np.flatnonzero(np.asarray(abs(fitted.near).sum(axis=1)).ravel())
        assert set(learned.tolist()) <= set(np.argsort(-buyers(past), kind="stable")[:10].tolist())
        assert len(fitted.items) == len(past.items)

    def test_neighbours_outside_the_catalogue_are_refused(self, past: Interactions, tmp_path: Path) -> None:
        fitted = self.model.fit(past)
        fitted.near.indices[0] = len(past.items)
        fitted.save(tmp_path)
        with pytest.raises(IntegrityError, match="outside the catalogue"):
            FittedItemItem.load(tmp_path)


class TestWalks(_Collaborative):
    model = ItemItem(nearness="walks", neighbours=15)

    def test_it_is_three_steps(self, past: Interactions) -> None:
        bought = block(past, np.arange(len(past.customers))).bought.astype(float)
        to_item = bought / np.maximum(bought.sum(axis=1, keepdims=True), 1)
        to_customer = bought.T / bought.sum(axis=0)[:, None]
        expected = (to_customer @ to_item) / bought.sum(axis=0) ** 0.3
        assert ItemItem(nearness="walks").fit(past).near.toarray() == pytest.approx(expected, rel=1e-9)


class TestBpr(_Collaborative):
    model = Bpr(factors=6, iterations=60)


class TestTifu(RankerContract):
    model = Tifu(neighbours=12, groups=3)

    def test_it_is_the_plain_loop_of_the_paper(self, past: Interactions) -> None:
        fitted = self.model.fit(past)
        everyone = np.arange(len(past.customers))
        rows = np.array([_described(past, customer, self.model) for customer in everyone])
        assert self.model.described(block(past, everyone)).toarray() == pytest.approx(rows, abs=1e-12)
        others = rows[rows.any(axis=1)]
        for customer in (0, 17):
            near = np.argsort(((others - rows[customer]) ** 2).sum(axis=1).round(12), kind="stable")[:12]
            mixed = 0.7 * rows[customer] + 0.3 * others[near].mean(axis=0)
            assert fitted.scores(block(past, np.array([customer])), "all")[0] == pytest.approx(mixed, abs=1e-9)

    def test_neighbours_are_drawn_where_there_are_many(self, past: Interactions) -> None:
        assert Tifu(members=10).fit(past).members.shape[0] == 10


class TestSegmented(RankerContract):
    model = Segmented(bands=2, strength=5)

    def test_a_small_cell_is_drawn_to_everybody(self) -> None:
        rows = [(f"c{c}", "x", f"o{c}-{n}", 5.0 + n) for c in range(8) for n in range(1 + 3 * (c == 7))] + [("c7", "y", "p", 3.0)]
        past = history(rows)
        free, held = (Segmented(bands=2, strength=strength).fit(past).table for strength in (0.01, 1e6))
        assert not np.allclose(free[:-1], free[-1], atol=0.05)
        assert np.allclose(held, held[-1], atol=1e-4)


class TestBlend(RankerContract):
    model = Blend(
        candidates=(Popularity(), Personal(), ItemItem(nearness="ease", ridge=30.0), Als(factors=4, iterations=5)),
        horizon_days=40,
        weighing=Weighing(least_customers=20),
    )

    def test_repeats_and_discovery_are_both_served(self, fitted: FittedBlend) -> None:
        assert "Personal" in _kinds(fitted, "repeat")
        assert _kinds(fitted, "new") & {"ItemItem", "Als"}
        assert all(weights.sum() == pytest.approx(1.0) for weights in fitted.weights.values())

    def test_a_customer_without_history_gets_what_is_popular(self, fitted: FittedBlend, past: Interactions) -> None:
        for purpose in ("all", "new"):
            assert (fitted.rank(past, np.array([NOBODY]), 5, purpose).items >= 0).all()
        assert (fitted.rank(past, np.array([NOBODY]), 5, "repeat").items == -1).all()

    def test_a_history_too_short_to_learn_weights_still_ranks(self) -> None:
        past = history([("a", "x", "1", 5.0), ("a", "y", "1", 5.0), ("b", "x", "2", 5.0), ("b", "y", "2", 5.0), ("b", "z", "3", 4.0)])
        fitted = Blend().fit(past)
        assert past.items[fitted.rank(past, ALONE, 3, "new").items[0, 0]] == "z"
        assert sorted(past.items[fitted.rank(past, ALONE, 2, "repeat").items[0]]) == ["x", "y"]

    def test_weights_follow_what_predicts(self) -> None:
        random = np.random.default_rng(0)
        rows = [
            (f"c{c:03d}", f"i{item:02d}", f"o{c:03d}-{age}", float(age))
            for c in range(150)
            for favourites in [random.choice(30, 3, replace=False)]
            for age in (3, 30, 60, 90)
            for item in favourites
        ]
        fitted = Blend(candidates=(Popularity(), Personal()), horizon_days=28).fit(history(rows))
        assert _kinds(fitted, "all") == {"Personal"}

    def test_a_part_of_another_catalogue_is_refused(self, fitted: FittedBlend, tmp_path: Path) -> None:
        replace(fitted, items=fitted.items[:-1], popularity=fitted.popularity[:-1]).save(tmp_path)
        with pytest.raises(IntegrityError, match="another catalogue"):
            FittedBlend.load(tmp_path)

    def test_an_unknown_part_is_refused(self, fitted: FittedBlend, tmp_path: Path) -> None:
        fitted.save(tmp_path)
        text = (tmp_path / "model.json").read_text()
        (tmp_path / "model.json").write_text(text.replace(f'"{parts(tmp_path)[0]}"', '"subprocess"'))
        with pytest.raises(IntegrityError, match="subprocess"):
            FittedBlend.load(tmp_path)


def _described(past: Interactions, customer: int, model: Tifu) -> np.ndarray:
    """A customer's row as the paper writes it: groups of baskets, the newest last."""
    mine = past.customer == customer
    orders = sorted(set(past.order[mine].tolist()), key=lambda order: past.at[mine][past.order[mine] == order].max())
    size = -(-len(orders) // model.groups) if orders else 1
    chunks = [orders[max(0, end - size) : end] for end in range(len(orders), 0, -size)]
    total = np.zeros(len(past.items))
    for age, chunk in enumerate(chunks):
        for back, order in enumerate(reversed(chunk)):
            basket = np.isin(np.arange(len(past.items)), past.item[mine][past.order[mine] == order])
            total += model.within**back * model.between**age * basket / len(chunk) / len(chunks)
    return total


@pytest.mark.parametrize("position", [-1, 120])
def test_a_position_outside_the_history_is_refused(position: int) -> None:
    past = shop()
    with pytest.raises(DataError, match=str(position)):
        Popularity().fit(past).rank(past, np.array([position]), 3, "all")


SCORES = st.sampled_from([-1.0, 0.0, 0.25, 0.5, 1.0, np.nan, -np.inf])


def _kinds(fitted: FittedBlend, purpose: Purpose) -> set[str]:
    return {type(part.config).__name__ for part, weight in zip(fitted.parts, fitted.weights[purpose], strict=True) if weight > 0}


@settings(max_examples=200, deadline=None)
@given(arrays(np.float64, (3, 9), elements=SCORES), arrays(np.bool_, (3, 9)), st.integers(1, 12))
def test_top_equals_sorting_everything(scores: np.ndarray, mask: np.ndarray, k: int) -> None:
    items, best = top(scores, k, mask)
    for row in range(len(scores)):
        usable = [(-scores[row, item], item) for item in range(9) if mask[row, item] and scores[row, item] > 0]
        expected = [item for _, item in sorted(usable)][:k]
        assert items[row].tolist() == expected + [-1] * (k - len(expected))
        assert best[row, : len(expected)].tolist() == scores[row, expected].tolist()


def test_blocks_cover_everybody_once_and_stay_small() -> None:
    past = shop()
    asked = np.arange(len(past.customers))[::-1]
    pieces = list(blocks(past, asked, cells=400))
    assert [place.start for place, _ in pieces] == list(range(0, 120, 10))
    assert all(part.customers * part.items <= 400 for _, part in pieces)
    assert sum(len(part.row) for _, part in pieces) == len(past)


def test_the_future_changes_nothing() -> None:
    past = shop()
    earlier = before(past, 50)
    later = replace(past, item=np.where(np.asarray(past.at) >= np.datetime64(earlier.moment.replace(tzinfo=None)), 0, past.item).astype(np.int32))
    again = before(later, 50)
    assert np.array_equal(earlier.item, again.item)
    assert (np.asarray(earlier.at) < np.datetime64(earlier.moment.replace(tzinfo=None))).all()


def test_a_history_is_brought_to_the_catalogue_of_the_model() -> None:
    past = history([("a", "x", "1", 5.0), ("a", "y", "1", 5.0), ("b", "z", "2", 5.0)])
    moved = align(past, np.array(["w", "x", "z"], dtype=object))
    assert [(past.customers[c], moved.items[i]) for c, i in zip(moved.customer, moved.item, strict=True)] == [("a", "x"), ("b", "z")]
    assert catalogue(shop(), 10**6).items.tolist() == []


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 90), st.integers(1, 12), st.booleans())
def test_blocked_products_give_the_lists_of_all_products(seed: int, customers: int, items: int, k: int, skips: bool) -> None:
    random = np.random.default_rng(seed)
    # Whole numbers make ties, which fall to the smaller position.
    left, right = random.integers(-2, 3, (customers, 3)).astype(float), random.integers(-2, 3, (items, 3)).astype(float)
    skip = random.random((customers, items)) < 0.3 if skips else np.zeros((customers, items), dtype=bool)
    found, best = best_products(left, right, k, skip=csr_matrix(skip) if skips else None, rows=7, items=16)
    expected, score = top(left @ right.T, k, ~skip)
    assert np.array_equal(found, expected)
    assert np.array_equal(best, score, equal_nan=True)


def test_near_ties_are_ordered_as_double_precision_orders_them() -> None:
    random = np.random.default_rng(3)
    left = random.normal(size=(50, 32))
    right = np.repeat(random.normal(size=(40, 32)), 5, axis=0) * (1.0 + random.normal(size=(200, 1)) * 1e-9)
    found, _ = best_products(left, right, 12, rows=16, items=64, threads=2)
    exact = (left[:, None, :] * right[None, :, :]).sum(axis=2)
    assert np.array_equal(found, top(exact, 12)[0])
