"""From contacts in a workspace to a champion that tells effects, and what is refused on the way."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.effects import cross
from retain import engine
from retain.cli import main
from retain.errors import ConfigError, DataError, RefusedError
from retain.ingest import ingest
from retain.workspace import Workspace
from training import uplift_frames
from training.effects import effects
from training.package import champion, load, read_card
from training.pipeline import train
from training.sheet import sheet
from training.tasks.uplift import Uplift
from training.uplift_trial import UpliftTrial

ROWS = 1500
PLAN = """
task: {use: training.tasks.uplift:Uplift, outcome: visit}
models:
  response: {use: training.models.uplift.ladder:Response, folds: 2}
  ladder: {use: training.models.uplift.ladder:Ladder, rungs: [average, response_linear, mean_linear], folds: 2, draws: 50}
baseline: response
simple: [response]
preferred: ladder
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table in the form of Hillstrom's: the women's e-mail moves those who bought women's goods, the men's moves nobody."""
    random = np.random.default_rng(11)
    arm = np.array(["Mens E-Mail", "Womens E-Mail", "No E-Mail"])[random.integers(0, 3, ROWS)]
    womens = random.integers(0, 2, ROWS)
    visit = random.random(ROWS) < 0.15 + 0.3 * (arm == "Womens E-Mail") * womens
    buys = visit & (random.random(ROWS) < 0.4)
    table = pd.DataFrame(
        {
            "recency": random.integers(1, 13, ROWS),
            "history_segment": np.array(["1) low", "2) high"])[random.integers(0, 2, ROWS)],
            "history": random.gamma(2.0, 100.0, ROWS).round(2),
            "mens": random.integers(0, 2, ROWS),
            "womens": womens,
            "zip_code": random.choice(["Urban", "Rural"], ROWS),
            "newbie": random.integers(0, 2, ROWS),
            "channel": random.choice(["Web", "Phone"], ROWS),
            "segment": arm,
            "visit": visit.astype(int),
            "conversion": buys.astype(int),
            "spend": np.where(buys, random.gamma(2.0, 40.0, ROWS), 0.0).round(2),
        }
    )
    folder = tmp_path_factory.mktemp("mailed")
    table.to_parquet(folder / "customers.parquet")
    return folder


@pytest.fixture(scope="module")
def mailed(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The table ingested."""
    workspace = Workspace.at(tmp_path_factory.mktemp("workspace"))
    ingest("hillstrom", workspace, data=files)
    return workspace


@pytest.fixture(scope="module")
def learned(mailed: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The same with trained models."""
    path = tmp_path_factory.mktemp("plan") / "uplift.yaml"
    path.write_text(PLAN)
    train(str(path), mailed)
    return mailed


def test_the_champion_tells_the_effect_of_each_treatment(learned: Workspace) -> None:
    at = champion(learned, "uplift")
    assert at is not None
    package = load(at)
    raw = pd.DataFrame({column: [np.nan, np.nan] for column in package.card.columns})
    raw["customers__bought_womens"] = [0.0, 1.0]
    said = effects(package, ["a", "b"], raw)
    assert said.treatments == ("Mens E-Mail", "Womens E-Mail")
    assert said.grades == ("A", "A")
    assert (said.outcome, said.unit) == ("visit", "customers")
    value, low, high, _ = said.of("Womens E-Mail")
    assert value[1] > value[0]
    assert (low < value).all()
    assert (value < high).all()
    with pytest.raises(DataError, match="customers__bought_womens is missing"):
        effects(package, ["a", "b"], raw.drop(columns="customers__bought_womens"))


def test_the_card_says_evidence_order_and_average_effect(learned: Workspace) -> None:
    at = champion(learned, "uplift")
    assert at is not None
    card = read_card(at)
    assert any(note.startswith("Womens E-Mail: grade A") for note in card.notes)
    assert any("canary" in guard for guard in card.guards)
    assert card.metrics["qini"].low > 0
    page = sheet(card)
    assert "<polygon" in page
    assert "Effects by tenth" in page


def test_the_command_tells_each_treatment(learned: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "uplift.yaml"
    path.write_text(PLAN)
    capsys.readouterr()
    assert main(["train", str(path), "--workspace", str(learned.root)]) == 0
    out = capsys.readouterr().out
    at = champion(learned, "uplift")
    assert at is not None
    metrics = read_card(at).metrics
    for name in ("Mens E-Mail", "Womens E-Mail"):
        row = next(line for line in out.splitlines() if re.match(rf"{name} +A +-?\d", line))
        assert len(re.split(r"  +", row)) == 6, "treatment, grade, effect, Qini, policy, error"
        for measure in ("qini", "policy_gain", "effect_error"):
            own = metrics[f"{measure}/{name}"]
            assert own.low <= own.value <= own.high
    assert not re.search(r"e-1\d", out), "rounding is not told as a figure"
    assert "in customers: average effect" in out


def test_outcomes_are_counted_alike_for_treated_and_controls(mailed: Workspace, files: Path) -> None:
    table = pd.read_parquet(files / "customers.parquet")
    for outcome, column in (("visit", "visit"), ("purchase", "conversion"), ("spend", "spend")):
        with engine.of(mailed) as sql:
            found = Uplift(outcome=outcome).contacted(sql, mailed.state(), mailed.now())
        y = found.set_index(found["customer_id"].astype(int))["y"].sort_index()
        assert np.allclose(y, table[column])
        assert found["is_control"].sum() == (table["segment"] == "No E-Mail").sum()


def test_purchases_of_a_shop_are_counted_in_the_days_after(shop: Workspace) -> None:
    with engine.of(shop) as sql:
        found = Uplift(outcome="purchase", by="offer", horizon_days=10).contacted(sql, shop.state(), shop.now())
        some = found.iloc[:: len(found) // 40]
        for row in some.itertuples():
            count = sql.rows(
                f"select count(*) from transactions where customer_id = '{row.customer_id}' and kind = 'sale' and amount > 0 and occurred_at >= "
                f"timestamptz '{row.cutoff.isoformat()}' and occurred_at < timestamptz '{row.cutoff.isoformat()}' + interval 10 day"
            )[0][0]
            assert row.y == float(count > 0)
    assert (found["cutoff"] + pd.Timedelta(days=10) <= pd.Timestamp(shop.now())).all()
    assert found["treatment"].str.contains("/").all()


def test_a_feature_that_knows_the_outcome_is_refused(mailed: Workspace) -> None:
    task = Uplift(outcome="visit")
    contacts, newest, encoder = uplift_frames.contacts(mailed, task)
    frame = contacts.frame
    told = replace(frame, columns=(*frame.columns, "late"), x=np.column_stack([frame.x, (contacts.arm == 1).astype(float)]))
    with pytest.raises(RefusedError, match=r"who was treated with Womens E-Mail.*late"):
        UpliftTrial(task, replace(contacts, frame=told), newest, encoder, mailed.now()).guards()


def test_a_treatment_that_was_never_sent_is_refused(mailed: Workspace) -> None:
    with pytest.raises(RefusedError, match="Mens E-Mail, Womens E-Mail"):
        uplift_frames.contacts(mailed, Uplift(outcome="visit", treatments=("Fax",)))


def test_cross_fitted_effects_are_written_as_evaluators_read_them(files: Path, tmp_path: Path) -> None:
    out = tmp_path / "effects.parquet"
    table = pd.read_parquet(files / "customers.parquet")
    asked = np.flatnonzero(table["segment"].isin(["Womens E-Mail", "No E-Mail"]))
    folds = pd.DataFrame({"customer_id": asked, "fold": np.arange(len(asked)) % 3})
    folds.to_parquet(tmp_path / "folds.parquet")
    found = cross("hillstrom", out, data=files, outcome="visit", treatment="Womens E-Mail", folds=tmp_path / "folds.parquet", model="response")
    written = pd.read_parquet(out)
    assert list(written.columns) == ["customer_id", "fold", "uplift"]
    assert sorted(written["customer_id"]) == asked.tolist()
    assert written.merge(folds, on=["customer_id", "fold"]).shape[0] == len(asked)
    assert np.isfinite(written["uplift"]).all()
    assert (found.grade, found.chosen) == ("A", {"response_linear": 3})
    assert found.summary()["metrics"]["qini"]["low"] > 0


def test_one_of_several_treatments_must_be_named(files: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--treatment"):
        cross("hillstrom", tmp_path / "out.parquet", data=files)


@pytest.mark.slow
def test_contacts_of_a_shop_have_the_features_of_their_moment(filled: Workspace) -> None:
    trial = UpliftTrial.open(Uplift(outcome="purchase", horizon_days=10), filled)
    assert {pair.grade for _, pair in trial.pairs.values()} <= {"A", "B"}
    assert "B" in {pair.grade for _, pair in trial.pairs.values()}
    assert trial.guards()
    recency = trial.contacts.frame.columns.index("purchases__days_since_order_365d")
    assert np.nanmin(trial.contacts.frame.x[:, recency]) >= 0
    assert len(trial.newest) > 0
