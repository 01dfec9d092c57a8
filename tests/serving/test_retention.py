"""Retention lists: whom the rules let stand on one, what a contact gains, who is held out, what is said of it; and files that come out the same."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from retain.errors import ConfigError, DataError, RefusedError
from retain.files import verify_folder
from retain.workspace import Workspace
from serving.answers import Answers
from serving.decisions.actions import actions
from serving.decisions.decide import decide
from serving.decisions.eligibility import Passed
from serving.decisions.facts import Ask, Offer, Scores
from serving.decisions.groups import groups
from serving.decisions.scoring import Pricing
from serving.effects import Treatments
from serving.lists import differences, holdout, prices
from serving.lists import files as retention_files
from serving.lists import words as retention_words
from serving.lists.commands import _amounts, _share
from serving.lists.commands import retention as list_retention
from serving.lists.power import power
from serving.lists.retention import Asked, Retention, retention
from serving.rows import Row, Rows

COFFEE = Offer("coffee", "A coffee", "service", goal="retention", cost=0.5)
SPRING = Offer("spring", "Spring coupon", "coupon", goal="retention", cost=2.0)
ASKED = Asked("test", channel_costs={"email": 0.01, "call_center": 3.0}, holdout=0.0, without_holdout="a test", saved_share=1.0)


def known(answers: Answers, treatments: dict[str, tuple[float, float, float, str]], outcome: str = "purchase") -> Answers:
    """The same with effects on the rows, the same for everybody: value, low, high, grade by treatment."""
    rows = answers.rows
    arrays = dict(rows.arrays)
    arrays["effect"] = np.tile([each[:3] for each in treatments.values()], (len(rows), 1, 1))
    grades: Any = tuple(each[3] for each in treatments.values())
    card = replace(rows.card, effects=Treatments(tuple(treatments), grades, outcome, "customers"), models={**rows.card.models, "uplift": "u1"})
    return replace(answers, rows=Rows(card, rows.shop, arrays))


def who(answers: Answers, result: Retention) -> dict[str, str]:
    """Offer and channel of everybody who is contacted."""
    return {
        answers.rows.id(each.position): f"{result.what[each.action].offer.offer_id}/{result.what[each.action].channel}" for each in result.contacted
    }


def test_only_those_whom_the_rules_of_calls_let_through_are_on_it_and_all_others_are_counted(make: Callable[..., Answers]) -> None:
    answers = make(offers=(COFFEE,))
    result = retention(answers, ASKED)
    assert set(who(answers, result)) == {"ann"}
    # bob has a consent for marketing alone, which is not one to be contacted in order to be kept.
    left = {"do_not_contact", "minor", "no_consent", "no_consent_retention", "not_scored", "refuses_profiling"}
    assert result.left_out == dict.fromkeys(sorted(left), 1)
    assert sum(result.left_out.values()) + len(result.entries) == len(answers.rows)


def test_without_effects_a_contact_is_worth_what_a_call_would_say(make: Callable[..., Answers]) -> None:
    answers = make(offers=(COFFEE,))
    result = retention(answers, ASKED)
    policy = answers.policy.model_copy(update={"saved_share": 1.0})
    row = answers.rows.get("ann")
    assert isinstance(row, Row)
    customer = row.customer(result.at, Scores(0.2, 100.0, row.stored.band, row.stored.stage))
    asked = Ask("retention", result.at, ("email",))
    expected = Pricing.of(asked, customer, answers.rows.shop, policy).worth(Passed(COFFEE, "retention", ("email",), ())).gain
    assert result.entries[0].gain == pytest.approx(expected)
    assert result.entries[0].grade == "D"
    assert "at grade D no uplift is claimed" in " ".join(retention_words.evidence(result))


def test_effects_take_the_place_of_propensity_and_carry_their_grade_and_interval(make: Callable[..., Answers]) -> None:
    answers = make(offers=(COFFEE, SPRING))
    answers = known(answers, {"coffee": (0.10, 0.05, 0.15, "A"), "spring/email": (0.02, 0.0, 0.04, "C")})
    result = retention(answers, ASKED)
    assert who(answers, result) == {"ann": "coffee/email"}
    entry = result.entries[0]
    # A purchase that would not have come is worth 100 at a margin of a half.
    assert [entry.gain + entry.cost, entry.low + entry.cost, entry.high + entry.cost] == pytest.approx([5.0, 2.5, 7.5])
    assert retention_words.grade(result) == "A"
    assert result.groups == {"persuadable": 1}


def test_a_sleeping_dog_is_let_lie_and_counted_even_where_propensity_says_otherwise(make: Callable[..., Answers]) -> None:
    answers = make(offers=(COFFEE,))
    result = retention(known(answers, {"coffee": (-0.05, -0.08, -0.01, "A")}), ASKED)
    assert result.entries == ()
    assert result.state[0] == "sleeping_dog"
    assert result.groups["sleeping_dog"] == 1


def test_groups_follow_risk_gain_and_the_interval() -> None:
    gain, high = np.array([[1.0], [-1.0], [-1.0], [-np.inf]]), np.array([[0.1], [0.1], [0.1], [-0.1]])
    assert groups(np.array([0.9, 0.9, 0.1, 0.1]), gain, high, np.isfinite(high)).tolist() == [0, 2, 1, 3]
    assert set(groups(np.array([0.9]), np.array([[1.0]]), np.array([[np.nan]]), np.array([[False]])).tolist()) == {4}


def test_effects_that_nobody_prices_are_not_used_and_an_unknown_margin_is_refused(make: Callable[..., Answers]) -> None:
    visits = retention(known(make(offers=(COFFEE,)), {"coffee": (0.5, 0.4, 0.6, "A")}, "visit"), ASKED)
    assert visits.entries[0].grade == "D"
    assert "which nobody tells in money" in visits.notes[1]
    dearer = retention(known(make(offers=(COFFEE,)), {"coffee": (0.1, 0.05, 0.15, "A")}), replace(ASKED, margin_rate=1.0))
    assert dearer.entries[0].gain + dearer.entries[0].cost == pytest.approx(10.0)
    with pytest.raises(RefusedError, match="--margin-rate"):
        retention(make(offers=(COFFEE,), margin_rate=None), ASKED)
    assert retention(make(offers=(COFFEE,), margin_rate=None), replace(ASKED, margin_rate=0.5)).entries


def test_seats_on_a_channel_without_a_cost_are_refused(make: Callable[..., Answers]) -> None:
    with pytest.raises(ConfigError, match="agent"):
        retention(make(), replace(ASKED, seats={"agent": 3.0}))


@pytest.mark.fault("D7")
@pytest.mark.parametrize("limit", [{"budget": 0.0}, {"seats": {"email": 0.0, "call_center": 0.0}}])
def test_no_money_and_no_seats_make_an_empty_list(make: Callable[..., Answers], limit: dict[str, Any]) -> None:
    result = retention(make(offers=(COFFEE,)), replace(ASKED, **limit))
    assert result.entries == ()
    assert result.state[0] == "price"


def test_a_house_without_offers_can_still_talk() -> None:
    assert [f"{each.offer.offer_id}/{each.channel}" for each in actions((), ("email", "mail"), {"email": 0.0, "mail": 1.0})] == [
        "contact/email",
        "contact/mail",
    ]
    only = structs.replace(COFFEE, channels=("mail",))
    assert [each.channel for each in actions((only,), ("email", "mail"), {"email": 0.0, "mail": 1.0})] == ["mail"]


@pytest.mark.parametrize("kind", ["csv", "parquet", "xlsx"])
def test_the_same_arguments_give_the_same_bytes(make: Callable[..., Answers], tmp_path: Path, kind: str) -> None:
    answers = make(offers=(COFFEE, SPRING))
    files = []
    for folder in ("one", "two"):
        workspace = Workspace.at(tmp_path / folder)
        retention_files.save(workspace, answers.pull(), retention(answers, ASKED), tmp_path / folder / f"list.{kind}")
        files.append({path.name: path.read_bytes() for path in (tmp_path / folder).rglob("*") if path.is_file()})
    assert files[0] == files[1]
    assert {f"list.{kind}", f"list.holdout.{kind}", f"list.{kind}.why.parquet", f"list.{kind}.html", f"list.{kind}.json", "prices.json"} <= set(
        files[0]
    )


def test_a_workbook_holds_text_as_text(make: Callable[..., Answers], tmp_path: Path) -> None:
    answers = make(offers=(structs.replace(COFFEE, name="=1+1"),))
    retention_files.save(Workspace.at(tmp_path), answers.pull(), retention(answers, ASKED), tmp_path / "list.xlsx")
    sheet = zipfile.ZipFile(tmp_path / "list.xlsx").read("xl/worksheets/sheet1.xml").decode()
    assert "<f>" not in sheet
    assert "=1+1" in sheet


def test_the_list_its_reasons_its_campaign_and_its_prices_are_kept(make: Callable[..., Answers], tmp_path: Path) -> None:
    answers, workspace = make(offers=(COFFEE,)), Workspace.at(tmp_path)
    result = retention(answers, replace(ASKED, seats={"email": 5.0}))
    summary = json.loads(retention_files.save(workspace, answers.pull(), result, tmp_path / "list.csv").read_text())
    (row,) = csv.DictReader(io.StringIO((tmp_path / "list.csv").read_bytes().decode("utf-8-sig")))
    assert (row["customer_id"], row["offer_id"], row["channel"], row["evidence"]) == ("ann", "coffee", "email", "D")
    states = dict(zip(*(pq.read_table(tmp_path / "list.csv.why.parquet").to_pydict()[name] for name in ("customer_id", "state")), strict=True))
    assert (states["ann"], states["dee"]) == ("contacted", "do_not_contact")
    assert len(states) == summary["customers"] == len(answers.rows)
    held = prices.load(workspace, result.at)
    assert held is not None
    assert held.prices.seats == {"email": 0.0}
    (folder,) = (workspace.lists / "campaigns" / "test").iterdir()
    assert set(verify_folder(folder)) == {"apart.parquet", "arms.parquet", "base.parquet", "list.json"}
    page = (tmp_path / "list.csv.html").read_text()
    assert "1 customers to contact" in page
    assert "At grade D no uplift is claimed" in page


def test_who_left_is_told_why(make: Callable[..., Answers], tmp_path: Path) -> None:
    answers, workspace = make(offers=(COFFEE,)), Workspace.at(tmp_path)
    for name, asked in (("a", ASKED), ("b", replace(ASKED, budget=0.0))):
        retention_files.save(workspace, answers.pull(), retention(answers, asked), tmp_path / f"{name}.csv")
    before, after = (differences.read(tmp_path / f"{name}.csv") for name in ("a", "b"))
    found = differences.difference(before, after)
    assert (found.stayed, found.entered, found.left) == (0, 0, 1)
    assert found.counts == [("left", "price", 1)]
    assert "argument budget: None -> 0.0" in found.changed
    assert differences.difference(before, before).rows == []
    (tmp_path / "a.csv.why.parquet").write_bytes(b"other")
    with pytest.raises(DataError, match="write the list again"):
        differences.read(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("was", "now", "why"),
    [
        (None, ("contacted", 5.0, 5.0, 0.5, 10.0), "new"),
        (("contacted", 5.0, 2.0, 0.5, 10.0), ("no_consent", None, None, 0.5, 10.0), "no consent"),
        (("contacted", 5.0, 2.0, 0.5, 10.0), ("held_out", 5.0, 2.0, 0.5, 10.0), "control group"),
        (("contacted", 5.0, 2.0, 0.5, 10.0), ("price", 5.0, None, 0.5, 10.0), "price"),
        (("contacted", 5.0, 2.0, 0.5, 10.0), ("price", 2.5, None, 0.25, 10.0), "risk"),
        (("no_gain", -0.5, None, 0.5, 1.0), ("contacted", 5.0, 2.0, 0.5, 10.0), "value"),
        (("no_gain", -0.5, None, 0.5, 10.0), ("contacted", 5.0, 2.0, 0.5, 10.0), "effect or cost"),
        (("contacted", 5.0, 2.0, 0.5, 10.0), None, "gone"),
    ],
)
def test_each_change_has_its_reason(was: Any, now: Any, why: str) -> None:
    lists = []
    for each in (was, now):
        standing = {} if each is None else {"ann": differences.Standing(each[0], "coffee", "email", *each[1:])}
        lists.append(differences.Kept(None, {}, standing))  # type: ignore[arg-type]
    assert [row[2] for row in differences.difference(*lists).rows] == [why]


@pytest.mark.parametrize(("price", "why"), [(1.34, "limits"), (1.5, "price")])
def test_a_price_that_did_not_move_is_no_reason(price: float, why: str) -> None:
    lists = [
        differences.Kept(
            None, {"prices": {"money": money, "seats": {}, "valid_until": until}}, {"ann": differences.Standing(state, "", "", *figures)}
        )  # type: ignore[arg-type]
        for money, until, state, figures in (
            (price, "monday", "price", (5.0, None, 0.5, 10.0)),
            (1.34, "tuesday", "contacted", (5.0, 0.001, 0.5, 10.0)),
        )
    ]
    (row,) = differences.difference(*lists).rows
    assert row[1:3] == ["entered", why]
    assert ("further now" in row[3]) is (why == "limits")


@given(st.integers(1, 400), st.floats(0.01, 0.5), st.integers(0, 1000))
def test_a_fixed_share_of_every_stratum_is_held_out(customers: int, share: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    stratum = random.integers(0, 5, customers)
    mask = holdout.held_out(random.random(customers), stratum, share)
    assert abs(mask.sum() - share * customers) <= 0.5 + 1e-9
    for each in range(5):
        assert abs(mask[stratum == each].sum() - share * (stratum == each).sum()) <= 1.0 + 1e-9


def test_a_draw_depends_on_campaign_and_customer_alone_and_is_even() -> None:
    ids = [f"C{number}" for number in range(4000)]
    drawn = holdout.draw("spring", ids)
    assert holdout.draw("spring", ids[::-1]).tolist() == drawn[::-1].tolist()
    assert abs(np.corrcoef(drawn, holdout.draw("summer", ids))[0, 1]) < 0.05
    assert np.histogram(drawn, 4, (0, 1))[0] == pytest.approx([1000] * 4, rel=0.1)


def test_contacted_and_held_out_are_cut_at_the_same_place() -> None:
    worth_, cost, seat = np.array([5.0, 4.0, 3.0, 2.0, 1.0]), np.ones(5), np.array([[True, True, True, False, False]])
    stays = holdout.affordable(worth_, cost, seat, np.array([False, True, False, False, True]), np.array([2.0, 1.0]))
    assert stays.tolist() == [True, True, False, True, True]
    stays = holdout.affordable(worth_, cost, seat, np.array([False, True, False, False, True]), np.array([1.0, 9.0]))
    assert stays.tolist() == [True, True, False, False, False]


def test_the_power_note_is_the_textbook_one_and_says_how_often_to_repeat() -> None:
    note = power(3600, 400, 0.3, (0.3 * 0.7) ** 0.5, likely=0.03)
    assert note.at_end == pytest.approx((1.959964 + 0.841621) * (0.21 * (1 / 3600 + 1 / 400)) ** 0.5, rel=1e-5)
    assert note.all_along is not None
    assert note.all_along > note.at_end
    assert note.rounds == 6
    assert power(10, 0, 0.3, 0.4).at_end is None


def test_amounts_and_shares_are_read_or_refused() -> None:
    assert _amounts("seats", "call_center=3, email=0.05") == {"call_center": 3.0, "email": 0.05}
    assert (_share("10%"), _share("0.25")) == (0.1, 0.25)
    for text in ("0", "60%", "x"):
        with pytest.raises(ConfigError):
            _share(text)
    for text in ("call_center", "phone=3", "email=-1", "email=nan", "email=1,email=2"):
        with pytest.raises(ConfigError):
            _amounts("seats", text)


@pytest.mark.parametrize("seats", [["--call-seats", "4", "--seats", "call_center=3"], ["--call-seats", "2.5"], ["--seats", "email=0.5"]])
def test_seats_are_said_once_and_are_whole(seats: list[str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="seats"):
        list_retention([*seats, "--workspace", str(tmp_path)])


@pytest.mark.fault("D8")
def test_a_campaign_is_a_plain_name() -> None:
    assert retention_files.named("spring-2026") == "spring-2026"
    for name in ("", "../x", "a/b", "x" * 65, "-x"):
        with pytest.raises(ConfigError):
            retention_files.named(name)


def test_a_call_at_the_prices_of_the_list_says_what_the_list_says(make: Callable[..., Answers]) -> None:
    answers = make(offers=(COFFEE, SPRING), contact_cost={"email": 0.01})
    answers = known(answers, {"coffee": (0.10, 0.05, 0.15, "A"), "spring": (0.02, 0.0, 0.04, "C")})
    asked = replace(ASKED, channel_costs={"email": 0.01}, seats={"email": 1.0}, saved_share=None)
    row = answers.rows.get("ann")
    assert isinstance(row, Row)
    for seats, expected in ((1.0, {"ann": "coffee/email"}), (0.0, {})):
        result = retention(answers, replace(asked, seats={"email": seats}))
        ask = Ask("retention", result.at, ("email",), max_offers=1)
        customer = row.customer(result.at, Scores(0.2, 100.0, row.stored.band, row.stored.stage))
        made = decide(ask, customer, answers.rows.shop, answers.policy, prices=result.prices)
        kept = [offered.worth.passed.offer.offer_id for offered in made.offers if not offered.worth.passed.items]
        assert who(answers, result) == expected
        assert kept == [name.partition("/")[0] for name in expected.values()]
