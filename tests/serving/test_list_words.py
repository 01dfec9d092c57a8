"""What is said of a retention list is true of it, in words that a marketer knows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from serving.answers import Answers
from serving.decisions.facts import Offer
from serving.lists import words
from serving.lists.page import page
from serving.lists.power import power
from serving.lists.retention import Asked, Retention, retention

COFFEE = Offer("coffee", "A coffee", "service", goal="retention", cost=0.5)
ASKED = Asked("test", channel_costs={"email": 0.01, "call_center": 3.0}, holdout=0.0, without_holdout="a test", saved_share=1.0)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("basic_max_1_per_28d", "had 1 in 28 days already, the most that a relation of level basic has earned"),
        ("call_center_max_1_per_7d", "had 1 by call center in 7 days already, the most there may be"),
        ("max_3_per_7d", "had 3 in 7 days already, the most there may be"),
        ("same_offer_max_2_per_7d", "had 2 in 7 days already, the most there may be"),
        ("held_out_of_spring", "in the control group of the running campaign spring"),
        ("cause_core_service", "likely to leave because of core service, which none of these offers answers"),
        ("returns_half", "returns half"),
    ],
)
def test_rules_are_told_in_words(rule: str, said: str) -> None:
    assert words.why(rule) == said


def test_a_list_without_a_group_of_its_own_says_who_stays_held_out(make: Callable[..., Answers]) -> None:
    nobody = retention(make(offers=(COFFEE,)), replace(ASKED, holdout=0.0, without_holdout="too small"))
    assert "Nobody is held out" in page(nobody, _said(nobody), ())
    entries = tuple(replace(each, is_held_out=True) for each in nobody.entries)
    kept = replace(nobody, entries=entries)
    assert "Nobody is held out" not in page(kept, _said(kept), ())
    assert "an earlier list of this name drew them" in " ".join(words.powers(kept, "EUR"))


def test_an_empty_list_says_what_would_fill_it(make: Callable[..., Answers]) -> None:
    result = retention(make(offers=(COFFEE,)), replace(ASKED, saved_share=0.0))
    assert not result.entries
    assert "--saved-share" in words.evidence(result)[-1]


def test_effects_that_cannot_be_are_not_told(make: Callable[..., Answers]) -> None:
    powers = {"purchase": power(5, 2, 0.6, 0.49), "margin": power(5, 2, 9.0, 80.0)}
    buyers, margin = words.powers(replace(retention(make(offers=(COFFEE,)), replace(ASKED, budget=0.0)), powers=powers), "EUR")
    assert buyers == "buyers: no effect can be shown, because 5 contacted and 2 held out are too few"
    assert "effects above" in margin


def _said(result: Retention) -> dict[str, Any]:
    return {**words.manifest(result, "EUR", 3), "assumed": [], "synthetic": False}
