"""Learners find known effects, the ladder takes the plainest that is not beaten, and few customers get a sane answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from retain.config import build, spec
from retain.errors import ConfigError, IntegrityError, RefusedError
from retain.files import read_json, write_json
from tests.training.uplift_world import World, world
from training.effects import Estimating, of_rows
from training.models import stored
from training.models.one_hot import Spread
from training.models.rows import folds
from training.models.uplift.contacts import CONTROL, Comparison, compare
from training.models.uplift.estimate import line
from training.models.uplift.fitted import FittedUplift
from training.models.uplift.ladder import Average, Ladder, Response, held_out
from training.uplift_metrics import qini

LINEAR = Ladder(rungs=("average", "response_linear", "mean_linear"), folds=2, draws=100)


@pytest.fixture(scope="module")
def fitted() -> FittedUplift:
    return LINEAR.fit(world(4000)[0])


def _rows(kind: World, rows: int = 4000) -> Comparison:
    pair = compare(world(rows, kind)[0], 0)
    assert pair is not None
    return Comparison(Spread.learn(pair.frame, 20, 50).wide(pair.frame), pair.trial, pair.grade)


@pytest.mark.parametrize("base", ["linear", "trees"])
def test_every_learner_finds_an_effect_that_has_nothing_to_do_with_the_outcome(base: str) -> None:
    rows = _rows("own")
    names = [f"{learner}_{base}" for learner in ("s", "t", "x", "dr", "r", "transformed", "mean")]
    taste = rows.frame.x[:, rows.frame.columns.index("taste")]
    said = held_out(rows, names, folds(rows.frame, 2))
    for name in names:
        assert np.corrcoef(said[name], taste > 0)[0, 1] > 0.5, name
    assert qini(rows.trial, held_out(rows, ["risk_linear"], folds(rows.frame, 2))["risk_linear"]) < min(
        qini(rows.trial, each) for each in said.values()
    )


@pytest.mark.parametrize(("kind", "rung"), [("flat", "average"), ("none", "average"), ("response", "response_linear"), ("own", "mean_linear")])
def test_the_ladder_holds_the_plainest_that_is_not_beaten(kind: World, rung: str) -> None:
    contacts, effect = world(8000, kind, seed=2)
    found = LINEAR.fit(contacts)
    value, low, high = found.estimate(contacts.frame.x)
    assert found.learned[0].rung == rung
    assert value.mean() == pytest.approx(effect.mean(), abs=0.03)
    assert (low <= value).all()
    assert (value <= high).all()
    if kind in ("own", "response"):
        assert np.corrcoef(value[:, 0], effect)[0, 1] > 0.6
    else:
        assert np.ptp(value) == 0


def test_fifty_customers_get_a_sane_answer_with_a_wide_interval() -> None:
    for seed in range(4):
        contacts, effect = world(50, seed=seed)
        value, low, high = Ladder().fit(contacts).estimate(contacts.frame.x)
        many, narrow_low, narrow_high = LINEAR.fit(world(2000, seed=seed)[0]).estimate(contacts.frame.x)
        assert np.ptp(value) == 0, "nobody is told apart"
        assert abs(value).max() < 0.3, "no wild figure"
        assert low.max() < effect.mean() < high.min()
        assert (high - low).mean() > 3 * (narrow_high - narrow_low).min()
        assert np.isfinite(many).all()


def test_little_evidence_is_drawn_towards_the_average_and_the_average_towards_zero() -> None:
    random = np.random.default_rng(2)
    score = random.normal(size=4000)
    pseudo = 0.1 + 0.05 * score + random.normal(size=4000)
    slopes = []
    for rows in (40, 400, 4000):
        found = line(pseudo[:rows], score[:rows], np.arange(rows), prior=0.1)
        raw = float(np.polyfit(score[:rows], pseudo[:rows], 1)[0])
        assert 0 <= found.slope <= max(raw, 0)
        assert abs(found.level) < abs(pseudo[:rows].mean())
        slopes.append(found.slope / max(raw, 1e-9))
    assert slopes[0] < 0.9
    assert slopes[-1] > 0.8
    assert line(pseudo, -score, np.arange(4000), prior=0.1).slope == 0, "an order that runs the wrong way is none"


def test_rows_of_one_customer_count_as_one() -> None:
    random = np.random.default_rng(5)
    pseudo, score = random.normal(size=300), random.normal(size=300)
    alone = line(pseudo, score, np.arange(300), prior=1.0)
    thrice = line(np.tile(pseudo, 3), np.tile(score, 3), np.tile(np.arange(300), 3), prior=1.0)
    assert thrice.level_error == pytest.approx(alone.level_error)
    assert thrice.slope_error == pytest.approx(alone.slope_error)


def test_permuted_outcomes_have_no_qini() -> None:
    rows = _rows("own", 3000)
    lost = replace(rows.frame, y=np.random.default_rng(6).permutation(rows.frame.y))
    blind = Comparison(lost, replace(rows.trial, y=lost.y), rows.grade)
    names = ["t_linear", "x_linear", "dr_linear", "r_linear", "t_trees"]
    said = held_out(blind, names, folds(lost, 2))
    for name in names:
        assert abs(qini(blind.trial, said[name])) < 0.02, name
    assert LINEAR.fit(replace(world(3000)[0], frame=replace(world(3000)[0].frame, y=lost.y))).learned[0].rung == "average"


@pytest.mark.parametrize(("change", "grade"), [("none", "A"), ("varies", "B"), ("not logged", "C"), ("contradicted", "C"), ("no control", "D")])
def test_the_grade_follows_from_how_customers_were_drawn(change: str, grade: str) -> None:
    contacts, _ = world(3000)
    random = np.random.default_rng(9)
    if change == "varies":
        chance = np.where(contacts.frame.x[:, 0] > 0, 0.8, 0.3)
        arm = np.where(random.random(3000) < chance, 0, CONTROL)
        contacts = replace(contacts, arm=arm, probability=np.where(arm == 0, chance, 1 - chance))
    elif change == "not logged":
        contacts = replace(contacts, probability=np.full(3000, np.nan))
    elif change == "contradicted":
        contacts = replace(contacts, probability=np.where(contacts.arm == 0, 0.9, 0.1))
    elif change == "no control":
        treated = contacts.take(np.flatnonzero(contacts.arm == 0))
        both = replace(contacts, treatments=("mail", "call"), costs=(0.5, 3.0))
        assert compare(treated, 0) is None
        with pytest.raises(RefusedError, match="control group"):
            Average().fit(treated)
        value, _, _ = Average().fit(replace(both, arm=np.where(contacts.arm == 0, np.arange(3000) % 2, CONTROL))).estimate(contacts.frame.x[:2])
        assert np.isfinite(value).all()
        return
    pair = compare(contacts, 0)
    assert pair is not None
    assert pair.grade == grade
    assert ((pair.trial.chance > 0) & (pair.trial.chance < 1)).all()


def test_a_treatment_without_controls_claims_nothing_beside_one_with() -> None:
    contacts, _ = world(1000)
    call = replace(contacts, arm=np.ones(1000, dtype=np.int64), campaign=np.ones(1000, dtype=np.int64))
    parts = {name: np.concatenate([getattr(contacts, name), getattr(call, name)]) for name in ("arm", "campaign", "probability", "is_reported")}
    frame = contacts.frame.take(np.tile(np.arange(1000), 2))
    found = Average().fit(replace(contacts, frame=frame, treatments=("mail", "call"), costs=(0.5, 3.0), **parts))
    assert found.grades == ("A", "D")
    said = of_rows(found, ["a", "b"], contacts.frame.x[:2])
    assert np.isnan(said.of("call")[0]).all()
    assert np.isfinite(found.predict(contacts.frame.x[:2])).all()


def test_contacts_that_somebody_said_were_made_are_believed_no_more_than_their_log() -> None:
    contacts, _ = world(6000, "flat")
    told = replace(contacts, is_reported=np.ones(len(contacts), dtype=bool))
    assert [compare(each, 0).grade for each in (contacts, told)] == ["A", "B"]  # type: ignore[union-attr]
    # Of half of those who were drawn nobody said that they were contacted.
    silent = told.take(np.flatnonzero((told.arm == CONTROL) | (np.arange(len(told)) % 2 == 0)))
    assert compare(silent, 0).grade == "C"  # type: ignore[union-attr]


def test_estimated_chances_set_a_biased_choice_right() -> None:
    contacts, effect = world(6000, "flat", logged=False)
    random = np.random.default_rng(4)
    # Those who would have come anyway are treated more often, and nobody wrote down how much more.
    liked = 1 / (1 + np.exp(-contacts.frame.x[:, 1]))
    arm = np.where(random.random(6000) < 0.2 + 0.6 * liked, 0, CONTROL)
    y = (random.random(6000) < 0.5 * liked + effect * (arm == 0)).astype(np.float64)
    found = Average().fit(replace(contacts, arm=arm, frame=replace(contacts.frame, y=y)))
    assert found.grades == ("C",)
    assert y[arm == 0].mean() - y[arm != 0].mean() > 0.08
    assert found.learned[0].line.level == pytest.approx(0.05, abs=0.025)


def test_files_repeat_it_to_the_bit(fitted: FittedUplift, tmp_path: Path) -> None:
    x = world(300, seed=3)[0].frame.x
    stored.write(fitted, tmp_path / "model")
    again = stored.read(tmp_path / "model")
    assert isinstance(again, Estimating)
    assert isinstance(again, FittedUplift)
    assert all(np.array_equal(mine, theirs) for mine, theirs in zip(again.estimate(x), fitted.estimate(x), strict=True))
    alone = np.concatenate([again.predict(x[place : place + 1]) for place in range(20)])
    assert np.array_equal(alone, fitted.predict(x)[:20])
    assert {path.suffix for path in (tmp_path / "model").rglob("*") if path.is_file()} <= {".json", ".txt"}
    assert fitted.predict(np.empty((0, 4))).shape == (0,)
    assert np.isfinite(fitted.predict(np.full((2, 4), np.nan))).all()


def test_changed_files_are_refused(fitted: FittedUplift, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    said = read_json(tmp_path / "uplift.json")
    for change in ({"treatments": []}, {"treatments": [{**said["treatments"][0], "grade": "E"}]}, {"unit": 3}):
        write_json(tmp_path / "uplift.json", {**said, **change})
        with pytest.raises(IntegrityError, match=r"uplift\.json"):
            FittedUplift.load(tmp_path)


def test_order_of_rows_is_irrelevant(fitted: FittedUplift) -> None:
    contacts, _ = world(4000)
    shuffled = contacts.take(np.random.default_rng(3).permutation(4000))
    assert np.array_equal(LINEAR.fit(shuffled).predict(contacts.frame.x), fitted.predict(contacts.frame.x))


def test_an_unknown_rung_is_refused() -> None:
    with pytest.raises(ConfigError, match="t_linear"):
        build({"use": "training.models.uplift.ladder:Ladder", "rungs": ["z_linear"]})
    assert build(spec(Response())) == Response()
