"""What trees are held to: directions and pairs are kept, found on earlier windows only, chosen by one standard error, and said on the card."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from features import services
from retain.errors import IntegrityError
from tests.contracts.model_contract import ModelContract, sample
from training.contracts import Frame, score
from training.models import held_out, shapes
from training.models.boosting import Boosting
from training.models.calibrated import Calibrated
from training.models.directions import ACTIVE, AWAY, WORTH, declared
from training.models.lightgbm import FittedLightGBM, LightGBM
from training.models.once import once
from training.models.one_hot import OneHot
from training.models.remarks import remarks
from training.models.shapes import FREE, Found, Shape, best, find, met, strongest
from training.models.trees import check

RECENCY, ORDERS = "purchases__days_since_order_365d", "purchases__orders_365d"
SEARCHED = {"use": "training.models.lightgbm:LightGBM", "trees": 10, "constraints": "searched", "search_trees": 5}


class TestSearchedLightGBM(ModelContract):
    model = LightGBM(trees=20, constraints="searched", search_trees=10)

    def test_it_says_what_was_compared_and_keeps_it_in_its_files(self, fitted: FittedLightGBM, tmp_path: Path) -> None:
        assert "on the 2 newest windows" in fitted.remark
        assert all(name in fitted.remark for name in ("free", "in declared directions", "in pairs"))
        fitted.save(tmp_path)
        assert FittedLightGBM.load(tmp_path).remark == fitted.remark


class TestSearchedLightGBMOfMoney(ModelContract):
    model, kind = LightGBM(trees=20, constraints="searched", search_trees=10, objective="tweedie"), "amount"


def test_declared_columns_are_features() -> None:
    assert {*AWAY, *ACTIVE, *WORTH} <= {ref.replace(":", "__") for ref in services.refs("churn")}
    rising, falling = declared(is_chance=True)
    assert (rising, falling) == (AWAY, ACTIVE)
    assert not set(declared(is_chance=False)[0]) & set(declared(is_chance=False)[1])


def test_trees_follow_a_direction_that_the_data_contradict() -> None:
    frame = sample()
    against = LightGBM(trees=30, num_leaves=8, falling=(RECENCY,)).fit(frame)
    along = LightGBM(trees=30, num_leaves=8, rising=(RECENCY,)).fit(frame)
    rows = np.tile(frame.x[:20, None, :], (1, 40, 1))
    rows[:, :, 0] = np.linspace(0, 200, 40)
    for fitted, sign in ((against, -1), (along, 1)):
        steps = np.diff(fitted.predict(rows.reshape(-1, frame.x.shape[1])).reshape(20, 40), axis=1)
        # Recency per day observed moves with it and has its direction, too.
        assert (sign * steps >= -1e-12).all()


def test_columns_meet_in_the_pairs_that_are_allowed_and_no_others() -> None:
    frame = sample()
    pairs = ((RECENCY, ORDERS),)
    model = LightGBM(trees=40, num_leaves=8, pairs=pairs)
    free, held = (Boosting.of(model, frame)(Shape("", pairs=each)).meetings() for each in (None, pairs))
    assert set(held) <= {tuple(sorted(pair)) for pair in pairs} | {pairs[0]}
    assert len(free) > 5


def test_meetings_are_counted_along_paths() -> None:
    leaf = {"leaf_value": 0.0}
    below = {"split_feature": 1, "split_gain": 3.0, "left_child": leaf, "right_child": {**leaf}}
    same = {"split_feature": 0, "split_gain": 5.0, "left_child": below, "right_child": leaf}
    tree = {"tree_structure": {"split_feature": 0, "split_gain": 9.0, "left_child": same, "right_child": below}}
    assert met([tree], ("a", "b")) == {("a", "b"): 6.0}


def test_half_of_the_gain_is_kept_by_the_fewest_pairs() -> None:
    meetings = {("a", "b"): 5.0, ("a", "c"): 4.0, ("b", "c"): 1.0}
    assert strongest(meetings) == (("a", "b"),)
    assert strongest(meetings, 0.6) == (("a", "b"), ("a", "c"))
    assert strongest({}) == ()


def test_trees_stay_free_unless_a_gain_is_larger_than_its_standard_error() -> None:
    random = np.random.default_rng(1)
    free, owner = random.random(400), np.arange(400)
    noise = random.normal(0, 0.2, 400)
    noise -= noise.mean()
    assert best({"held": free + noise - 0.005, "free": free}, owner) == "free"
    assert best({"held": free + noise - 0.05, "free": free}, owner) == "held"
    # Rows of few customers that err together are weaker evidence than as many customers.
    few = np.arange(400) // 100
    assert best({"held": free - np.where(few == 0, 0.1, -0.01), "free": free}, owner) == "held"
    assert best({"held": free - np.where(few == 0, 0.1, -0.01), "free": free}, few) == "free"


def test_a_direction_that_does_not_hold_is_not_taken() -> None:
    frame = sample()
    turned = replace(frame, y=1 - frame.y)
    assert "directions" not in find(turned, "binary", lambda rows: Boosting.of(LightGBM(trees=20, learning_rate=0.1), rows)).shape.name


def test_the_search_sees_closed_windows_only_and_says_where_there_are_none() -> None:
    frame = sample()
    asked: list[Frame] = []

    def prepare(rows: Frame) -> Boosting:
        asked.append(rows)
        return Boosting.of(LightGBM(trees=3), rows)

    find(frame, "binary", prepare)
    cutoffs = np.unique(frame.cutoff)
    assert sorted(np.unique(rows.cutoff).tolist() for rows in asked) == [cutoffs[:2].tolist(), cutoffs[:3].tolist()]
    found = find(frame.at_newest(), "binary", prepare)
    assert found.shape == FREE
    assert "no window had closed" in found.words


def test_the_same_question_is_answered_once() -> None:
    frame, asked = sample(seed=9), []

    def search() -> Found:
        asked.append(1)
        return Found(FREE, "")

    for settings in ("a", "a", "b"):
        once(frame, settings, search)
    assert len(asked) == 2
    once(replace(frame, y=1 - frame.y), "a", search)
    assert len(asked) == 3


@pytest.mark.parametrize("model", [Calibrated(inner=SEARCHED), OneHot(inner=SEARCHED)], ids=["calibrated", "one hot"])
def test_constraints_are_chosen_once_for_all_folds_and_told(model: Calibrated | OneHot, monkeypatch: pytest.MonkeyPatch) -> None:
    frame, asked = replace(sample(seed=5), categorical=frozenset({"profile__region"})), []
    whole = shapes.find

    def counted(*arguments: object) -> Found:
        asked.append(1)
        return whole(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("training.models.once._KNOWN", {})
    monkeypatch.setattr(shapes, "find", counted)
    learned = held_out.learn(model, frame)
    assert len(asked) == 1
    assert np.isfinite(score(learned.fitted, frame)).all()
    (remark,) = remarks(learned.fitted)
    assert remark.startswith("trees: ")


def test_a_direction_that_is_none_is_refused() -> None:
    frame = sample()
    fitted = LightGBM(trees=3, rising=(RECENCY,)).fit(frame)
    names = fitted.rates.names(fitted.columns)
    assert "monotone_constraints=1 0" in fitted.text
    check(fitted.text, names)
    for forged in ("=2 0", "=x 0", "=0"):
        with pytest.raises(IntegrityError, match="no sound"):
            check(fitted.text.replace("monotone_constraints=1 0", f"monotone_constraints{forged}"), names)
