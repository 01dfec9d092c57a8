"""Who is held out of a campaign is held out of its calls and of other lists, by one definition that a list writes down and everybody reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import structs

from retain.errors import DataError, IntegrityError
from retain.workspace import Workspace
from serving.answers import Answers
from serving.decisions.facts import Offer
from serving.lists import holdout, prices, running
from serving.lists.choosing import Asked
from serving.lists.files import save
from serving.lists.retention import Retention, retention
from serving.schemas import DecisionAnswer, DecisionRequest

COFFEE = Offer("coffee", "A coffee", "coupon", goal="retention", cost=0.5)
REPAIR = Offer("repair", "We put it right", "repair", goal="retention", cost=0.5)
ASKED = Asked("spring", channel_costs={"email": 0.01}, holdout=0.5, saved_share=1.0)
HELD = ("control", "held_out_of_spring")


def pulled(answers: Answers, workspace: Workspace, asked: Asked = ASKED) -> tuple[Retention, Answers]:
    """A list, and answers that know of it."""
    result = retention(answers, asked)
    save(workspace, answers.pull(), result, workspace.root / f"{asked.campaign}.csv")
    at = answers.clock()
    return result, replace(answers, prices=prices.load(workspace, at), campaigns=running.load(workspace, at))


def call(answers: Answers, **changes: Any) -> DecisionAnswer:
    asked: dict[str, Any] = {"goal": "retention", "channel": "email", "placement": "letter", "explain": True, **changes}
    return answers.decision(DecisionRequest("ann", **asked), None)[0]


def rules(answer: DecisionAnswer) -> dict[str, tuple[str, str]]:
    return {each.offer_id: (each.stage, each.rule) for each in answer.withheld}


@pytest.mark.parametrize("changes", [{}, {"placement": "inbound_end"}, {"goal": "best"}, {"personalised": False}])
def test_whoever_is_held_out_is_proposed_none_of_the_campaigns_offers_and_the_rule_has_its_name(
    make: Callable[..., Answers], tmp_path: Path, changes: dict[str, Any]
) -> None:
    result, answers = pulled(make(offers=(COFFEE,)), Workspace.at(tmp_path))
    assert [each.is_held_out for each in result.entries] == [True]
    answer = call(answers, **changes)
    assert rules(answer)["coffee"] == HELD
    assert "coffee" not in {each.offer_id for each in answer.offers}


def test_it_ends_with_the_campaign_and_others_than_the_held_out_are_not_touched(make: Callable[..., Answers], tmp_path: Path) -> None:
    result, answers = pulled(make(offers=(COFFEE,)), Workspace.at(tmp_path))
    assert result.runs_until == result.at + timedelta(days=28)
    (run,) = answers.campaigns.all
    assert answers.campaigns.held_out("ann", run.until - timedelta(seconds=1)) == {"coffee": "spring"}
    assert answers.campaigns.held_out("ann", run.until) == {}
    assert answers.campaigns.held_out("bob", result.at) == {}
    assert running.load(Workspace.at(tmp_path), run.until).all == ()


def test_what_puts_a_complaint_right_is_given_to_everybody(make: Callable[..., Answers], tmp_path: Path) -> None:
    _, answers = pulled(make(offers=(COFFEE, REPAIR)), Workspace.at(tmp_path))
    assert {rules(call(answers))[name] for name in ("coffee", "repair")} == {HELD}
    basis = answers.basis(DecisionRequest("ann", goal="retention", channel="email", placement="letter"))
    assert basis.customer is not None
    upset = structs.replace(basis.customer, complaint_at=basis.at - timedelta(days=1))
    from serving.basis import decided

    request = DecisionRequest("ann", goal="retention", channel="email", placement="letter", explain=True)
    answer = decided(request, None, structs.replace(basis, customer=upset), answers.rows.shop, answers.policy)[0]
    assert {each.offer_id for each in answer.offers} == {"repair"}


def test_who_complains_is_not_drawn_and_compares_with_nobody() -> None:
    names, spared = [f"C{number}" for number in range(100)], np.arange(100) < 10
    is_held, chance = holdout.arms("spring", names, np.zeros(100, dtype=np.int64), 0.2, spared, {"C50": (True, 0.6)})
    assert not is_held[spared].any()
    assert (chance[spared] == 1.0).all()
    assert is_held.sum() == 18 + 1
    assert (is_held[50], chance[50]) == (True, 0.6)
    assert set(chance[10:].tolist()) == {0.8, 0.6}


def test_another_list_leaves_them_out_and_another_of_the_same_name_leaves_everybody_in_their_group(
    make: Callable[..., Answers], tmp_path: Path
) -> None:
    workspace = Workspace.at(tmp_path)
    _, answers = pulled(make(offers=(COFFEE,)), workspace)
    other = retention(answers, replace(ASKED, campaign="summer"))
    assert other.left_out["held_out_of_spring"] == 1
    again = retention(answers, replace(ASKED, holdout=0.01, budget=100.0))
    assert [(each.is_held_out, each.chance) for each in again.entries] == [(True, 0.5)], "drawn once, with the chance of then"
    fresh = retention(replace(answers, campaigns=running.Campaigns()), replace(ASKED, holdout=0.01))
    assert [each.is_held_out for each in fresh.entries] == [False]


def test_a_changed_file_is_told_and_no_list_of_that_name_is_made(make: Callable[..., Answers], tmp_path: Path) -> None:
    workspace = Workspace.at(tmp_path)
    _, answers = pulled(make(offers=(COFFEE,)), workspace)
    path = answers.campaigns.all[0].folder / running.BASE
    path.write_bytes(path.read_bytes()[:-1])
    found = running.load(workspace, answers.clock())
    assert (found.all, found.broken) == ((), ("spring",))
    with pytest.raises(IntegrityError, match="campaign spring were changed"):
        retention(replace(answers, campaigns=found), ASKED)
    with pytest.raises(DataError, match="make another"):
        prices.load(workspace, answers.clock())
    pulled(replace(answers, campaigns=found), workspace, replace(ASKED, campaign="summer"))
    assert prices.load(workspace, answers.clock()) is not None


def test_a_lever_moves_a_list_as_it_moves_a_call(make: Callable[..., Answers], tmp_path: Path) -> None:
    """At grade D both offers bring alike; the dearer one with a lever is what the house wants to be first."""
    lifted = structs.replace(REPAIR, cost=2.0, lever=3.0)
    result, answers = pulled(make(offers=(COFFEE, lifted)), Workspace.at(tmp_path), replace(ASKED, holdout=0.0, without_holdout="a test"))
    assert [result.what[each.action].offer.offer_id for each in result.entries] == ["repair"]
    assert result.entries[0].gain < retention(make(offers=(COFFEE,)), replace(ASKED, holdout=0.0)).entries[0].gain
    assert call(answers).offers[0].offer_id == "repair"


def test_the_terms_of_a_list_are_those_of_the_calls_that_use_its_prices(make: Callable[..., Answers], tmp_path: Path) -> None:
    """Costs, margin and saved share as they were given for the list; who turns to us is answered by what the source says."""
    asked = replace(ASKED, holdout=0.0, without_holdout="a test", channel_costs={"email": 0.05}, margin_rate=0.8, saved_share=0.6)
    plain = make(offers=(COFFEE,))
    result, answers = pulled(plain, Workspace.at(tmp_path), asked)
    (offer,) = (each for each in call(answers).offers if each.offer_id == "coffee")
    assert offer.expected_margin == pytest.approx(result.entries[0].gain)
    (turned,) = (each for each in call(answers, placement="inbound_end", max_offers=10).offers if each.offer_id == "coffee")
    (before,) = (each for each in call(plain, placement="inbound_end", max_offers=10).offers if each.offer_id == "coffee")
    assert turned.expected_margin == before.expected_margin


def test_another_list_of_the_same_arguments_and_moment_is_not_written_over_the_first(make: Callable[..., Answers], tmp_path: Path) -> None:
    workspace, asked = Workspace.at(tmp_path), replace(ASKED, holdout=0.01)
    first, answers = pulled(make(offers=(COFFEE,)), workspace, asked)
    again, answers = pulled(answers, workspace, asked)
    assert again.run == first.run, "nothing came in between: the same list"
    _, answers = pulled(answers, workspace, replace(ASKED, campaign="summer"))
    other, answers = pulled(answers, workspace, asked)
    assert other.run != first.run, "the other campaign holds somebody out whom the first list contacts"
    assert {run.folder.name for run in answers.campaigns.all if run.campaign == "spring"} == {
        f"{each.at:%Y%m%dT%H%M%S}-{each.run}" for each in (first, other)
    }
