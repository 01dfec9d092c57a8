"""What may not train is refused with counts and names; what says nothing is dropped and listed."""

from __future__ import annotations

import numpy as np
import pytest

from retain.errors import RefusedError
from training.contracts import Frame
from training.guards import sound

RANDOM = np.random.default_rng(0)


def frame(y: np.ndarray, **columns: np.ndarray) -> Frame:
    rows = len(y)
    ids = np.array([f"c{k}" for k in range(rows)], dtype=object)
    x = np.column_stack(list(columns.values())) if columns else np.empty((rows, 0))
    return Frame(ids, np.full(rows, np.datetime64("2025-01-01", "us")), tuple(columns), x.astype(float), y.astype(float), 28)


def coin(rows: int = 200) -> np.ndarray:
    return np.arange(rows) % 2


def test_a_sound_frame_passes_whole() -> None:
    asked = frame(coin(), a=RANDOM.random(200), b=RANDOM.random(200))
    found = sound(asked, "churn")
    assert found.frame.columns == ("a", "b")
    assert (found.dropped, found.open_rows) == ((), 0)


def test_a27_constant_and_empty_columns_are_dropped_and_listed() -> None:
    part = np.where(RANDOM.random(200) < 0.5, np.nan, 1.0)
    asked = frame(coin(), constant=np.ones(200), empty=np.full(200, np.nan), kept=RANDOM.random(200), part=part)
    found = sound(asked, "churn")
    assert found.dropped == ("constant", "empty")
    assert found.frame.columns == ("kept", "part")
    assert found.frame.x.shape == (200, 2)


@pytest.mark.fault("B20")
def test_open_windows_are_left_out_and_counted() -> None:
    y = coin().astype(float)
    y[:30] = np.nan
    found = sound(frame(y, a=RANDOM.random(200)), "churn")
    assert (len(found.frame), found.open_rows) == (170, 30)


@pytest.mark.fault("B20")
@pytest.mark.parametrize(
    ("y", "words"),
    [
        (coin(49), "49 customers"),
        (np.zeros(0), "0 customers"),
        (np.zeros(200), "0 of 200"),
        (np.ones(200), "200 of 200"),
        (np.r_[np.ones(9), np.zeros(191)], "9 of 200"),
        (np.where(coin(80) == 1, np.nan, 0.0), "40 customers have a closed window .40 rows are still open"),
        (np.r_[np.full(5, 12.5), np.zeros(195)], "5 of 200"),
    ],
)
def test_too_little_is_refused_with_the_counts(y: np.ndarray, words: str) -> None:
    with pytest.raises(RefusedError, match=words):
        sound(frame(y, a=RANDOM.random(len(y))), "churn")


def test_money_from_everybody_is_enough() -> None:
    assert len(sound(frame(RANDOM.random(100) + 1, a=RANDOM.random(100)), "clv").frame) == 100


def test_rows_of_one_customer_are_one_customer() -> None:
    asked = frame(coin(), a=RANDOM.random(200))
    one = Frame(np.full(200, "c0", dtype=object), asked.cutoff, asked.columns, asked.x, asked.y, 28)
    with pytest.raises(RefusedError, match="1 customers"):
        sound(one, "churn")


@pytest.mark.parametrize("turned", [1.0, -1.0])
def test_a29_a_feature_that_holds_the_outcome_is_named(turned: float) -> None:
    y = coin()
    leak = turned * (y + RANDOM.random(200) * 0.9)
    with pytest.raises(RefusedError, match="churn_date alone tells the outcome") as error:
        sound(frame(y, fine=RANDOM.random(200), churn_date=leak), "churn")
    assert error.value.field == "churn_date"


def test_a29_a_leak_by_missing_values_is_found() -> None:
    y = coin()
    with pytest.raises(RefusedError, match="cancelled_at"):
        sound(frame(y, cancelled_at=np.where(y == 1, RANDOM.random(200), np.nan)), "churn")


def test_a29_a_leak_of_money_is_found() -> None:
    y = np.where(coin() == 1, RANDOM.gamma(2, 30, 200), 0.0)
    with pytest.raises(RefusedError, match="spend_after"):
        sound(frame(y, spend_after=y + RANDOM.random(200) * 1e-3), "clv")


def test_infinite_values_are_refused() -> None:
    with pytest.raises(RefusedError, match="ratio holds infinite values"):
        sound(frame(coin(), ratio=np.where(np.arange(200) == 3, np.inf, RANDOM.random(200))), "churn")


def test_nothing_that_varies_is_refused() -> None:
    with pytest.raises(RefusedError, match="none of the 1 features varies"):
        sound(frame(coin(), a=np.zeros(200)), "churn")
