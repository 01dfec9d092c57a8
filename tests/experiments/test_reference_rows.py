"""Rebuilt reference rows: nothing of after the cut teaches them, and what is said of a paired difference is what it shows."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.reference import bought, described, protocol, published, rankers, scored, table
from benchmarks.reference.bought import TARGETS, Bought, Wanted
from benchmarks.reference.pairs import pairs
from benchmarks.reference.protocol import DAY, Moment, OpenWindowError

FIRST = pd.Timestamp("2020-01-01")


def ledger(days: int, customers: int = 40, lines: int = 900, seed: int = 3) -> pd.DataFrame:
    """A shop without a rhythm, some lines sent back."""
    rng = np.random.default_rng(seed)
    at = FIRST + pd.to_timedelta(np.append(0.0, np.sort(rng.uniform(0, days, lines - 1))), unit="D")
    back = rng.random(lines) < 0.05
    value = np.round(rng.gamma(2.0, 10.0, lines), 2) * np.where(back, -1, 1)
    rows = {"customer_id": rng.integers(0, customers, lines), "ts": at, "order_id": np.arange(lines) // 2, "value": value, "purchase": ~back}
    return pd.DataFrame({**rows, "item": rng.integers(0, 15, lines)})


@given(days=st.integers(40, 700), horizon=st.integers(7, 280))
@settings(max_examples=25, deadline=None)
def test_no_training_window_passes_the_cut(days: int, horizon: int) -> None:
    test = protocol.asked(ledger(800, lines=200), FIRST + days * DAY, horizon)
    found = protocol.lessons(test)
    assert found
    assert test.ledger.ts.max() < test.at
    for moment in found:
        assert moment.at + moment.horizon_days * DAY <= moment.until
        assert (moment.ledger.ts < moment.until).all()
        moment.outcome()


def test_a_history_as_long_as_the_horizon_is_stretched_and_its_windows_end_before_the_cut() -> None:
    test = protocol.asked(ledger(546), FIRST + 273 * DAY, 273)
    for moment, days in zip(protocol.lessons(test), (136, 122, 108), strict=True):
        seen = test.ledger[(moment.ledger.ts < moment.at).to_numpy()]
        asked = test.ledger[((moment.ledger.ts >= moment.at) & (moment.ledger.ts < moment.at + 273 * DAY)).to_numpy()]
        assert seen.ts.max() < FIRST + days * DAY <= asked.ts.min()
        assert asked.ts.max() < FIRST + 2 * days * DAY <= test.at


def test_an_open_window_has_no_outcome() -> None:
    rows = ledger(300)
    with pytest.raises(OpenWindowError, match="not known yet"):
        Moment(rows, FIRST + 200 * DAY, 90, FIRST + 280 * DAY).outcome()
    with pytest.raises(OpenWindowError):
        protocol.asked(rows, FIRST + 200 * DAY, 1).outcome()


def test_outcomes_are_the_evaluators(shared: Path) -> None:
    from benchmarks.reference import sources

    models = sources.evaluator(shared / "references", "models_eval")
    lines = sources.ledger(models, "cdnow_sample", shared / "data")
    moment = Moment(lines, pd.Timestamp("1997-10-01"), 273, pd.Timestamp("1998-07-01"))
    for task, column in (("churn", "churn"), ("clv", "spend")):
        truth = models.truth(f"{task}:cdnow_sample_h273", shared / "data")
        assert np.array_equal(truth.customer_id, moment.population())
        assert np.allclose(truth.y, moment.outcome()[column])


@pytest.mark.parametrize("features", [described.rfm, described.rich, described.stable])
def test_the_future_changes_no_feature(features: object) -> None:
    rows, at = ledger(300), FIRST + 200 * DAY
    seen = features(Moment(rows, at, 30, FIRST + 300 * DAY))  # type: ignore[operator]
    alone = features(Moment(rows[rows.ts < at], at, 30, at))  # type: ignore[operator]
    pd.testing.assert_frame_equal(seen, alone, check_exact=True)
    assert len(seen) == len(Moment(rows, at, 30, at).population())


def test_simple_rows_answer_for_the_whole_population() -> None:
    shop = scored.Shop(protocol.asked(ledger(200), FIRST + 150 * DAY, 20), has_stable=True)
    people = shop.test.population()
    for rows, count in ((scored.churn(shop), 5), (scored.value(shop), 4)):
        found = dict(islice(rows, count))
        assert len(found) == count
        for said in found.values():
            assert said.shape == (len(people),)
            assert np.isfinite(said).all()


@pytest.fixture(scope="module")
def known() -> Bought:
    return Bought.of(events(12), FIRST + 100 * DAY)


def events(items: int) -> pd.DataFrame:
    rng = np.random.default_rng(4)
    count = 400
    found = {
        "user_id": rng.integers(10, 34, count),
        "item_id": rng.integers(0, items, count),
        "time": FIRST + pd.to_timedelta(rng.uniform(0, 100, count), unit="D"),
    }
    return pd.DataFrame({**found, "basket": np.arange(count) // 2, "price": rng.uniform(1, 9, count)})


def test_late_purchases_teach_nothing() -> None:
    with pytest.raises(ValueError, match="teach nothing"):
        Bought.of(events(12), FIRST + 60 * DAY)


@pytest.mark.parametrize("name", list(rankers.RANKERS))
def test_lists_hold_what_their_target_takes(name: str, known: Bought) -> None:
    scores = rankers.RANKERS[name](known, **rankers.drawn(name, 2)[-1])
    assert scores.shape == known.shape
    had = known.counts.toarray() > 0
    for target in TARGETS:
        found = bought.lists(scores, known, target, 5)
        row, place = np.nonzero(found >= 0)
        assert target == "all" or (had[row, found[row, place]] == (target == "repeat")).all()
        assert all(len(set(each[each >= 0])) == (each >= 0).sum() for each in found)
        best = np.where(had if target == "repeat" else (~had if target == "new" else True), scores, -np.inf).argmax(axis=1)
        assert np.array_equal(found[found[:, 0] >= 0, 0], best[found[:, 0] >= 0])


def test_ease_is_the_same_by_users_and_by_items() -> None:
    few, many = Bought.of(events(12), FIRST + 100 * DAY), Bought.of(events(200), FIRST + 100 * DAY)
    for each in (few, many):
        x = each.weighted("binary").toarray()
        inverse = np.linalg.inv(x.T @ x + 7.0 * np.eye(x.shape[1]))
        weights = -inverse / np.diag(inverse)
        np.fill_diagonal(weights, 0.0)
        assert np.allclose(rankers.ease(each, penalty=7.0), x @ weights, atol=1e-5)


def test_pairs_are_what_the_target_takes_with_shares_of_the_best(known: Bought) -> None:
    scores = {name: rankers.RANKERS[name](known) for name in ("popularity", "recency")}
    had = known.counts.toarray() > 0
    for target in TARGETS:
        found = pairs(scores, known, target)
        assert found.facts.shape[0] == len(found.user)
        assert target == "all" or (had[found.user, found.item] == (target == "repeat")).all()
        assert found.shares.max() == 1.0
        listed = found.lists(found.shares[:, 1], len(known.users), 5)
        assert np.array_equal(listed, bought.lists(scores["recency"], known, target, 5))


def test_ndcg_is_the_evaluators(shared: Path, known: Bought) -> None:
    from benchmarks.reference import sources

    recsys = sources.evaluator(shared / "references", "recsys_eval")
    train = events(12)
    rng = np.random.default_rng(9)
    targets = pd.DataFrame({"user_id": rng.choice(known.users, 60), "item_id": rng.choice(known.items, 60)}).drop_duplicates()
    had = train[["user_id", "item_id"]].drop_duplicates().assign(seen=True)
    targets = targets.merge(had, how="left", on=["user_id", "item_id"])
    targets["seen"] = targets.seen.eq(True)
    lists = bought.lists(rng.random(known.shape).astype(np.float32), known, "all", 12)
    for target in TARGETS:
        found = lists if target == "all" else bought.lists(rng.random(known.shape).astype(np.float32), known, target, 12)
        theirs, _ = recsys.score(bought.frame(found, known), train, targets, target)
        assert np.allclose(Wanted.of(targets, known, target).ndcg(found), theirs["ndcg@10"].to_numpy())


def compared(row: str, difference: tuple[float, float, float], metric: str = "auc", **more: object) -> table.Compared:
    values = {"ours": 0.8, "rebuilt": 0.8 - difference[0], "published": published.Published(0.79, 0.77, 0.81), **more}
    return table.Compared(row, published.HEADS[metric], metric, difference=difference, **values)  # type: ignore[arg-type]


def test_what_is_said_of_a_difference() -> None:
    assert compared("a", (0.01, -0.001, 0.021)).verdict(0.0) == table.ALIKE
    assert compared("a", (0.01, 0.002, 0.018)).verdict(0.01) == "ahead"
    assert compared("a", (0.01, 0.002, 0.018)).verdict(0.06) == "ahead, not after correction"
    assert compared("a", (0.01, 0.002, 0.018), published=published.Published(0.81, 0.8, 0.82)).verdict(0.01) == "ahead, published better"
    short = compared("a", (0.01, -0.001, 0.021), published=published.Published(0.82, 0.81, 0.83))
    assert short.verdict(0.0) == f"{table.ALIKE}, published better"
    assert compared("a", (0.01, 0.002, 0.018), "log_loss").verdict(0.01) == "behind"
    lines = table.markdown([compared("a", (0.05, 0.04, 0.06)), compared("b", (0.01, 0.0005, 0.02))], {"AUC": (0.8, 0.78, 0.82)})
    assert "0.750\\*" in lines[3]
    assert lines[3].endswith("ahead |")
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1


def test_published_figures_are_read_with_their_intervals(tmp_path: Path) -> None:
    (tmp_path / "models.md").write_text(
        "#### `churn:shop`, n = 3\n\n| model | AUC | log loss | mean p |\n| --- | --- | --- | ---: |\n| rule | 0.7 [0.6, 0.8] | 0.5 | 0.4 |\n\n"
    )
    (tmp_path / "recsys.md").write_text(
        "### shop, target new\n\n| model | NDCG@10 | Hit@10 |\n| --- | ---: | ---: |\n| EASE^R | **0.12 [0.11, 0.13]** | 0.5 |\n\n"
    )
    found = published.figures(tmp_path, "churn:shop")
    assert found == {"rule": {"auc": published.Published(0.7, 0.6, 0.8), "log_loss": published.Published(0.5)}}
    assert published.figures(tmp_path, "shop, target new") == {"ease": {"ndcg@10": published.Published(0.12, 0.11, 0.13)}}
    assert not found["rule"]["auc"].holds(0.81)
    with pytest.raises(SystemExit, match="no table of"):
        published.figures(tmp_path, "churn:other")
