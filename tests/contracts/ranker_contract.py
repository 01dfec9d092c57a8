"""What every recommender owes, inherited by its tests: lawful lists, the same answer however it is asked, files that repeat it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from features.interactions import Interactions
from retain.config import build, spec
from retain.errors import IntegrityError
from training.contracts import PURPOSES, FittedRanker, Purpose, Ranking
from training.models.folder import ARRAYS, MODEL
from training.models.purchases import before

NOW = datetime(2025, 6, 1, tzinfo=UTC)
NOBODY = 3
"""Position of a customer without any purchase."""


def history(rows: list[tuple[str, str, str, float]], moment: datetime = NOW, customers: tuple[str, ...] = ()) -> Interactions:
    """Purchases as (customer, item, order, days before the moment); further customers may be known without any."""
    names = np.array(sorted({row[0] for row in rows} | set(customers)), dtype=object)
    items = np.array(sorted({row[1] for row in rows}), dtype=object)
    orders = sorted({row[2] for row in rows})
    now = np.datetime64(moment.replace(tzinfo=None), "us")
    customer, item = {name: place for place, name in enumerate(names)}, {name: place for place, name in enumerate(items)}
    table = sorted((customer[c], now - np.timedelta64(round(days * 86400e6), "us"), item[i], orders.index(o)) for c, i, o, days in rows)
    columns = list(zip(*table, strict=True)) if table else [(), (), (), ()]
    return Interactions(
        moment, names, items, np.array(columns[0], dtype=np.int32), np.array(columns[2], dtype=np.int32), np.array(columns[3], dtype=np.int64),
        np.array(columns[1], dtype="datetime64[us]"), np.full(len(table), 1.0),
    )  # fmt: skip


def shop(seed: int = 1, customers: int = 120, items: int = 40, days: int = 200) -> Interactions:
    """Customers of two tastes who come back to what they like; items 38 and 39 are bought by the same people in the same orders."""
    random = np.random.default_rng(seed)
    rows = []
    for customer in range(customers):
        if customer == NOBODY:
            continue
        favourites = random.choice(items // 2, 6, replace=False) + (customer % 2) * (items // 2)
        for order in range(int(random.integers(1, 9))):
            age = float(random.uniform(0.5, days))
            bought = set(random.choice(favourites, 3).tolist()) | set(random.choice(items, 1).tolist())
            bought |= {items - 2, items - 1} if bought & {items - 2, items - 1} else set()
            rows += [(f"c{customer:03d}", f"i{item:02d}", f"o{customer:03d}-{order}", age) for item in bought]
    return history(rows, customers=(f"c{NOBODY:03d}",))


class RankerContract:
    """Inherit and name the model."""

    model: ClassVar[Any]

    @pytest.fixture(scope="class")
    @classmethod
    def past(cls) -> Interactions:
        return shop()

    @pytest.fixture(scope="class")
    @classmethod
    def fitted(cls, past: Interactions) -> FittedRanker:
        fitted: FittedRanker = cls.model.fit(past)
        return fitted

    def everyone(self, past: Interactions) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.arange(len(past.customers), dtype=np.int64)

    @pytest.mark.parametrize("purpose", PURPOSES)
    def test_lists_are_lawful(self, fitted: FittedRanker, past: Interactions, purpose: Purpose) -> None:
        width = len(past.items)
        ranking = fitted.rank(past, self.everyone(past), width + 5, purpose)
        bought = {(c, i) for c, i in zip(past.customer.tolist(), past.item.tolist(), strict=True)}
        for customer, (items, scores) in enumerate(zip(ranking.items.tolist(), ranking.scores.tolist(), strict=True)):
            listed = [item for item in items if item >= 0]
            count = len(listed)
            assert items == listed + [-1] * (len(items) - count)
            assert len(set(listed)) == count
            assert np.isfinite(scores[:count]).all()
            assert np.isnan(scores[count:]).all()
            order = list(zip([-score for score in scores[:count]], listed, strict=True))
            assert order == sorted(order)
            if purpose != "all":
                assert all(((customer, item) in bought) == (purpose == "repeat") for item in listed)

    @pytest.mark.parametrize("purpose", PURPOSES)
    @pytest.mark.parametrize("size", [1, 7])
    def test_asking_alone_or_in_sevens_changes_nothing(self, fitted: FittedRanker, past: Interactions, purpose: Purpose, size: int) -> None:
        everyone = self.everyone(past)
        whole = fitted.rank(past, everyone, 10, purpose)
        parts = [fitted.rank(past, everyone[start : start + size], 10, purpose) for start in range(0, len(everyone), size)]
        same(Ranking(np.concatenate([part.items for part in parts]), np.concatenate([part.scores for part in parts])), whole)

    def test_order_of_asking_is_the_callers(self, fitted: FittedRanker, past: Interactions) -> None:
        asked = self.everyone(past)[::-1]
        whole = fitted.rank(past, self.everyone(past), 5, "all")
        same(fitted.rank(past, asked, 5, "all"), Ranking(whole.items[::-1], whole.scores[::-1]))

    def test_a_shorter_list_is_the_top_of_the_longer(self, fitted: FittedRanker, past: Interactions) -> None:
        longer = fitted.rank(past, self.everyone(past), 12, "new")
        same(fitted.rank(past, self.everyone(past), 4, "new"), Ranking(longer.items[:, :4], longer.scores[:, :4]))

    def test_nobody_asked(self, fitted: FittedRanker, past: Interactions) -> None:
        ranking = fitted.rank(past, np.empty(0, dtype=np.int64), 10, "all")
        assert ranking.items.shape == ranking.scores.shape == (0, 10)

    def test_refit_forgets_and_repeats(self, fitted: FittedRanker, past: Interactions) -> None:
        self.model.fit(shop(seed=2))
        same(self.model.fit(past).rank(past, self.everyone(past), 10, "all"), fitted.rank(past, self.everyone(past), 10, "all"))

    def test_files_repeat_it(self, fitted: FittedRanker, past: Interactions, tmp_path: Path) -> None:
        fitted.save(tmp_path)
        loaded = type(fitted).load(tmp_path)  # type: ignore[attr-defined]
        for purpose in PURPOSES:
            same(loaded.rank(past, self.everyone(past), 10, purpose), fitted.rank(past, self.everyone(past), 10, purpose))
        assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} <= {".json", ".npz", ".txt"}

    def test_equal_models_write_equal_files(self, fitted: FittedRanker, past: Interactions, tmp_path: Path) -> None:
        for name, model in (("one", fitted), ("two", self.model.fit(past))):
            (tmp_path / name).mkdir()
            model.save(tmp_path / name)
        files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file())
        assert [(tmp_path / "one" / file).read_bytes() for file in files] == [(tmp_path / "two" / file).read_bytes() for file in files]

    def test_a_broken_folder_is_refused(self, fitted: FittedRanker, tmp_path: Path) -> None:
        fitted.save(tmp_path)
        with np.load(tmp_path / ARRAYS) as stored:
            arrays = {name: stored[name] for name in stored.files}
        name = sorted(arrays)[0]
        np.savez(tmp_path / ARRAYS, **{**arrays, name: arrays[name][:-1]})
        with pytest.raises(IntegrityError):
            type(fitted).load(tmp_path)  # type: ignore[attr-defined]
        (tmp_path / ARRAYS).write_bytes(b"not a zip")
        with pytest.raises(IntegrityError, match=ARRAYS):
            type(fitted).load(tmp_path)  # type: ignore[attr-defined]
        (tmp_path / MODEL).write_text('{"config": {}, "items": ["b", "a"]}')
        with pytest.raises(IntegrityError, match="sorted"):
            type(fitted).load(tmp_path)  # type: ignore[attr-defined]

    def test_a_newer_history_needs_no_refit(self, past: Interactions) -> None:
        fitted = self.model.fit(before(past, 60))
        ranking = fitted.rank(past, self.everyone(past), 10, "repeat")
        known = set(fitted.items.tolist())
        bought = {(c, past.items[i]) for c, i in zip(past.customer.tolist(), past.item.tolist(), strict=True) if past.items[i] in known}
        assert all((c, fitted.items[i]) in bought for c, row in enumerate(ranking.items.tolist()) for i in row if i >= 0)

    def test_learning_leaves_the_history_as_it_was(self, past: Interactions) -> None:
        copy = shop()
        self.model.fit(past).rank(past, self.everyone(past), 3, "new")
        assert all(np.array_equal(getattr(past, name), getattr(copy, name)) for name in ("customer", "item", "order", "at", "price"))

    def test_nothing_bought_is_learned_without_an_error(self) -> None:
        empty = history([], customers=("c1", "c2"))
        assert (self.model.fit(empty).rank(empty, np.arange(2), 3, "all").items == -1).all()

    def test_config_round_trip(self) -> None:
        assert build(spec(self.model)) == self.model


def same(left: Ranking, right: Ranking) -> None:
    """Lists equal, scores to 1e-12 relative."""
    assert np.array_equal(left.items, right.items)
    assert np.allclose(left.scores, right.scores, rtol=1e-12, atol=0, equal_nan=True)
