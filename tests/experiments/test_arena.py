"""The arena: equal luck for all, no policy beyond its means, nothing known before it can be, and a truth that adds up."""

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from experiments.arena import life, log, report, standing
from experiments.arena.example import Newest
from experiments.arena.ours import Ours
from experiments.arena.play import Month, Nobody, Played, check, nothing, season
from experiments.arena.simple import Random, Response
from experiments.arena.worlds import World, shipped_worlds
from retain.cli import main

WORLDS = shipped_worlds()
TOWN = life.town(WORLDS["late"], 600, 7)


@dataclass
class Spy:
    """Plays at random and keeps what it was shown."""

    seen: list[Month]
    name: str = "spy"

    def play(self, month: Month) -> Played:
        self.seen.append(month)
        return Random().play(month)


def test_six_worlds_are_shipped() -> None:
    assert list(WORLDS) == ["alike", "baseline", "harm", "drift", "late", "dogs"]
    assert len({world.words for world in WORLDS.values()}) == 6


@pytest.mark.parametrize("make", [*standing.POLICIES.values(), Newest], ids=lambda make: make.__name__)
def test_every_policy_keeps_to_its_means_and_plays_the_same_again(make: standing.Make) -> None:
    once, again = season(TOWN, make, 4), season(TOWN, make, 4)
    np.testing.assert_array_equal(once.profit, again.profit)
    assert once.contacts.min() > 0 or make is Ours
    assert once.contacts[0] == season(TOWN, Random, 1).contacts[0]


def test_who_breaks_the_rules_is_named() -> None:
    seen: list[Month] = []
    season(TOWN, lambda: Spy(seen), 2)
    month = seen[0]
    everybody = Played(np.full(600, 2, dtype=np.int16), np.full(600, np.nan))
    with pytest.raises(ValueError, match="greedy: month 1: a customer was contacted who may not be"):
        check("greedy", month, everybody)
    with pytest.raises(ValueError, match="greedy: month 1: .* contacts cost more than 120"):
        check("greedy", replace(month, may_contact=np.ones(600, dtype=bool)), everybody)


def test_late_money_is_known_a_month_later_and_the_test_is_randomised() -> None:
    seen: list[Month] = []
    season(TOWN, lambda: Spy(seen), 4)
    newest, older = seen[-1].history[-1], seen[-1].history[0]
    assert newest.money.sum() < 0.8 * seen[-1].history[-2].money.sum()
    assert older.first.sum() < 0.8 * older.money.sum()
    np.testing.assert_array_equal(newest.money, newest.first)
    played = older.played
    reached = np.isfinite(played.chance)
    assert played.chance[reached & (played.choice < 0)][0] == pytest.approx((played.choice[reached] < 0).mean())
    for place in range(4):
        assert played.chance[played.choice == place] == pytest.approx((played.choice == place).sum() / reached.sum())


def test_the_truth_is_what_contacts_change() -> None:
    world = World(title="plain", words="", spread=0.0, by_baseline=0.0, fatigue=0.0)
    town = life.town(world, 500, 3)
    now = life.start(town)
    true = life.added(town, now)
    active = now.state == life.ACTIVE
    np.testing.assert_allclose(true[active], np.tile([offer.lift for offer in world.offers], (active.sum(), 1)))
    plain = life.live(town, now, nothing(500))[1]
    mailed = life.live(town, now, np.zeros(500, dtype=np.int16))[1]
    gained = (mailed.profit - plain.profit)[active]
    rate, margin = life.rate(town, now)[active], town.margin[active]
    # A contact costs 0.02, and one in two hundred orders more comes back, which takes 1.3 margins.
    expected = margin * ((rate + world.offers[0].lift) * (1 - 1.3 * 0.055) - rate * (1 - 1.3 * 0.05)) - 0.02
    np.testing.assert_allclose(gained, expected)


def test_the_future_changes_nothing_and_luck_is_the_same_for_all() -> None:
    short, long = season(TOWN, Response, 3), season(TOWN, Response, 5)
    np.testing.assert_array_equal(short.profit, long.profit[:3])
    a, b = life.start(TOWN), life.start(TOWN)
    for _ in range(3):
        a, _ = life.live(TOWN, a, nothing(600))
        b, _ = life.live(TOWN, b, np.where(np.arange(600) < 300, 0, -1).astype(np.int16))
    np.testing.assert_array_equal(a.state[300:], b.state[300:])


def test_sleeping_dogs_leave_when_contacted_only() -> None:
    town = life.town(WORLDS["dogs"], 2000, 5)
    now = life.start(town)
    assert town.is_dog.mean() == pytest.approx(0.2, abs=0.01)
    woken = life.live(town, now, np.zeros(2000, dtype=np.int16))[1]
    assert not life.live(town, now, nothing(2000))[1].left.any()
    assert woken.left[town.is_dog].mean() == pytest.approx(0.17, abs=0.05)
    assert not woken.left[~town.is_dog].any()


def test_we_find_what_is_large_enough_to_find() -> None:
    offers = WORLDS["alike"].offers
    loud = WORLDS["harm"].model_copy(update={"offers": (offers[0].model_copy(update={"lift": 1.0, "likes": {"is_member": 1.0}}), *offers[1:])})
    town = life.town(loud, 3000, 11)
    ours, anybody = season(town, Ours, 4), season(town, Random, 4)
    alone = season(town, Nobody, 4)
    assert ours.profit[1:].sum() > max(alone.profit[1:].sum(), anybody.profit[1:].sum())


def test_the_chance_of_every_choice_is_known_and_right() -> None:
    months: list[tuple[Month, Played]] = []

    class Watched(Ours):
        def play(self, month: Month) -> Played:
            played = super().play(month)
            months.append((month, played))
            return played

    season(life.town(WORLDS["harm"], 4000, 12), Watched, 4)
    for month, played in months:
        np.testing.assert_array_equal(np.isfinite(played.chance), month.may_contact)
        known = played.chance[month.may_contact]
        assert ((known > 0) & (known <= 1)).all()
        alone = month.may_contact & (played.choice < 0)
        # Each choice stands for as many customers as its chance says (Horvitz and Thompson, 1952).
        assert (1 / played.chance[alone]).sum() == pytest.approx(month.may_contact.sum(), rel=0.25)


def test_effects_are_learned_from_every_choice_whose_chance_is_known() -> None:
    seen: list[Month] = []
    season(TOWN, lambda: Spy(seen), 6)
    contacts = log.contacts(seen[-1])
    assert contacts is not None
    known = [np.isfinite(each.played.chance) for each in seen[-1].history]
    assert len(contacts.arm) == sum(int(rows.sum()) for rows in known)
    assert contacts.frame.y.sum() == pytest.approx(sum(each.money[rows].sum() for each, rows in zip(seen[-1].history, known, strict=True)))
    assert set(np.unique(contacts.arm)) == {-1, 0, 1, 2, 3}
    assert len(np.unique(contacts.campaign)) == sum(bool(rows.any()) for rows in known)


def test_who_may_be_lost_is_spared_where_contacts_drive_customers_away() -> None:
    policies: dict[str, standing.Make] = {"careful": Ours, "careless": lambda: Ours(name="careless", gone=0.0)}
    found = standing.play(WORLDS["dogs"], policies, customers=2000, months=6, seeds=(104,))
    assert found.mean("careful", "left") < 0.8 * found.mean("careless", "left")
    assert found.mean("careful", "contacts") < found.mean("careless", "contacts")


def test_the_command_says_who_won_and_takes_a_policy_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["arena", "--customers", "300", "--months", "3", "--worlds", "alike", "--only", "random", "ours", "--policy"]
    mine, out = "experiments.arena.example:Newest", tmp_path / "arena.json"
    assert main([*small, mine, "--html", str(tmp_path / "a.html"), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert all(words in said for words in ("newest first", "everybody alike", "the best of the others", "fatigue"))
    drawn = (tmp_path / "a.html").read_text()
    assert "<svg" in drawn
    # Whose line is whose: every line's colour stands beside the name of its policy.
    assert set(re.findall(r'<g class="s s(\d+)">', drawn)) == set(re.findall(r'<span class="swatch c(\d+)">', drawn)) != set()
    told = json.loads(out.read_text())["worlds"][0]
    assert set(told["policies"]) == {"random", "ours", "newest first"}
    assert len(told["policies"]["ours"]["cumulative"]) == 3
    assert main([*small, "nowhere:Nobody"]) == 2
    assert main(["arena", "--worlds", "mars"]) == 2
    assert main(["arena", "--only", "luck"]) == 2
    assert main(["arena", "--customers", "5"]) == 2
    assert "at least 100" in capsys.readouterr().err


def test_intervals_are_paired_by_seed() -> None:
    seasons = {name: tuple(season(TOWN, Random, 2) for _ in range(3)) for name in ("a", "b")}
    luck = np.array([[1.0, 5.0], [9.0, 2.0], [4.0, 4.0]])
    found = standing.Played("t", "w", 600, (1, 2, 3), {"a": luck, "b": luck - 0.5}, seasons)
    gap = found.against("a", "b")
    assert (gap.value, gap.low, gap.high) == pytest.approx((1.0, 1.0, 1.0))
    assert found.total("a").high - found.total("a").low > 10
    assert "a is better than b" in report.words([found], "a")
    assert "worse in 1" in report.words([found], "b")
