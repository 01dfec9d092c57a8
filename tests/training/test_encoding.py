"""Categories become the codes of training; what it never saw and what is missing stay apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retain.errors import DataError
from training import encoding
from training.encoding import Encoder

RAW = pd.DataFrame({"n": [1, 2, 3], "city": ["b", "a", None], "f": [0.5, None, 1.5]})


def test_codes_follow_the_order_of_the_text() -> None:
    encoder = Encoder.learn(RAW, ["city"])
    assert encoder.categories == {"city": ("a", "b")}
    expected = np.array([[1, 1, 0.5], [2, 0, np.nan], [3, np.nan, 1.5]])
    assert np.array_equal(encoder.encode(RAW), expected, equal_nan=True)


def test_unseen_is_not_missing() -> None:
    encoder = Encoder.learn(RAW, ["city"])
    found = encoder.encode(pd.DataFrame({"city": ["c", None, pd.NA, float("nan"), "", "A"]}))
    assert np.array_equal(found[:, 0], [-1, np.nan, np.nan, np.nan, -1, -1], equal_nan=True)


def test_columns_keep_the_order_they_are_asked_in() -> None:
    encoder = Encoder.learn(RAW, ["city"])
    assert np.array_equal(encoder.encode(RAW[["f", "city"]]), encoder.encode(RAW)[:, [2, 1]], equal_nan=True)


def test_nullable_and_boolean_columns_are_numbers() -> None:
    raw = pd.DataFrame({"i": pd.array([1, None], dtype="Int64"), "b": [True, False], "o": np.array([1.5, None], dtype=object)})
    assert np.array_equal(Encoder({}).encode(raw), [[1, 1, 1.5], [np.nan, 0, np.nan]], equal_nan=True)


def test_text_where_numbers_were_is_refused_with_the_column() -> None:
    with pytest.raises(DataError, match="feature n holds 'many'"):
        Encoder({}).encode(pd.DataFrame({"n": ["many"]}))


def test_no_rows() -> None:
    assert Encoder.learn(RAW, ["city"]).encode(RAW.iloc[:0]).shape == (0, 3)


def test_the_rarest_categories_beyond_the_limit_are_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "MOST", 2)
    raw = pd.DataFrame({"c": ["x", "x", "y", "y", "z"]})
    encoder = Encoder.learn(raw, ["c"])
    assert encoder.categories == {"c": ("x", "y")}
    assert encoder.encode(raw)[-1, 0] == encoding.UNSEEN


@given(st.lists(st.one_of(st.none(), st.text(min_size=0, max_size=5)), max_size=20))
def test_every_category_survives_the_file(values: list[str | None]) -> None:
    raw = pd.DataFrame({"c": pd.Series(values, dtype=object)})
    encoder = Encoder.learn(raw, ["c"])
    again = Encoder.from_json(encoder.to_json())
    assert again == encoder
    assert np.array_equal(again.encode(raw), encoder.encode(raw), equal_nan=True)


def test_files(tmp_path: Path) -> None:
    encoder = Encoder.learn(pd.DataFrame({"c": ["é", "全角", "😀"]}), ["c"])
    encoder.save(tmp_path / "encoder.json")
    assert Encoder.load(tmp_path / "encoder.json") == encoder


@pytest.mark.parametrize(
    "values", [None, [], {}, {"categories": []}, {"categories": {"c": "ab"}}, {"categories": {"c": [1]}}, {"categories": {"c": ["a", "a"]}}]
)
def test_what_is_no_encoder_is_refused(values: object) -> None:
    with pytest.raises(DataError, match="train the model again"):
        Encoder.from_json(values)
