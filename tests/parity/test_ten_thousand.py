"""Ten thousand customers alone, in sevens and all at once, for every kind of model: through the model, the list and the service."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from features import interactions
from features.interactions import Interactions
from retain.engine import of
from retain.workspace import Workspace
from serving.answers import Answers
from serving.champions import SCORED, Champions, Scorer, on_rows
from serving.desk import Desk
from serving.ledger import Ledger
from serving.metrics import Metrics
from serving.rows import Rows
from serving.runner import whole
from training.contracts import PURPOSES, Floats
from training.package import Package, folders, load

pytestmark = pytest.mark.slow
COUNT = 10_000
TREES = tuple(f"training.models.{name}" for name in ("lightgbm:", "calibrated:", "levelled:", "period:", "constant:", "rules:RecencyRule"))
"""Recipes without a sum over features, whose order BLAS may choose: these are equal to the bit."""


def is_exact(spec: dict[str, Any]) -> bool:
    """Whether a recipe, and everything inside it, promises the same bits."""
    inner = [value for value in spec.values() if isinstance(value, dict)]
    return spec["use"].startswith(TREES) and all(map(is_exact, inner))


def agree(found: Floats, expected: Floats, package: Package) -> None:
    if is_exact(package.card.model_spec):
        np.testing.assert_array_equal(found, expected, err_msg=package.card.title)
    else:
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=0, err_msg=package.card.title)


@pytest.fixture(scope="module")
def crowd(served: Workspace) -> Answers:
    """The shop with ten thousand customers: each a mixture of two real ones, features column by column, lists and facts from the first."""
    answers = Answers.open(served)
    rows = answers.rows
    rng = np.random.default_rng(1)
    known = np.flatnonzero(rows.array("is_known"))
    first, second = rng.choice(known, (2, COUNT))
    arrays = {}
    for name in rows.arrays:
        whole_array = rows.array(name)
        if name.endswith(".start"):
            table = name.removesuffix(".start")
            sizes = np.diff(whole_array)[first]
            arrays[name] = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
            entries = np.concatenate([np.arange(whole_array[one], whole_array[one + 1]) for one in first]).astype(np.int64)
            arrays |= {column: rows.array(column)[entries] for column in rows.arrays if column.startswith(f"{table}.") and column != name}
        elif "." not in name:
            arrays[name] = whole_array[first]
        elif f"{name.partition('.')[0]}.start" not in rows.arrays:
            arrays[name] = whole_array
    mixed = rng.random(arrays["raw"].shape) < 0.5
    arrays["raw"] = np.where(mixed, rows.array("raw")[first], rows.array("raw")[second])
    arrays["ids"] = np.array([f"N{number:06}".encode() for number in range(COUNT)])
    # As published: the scores that stand on the rows are the champions' own.
    arrays["scores"] = replace(answers, rows=Rows(rows.card, rows.shop, arrays)).everybody
    return replace(answers, rows=Rows(rows.card, rows.shop, arrays))


def scorers(served: Workspace, crowd: Answers, task: str) -> Iterator[tuple[Package, Scorer]]:
    for folder in folders(served, task):
        package = load(folder)
        if set(package.card.columns) <= set(crowd.rows.card.columns):
            yield package, on_rows(package, crowd.rows.card.columns, crowd.rows.card.vocabulary)


@pytest.mark.parametrize("task", SCORED)
def test_every_model_scores_alike_however_it_is_asked(served: Workspace, crowd: Answers, task: str) -> None:
    raw, kinds = crowd.rows.array("raw"), set()
    for package, scorer in scorers(served, crowd, task):
        together = scorer.predict(raw)
        for size in (1, 7):
            agree(np.concatenate([scorer.predict(raw[start : start + size]) for start in range(0, COUNT, size)]), together, package)
        kinds.add(package.card.model_spec["use"])
    assert len(kinds) >= 3, "every kind of champion that the shop trained"


def test_every_model_answers_alike_over_the_service_and_on_the_list(served: Workspace, crowd: Answers, tmp_path: Path) -> None:
    ids = [crowd.rows.id(position) for position in range(COUNT)]
    pairs = list(zip_longest(scorers(served, crowd, "churn"), scorers(served, crowd, "clv")))
    for number, (churn, clv) in enumerate(pairs):
        chosen = {task: one for task, one in (("churn", churn), ("clv", clv or pairs[0][1])) if one is not None}
        answers = replace(crowd, champions=Champions({task: scorer for task, (_, scorer) in chosen.items()}))
        desk = Desk(answers, Ledger(tmp_path / str(number)))
        try:
            together = asked(desk, [ids])
            # The scorers alone were asked in every way above; the service is asked for each kind in sevens, and once for one by one.
            ways = [
                [ids[i : i + 7] for i in range(0, COUNT if number == 0 else COUNT // 10, 7)],
                *([[[each] for each in ids]] if number == 0 else []),
            ]
            for chunks in ways:
                answered = asked(desk, chunks)
                for task, (package, _) in chosen.items():
                    agree(column(answered, task), column(together[: len(answered)], task), package)
        finally:
            desk.close()
        everybody = answers.churn_list(COUNT)
        expected = {score["customer_id"]: score for score in together}
        assert everybody.rows
        for row in everybody.rows:
            score = expected[row.customer_id]
            assert [row.risk, row.value, row.expected_loss] == pytest.approx([score["churn"], score["clv"], score["expected_loss"]], rel=1e-12, abs=0)
        order = [row.customer_id for row in everybody.rows]
        assert order == sorted(order, key=lambda each: (-expected[each]["expected_loss"], each))
        assert [row.customer_id for row in answers.churn_list(COUNT).rows] == order


def asked(desk: Desk, chunks: Iterable[list[str]]) -> list[dict[str, Any]]:
    """What the service answers, request by request."""
    app = whole(desk, Metrics())

    async def ask() -> list[dict[str, Any]]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
            found: list[dict[str, Any]] = []
            for chunk in chunks:
                found += json.loads((await client.post("/v1/scores", json={"customer_ids": chunk})).content)["scores"]
            return found

    return asyncio.run(ask())


def column(scores: list[dict[str, Any]], task: str) -> NDArray[np.float64]:
    return np.array([np.nan if score[task] is None else score[task] for score in scores], dtype=np.float64)


@pytest.fixture(scope="module")
def histories(served: Workspace) -> Callable[[NDArray[np.object_]], Interactions]:
    """Histories of ten thousand customers on a model's catalogue: each a real one's with some purchases left out."""
    with of(served) as engine:
        real = interactions.load(engine, served.now(), served.state().item, zone=served.state().stored_zone)
    rng = np.random.default_rng(2)
    starts = np.searchsorted(real.customer, np.arange(len(real.customers) + 1))
    chosen = rng.integers(len(real.customers), size=COUNT)
    entries = [np.arange(starts[one], starts[one + 1]) for one in chosen]
    entries = [own[rng.random(len(own)) < 0.8] for own in entries]
    rows = np.concatenate(entries)

    def on(items: NDArray[np.object_]) -> Interactions:
        place = np.searchsorted(items, real.items)
        place[place == len(items)] = 0
        place = np.where(items[place] == real.items, place, -1)[real.item[rows]]
        customer = np.repeat(np.arange(COUNT, dtype=np.int32), [len(own) for own in entries])
        kept = place >= 0
        names = np.array([f"N{number:06}" for number in range(COUNT)], dtype=object)
        own = [getattr(real, name)[rows][kept] for name in ("order", "at", "price")]
        return Interactions(real.moment, names, items, customer[kept], place[kept].astype(np.int32), *own)

    return on


def test_every_recommender_ranks_alike_however_it_is_asked(served: Workspace, histories: Callable[[NDArray[np.object_]], Interactions]) -> None:
    everyone = np.arange(COUNT, dtype=np.int64)
    kinds = set()
    for folder in folders(served, "recommend"):
        package = load(folder)
        history = histories(package.ranker.items)
        for purpose in PURPOSES:
            together = package.ranker.rank(history, everyone, 20, purpose)
            for size in (1, 7):
                parts = [package.ranker.rank(history, everyone[start : start + size], 20, purpose) for start in range(0, COUNT, size)]
                items = np.concatenate([part.items for part in parts])
                np.testing.assert_array_equal(items, together.items, err_msg=f"{package.card.title}, {purpose}, by {size}")
                scores = np.concatenate([part.scores for part in parts])
                np.testing.assert_allclose(scores, together.scores, rtol=1e-12, atol=0, err_msg=package.card.title)
        kinds.add(package.card.model_spec["use"])
    assert len(kinds) >= 3
