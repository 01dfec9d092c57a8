"""Categories as columns of their own: the suite of every scorer, and that codes are no quantities."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from retain.errors import IntegrityError
from retain.files import read_json, write_json
from tests.contracts.model_contract import COLUMNS, ModelContract, sample
from training.contracts import Fitted, Frame, score
from training.experiment import plan
from training.models.logistic import Logistic
from training.models.one_hot import FittedOneHot, OneHot, Spread

PLACE = COLUMNS.index("profile__region")
LINEAR = {"use": "training.models.logistic:Logistic", "c": 0.3}


class TestOneHot(ModelContract):
    model = OneHot(inner=LINEAR)

    @pytest.fixture(scope="class")
    @classmethod
    def frame(cls) -> Frame:
        return replace(sample(), categorical=frozenset({"profile__region"}))

    def test_each_category_has_a_column_and_so_has_nothing_known(self, fitted: FittedOneHot) -> None:
        names = [name for name in fitted.inner.columns if name.startswith("profile__region")]
        assert names == [f"profile__region={code}" for code in (-1, 0, 1, 2, 3, "none")]

    def test_a_category_of_the_middle_can_be_the_worst(self, frame: Frame) -> None:
        region = frame.x[:, PLACE]
        y = (np.where(region == 1, 0.9, 0.1) > np.random.default_rng(1).random(len(frame))).astype(float)
        told = replace(frame, y=y)
        by_code = score(self.model.fit(told), told)
        assert abs(by_code[region == 1].mean() - y[region == 1].mean()) < 0.05
        assert score(Logistic(c=0.3).fit(told), told)[region == 1].mean() < 0.5

    def test_rare_and_unseen_categories_share_the_zeros(self, frame: Frame) -> None:
        x = frame.x.copy()
        x[:3, PLACE] = 9.0
        fitted = self.model.fit(replace(frame, x=x))
        assert "profile__region=9" not in fitted.inner.columns
        rows = np.repeat(x[:1], 2, axis=0)
        rows[1, PLACE] = 77.0
        assert len(np.unique(fitted.predict(rows))) == 1

    def test_without_categories_it_is_the_model_inside(self) -> None:
        frame = sample()
        assert np.array_equal(score(self.model.fit(frame), frame), score(Logistic(c=0.3).fit(frame), frame))

    @pytest.mark.parametrize("codes", [{"elsewhere": [1]}, {"profile__region": [1, 1]}, {"profile__region": [0.5]}, {"profile__region": ["a"]}, [1]])
    def test_codes_that_do_not_fit_are_refused(self, fitted: Fitted, tmp_path: Path, codes: object) -> None:
        fitted.save(tmp_path)
        write_json(tmp_path / "one_hot.json", {**read_json(tmp_path / "one_hot.json"), "codes": codes})
        with pytest.raises(IntegrityError, match=r"one_hot\.json"):
            FittedOneHot.load(tmp_path)


def test_hand_spread() -> None:
    spread = Spread(("a", "b"), {"b": (0.0, 2.0, np.nan)})
    assert spread.names == ("a", "b=0", "b=2", "b=none")
    assert spread(np.array([[7.0, 2.0], [8.0, np.nan], [9.0, 1.0]])).tolist() == [[7, 0, 1, 0], [8, 0, 0, 1], [9, 0, 0, 0]]


def test_a_frame_keeps_what_is_categorical() -> None:
    frame = replace(sample(), categorical=frozenset({"profile__region"}))
    assert frame.take(np.arange(3)).categorical == {"profile__region"}
    assert frame.select(frame.columns[:2]).categorical == frozenset()


@pytest.mark.parametrize(("task", "line"), [("churn", "Logistic"), ("attrition", "Logistic"), ("clv", "Linear")])
def test_no_line_over_all_features_takes_codes_for_quantities(task: str, line: str) -> None:
    def bare(spec: object, above: str = "") -> list[str]:
        if isinstance(spec, dict):
            use = str(spec.get("use", above))
            own = [use] if use.endswith(f":{line}") and not above.endswith(":OneHot") else []
            return own + [each for value in spec.values() for each in bare(value, use)]
        return [each for value in spec for each in bare(value, above)] if isinstance(spec, list | tuple) else []

    found = plan(task)
    assert f":{line}" in str(found.models)
    assert bare([found.models, found.quick]) == []
