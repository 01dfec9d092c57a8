"""The five parts of value: purchases always, the others where they are priced and recorded; coverage is always said."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from serving import export, scored
from serving.answers import Answers
from serving.decisions.value_parts import KINDS, PARTS, ValueParts, amounts, priced, total, value_parts
from serving.rows import Rows
from serving.schemas import ScoresRequest

ROOT = Path(__file__).resolve().parents[2]
COUNTS = {
    "referral": np.array([2.0, 0.0, 1.0]),
    "share": np.array([0.0, 0.0, 5.0]),
    "survey": np.array([1.0, 0.0, 0.0]),
    "rating": np.zeros(3),
    "inquiry": np.zeros(3),
    "review": np.zeros(3),
}
ON = ValueParts.model_validate({"word_of_mouth": {"counted": True, "per_event": {"referral": 10.0}, "basis": "as declared"}})


def test_as_shipped_only_purchases_count_and_coverage_is_said_all_the_same() -> None:
    parts = value_parts()
    assert np.isnan(amounts(parts, COUNTS, 28, 3)).all()
    found = priced(parts, COUNTS, np.array([1.0, 1.0, 0.0]))
    assert [(name, each.counted, each.coverage) for name, each in found.items()] == [
        ("word_of_mouth", False, 0.5),
        ("information", False, 0.5),
        ("knowledge", False, 0.0),
        ("transaction", False, None),
    ]
    assert total(np.array([5.0, np.nan]), np.full((2, 4), np.nan)).tolist()[:1] == [5.0]


def test_a_priced_part_counts_its_events_at_their_pace_within_the_horizon() -> None:
    found = amounts(ON, COUNTS, 73, 3)
    assert found[:, 0].tolist()[::2] == pytest.approx([2 * 10 * 73 / 365, 1 * 10 * 73 / 365])
    assert np.isnan(found[1, 0]), "no data is not the same as nothing"
    assert np.isnan(found[:, 1:]).all()
    assert total(np.array([1.0, 1.0, 1.0]), found).tolist() == pytest.approx([5.0, 1.0, 3.0])
    assert priced(ON, COUNTS, np.ones(3))["word_of_mouth"].coverage == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"counted": True, "per_event": {"referral": 1.0}}, "basis"),
        ({"counted": True, "basis": "because"}, "per_event"),
        ({"per_event": {"gossip": 1.0}}, "no kind of event"),
        ({"per_event": {"referral": -1.0}}, "at least nothing"),
    ],
)
def test_a_price_without_a_basis_is_refused(given: dict[str, object], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        ValueParts.model_validate({"word_of_mouth": given})


def test_the_list_and_the_scores_count_what_is_on_and_call_it_assumed(make: Callable[..., Answers]) -> None:
    answers = make()
    parts = answers.rows.array("parts").copy()
    ann = next(place for place in range(len(answers.rows)) if answers.rows.id(place) == "ann")
    parts[ann, 0] = 150.0
    counts = {kind: np.zeros(len(answers.rows)) for kind in {kind for name in KINDS for kind in ON.kinds(name)}}
    card = replace(answers.rows.card, parts=priced(ON, counts, np.ones(len(answers.rows))))
    changed = Answers(Rows(card, answers.rows.shop, {**answers.rows.arrays, "parts": parts}), answers.champions, answers.policy, answers.clock)
    result = changed.churn_list(10)
    assert [(row.customer_id, row.value, row.expected_loss) for row in result.rows] == [("ann", 250.0, 50.0), ("bob", 50.0, 45.0)]
    assert result.rows[0].value_parts == {"purchase": 100.0, "word_of_mouth": 150.0}
    assert result.assumed == ["word_of_mouth = {'referral': 10.0}: as declared"]
    (score,) = scored.scores(changed, ScoresRequest(["ann"])).scores
    assert (score.clv, score.expected_loss, score.value_parts) == (100.0, 50.0, {"purchase": 100.0, "word_of_mouth": 150.0})
    assert set(export.describe(result)["value_parts"]) == set(PARTS) - {"purchase"}


def test_the_example_of_the_page_is_a_valid_table() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "reasons.md").read_text(encoding="utf-8"), re.DOTALL)
    assert ValueParts.model_validate(yaml.safe_load(block)).word_of_mouth.counted
