"""A customer is scored the same alone, among others, on the list and over the service."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import get_args

import httpx
import numpy as np
import pytest

from retain.workspace import Workspace
from serving import scored
from serving.answers import Answers
from serving.champions import SCORED, on_rows, packages
from serving.decisions import drivers
from serving.decisions.facts import Language
from serving.decisions.figures import Known
from serving.decisions.signals import NEEDS, SIGNALS
from serving.desk import Desk
from serving.ledger import Ledger
from serving.metrics import Metrics
from serving.runner import whole
from serving.schemas import ScoresRequest
from training.contracts import Floats
from training.package import Package, folders, load

ROWS = 10_000


def _is_trees(package: Package) -> bool:
    return "lightgbm" in package.card.model_spec["use"].lower()


@pytest.fixture(scope="module")
def answers(served: Workspace) -> Answers:
    return Answers.open(served)


def many(answers: Answers) -> Floats:
    """Ten thousand raw rows: those of the shop, each number of a row taken from another customer."""
    raw = np.asarray(answers.rows.array("raw"))[answers.rows.array("is_known")]
    rng = np.random.default_rng(1)
    rows = rng.integers(len(raw), size=(ROWS, raw.shape[1]))
    return np.asarray(raw[rows, np.arange(raw.shape[1])])


@pytest.mark.parametrize("task", SCORED)
def test_alone_in_sevens_and_all_at_once(served: Workspace, answers: Answers, task: str) -> None:
    raw = many(answers)
    card = answers.rows.card
    checked = 0
    for folder in folders(served, task):
        package = load(folder)
        if not set(package.card.columns) <= set(card.columns):
            continue
        scorer = on_rows(package, card.columns, card.vocabulary)
        rows = ROWS if scorer.model_id == card.models[task] else ROWS // 20
        together = scorer.predict(raw[:rows])
        alone = np.concatenate([scorer.predict(raw[i : i + 1]) for i in range(rows)])
        sevens = np.concatenate([scorer.predict(raw[i : min(i + 7, rows)]) for i in range(0, rows, 7)])
        for other in (alone, sevens):
            if _is_trees(package):
                np.testing.assert_array_equal(other, together)
            else:
                np.testing.assert_allclose(other, together, rtol=1e-12, atol=0)
        checked += 1
    assert checked >= 2, "the champion and at least one other model are compared"


def test_the_service_the_list_and_the_stored_scores_agree(served: Workspace, answers: Answers, tmp_path: Path) -> None:
    rows = answers.rows
    ids = [rows.id(position) for position in range(len(rows))]
    desk = Desk(answers, Ledger(tmp_path))
    app = whole(desk, Metrics())

    async def ask(chunks: list[list[str]]) -> list[dict[str, object]]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
            found: list[dict[str, object]] = []
            for chunk in chunks:
                answer = await client.post("/v1/scores", json={"customer_ids": chunk})
                found.extend(json.loads(answer.content)["scores"])
            return found

    try:
        together = asyncio.run(ask([ids]))
        alone = asyncio.run(ask([[each] for each in ids]))
        sevens = asyncio.run(ask([ids[i : i + 7] for i in range(0, len(ids), 7)]))
    finally:
        desk.close()
    by_id = {score["customer_id"]: score for score in together}
    exact = all(_is_trees(package) for task in SCORED if (package := packages(served, task)[0]) is not None)
    for other in (alone, sevens):
        for score in other:
            expected = by_id[score["customer_id"]]
            if exact:
                assert score == expected
            else:
                assert score["status"] == expected["status"]
                if score["status"] == "ok":
                    assert [score["churn"], score["clv"]] == pytest.approx([expected["churn"], expected["clv"]], rel=1e-12)
    stored = rows.array("scores")
    listed = answers.churn_list(len(ids))
    for row in listed.rows:
        expected = by_id[row.customer_id]
        assert [row.risk, row.value, row.expected_loss] == pytest.approx([expected["churn"], expected["clv"], expected["expected_loss"]], rel=1e-12)
        position = ids.index(row.customer_id)
        assert [row.risk, row.value] == pytest.approx(stored[position].tolist(), rel=1e-12)
    order = sorted(listed.rows, key=lambda row: (-row.expected_loss, row.customer_id))
    assert [row.customer_id for row in order] == [row.customer_id for row in listed.rows]
    assert answers.churn_list(len(ids)) == listed


def test_reasons_are_the_same_on_the_list_and_over_the_service_and_ranked_by_what_the_model_adds(served: Workspace, answers: Answers) -> None:
    package, _ = packages(served, "churn")
    assert package is not None
    card, raw = answers.rows.card, np.asarray(answers.rows.array("raw"))
    parts = on_rows(package, card.columns, card.vocabulary).contributions(raw)
    assert card.reasons == ("rules" if parts is None else "model")
    known = Known({name: raw[:, card.columns.index(name)] for name in NEEDS}, card.typical, len(raw))
    expected = drivers.by_rules(known) if parts is None else drivers.by_model(known, package.card.columns, parts)
    listed = answers.churn_list(60)
    ids = [row.customer_id for row in listed.rows]
    spoken = {language: scored.scores(answers, ScoresRequest(ids, explain=True, language=language)).scores for language in get_args(Language)}
    said = 0
    for place, row in enumerate(listed.rows):
        english, chinese = (spoken[language][place].reasons for language in ("en", "zh"))
        assert english == row.reasons
        assert [each.code for each in english] == [each.code for each in chinese]
        found = answers.rows.get(row.customer_id)
        assert found is not None
        signs = found.signs()
        assert [sign.code for sign in signs] == [SIGNALS[number].code for number in expected.signal[found.position] if number >= 0]
        assert [value for sign in signs for _, value in sign.figures] == [
            value
            for number, written in zip(expected.signal[found.position], expected.figures[found.position], strict=True)
            for value in written[: len(SIGNALS[number].figures) if number >= 0 else 0]
        ]
        assert [sign.weight for sign in signs] == pytest.approx(expected.weight[found.position][: len(signs)].tolist(), abs=1e-9)
        said += len(signs)
    assert said
    assert all(not each.reasons for each in scored.scores(answers, ScoresRequest(ids)).scores)
