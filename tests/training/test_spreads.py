"""Effects from logs in which most choices are sure: found where nearly nobody was left alone, and no more claimed than there is."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from retain.config import build, spec
from tests.training.uplift_world import world
from training.contracts import Frame
from training.models import stored
from training.models.uplift.contacts import CONTROL, Contacts
from training.models.uplift.fitted import FittedUplift
from training.models.uplift.ladder import Average
from training.models.uplift.spreads import RUNG, Spreads

ROWS = 12_000


def log(tastes: float = 0.5, left: float = 0.1, rows: int = ROWS, seed: int = 4) -> tuple[Contacts, np.ndarray]:
    """Those with much money are contacted, but for a part left to chance; the effect is a part of the money's spread that goes with a taste."""
    random = np.random.default_rng(seed)
    money, taste = random.gamma(2.0, 5.0, rows), random.normal(size=rows)
    sure, by_chance = money > 10, random.random(rows) < left
    treated = np.where(by_chance, random.random(rows) < 0.5, sure)
    effect = np.sqrt(money) * (0.5 + tastes * taste)
    y = money + treated * effect + np.sqrt(money) * random.normal(size=rows)
    chance = np.where(treated == sure, 1 - left / 2, left / 2)
    ids = np.array([f"c{place:05d}" for place in range(rows)], dtype=object)
    frame = Frame(ids, np.full(rows, np.datetime64("2025-03-01", "us")), ("money", "taste"), np.column_stack([money, taste]), y, 28)
    arm = np.where(treated, 0, CONTROL)
    nobody = np.zeros(rows, dtype=bool)
    return Contacts(frame, arm, np.zeros(rows, dtype=np.int64), chance, ("mail",), (0.5,), "margin", "money", nobody), effect


@pytest.fixture(scope="module")
def fitted() -> FittedUplift:
    return Spreads().fit(log()[0])


def test_an_effect_is_found_where_nearly_nobody_was_left_alone(fitted: FittedUplift) -> None:
    contacts, effect = log()
    value, low, high = (each[:, 0] for each in fitted.estimate(contacts.frame.x))
    assert fitted.learned[0].rung == RUNG
    assert value.mean() == pytest.approx(effect.mean(), abs=0.2)
    assert np.corrcoef(value, effect)[0, 1] > 0.95
    assert ((low < value) & (value < high)).all()
    assert low.mean() < effect.mean() < high.mean()


def test_a_taste_that_is_none_is_drawn_to_one_common_part() -> None:
    contacts, effect = log(tastes=0.0)
    value = Spreads().fit(contacts).estimate(contacts.frame.x)[0][:, 0]
    assert np.corrcoef(value, effect)[0, 1] > 0.9
    strict = Spreads(ridge=1e9).fit(contacts).learned[0].score.terms[0].fitted
    parts = strict.predict(contacts.frame.x) / strict.alone.spread(contacts.frame.x)
    assert np.ptp(parts) < 1e-3


def test_only_a_randomised_log_is_more_than_adjusted() -> None:
    contacts, _ = log()
    assert Spreads().fit(contacts).grades == ("C",)
    assert Spreads().fit(replace(contacts, probability=np.full(ROWS, np.nan))).grades == ("C",)
    even = np.random.default_rng(1).integers(CONTROL, 1, ROWS)
    assert Spreads().fit(replace(contacts, arm=even, probability=np.full(ROWS, 0.5))).grades == ("A",)


def test_few_contacts_have_the_average_effect_for_everybody() -> None:
    contacts, _ = world(60)
    found = Spreads().fit(contacts)
    assert found.learned[0].rung == "average"
    np.testing.assert_array_equal(found.estimate(contacts.frame.x)[0], Average().fit(contacts).estimate(contacts.frame.x)[0])


def test_files_repeat_it_to_the_bit_and_the_order_of_rows_is_irrelevant(fitted: FittedUplift, tmp_path: Path) -> None:
    contacts, _ = log()
    stored.write(fitted, tmp_path / "model")
    again = stored.read(tmp_path / "model")
    assert np.array_equal(again.predict(contacts.frame.x), fitted.predict(contacts.frame.x))
    alone = np.concatenate([again.predict(contacts.frame.x[place : place + 1]) for place in range(20)])
    assert np.array_equal(alone, fitted.predict(contacts.frame.x)[:20])
    shuffled = Spreads().fit(contacts.take(np.random.default_rng(3).permutation(ROWS)))
    assert np.array_equal(shuffled.predict(contacts.frame.x), fitted.predict(contacts.frame.x))
    assert np.isfinite(fitted.predict(np.full((2, 2), np.nan))).all()
    assert build(spec(Spreads(ridge=5.0))) == Spreads(ridge=5.0)


def test_an_outcome_that_is_yes_or_no_is_found_too() -> None:
    contacts, effect = world(20_000, "own", seed=3)
    value = Spreads().fit(contacts).estimate(contacts.frame.x)[0][:, 0]
    assert value.mean() == pytest.approx(effect.mean(), abs=0.02)
    assert np.corrcoef(value, effect)[0, 1] > 0.6
