"""What every model owes, inherited by its tests: refit forgets, files repeat it to the bit, order of rows is irrelevant."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from retain.config import build, spec
from retain.errors import DataError
from training.contracts import Fitted, Frame, score
from training.models import once, stored
from training.models.explained import contributions

COLUMNS = (
    "purchases__days_since_order_365d",
    "purchases__orders_365d",
    "purchases__amount_30d",
    "purchases__amount_365d",
    "purchases__days_since_first_order_365d",
    "profile__region",
    "days__order_days_365d",
    "days__span_days_365d",
    "days__observed_days_365d",
    "days__repeat_amount_365d",
)


def sample(seed: int = 1, customers: int = 240, cutoffs: int = 4, kind: str = "chance") -> Frame:
    """Customers at monthly cutoffs whose outcome follows from recency and frequency, some values missing."""
    random = np.random.default_rng(seed)
    rows = customers * cutoffs
    when = np.repeat(np.datetime64("2025-01-01", "us") + np.arange(cutoffs) * np.timedelta64(30, "D"), customers)
    recency, orders = random.integers(0, 200, rows).astype(float), random.integers(1, 20, rows).astype(float)
    amount = orders * random.gamma(4.0, 5.0, rows) - 20 * (random.random(rows) < 0.03)
    recent = np.where(recency < 30, amount / 3, 0.0)
    region = np.where(random.random(rows) < 0.2, np.nan, random.integers(-1, 4, rows))
    chance = 1 / (1 + np.exp(-(recency - 80) / 30 + orders / 6))
    left = random.random(rows) < chance
    y = left.astype(float) if kind == "chance" else np.where(left, 0.0, amount * random.gamma(2.0, 0.1, rows) - 2.0)
    ids = np.array([f"c{k:04d}" for k in range(customers)] * cutoffs, dtype=object)
    first = np.where(orders > 1, np.minimum(recency + 30 * orders, 365), recency)
    days = [orders, first - recency, np.maximum(first, 1.0), np.maximum(amount, 0.0) * (orders - 1) / orders]
    x = np.column_stack([recency, orders, recent, amount, np.minimum(recency + 30 * orders, 365), region, *days])
    return Frame(ids, when, COLUMNS, x, y, 30)


class ModelContract:
    """Inherit and name the model; ``kind`` is ``chance`` or ``amount``."""

    model: ClassVar[Any]
    kind: ClassVar[str] = "chance"

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _learned_anew(cls) -> Iterator[None]:
        """What is fitted twice is learned twice: an answer that is known already would prove nothing."""
        most, once.MOST_KNOWN = once.MOST_KNOWN, 0
        once._KNOWN.clear()
        yield
        once.MOST_KNOWN = most

    @pytest.fixture(scope="class")
    @classmethod
    def frame(cls) -> Frame:
        return sample(kind=cls.kind)

    @pytest.fixture(scope="class")
    @classmethod
    def fitted(cls, frame: Frame) -> Fitted:
        fitted: Fitted = cls.model.fit(frame)
        return fitted

    def test_predictions_are_finite_and_in_range(self, fitted: Fitted, frame: Frame) -> None:
        answer = score(fitted, frame)
        assert answer.shape == (len(frame),)
        assert answer.dtype == np.float64
        assert np.isfinite(answer).all()
        if self.kind == "chance":
            assert ((answer >= 0) & (answer <= 1)).all()

    def test_refit_forgets(self, frame: Frame, fitted: Fitted) -> None:
        self.model.fit(sample(seed=2, kind=self.kind))
        assert np.array_equal(score(self.model.fit(frame), frame), score(fitted, frame))

    def test_fit_leaves_the_frame_as_it_was(self, frame: Frame) -> None:
        x, y = frame.x.copy(), frame.y.copy()
        self.model.fit(frame)
        assert np.array_equal(frame.x, x, equal_nan=True)
        assert np.array_equal(frame.y, y)

    def test_files_repeat_it_to_the_bit(self, fitted: Fitted, frame: Frame, tmp_path: Path) -> None:
        fitted.save(tmp_path)
        again = type(fitted).load(tmp_path)
        assert isinstance(again, Fitted)
        assert again.columns == fitted.columns
        assert np.array_equal(score(again, frame), score(fitted, frame))

    def test_files_are_text_and_json(self, fitted: Fitted, tmp_path: Path) -> None:
        fitted.save(tmp_path)
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert files
        for path in files:
            assert path.suffix in {".json", ".txt"}
            text = path.read_text(encoding="utf-8")
            if path.suffix == ".json":
                json.loads(text, parse_constant=pytest.fail)

    def test_a_nested_folder_opens_by_its_class(self, fitted: Fitted, frame: Frame, tmp_path: Path) -> None:
        stored.write(fitted, tmp_path / "inner")
        assert np.array_equal(score(stored.read(tmp_path / "inner"), frame), score(fitted, frame))

    def test_order_of_rows_is_irrelevant(self, fitted: Fitted, frame: Frame) -> None:
        shuffled = frame.take(np.random.default_rng(3).permutation(len(frame)))
        assert np.array_equal(score(self.model.fit(shuffled), frame), score(fitted, frame))

    def test_a_row_alone_gets_the_answer_it_gets_in_a_batch(self, fitted: Fitted, frame: Frame) -> None:
        x = frame.select(fitted.columns).x
        together = fitted.predict(x)
        alone = np.concatenate([fitted.predict(x[k : k + 1]) for k in range(60)])
        sevens = np.concatenate([fitted.predict(x[k : k + 7]) for k in range(0, len(x), 7)])
        assert np.array_equal(alone, together[:60])
        assert np.array_equal(sevens, together)
        assert np.array_equal(fitted.predict(np.asfortranarray(x)), together)

    def test_contributions_keep_the_order_of_the_scores(self, fitted: Fitted, frame: Frame) -> None:
        x = frame.select(fitted.columns).x
        parts = contributions(fitted, x)
        if parts is None:
            pytest.skip("it says nothing of its features")
        assert parts.shape == (len(x), len(fitted.columns) + 1)
        assert np.isfinite(parts).all()
        together = fitted.predict(x)[np.argsort(parts.sum(axis=1), kind="stable")]
        assert (np.diff(together) >= -1e-6 * max(1.0, together.max())).all()
        alone = contributions(fitted, x[:1])
        assert alone is not None
        assert np.allclose(alone, parts[:1], rtol=1e-9, atol=1e-12)

    def test_no_rows_no_answers(self, fitted: Fitted) -> None:
        assert fitted.predict(np.empty((0, len(fitted.columns)))).shape == (0,)

    def test_columns_are_matched_by_name(self, fitted: Fitted, frame: Frame) -> None:
        turned = frame.select(frame.columns[::-1])
        assert np.array_equal(score(fitted, turned), score(fitted, frame))

    def test_a_missing_column_is_refused(self, fitted: Fitted, frame: Frame) -> None:
        if not fitted.columns:
            pytest.skip("it looks at no column")
        with pytest.raises(DataError, match=fitted.columns[0]):
            score(fitted, frame.select(tuple(name for name in frame.columns if name != fitted.columns[0])))

    def test_another_width_is_refused(self, fitted: Fitted) -> None:
        with pytest.raises(ValueError, match="by name"):
            fitted.predict(np.zeros((3, len(fitted.columns) + 1)))

    def test_customers_with_nothing_known_get_an_answer(self, fitted: Fitted) -> None:
        assert np.isfinite(fitted.predict(np.full((2, len(fitted.columns)), np.nan))).all()

    def test_the_config_describes_it(self) -> None:
        assert build(spec(self.model)) == self.model
