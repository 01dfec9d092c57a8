"""Bounds on what training looks at: whole customers, the same ones in any order of rows; nothing is left out below; everybody gets a score."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contracts.model_contract import sample
from training.contracts import Fitted, Floats, Frame, score
from training.models import held_out, rows
from training.models.enough import few
from training.models.logged import FittedLogged, Logged
from training.models.rows import FOLDS, asked_apart, canonical, folds

names = st.lists(st.integers(0, 400).map(lambda number: f"c{number}"), min_size=1, max_size=400)


@settings(max_examples=60, deadline=None)
@given(names, st.integers(1, 500), st.randoms())
def test_whole_customers_are_kept_whatever_the_order(found: list[str], most: int, random: object) -> None:
    customers = np.array(found, dtype=object)
    kept = few(customers, most)
    assert kept.all() or len(customers) > most
    chosen = {name for name, keep in zip(found, kept, strict=True) if keep}
    assert all(keep == (name in chosen) for name, keep in zip(found, kept, strict=True))
    shuffled = list(found)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    again = few(np.array(shuffled, dtype=object), most)
    assert {name for name, keep in zip(shuffled, again, strict=True) if keep} == chosen
    assert not (few(customers, max(most // 2, 1)) & ~kept).any()


def test_about_as_many_rows_are_kept_as_are_asked_for() -> None:
    customers = np.array([f"c{n // 9}" for n in range(90_000)], dtype=object)
    for most in (60_000, 30_000, 9_000):
        assert few(customers, most).sum() == pytest.approx(most, rel=0.1)


def test_up_to_the_bound_five_folds_are_held_out_and_above_it_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = sample()
    monkeypatch.setattr(rows, "FOLDS_ROWS", len(frame))
    fold = folds(frame, FOLDS)
    assert [part.tolist() for part in asked_apart(frame)] == [np.flatnonzero(fold == k).tolist() for k in range(FOLDS)]
    monkeypatch.setattr(rows, "FOLDS_ROWS", len(frame) - 1)
    one, other = (part for part in asked_apart(frame) if len(part))
    assert sorted([*one, *other]) == list(range(len(frame)))
    assert not set(frame.customer_id[one]) & set(frame.customer_id[other])
    assert len(one) == pytest.approx(len(other), rel=0.3)
    order = np.random.default_rng(1).permutation(len(frame))
    again, _ = (part for part in asked_apart(frame.take(order)) if len(part))
    assert set(frame.take(order).customer_id[again]) == set(frame.customer_id[one])


def test_halves_of_a_half_are_parted_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "FOLDS_ROWS", 0)
    frame = sample()
    for _ in range(4):
        one, other = (part for part in asked_apart(frame) if len(part))
        assert len(one) == pytest.approx(len(other), rel=0.6)
        frame = frame.take(one)


@dataclass(frozen=True)
class _Seen:
    """Says one of a customer that it learned from, and zero of the others."""

    codes: frozenset[float]
    columns: tuple[str, ...] = ("code",)

    def predict(self, x: Floats) -> Floats:
        return np.isin(x[:, 0], list(self.codes)).astype(np.float64)

    def save(self, folder: Path) -> None:
        raise NotImplementedError


class _Remembers:
    def fit(self, frame: Frame) -> Fitted:
        return _Seen(frozenset(frame.x[:, 0].tolist()))


@pytest.mark.parametrize("bound", [0, 10**9], ids=["halves", "fifths"])
def test_nobody_is_asked_of_a_model_that_learned_from_them_and_everybody_is_asked(bound: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "FOLDS_ROWS", bound)
    frame = sample()
    code = np.unique(frame.customer_id.astype(str), return_inverse=True)[1].astype(np.float64)
    coded = replace(frame, columns=("code",), x=code[:, None], categorical=frozenset())
    learned = held_out.learn(_Remembers(), coded)
    assert learned.held_out is not None
    assert (learned.held_out == 0).all()
    assert (score(learned.fitted, coded) == 1).all()


def test_what_is_learned_within_a_half_is_held_out_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "FOLDS_ROWS", 0)
    frame = sample(kind="amount", customers=600)
    half = next(part for part in asked_apart(frame) if len(part))
    fitted = Logged(inner={"use": "training.models.linear:Linear"}).fit(frame.take(half))
    assert isinstance(fitted, FittedLogged)
    # The mean of amounts lies above that of their logs: only a model of others can tell by how much.
    assert fitted.factor > 1.0


def test_a_frame_in_order_is_its_own_canonical_form() -> None:
    frame = sample()
    assert canonical(frame) is frame
    shuffled = frame.take(np.random.default_rng(3).permutation(len(frame)))
    assert np.array_equal(canonical(shuffled).x, frame.x, equal_nan=True)
    assert canonical(frame.take(np.arange(0))) is not None


def test_everybody_gets_the_score_that_they_get_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from training.models.logistic import Logistic

    frame = sample()
    fitted = Logistic().fit(frame)
    whole = fitted.predict(frame.select(fitted.columns).x)
    monkeypatch.setattr("training.contracts._BLOCK", 97)
    assert np.array_equal(score(fitted, frame), whole)
    assert len(score(fitted, frame.take(np.arange(0)))) == 0
