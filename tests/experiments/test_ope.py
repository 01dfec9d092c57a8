"""Values of policies that did not log: right on average, honest about what they rest on, and kept from launch without proof."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.policies import ACTIONS, challenger, measure, world
from experiments.ope import direct, gate, overlap
from experiments.ope.log import Log
from experiments.ope.values import NAMES, Values, judge
from retain.errors import DataError

TRUE = world(0)


def log(n: int = 600, seed: int = 0, gain: float = 1.0) -> Log:
    """Two actions, drawn 3 : 1 by a coin that knows the region; the second is worth ``gain`` more."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    second = np.where(x[:, 0] > 0, 0.4, 0.2)
    action = (rng.random(n) < second).astype(np.int64)
    reward = 5 + x[:, 0] + gain * action + rng.normal(size=n)
    region = np.where(x[:, 0] > 0, "north", "south").astype(object)
    return Log(
        ("mail", "call"), action, np.where(action == 1, second, 1 - second), reward, np.tile([0.0, 1.0], (n, 1)), x=x, contexts={"region": region}
    )


def test_the_logging_policy_is_worth_what_it_earned() -> None:
    made = log()
    second = np.where(made.x[:, 0] > 0, 0.4, 0.2)
    itself = judge(replace(made, challenger=np.stack([1 - second, second], axis=1)))
    assert itself.estimates["ips"].value.value == pytest.approx(made.reward.mean())
    assert itself.estimates["snips"].difference.value == pytest.approx(0, abs=1e-12)
    assert itself.effective == pytest.approx(len(made))


def test_a_better_policy_is_found_and_launched() -> None:
    values = judge(log(3000))
    for name in NAMES:
        assert values.estimates[name].value.low < 6 < values.estimates[name].value.high, name
    assert gate.decide(values).is_allowed
    assert not gate.decide(values, rules=gate.Rules(margin=0.5)).is_allowed
    assert not gate.decide(judge(log(3000, gain=-1.0))).is_allowed


def test_intervals_cover_and_the_gate_holds_in_a_small_trial() -> None:
    policies = {(kind, gain): challenger(TRUE, kind, gain) for kind in ("mixture", "decided") for gain in (-0.05, 0.2)}
    for line in measure(1500, 60, policies, TRUE):
        assert all(line[name]["covers"] >= 0.85 for name in ("snips", "dr")), line
        if line["gain"] < 0:
            assert line["launched"] <= 0.1
        elif line["kind"] == "mixture":
            assert line["launched"] >= 0.7
    base = TRUE.value(TRUE.logging)
    assert all(TRUE.value(policy) / base - 1 == pytest.approx(gain, abs=0.002) for (_, gain), policy in policies.items())


def test_clipping_is_told_and_lowers_what_weights_alone_say() -> None:
    made = log(3000)
    cut, whole = judge(made, clip=2.0), judge(made, clip=float("inf"))
    assert whole.clipped == 0
    assert all(whole.estimates[name].clipping == 0 for name in NAMES)
    assert cut.clipped > 0.1
    for name in NAMES:
        moved = cut.estimates[name].value.value - whole.estimates[name].value.value
        assert cut.estimates[name].clipping == pytest.approx(moved)
    assert cut.estimates["ips"].clipping < -1
    assert abs(cut.estimates["dr"].clipping) < 0.2
    assert "2" not in gate.decide(whole).reasons


def test_what_is_nothing_on_average_makes_the_difference_surer_than_any_plain_one() -> None:
    made = log(3000)
    second = np.where(made.x[:, 0] > 0, 0.45, 0.25)
    near = judge(replace(made, challenger=np.stack([1 - second, second], axis=1)))
    far = judge(made)
    for values in (near, far):
        assert all(values.estimates["controlled"].error <= 1.02 * values.estimates[name].error for name in NAMES)
    assert near.estimates["controlled"].error < 0.7 * near.estimates["dr"].error
    assert near.estimates["controlled"].difference.low < 0.05 < near.estimates["controlled"].difference.high
    assert far.estimates["controlled"].value.low < 6 < far.estimates["controlled"].value.high
    assert judge(replace(made, champion=made.challenger)).estimates["controlled"].error == pytest.approx(0, abs=1e-9)


def test_what_is_launched_by_mistake_is_one_sided_and_the_decisions_needed_are_told_beforehand() -> None:
    values = judge(log(400, gain=0.3))
    one = values.estimates["controlled"]
    assert one.difference.low < one.least < one.difference.value
    needed = values.needed(0.05)
    assert values.needed(0.1) == pytest.approx(needed / 4)
    assert values.needed(0.05, 0.9) > needed > 0
    # Seven of ten customers are mailed, and a call is worth 0.2 more.
    before = judge(log(2000, seed=99, gain=0.2))
    count = round(before.needed(0.7 * 0.2 / before.champion.value))
    launched = [gate.decide(judge(log(count, seed=seed, gain=0.2))).is_allowed for seed in range(60)]
    assert 0.5 <= np.mean(launched) <= 0.87


def test_customers_count_once() -> None:
    once = log(800)
    twice = {name: np.concatenate([getattr(once, name)] * 2) for name in ("action", "probability", "reward", "challenger", "x")}
    owner = np.concatenate([np.arange(800)] * 2)
    alone, paired = judge(once), judge(Log(once.actions, customer=owner, **twice))
    naive = judge(Log(once.actions, **twice))
    assert paired.customers == 800
    for name in ("snips", "controlled"):
        assert _width(paired, name) == pytest.approx(_width(alone, name), rel=1e-6 if name == "snips" else 0.1)
    assert _width(naive, "snips") < 0.8 * _width(alone, "snips")
    with pytest.raises(DataError, match="one customer"):
        judge(replace(once, customer=np.zeros(800, dtype=np.int64)))


def test_each_row_is_predicted_by_others() -> None:
    made = log(400)
    outlier = replace(made, reward=np.where(np.arange(400) == 7, 1e6, made.reward))
    assert direct.rewards(outlier)[7].max() < 1e5
    assert direct.rewards(outlier)[np.flatnonzero(direct.folds(made.owner, 7) != direct.folds(made.owner, 7)[7])].max() > 1e3


def test_what_the_log_never_does_is_named() -> None:
    made = log(2000)
    north = made.contexts["region"] == "north"
    action = np.where(north, 0, made.action)
    gap = replace(made, action=action, probability=np.where(north, 1.0, made.probability))
    found = overlap.gaps(gap)
    assert [(each.action, each.where) for each in found] == [("call", "region = north")]
    assert found[0].share == pytest.approx(north.mean())
    assert "the log never does" in found[0].words
    refused = gate.decide(judge(gap), found)
    assert not refused.is_allowed
    assert "does not reach" in refused.reasons[-1]
    unnamed = overlap.gaps(replace(gap, contexts={}))
    assert [(each.is_proven, each.where) for each in unnamed] == [(False, "")]
    shares = np.where(north[:, None], [1.0, 0.0], [0.7, 0.3])
    exact = overlap.gaps(replace(gap, contexts={}, logging=shares))
    assert [(each.action, each.share, each.is_proven) for each in exact] == [("call", pytest.approx((north * made.challenger[:, 1]).mean()), True)]
    new = Log((*made.actions, "gift"), made.action, made.probability, made.reward, np.tile([0.0, 0.0, 1.0], (2000, 1)), x=made.x)
    assert [(each.action, each.share) for each in overlap.gaps(new)] == [("gift", 1.0)]
    assert not gate.decide(judge(new), overlap.gaps(new)).is_allowed
    assert overlap.gaps(made) == ()


def test_a_champion_can_be_another_policy() -> None:
    made = log(3000)
    values = judge(replace(made, champion=np.tile([1.0, 0.0], (3000, 1))))
    assert values.estimates["dr"].difference.low < 1 < values.estimates["dr"].difference.high
    same = judge(replace(made, champion=made.challenger))
    assert same.estimates["dr"].difference.value == same.estimates["dr"].difference.low == 0
    assert not gate.decide(same).is_allowed


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"probability": np.r_[0.0, np.full(599, 0.5)]}, "row 1: probability 0 is not above 0"),
        ({"reward": np.r_[np.zeros(599), np.nan]}, "row 600: reward nan"),
        ({"challenger": np.full((600, 2), 0.6)}, "sum to 1.2, not to 1"),
        ({"champion": np.full((600, 3), 1 / 3)}, "champion"),
    ],
)
def test_a_broken_log_is_refused_with_its_row(change: dict[str, np.ndarray], words: str) -> None:
    with pytest.raises(DataError, match=words):
        replace(log(), **change)


@given(st.integers(0, 10_000), st.floats(-50, 50))
def test_a_shift_of_all_rewards_shifts_the_normalised_values_only_by_it(seed: int, shift: float) -> None:
    made = log(60, seed)
    before, after = judge(made), judge(replace(made, reward=made.reward + shift))
    for name in ("snips", "dr"):
        assert after.estimates[name].value.value == pytest.approx(before.estimates[name].value.value + shift, abs=0.5 if name == "dr" else 1e-6)
    assert len(ACTIONS) == 5


def _width(values: Values, name: str) -> float:
    return values.estimates[name].value.high - values.estimates[name].value.low  # type: ignore[index]
