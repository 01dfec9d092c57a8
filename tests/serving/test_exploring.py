"""Chance: every probability that is said is exact, by enumeration; groups are fixed; the same key draws the same."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from serving.decisions.control import Groups, arm, position
from serving.decisions.exploring import Mixture, draw, exploring, random, settled
from serving.decisions.policy import Exploration

MIXTURES = st.one_of(
    st.builds(settled, st.integers(0, 6), st.integers(1, 4)),
    st.builds(random, st.integers(0, 6), st.integers(1, 4)),
    st.builds(exploring, st.integers(0, 6), st.integers(1, 4), st.sampled_from([0.0, 0.01, 0.02, 0.05]), st.sampled_from([0.05, 0.1, 0.2])),
)


@settings(max_examples=60, deadline=None)
@given(MIXTURES)
def test_every_probability_follows_from_the_orders_that_can_be_drawn(mixture: Mixture) -> None:
    orders = {order: mixture.joint(order) for order in permutations(range(mixture.count), mixture.slots)}
    assert sum(orders.values()) == pytest.approx(1.0)
    for candidate in range(mixture.count):
        assert mixture.chances[candidate] == pytest.approx(sum(p for order, p in orders.items() if candidate in order))
        for slot in range(mixture.slots):
            assert mixture.at(slot, candidate) == pytest.approx(sum(p for order, p in orders.items() if order[slot] == candidate))
    assert sum(mixture.chances) == pytest.approx(mixture.slots)


@given(st.integers(1, 60), st.integers(1, 20), st.sampled_from([0.01, 0.02]), st.sampled_from([0.02, 0.1, 0.3]))
def test_exploration_stays_within_its_bounds(count: int, slots: int, floor: float, most: float) -> None:
    mixture = exploring(count, slots, floor, most)
    assert mixture.share <= most
    assert sum(mixture.chances) == pytest.approx(min(slots, count))
    for slot in range(mixture.explored):
        chances = [mixture.at(slot, candidate) for candidate in range(count)]
        assert sum(chances) == pytest.approx(1.0)
        assert all(chance == 0 or chance >= floor * 0.999 for chance in chances)
        assert chances[slot] >= 1 - most


def test_what_is_drawn_is_drawn_as_often_as_is_said() -> None:
    mixture = exploring(5, 2, 0.05, 0.3)
    drawn = [draw(mixture, "seed", str(key)) for key in range(20_000)]
    counts = Counter(each.order for each in drawn)
    for order in permutations(range(5), 2):
        expected = mixture.joint(order)
        assert counts[order] / len(drawn) == pytest.approx(expected, abs=4.5 * (expected * (1 - expected) / len(drawn)) ** 0.5)
    for each in drawn[:100]:
        assert each.joint == mixture.joint(each.order)
        assert each.p == tuple(mixture.at(slot, candidate) for slot, candidate in enumerate(each.order))


def test_the_same_key_draws_the_same_and_another_seed_another() -> None:
    mixture = random(8, 3)
    assert draw(mixture, "1", "d_1") == draw(mixture, "1", "d_1")
    assert len({draw(mixture, seed, "d_1").order for seed in "abcdef"}) > 1
    assert draw(settled(8, 3), "1", "d_1").order == (0, 1, 2)
    # Written down: another answer here would make decisions of before impossible to make again.
    assert [draw(mixture, "1", f"d_{n}").order for n in range(3)] == [(2, 3, 6), (0, 7, 4), (5, 1, 7)]
    assert position("C00000001", "1") == 0.8417249100565285


def test_groups_are_as_large_as_declared_and_nobody_moves_when_a_share_changes() -> None:
    groups = Groups(salt="s", control=0.02, random=0.02)
    people = [f"C{n:08d}" for n in range(20_000)]
    sizes = Counter(arm(each, groups) for each in people)
    assert sizes["control"] / len(people) == pytest.approx(0.02, abs=0.004)
    assert sizes["random"] / len(people) == pytest.approx(0.02, abs=0.004)
    larger = Groups(salt="s", control=0.05, random=0.03)
    assert all(arm(each, larger) == arm(each, groups) for each in people if arm(each, groups) != "policy")
    assert {each for each in people if arm(each, Groups(salt="t", control=0.02)) == "control"} != {
        each for each in people if arm(each, groups) == "control"
    }
    assert arm("anybody", Groups()) == "policy"


@pytest.mark.parametrize("customer_id", ["", "00123", "客户", "\ud800", "a\nb", "x" * 256])
def test_any_id_has_a_place(customer_id: str) -> None:
    assert 0 <= position(customer_id, "s") < 1


def test_what_cannot_be_declared() -> None:
    with pytest.raises(ValidationError, match="salt"):
        Groups(control=0.02)
    with pytest.raises(ValidationError, match="above most"):
        Exploration(floor=0.05, most=0.01)
