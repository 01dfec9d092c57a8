"""The shared suite for every scorer, and what is each one's own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from features import services
from retain.errors import IntegrityError, RefusedError
from tests.contracts.model_contract import ModelContract, sample
from training.contracts import Frame, bounds, score
from training.models import stored
from training.models.bounded import Bounded
from training.models.calibrated import Calibrated, FittedCalibrated
from training.models.constant import FittedConstant, Mean, Prevalence
from training.models.ensemble import Ensemble
from training.models.lightgbm import FittedLightGBM, LightGBM
from training.models.linear import Linear
from training.models.lines import Lines
from training.models.logged import Logged
from training.models.logistic import Logistic, sigmoid
from training.models.maps import choose, learn, levelled
from training.models.period import FittedLastPeriod, LastPeriod
from training.models.rates import Rates
from training.models.rows import folds
from training.models.rules import RecencyRule, RfmLogistic
from training.models.stretched import FittedStretched
from training.models.two_stage import TwoStage

TREES = {"use": "training.models.lightgbm:LightGBM", "trees": 30}
MONEY = {**TREES, "objective": "tweedie"}


class TestPrevalence(ModelContract):
    model = Prevalence()

    def test_it_is_the_share_drawn_towards_the_prior(self) -> None:
        frame = sample().take(np.arange(3))
        expected = (frame.y.sum() + 0.5) / 4
        assert Prevalence().fit(frame).value == expected


class TestMean(ModelContract):
    model, kind = Mean(), "amount"


class TestRecencyRule(ModelContract):
    model = RecencyRule()

    def test_longer_ago_is_likelier_gone(self, fitted, frame) -> None:
        assert (np.diff(fitted.predict(np.array([[1.0], [30.0], [200.0]]))) > 0).all()


class TestRfmLogistic(ModelContract):
    model = RfmLogistic()

    def test_columns_that_the_frame_dropped_are_left_out(self, frame) -> None:
        rest = frame.select(frame.columns[1:])
        assert RfmLogistic().fit(rest).columns == ("purchases__orders_365d", "purchases__amount_365d", "purchases__days_since_first_order_365d")

    def test_without_any_column_it_refuses(self, frame) -> None:
        with pytest.raises(RefusedError, match="name features"):
            RfmLogistic().fit(frame.select(("profile__region",)))

    def test_the_newest_cutoff_alone_is_the_same_as_a_frame_of_it(self, frame) -> None:
        newest = frame.take(np.flatnonzero(frame.cutoff == frame.cutoff.max()))
        assert not np.array_equal(score(RfmLogistic().fit(frame), frame), score(RfmLogistic(newest_only=False).fit(frame), frame))
        assert np.array_equal(score(RfmLogistic().fit(frame), frame), score(RfmLogistic(newest_only=False).fit(newest), frame))


class TestLogistic(ModelContract):
    model = Logistic(c=0.3)

    def test_one_class_gives_the_level(self, frame) -> None:
        only = frame.take(np.flatnonzero(frame.y == 0))
        assert (score(self.model.fit(only), only) < 1e-5).all()

    def test_a_missing_value_is_not_a_mean_value(self, frame) -> None:
        x = frame.x.copy()
        x[:, 0] = np.where(frame.y == 1, np.nan, x[:, 0])
        gone = Frame(frame.customer_id, frame.cutoff, frame.columns, x, frame.y, frame.horizon_days)
        answer = score(self.model.fit(gone), gone)
        assert answer[frame.y == 1].min() > answer[frame.y == 0].mean()

    def test_it_agrees_with_scikit_learn(self, frame) -> None:
        from sklearn.linear_model import LogisticRegression

        x = np.log1p(frame.x[:, 1:2])
        z = (x - x.mean()) / x.std()
        theirs = LogisticRegression(C=0.3, tol=1e-8).fit(z, frame.y).predict_proba(z)[:, 1]
        ours = score(Logistic(columns=(frame.columns[1],), c=0.3).fit(frame), frame)
        assert np.allclose(ours, theirs, rtol=1e-6)


class TestLightGBM(ModelContract):
    model = LightGBM(trees=40)

    def test_threads_change_nothing(self, frame, fitted) -> None:
        assert LightGBM(trees=3, threads=2).fit(frame).text == LightGBM(trees=3).fit(frame).text

    def test_another_seed_is_another_model(self, frame, fitted) -> None:
        assert LightGBM(trees=40, seed=8).fit(frame).text != fitted.text

    def test_the_mean_score_is_the_base_rate(self, frame, fitted) -> None:
        assert abs(score(fitted, frame).mean() - frame.y.mean()) < 0.01

    def test_contributions_add_up_to_the_score(self, frame, fitted) -> None:
        parts = fitted.contributions(frame.x[:20])
        assert np.allclose(sigmoid(parts.sum(axis=1)), fitted.predict(frame.x[:20]), rtol=1e-9)

    def test_a_large_batch_gets_the_same_answers(self, frame, fitted) -> None:
        many = np.tile(frame.x, (30, 1))
        assert np.array_equal(fitted.predict(many)[: len(frame)], fitted.predict(frame.x))

    def test_a_handful_of_rows_is_enough_to_fit(self, frame) -> None:
        assert np.isfinite(score(LightGBM(trees=5).fit(frame.take(np.arange(12))), frame)).all()


class TestLightGBMTweedie(ModelContract):
    model, kind = LightGBM(objective="tweedie", trees=40), "amount"

    def test_negative_spend_counts_as_zero_in_learning(self, frame) -> None:
        clipped = Frame(frame.customer_id, frame.cutoff, frame.columns, frame.x, np.maximum(frame.y, 0), frame.horizon_days)
        assert (frame.y < 0).any()
        assert self.model.fit(frame).text == self.model.fit(clipped).text

    def test_amounts_are_positive(self, fitted, frame) -> None:
        assert (score(fitted, frame) > 0).all()


class TestLastPeriod(ModelContract):
    model, kind = LastPeriod(), "amount"

    def test_it_takes_the_window_nearest_the_horizon_and_scales_it(self, frame) -> None:
        fortnight = Frame(frame.customer_id, frame.cutoff, frame.columns, frame.x, frame.y, 15)
        assert LastPeriod().fit(frame) == FittedLastPeriod("purchases__amount_30d", 1.0)
        assert LastPeriod().fit(fortnight) == FittedLastPeriod("purchases__amount_30d", 0.5)

    def test_without_money_it_refuses(self, frame) -> None:
        with pytest.raises(RefusedError, match="family"):
            LastPeriod(family="visits__count").fit(frame)


class TestLines(ModelContract):
    model, kind = Lines(), "amount"

    def test_money_that_comes_again_is_found_on_the_scale_of_money(self) -> None:
        random = np.random.default_rng(4)
        money = random.gamma(0.5, 100.0, 4000)
        money[::9] = np.nan
        ids, at = np.array([f"c{place:04d}" for place in range(4000)], dtype=object), np.full(4000, np.datetime64("2025-03-01", "us"))
        frame = Frame(ids, at, ("money",), money[:, None], np.where(np.isnan(money), 7.0, 0.3 * money), 30)
        assert Lines(ridge=1e-6).fit(frame).predict(np.array([[500.0], [10.0], [np.nan]])) == pytest.approx([150.0, 3.0, 7.0], abs=1e-3)
        assert abs(Linear(ridge=1e-6).fit(frame).predict(np.array([[500.0]]))[0] - 150) > 20

    def test_rows_count_as_their_weight_says(self, frame) -> None:
        doubled = frame.take(np.concatenate([np.arange(len(frame)), np.arange(40)]))
        weighted = replace(frame, weight=np.where(np.arange(len(frame)) < 40, 2.0, 1.0))
        asked, exact = frame.x[:60], Lines(ridge=1e-9)
        np.testing.assert_allclose(exact.fit(weighted).predict(asked), exact.fit(doubled).predict(asked), rtol=1e-5)


class TestCalibrated(ModelContract):
    model = Calibrated(inner=TREES)


class TestCalibratedIsotonic(ModelContract):
    model = Calibrated(inner={"use": "training.models.rules:RecencyRule"}, method="isotonic")


class TestCalibratedBeta(ModelContract):
    model = Calibrated(inner={"use": "training.models.rules:RecencyRule"}, method="beta")


class TestEnsemble(ModelContract):
    model = Ensemble(members=({"use": "training.models.rules:RecencyRule"}, TREES), method="none", level="all")

    def test_it_is_the_weighted_mean_of_the_logits(self, fitted, frame) -> None:
        inner = fitted.inner
        assert sum(inner.weights) == pytest.approx(1)
        logits = [np.log(p / (1 - p)) for p in (score(member, frame) for member in inner.members)]
        expected = sigmoid(sum(weight * each for weight, each in zip(inner.weights, logits, strict=True)))
        assert np.allclose(score(fitted, frame), expected, rtol=1e-9)

    def test_a_member_that_says_nothing_counts_for_little(self, frame) -> None:
        blind = {"use": "training.models.constant:Prevalence"}
        weights = Ensemble(members=(TREES, blind), method="none", level="all", least_weight=0).fit(frame).inner.weights
        assert weights[0] > 0.8

    def test_alike_members_count_alike(self, frame) -> None:
        weights = Ensemble(members=(TREES, TREES), method="none", level="all").fit(frame).inner.weights
        assert weights == pytest.approx((0.5, 0.5))


class TestEnsembleWithALevel(ModelContract):
    model = Ensemble(members=({"use": "training.models.rules:RecencyRule"}, TREES))

    def test_the_level_is_that_of_the_newest_window(self, frame) -> None:
        late = frame.cutoff == frame.cutoff.max()
        random = np.random.default_rng(4)
        fewer = Frame(frame.customer_id, frame.cutoff, frame.columns, frame.x, np.where(late & (random.random(len(frame)) < 0.5), 0.0, frame.y), 30)
        rows = fewer.take(np.flatnonzero(late))
        newest, alike = (self.model.model_copy(update={"level": level}).fit(fewer) for level in ("newest", "all"))
        assert newest.map.level < 0
        assert abs(score(newest, rows).mean() - rows.y.mean()) < abs(score(alike, rows).mean() - rows.y.mean())


class TestEnsembleOfMoney(ModelContract):
    model, kind = Ensemble(members=({"use": "training.models.period:LastPeriod"}, MONEY), kind="amount"), "amount"

    def test_it_is_the_weighted_sum(self, fitted, frame) -> None:
        answers = [weight * score(member, frame) for weight, member in zip(fitted.weights, fitted.members, strict=True)]
        assert np.allclose(score(fitted, frame), np.sum(answers, axis=0))

    def test_the_total_of_all_windows_is_set_right(self, frame) -> None:
        fitted = Ensemble(members=({"use": "training.models.period:LastPeriod"},), kind="amount", widest=10).fit(frame)
        assert fitted.weights[0] != 1
        assert score(fitted, frame).sum() == pytest.approx(frame.y.sum())

    def test_a_fault_is_not_a_level(self, frame) -> None:
        hundred = Frame(frame.customer_id, frame.cutoff, frame.columns, frame.x, 100 * frame.y, 30)
        fitted = Ensemble(members=({"use": "training.models.period:LastPeriod"},), kind="amount", widest=1.5).fit(hundred)
        assert fitted.weights == (1.5,)


class TestEqualEnsemble(ModelContract):
    model, kind = Ensemble(members=({"use": "training.models.period:LastPeriod"}, MONEY), kind="amount", weights="equal"), "amount"


class TestLinear(ModelContract):
    model, kind = Linear(), "amount"


class TestLogged(ModelContract):
    model, kind = Logged(inner={"use": "training.models.linear:Linear"}), "amount"

    def test_the_total_of_those_who_spent_comes_back(self, fitted, frame) -> None:
        spent = frame.take(np.flatnonzero(frame.y > 0))
        assert score(fitted, spent).sum() == pytest.approx(spent.y.sum(), rel=0.05)


class TestBounded(ModelContract):
    model, kind = Bounded(inner=MONEY), "amount"

    def test_intervals_lie_within_one_another_and_around_the_prediction(self, fitted, frame) -> None:
        answer, found = score(fitted, frame), bounds(fitted, frame)
        assert found.shape == (len(frame), 4)
        assert (found[:, 2] <= found[:, 0]).all()
        assert (found[:, 0] <= answer).all()
        assert (answer <= found[:, 1]).all()
        assert (found[:, 1] <= found[:, 3]).all()

    def test_a_stretched_model_stretches_them(self, fitted, frame) -> None:
        assert np.array_equal(bounds(FittedStretched(fitted, "amount", 2.0), frame), 2 * bounds(fitted, frame))
        assert bounds(FittedStretched(fitted.inner, "amount", 2.0), frame) is None

    def test_a_row_alone_gets_the_interval_it_gets_in_a_batch(self, fitted, frame) -> None:
        x = frame.select(fitted.columns).x
        assert np.array_equal(np.concatenate([fitted.bounds(x[k : k + 1]) for k in range(40)]), fitted.bounds(x)[:40])


class TestTwoStage(ModelContract):
    model = TwoStage(none=TREES, amount={**MONEY, "objective": "gamma"})
    kind = "amount"

    def test_it_is_the_chance_times_the_amount(self, fitted, frame) -> None:
        assert np.allclose(score(fitted, frame), (1 - score(fitted.none, frame)) * score(fitted.amount, frame))


def test_calibration_leaves_what_is_right_alone() -> None:
    random = np.random.default_rng(5)
    p = random.random(4000)
    y = (random.random(4000) < p).astype(float)
    assert choose(p, y, random.integers(0, 5, 4000)) == "none"


def test_a_level_is_believed_as_far_as_its_rows_reach() -> None:
    random = np.random.default_rng(5)
    p = np.full(4000, 0.5)
    y = (random.random(4000) < 0.6).astype(float)
    many, few = levelled(learn("none", p, y), p, y), levelled(learn("none", p, y), p[:5], y[:5])
    assert many(p).mean() == pytest.approx(y.mean(), abs=0.01)
    assert abs(few.level) < abs(levelled(learn("none", p, y), np.tile(p[:5], 100), np.tile(y[:5], 100)).level)
    assert levelled(learn("none", p, y), p[:5], np.ones(5)).level == 0


def test_calibration_repairs_a_wrong_level_and_keeps_the_order() -> None:
    random = np.random.default_rng(5)
    p = random.random(4000)
    y = (random.random(4000) < p).astype(float)
    off = sigmoid(np.log(p / (1 - p)) * 2 + 1)
    assert choose(off, y, random.integers(0, 5, 4000)) in ("platt", "isotonic")
    repaired = learn("platt", off, y)(off)
    assert np.abs(repaired - p).mean() < 0.02
    assert (np.diff(repaired[np.argsort(off)]) >= 0).all()


def test_steps_are_not_learned_from_few_rows() -> None:
    random = np.random.default_rng(6)
    p = random.random(500)
    y = (p > 0.5).astype(float)
    assert choose(p, y, random.integers(0, 5, 500)) != "isotonic"


def test_a_falling_map_is_never_learned() -> None:
    p = np.linspace(0.01, 0.99, 400)
    assert learn("platt", p, (p < 0.5).astype(float)).method == "none"


def test_a_customer_falls_into_one_fold_whatever_the_frame() -> None:
    frame = sample()
    fold = folds(frame, 5)
    assert set(fold) == set(range(5))
    for customer in ("c0000", "c0100"):
        assert len(set(fold[frame.customer_id == customer])) == 1
    some = np.arange(0, len(frame), 3)
    assert np.array_equal(folds(frame.take(some), 5), fold[some])


def test_stretched_lengthens_and_repeats_from_files(tmp_path: Path) -> None:
    frame = sample()
    inner = RecencyRule().fit(frame)
    longer = FittedStretched(inner, "chance", 2.0)
    assert np.allclose(score(longer, frame), score(inner, frame) ** 2)
    longer.save(tmp_path)
    assert np.array_equal(score(FittedStretched.load(tmp_path), frame), score(longer, frame))
    assert np.allclose(score(FittedStretched(inner, "amount", 1.5), frame), score(inner, frame) * 1.5)


def _json(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize("text", ['{"value": NaN}', '{"value": "1"}', "{}", "[]", '{"value": true}', '{"value": 1e999}'])
def test_a_broken_constant_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(IntegrityError):
        FittedConstant.load(_json(tmp_path, "constant.json", text))


@pytest.mark.parametrize("use", ["os:system", "training.models.constant:np", "training.metrics:Metric", "training.models.nothing:Fitted", "x"])
def test_only_our_models_are_opened(use: str, tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="train the model again"):
        stored.read(_json(tmp_path, "class.json", f'{{"use": "{use}"}}'))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('{"method": "magic", "x": [], "y": []}', "magic"),
        ('{"method": "platt", "x": [1.0], "y": []}', "2 finite"),
        ('{"method": "isotonic", "x": [0.1, 0.1], "y": [0.1, 0.2]}', "steps"),
        ('{"method": "isotonic", "x": [0.1, 0.2], "y": [0.3, 0.2]}', "steps"),
        ('{"method": "isotonic", "x": [0.1, 0.2], "y": [0.3, 1.2]}', "steps"),
    ],
)
def test_a_broken_map_is_refused(text: str, what: str, tmp_path: Path) -> None:
    FittedCalibrated(FittedConstant(0.5), learn("none", np.empty(0), np.empty(0))).save(tmp_path)
    with pytest.raises(IntegrityError, match=what):
        FittedCalibrated.load(_json(tmp_path, "calibrated.json", text))


def test_trees_open_only_with_the_columns_they_learned(tmp_path: Path) -> None:
    fitted = LightGBM(trees=3).fit(sample())
    fitted.save(tmp_path)
    swapped = [*fitted.columns[1::-1], *fitted.columns[2:]]
    import json

    _json(tmp_path, "columns.json", json.dumps({"columns": swapped, "rates": fitted.rates.to_json()}))
    with pytest.raises(IntegrityError, match="features"):
        FittedLightGBM.load(tmp_path)
    _json(tmp_path, "columns.json", json.dumps({"columns": list(fitted.columns), "rates": {"columns": ["x"], "by": "y", "least_days": 28}}))
    with pytest.raises(IntegrityError, match="rates"):
        FittedLightGBM.load(tmp_path)


def test_rates_are_per_day_observed_and_missing_where_the_days_are() -> None:
    columns = ("orders", "days", "other")
    rates = Rates.among(columns, ("orders", "absent"), "days", 28.0)
    assert rates.names(columns) == (*columns, "orders_per_day")
    x = np.array([[10.0, 100.0, 1.0], [10.0, 5.0, 1.0], [10.0, np.nan, 1.0]])
    assert np.array_equal(rates.extend(x, columns)[:, 3], [0.1, 10 / 28, np.nan], equal_nan=True)
    assert Rates.among(("orders",), ("orders",), "days", 28.0).columns == ()


def test_a_rate_of_a_shorter_window_is_divided_by_no_more_than_its_length() -> None:
    columns = ("orders_180d", "orders_365d", "days")
    rates = Rates.among(columns, columns[:2], "days", 28.0)
    x = np.array([[18.0, 36.0, 360.0], [9.0, 9.0, 90.0], [2.0, 2.0, 5.0]])
    assert rates.extend(x, columns)[:, 3:].tolist() == [[18 / 180, 36 / 360], [0.1, 0.1], [2 / 28, 2 / 28]]


def test_what_grows_with_the_history_is_given_to_trees_per_day_observed() -> None:
    lasting = {"purchases__orders_365d", "purchases__orders_180d", "purchases__amount_365d", "purchases__amount_180d", "days__order_days_365d"}
    assert lasting <= set(LightGBM().per_day)
    assert set(LightGBM().per_day) <= {ref.replace(":", "__") for ref in services.refs("churn")}
