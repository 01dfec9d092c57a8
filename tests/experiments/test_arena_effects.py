"""Our policy of the arena: effects found in a log of mostly sure choices, the plain rung where there is nothing to find, exact chances."""

import numpy as np
import pytest

from experiments.arena import life
from experiments.arena.effects import Effects, learn
from experiments.arena.ours import Ours
from experiments.arena.play import Month, Played, season
from experiments.arena.worlds import shipped_worlds

ROWS = 6000


def _log(tastes: float) -> tuple[np.ndarray, Effects]:
    """A log in which those with a large first column are contacted, but for one in ten left to chance; the second one moves the effect."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=(ROWS, 2))
    sure = np.where(x[:, 0] > 0, 0, -1)
    choice = np.where(rng.random(ROWS) < 0.1, rng.integers(-1, 1, ROWS), sure).astype(np.int16)
    money = 10 + 3 * x[:, 0] + (choice == 0) * (2 + tastes * x[:, 1]) + rng.normal(size=ROWS)
    return x, learn(x, money, choice, np.arange(ROWS) // 3, 2)


def test_an_effect_is_found_where_nearly_nobody_was_left_alone() -> None:
    x, found = _log(tastes=1.5)
    assert found.rungs == ("learner", "none")
    said = found(x)
    assert said[:, 0].mean() == pytest.approx(2.0, abs=0.2)
    assert np.corrcoef(said[:, 0], 2 + 1.5 * x[:, 1])[0, 1] > 0.95
    assert np.isneginf(said[:, 1]).all()


def test_few_contacts_are_told_by_the_response() -> None:
    rng = np.random.default_rng(5)
    x = rng.normal(size=(2000, 2))
    choice = np.full(2000, -1, dtype=np.int16)
    choice[:100] = 0
    money = (10 + 3 * x[:, 0]) * np.where(choice == 0, 1.2, 1.0)
    found = learn(x, money, choice, np.arange(2000), 1)
    assert found.rungs == ("response",)
    said = found(x)[:, 0]
    assert np.corrcoef(said, 10 + 3 * x[:, 0])[0, 1] > 0.99
    assert said.mean() == pytest.approx(2.0, abs=0.3)


def test_the_chance_of_every_choice_is_known_and_right() -> None:
    months: list[tuple[Month, Played]] = []

    class Watched(Ours):
        def play(self, month: Month) -> Played:
            played = super().play(month)
            months.append((month, played))
            return played

    season(life.town(shipped_worlds()["harm"], 4000, 12), Watched, 4)
    for month, played in months:
        np.testing.assert_array_equal(np.isfinite(played.chance), month.may_contact)
        known = played.chance[month.may_contact]
        assert ((known > 0) & (known <= 1)).all()
        alone = month.may_contact & (played.choice < 0)
        # Each choice stands for as many customers as its chance says (Horvitz and Thompson, 1952).
        assert (1 / played.chance[alone]).sum() == pytest.approx(month.may_contact.sum(), rel=0.25)
