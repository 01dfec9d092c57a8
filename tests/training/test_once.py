"""What was learned from some rows is learned once, is told apart by everything it depends on, and is the same as if it had been learned anew."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.contracts.model_contract import sample
from training.contracts import Frame, score
from training.models import held_out, once
from training.models.ensemble import Ensemble
from training.models.lightgbm import LightGBM

TREES = {"use": "training.models.lightgbm:LightGBM", "trees": 8}


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(once, "_KNOWN", {})


def _differing(frame: Frame) -> list[Frame]:
    other = frame.x.copy()
    other[3, 1] += 1.0
    return [
        replace(frame, x=other),
        replace(frame, y=1 - frame.y),
        replace(frame, customer_id=frame.customer_id[::-1].copy()),
        replace(frame, cutoff=frame.cutoff + np.timedelta64(1, "D")),
        replace(frame, columns=(*frame.columns[:-1], "another")),
        replace(frame, horizon_days=frame.horizon_days + 1),
        replace(frame, categorical=frozenset({"profile__region"})),
        replace(frame, measure="margin"),
        replace(frame, asked_at=np.datetime64("2026-01-01", "us")),
        replace(frame, weight=np.ones(len(frame))),
        frame.take(np.arange(len(frame) - 1)),
    ]


def test_a_question_is_answered_once_and_every_difference_makes_another() -> None:
    frame, asked = sample(seed=9), []

    def answer() -> int:
        asked.append(1)
        return len(asked)

    assert [once.once(frame, question, answer) for question in ("a", "a", "b", "a")] == [1, 1, 2, 1]
    assert once.once(replace(frame, x=frame.x.copy()), "a", answer) == 1
    others = [once.once(each, "a", answer) for each in _differing(frame)]
    assert others == list(range(3, 3 + len(others)))


def test_the_oldest_answers_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(once, "MOST_KNOWN", 2)
    frame = sample()
    for question in ("a", "b", "c"):
        once.once(frame, question, lambda question=question: question)  # type: ignore[misc]
    assert len(once._KNOWN) == 2
    assert once.once(frame, "a", lambda: "anew") == "anew"


def test_recipes_share_members_and_say_what_they_would_say_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    frame, boosted = sample(), []
    whole = LightGBM.settle

    def counted(self: LightGBM, rows: Frame) -> object:
        boosted.append(len(rows))
        return whole(self, rows)

    monkeypatch.setattr(LightGBM, "settle", counted)
    recipe = Ensemble(members=(TREES, {"use": "training.models.logistic:Logistic"}))
    alone = score(recipe.fit(frame), frame)
    once._KNOWN.clear()
    held_out.learn(LightGBM(trees=8), frame)
    shared = score(recipe.fit(frame), frame)
    assert np.array_equal(shared, alone)
    # The first time all windows, then those before the newest; the second time the first of the two was known.
    assert boosted == [960, 720, 960, 720]
    assert np.array_equal(score(held_out.fit(LightGBM(trees=8), frame), frame), score(LightGBM(trees=8).fit(frame), frame))


def test_what_was_spared_counts_as_cost() -> None:
    frame = sample(customers=600)
    before = once.spared_s()
    held_out.learn(LightGBM(trees=60), frame)
    assert once.spared_s() == before
    held_out.learn(LightGBM(trees=60), frame)
    assert once.spared_s() > before
