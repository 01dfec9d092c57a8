"""Purchase processes: published fits, parameters recovered, chances that come true in simulations, numbers that do not contradict each other."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features import catalog
from features.snapshot import snapshot, spine
from retain import engine
from retain.errors import IntegrityError, RefusedError
from retain.ingest import ingest
from retain.workspace import Workspace
from tests.contracts.model_contract import ModelContract, sample
from training.contracts import Frame, score
from training.horizons import lengthen
from training.models import stored
from training.models.period import LastPeriod
from training.models.purchase_process import bgnbd, pareto, spend
from training.models.purchase_process.bgnbd import BgNbdProcess
from training.models.purchase_process.history import COLUMNS, History
from training.models.purchase_process.models import BgNbd, ParetoNbd
from training.models.purchase_process.outlook import next_purchase, none_within, outlook, purchases_within
from training.models.purchase_process.pareto import ParetoNbdProcess
from training.models.purchase_process.spend import GammaGamma
from training.splits import Split
from training.tasks.clv import Clv

BG = BgNbdProcess(0.6, 6.0, 0.8, 2.5)
PARETO = ParetoNbdProcess(0.7, 8.0, 0.8, 12.0)
PROCESSES = [pytest.param(BG, id="bgnbd"), pytest.param(PARETO, id="paretonbd")]
WATCHED = 40.0


class TestBgNbd(ModelContract):
    model = BgNbd()


class TestBgNbdMoney(ModelContract):
    model = BgNbd(kind="amount")
    kind = "amount"


class TestParetoNbd(ModelContract):
    model = ParetoNbd()


class TestParetoNbdMoney(ModelContract):
    model = ParetoNbd(kind="amount")
    kind = "amount"


@pytest.fixture(scope="module")
def cdnow(shared: Path) -> tuple[History, Any]:
    """Histories of the sample at 1997-10-01 in weeks, and the mean money of a repeat day."""
    lines = pd.read_parquet(shared / "data" / "cdnow_sample" / "transactions.parquet")
    cut = pd.Timestamp("1997-10-01")
    by = lines[lines["date"] < cut].groupby(["customer_id", "date"])["amount"].sum().reset_index().groupby("customer_id")
    days, first, last = by.size().to_numpy(float), by["date"].min(), by["date"].max()
    history = History.of_days(days, (last - first).dt.days.to_numpy(float), (cut - first).dt.days.to_numpy(float)).over(7)
    repeat = (by["amount"].sum() - by["amount"].first()).to_numpy()
    return history, np.where(days > 1, repeat / np.maximum(days - 1, 1), 0.0)


def test_the_published_fit_of_bgnbd(cdnow) -> None:
    fitted = BgNbdProcess.fit(cdnow[0])
    assert (fitted.r, fitted.alpha, fitted.a, fitted.b) == pytest.approx((0.243, 4.414, 0.793, 2.426), abs=6e-4)
    assert fitted.log_likelihood(cdnow[0]) == pytest.approx(-9582.4, abs=0.05)
    # Customer 1 of the paper: two repeats, the last after 30.43 of 38.86 weeks; 1.226 purchases in the next 39.
    assert purchases_within(fitted, cdnow[0], 39.0)[0] == pytest.approx(1.226, abs=5e-4)


def test_the_published_fit_of_pareto_nbd(cdnow) -> None:
    fitted = ParetoNbdProcess.fit(cdnow[0])
    assert (fitted.r, fitted.alpha, fitted.s, fitted.beta) == pytest.approx((0.553, 10.578, 0.606, 11.669), abs=6e-4)
    assert fitted.log_likelihood(cdnow[0]) == pytest.approx(-9595.0, abs=0.05)


def test_the_published_fit_of_gamma_gamma(cdnow) -> None:
    fitted = GammaGamma.fit(cdnow[0].repeats, cdnow[1])
    assert (fitted.p, fitted.q, fitted.v) == pytest.approx((6.25, 3.74, 15.44), abs=6e-3)


def bought(process: BgNbdProcess | ParetoNbdProcess, customers: int, seed: int) -> tuple[History, Any, Any]:
    """Histories drawn from a process, with the purchases of the ``WATCHED`` / 2 after, and the wait until the next one."""
    random = np.random.default_rng(seed)
    rate = random.gamma(process.r, 1 / process.alpha, customers)
    is_bg = isinstance(process, BgNbdProcess)
    stop = random.beta(process.a, process.b, customers) if is_bg else random.gamma(process.s, 1 / process.beta, customers)
    end = np.full(customers, np.inf) if is_bg else random.exponential(1 / stop)
    watched = random.uniform(WATCHED / 2, WATCHED, customers)
    now, repeats, last, after, wait = np.zeros(customers), np.zeros(customers), np.zeros(customers), np.zeros(customers), np.full(customers, np.inf)
    going = np.ones(customers, dtype=bool)
    while going.any():
        now = np.where(going, now + random.exponential(1 / rate), now)
        going &= (now <= end) & (now <= 20 * WATCHED)
        seen = going & (now <= watched)
        repeats[seen] += 1
        last[seen] = now[seen]
        later = going & (now > watched)
        after[later & (now <= watched + WATCHED / 2)] += 1
        wait[later] = np.minimum(wait[later], (now - watched)[later])
        if is_bg:
            going &= random.random(customers) >= stop
    return History(repeats, last, watched), after, wait


@pytest.mark.parametrize("process", PROCESSES)
def test_what_is_expected_of_simulated_customers_comes_true(process) -> None:
    history, after, wait = bought(process, 30_000, seed=5)
    none, purchases = none_within(process, history, WATCHED / 2), purchases_within(process, history, WATCHED / 2)
    for tenth in np.array_split(np.argsort(none, kind="stable"), 10):
        missed = (after[tenth] == 0).mean()
        assert missed == pytest.approx(none[tenth].mean(), abs=4 * np.sqrt(0.25 / len(tenth)))
        assert after[tenth].mean() == pytest.approx(purchases[tenth].mean(), abs=4.5 * after[tenth].std() / np.sqrt(len(tenth)))
    middle = next_purchase(process, history, 10 * WATCHED)
    soon = np.isfinite(middle)
    assert (wait[soon] <= middle[soon]).mean() == pytest.approx(0.5, abs=4 * np.sqrt(0.25 / soon.sum()))


@pytest.mark.parametrize("process", PROCESSES)
def test_parameters_are_recovered(process) -> None:
    history, _, _ = bought(process, 5_000, seed=8)
    fitted = type(process).fit(history)
    assert fitted.log_likelihood(history) >= process.log_likelihood(history)
    assert fitted.r == pytest.approx(process.r, rel=0.2)
    assert fitted.r / fitted.alpha == pytest.approx(process.r / process.alpha, rel=0.08)
    ahead = none_within(process, history, 10.0)
    assert np.abs(none_within(fitted, history, 10.0) - ahead).max() < 0.04


def test_spend_is_recovered() -> None:
    random, true = np.random.default_rng(3), GammaGamma(4.0, 3.0, 20.0)
    purchases = random.integers(1, 8, 8000).astype(float)
    scale = random.gamma(true.q, 1 / true.v, 8000)
    fitted = GammaGamma.fit(purchases, random.gamma(true.p * purchases, 1 / scale) / purchases)
    assert (fitted.p, fitted.q, fitted.v) == pytest.approx((true.p, true.q, true.v), rel=0.15)
    assert fitted.expected(np.zeros(1), np.zeros(1))[0] == pytest.approx(4 * 20 / 2, rel=0.05)


@pytest.mark.parametrize(("module", "values"), [(bgnbd, (0.4, 3.0, 0.7, 2.0)), (pareto, (0.6, 7.0, 0.5, 9.0)), (pareto, (0.6, 9.0, 0.5, 7.0))])
def test_derivatives_are_those_of_the_likelihood(module, values) -> None:
    history = History(np.array([0.0, 1, 4, 30]), np.array([0.0, 3, 20, 38]), np.array([30.0, 40, 40, 39]))
    _slopes_agree(lambda v: module._slopes(v, history, np.array([3.0, 1, 1, 2])), np.array(values))


def test_derivatives_of_spend_are_those_of_the_likelihood() -> None:
    x, z = np.array([1.0, 2, 9]), np.array([4.0, 30, 12])
    _slopes_agree(lambda v: spend._slopes(v, x, z, np.array([1.0, 4, 1])), np.array([2.0, 0.7, 11.0]))


def _slopes_agree(likelihood: Any, values: Any) -> None:
    _, slopes = likelihood(values)
    for k in range(len(values)):
        step = np.where(np.arange(len(values)) == k, 1e-6 * values, 0.0)
        assert slopes[k] == pytest.approx((likelihood(values + step)[0] - likelihood(values - step)[0]) / (2 * step[k]), rel=1e-6)


def test_the_closed_forms_of_the_literature_agree() -> None:
    from scipy.special import hyp2f1

    x, t, watched, ahead = np.array([0.0, 1, 5, 40]), np.array([0.0, 10, 33, 39]), np.full(4, 40.0), 26.0
    history = History(x, t, watched)
    r, alpha, a, b = BG.r, BG.alpha, BG.a, BG.b
    z = ahead / (alpha + watched + ahead)
    inner = 1 - ((alpha + watched) / (alpha + watched + ahead)) ** (r + x) * hyp2f1(r + x, b + x, a + b + x - 1, z)
    assert BG.expected_if_alive(history, ahead) == pytest.approx((a + b + x - 1) / (a - 1) * inner, rel=1e-10)
    r, alpha, s, beta = PARETO.r, PARETO.alpha, PARETO.s, PARETO.beta
    both = r + s + x

    def part(at):
        return hyp2f1(both, r + x, both + 1, (beta - alpha) / (beta + at)) / (beta + at) ** both

    stopped = s / both * (part(t) - part(watched)) * (alpha + watched) ** (r + x) * (beta + watched) ** s
    assert PARETO.alive(history) == pytest.approx(1 / (1 + stopped), rel=1e-9)
    # No purchase in H is the likelihood of the same history watched for H longer, over that of the history.
    for process in (BG, PARETO):
        longer = History(x, t, watched + ahead)
        ratio = [np.exp(process.log_likelihood(longer.take([k])) - process.log_likelihood(history.take([k]))) for k in range(4)]
        assert none_within(process, history, ahead) == pytest.approx(ratio, rel=1e-9)


values = st.floats(-4, 4).map(np.exp)
histories = st.tuples(st.integers(0, 300), st.floats(0, 1), st.floats(0, 60))


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.sampled_from([BgNbdProcess, ParetoNbdProcess]), values, values, values, values, histories, st.floats(0.1, 60))
def test_numbers_of_one_customer_do_not_contradict_each_other(kind, r, alpha, third, fourth, seen, horizon) -> None:
    repeats, share, watched = seen
    process = kind(r, alpha, third, fourth)
    history = History(np.array([float(repeats)]), np.array([share * watched if repeats else 0.0]), np.array([watched]))
    said = outlook(process, GammaGamma(2.0, 3.0, 10.0), history, np.array([5.0]), horizon, 520.0)
    none, purchases, money, ahead = (float(each[0]) for each in (said.none, said.purchases, said.money, said.next))
    assert 0 <= none <= 1
    assert purchases >= (1 - none) * (1 - 1e-9)  # at least one purchase is at least one purchase
    assert money >= 0
    assert none_within(process, history, 2 * horizon)[0] <= none + 1e-12
    assert ahead > 0
    if abs(none - 0.5) > 1e-6:
        assert (ahead > horizon) == (none > 0.5)


def test_a_customer_of_whom_nothing_is_known_has_most_likely_gone() -> None:
    frame = sample()
    for model in (BgNbd(), ParetoNbd()):
        fitted = model.fit(frame)
        nobody, active = np.full((1, 3), np.nan), np.array([[20.0, 350.0, 355.0]])
        assert fitted.predict(nobody)[0] > 0.5 > fitted.predict(active)[0]


def test_only_the_newest_cutoff_teaches_and_no_outcome_does() -> None:
    frame = sample()
    newest = frame.take(np.flatnonzero(frame.cutoff == frame.cutoff.max()))
    unknown = Frame(frame.customer_id, frame.cutoff, frame.columns, frame.x, np.full(len(frame), np.nan), frame.horizon_days)
    for model in (BgNbd(kind="amount"), ParetoNbd(kind="amount")):
        expected = model.fit(newest)
        assert model.fit(frame) == expected
        assert model.fit(unknown) == expected


def test_money_is_net_and_another_horizon_needs_no_new_fit() -> None:
    frame = sample(kind="amount")
    columns = (*frame.columns, "baskets__amount_per_order_365d")
    amount, orders = (frame.x[:, frame.columns.index(f"purchases__{name}_365d")] for name in ("amount", "orders"))
    full = Frame(frame.customer_id, frame.cutoff, columns, np.column_stack([frame.x, amount / 0.8 / orders]), frame.y, 30)
    gross, net = BgNbd(kind="amount").fit(frame), BgNbd(kind="amount").fit(full)
    assert net.net_share == pytest.approx(0.8)
    assert score(net, full) == pytest.approx(0.8 * score(gross, frame))
    longer, said = net.over(90), net.outlook(full.select(net.columns).x, 90)
    assert score(longer, full) == pytest.approx(said.money)
    assert (said.money > score(net, full)).all()
    assert ((said.next > 90) == (said.none > 0.5)).all()
    split = Split(train=(), valid=(), test=(), judged=(), final=(), horizon_days=30, asked_days=90, words="")
    assert lengthen(Workspace.at(Path("nowhere")), Clv(), "amount", net, full, split) == longer


@pytest.mark.parametrize("model", [BgNbd(kind="amount"), ParetoNbd(kind="amount"), LastPeriod()])
def test_margin_is_asked_of_what_reads_no_outcome(model) -> None:
    frame = sample(kind="amount")
    amount = frame.x[:, frame.columns.index("purchases__amount_365d")]
    columns = (*frame.columns, "purchases__margin_365d")
    full = replace(frame, columns=columns, x=np.column_stack([frame.x, 0.3 * amount]))
    money, margin = model.fit(full), model.fit(replace(full, measure="margin"))
    assert score(margin, full) == pytest.approx(0.3 * score(money, full))
    with pytest.raises(RefusedError, match="margin rate"):
        model.fit(replace(frame, measure="margin"))


def test_a_frame_that_dropped_what_never_varied_is_learned_from() -> None:
    frame = sample().select(COLUMNS)
    once = frame.x * np.array([0, 0, 1, 0]) + np.array([1, 0, 0, 0])
    everybody = Frame(frame.customer_id, frame.cutoff, COLUMNS, once, frame.y, 30)
    kept = everybody.select(("days__observed_days_365d",))
    assert score(BgNbd().fit(kept), kept) == pytest.approx(score(BgNbd().fit(everybody), everybody))
    assert 0 < score(BgNbd().fit(frame.select(COLUMNS[:2])), frame).mean() < 1
    with pytest.raises(RefusedError, match="view `days`"):
        BgNbd().fit(sample().select(("profile__region",)))


def test_a_frame_without_rows_or_purchases_gives_a_model_that_answers() -> None:
    frame = sample().select(COLUMNS)
    nobody = Frame(frame.customer_id, frame.cutoff, COLUMNS, np.full_like(frame.x, np.nan), frame.y, 30)
    for model in (BgNbd(kind="amount"), ParetoNbd(kind="amount")):
        for none in (nobody, frame.take(np.array([], dtype=np.intp))):
            assert np.isfinite(score(model.fit(none), frame)).all()


def test_a_file_of_another_process_is_refused(tmp_path: Path) -> None:
    stored.write(BgNbd().fit(sample()), tmp_path / "model")
    file = tmp_path / "model" / "process.json"
    file.write_text(file.read_text(encoding="utf-8").replace('"bgnbd"', '"poisson"'), encoding="utf-8")
    with pytest.raises(IntegrityError, match="poisson"):
        stored.read(tmp_path / "model")


def test_the_day_of_the_first_purchase_is_over_before_the_watch_begins() -> None:
    nan = np.nan
    history = History.of_days(np.array([1.0, 3, nan, 0, 2]), np.array([0.0, 9, nan, nan, 4]), np.array([1.0, 10, nan, nan, 4]))
    assert history.repeats.tolist() == [0, 2, 0, 0, 1]
    assert history.last.tolist() == [0, 9, 0, 0, 4]
    assert history.watched.tolist() == [0, 9, 365, 365, 4]


def test_features_of_an_ingested_source_lead_to_the_published_fit(shared: Path, tmp_path: Path) -> None:
    workspace, cut = Workspace.at(tmp_path / "var"), datetime(1997, 10, 1, tzinfo=UTC)
    ingest("cdnow", workspace, data=shared / "data" / "cdnow_sample", until=cut, now=datetime(2000, 1, 1, tzinfo=UTC))
    with engine.of(workspace) as sql:
        said = snapshot(catalog.view("days"), spine(sql, cut), sql).to_pandas()
    names = tuple(name.removeprefix("days__") for name in COLUMNS)
    at = np.full(len(said), np.datetime64(cut.replace(tzinfo=None), "us"))
    frame = Frame(said["customer_id"].to_numpy(object), at, COLUMNS, said[list(names)].to_numpy(float), np.full(len(said), np.nan), 273)
    fitted = BgNbd(kind="amount").fit(frame)
    assert isinstance(fitted.process, BgNbdProcess)
    assert (fitted.process.r, fitted.process.alpha, fitted.process.a, fitted.process.b) == pytest.approx((0.243, 4.414, 0.793, 2.426), abs=6e-4)
    assert (fitted.spend.p, fitted.spend.q, fitted.spend.v) == pytest.approx((6.25, 3.74, 15.44), abs=6e-3)
