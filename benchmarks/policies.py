"""Off-policy evaluation against a truth that is known: how often intervals cover it, what clipping costs, whom the gate lets through.

    python -m benchmarks.policies [--repeats 1000] [--json FILE]

A shop decides among five offers from four facts about the customer. Whether something is bought is no straight line of the facts, so the
regression is wrong everywhere; what is bought has a long tail. Challengers of exactly known value are made in two ways: `mixture` leans
from the logging policy towards the best or the worst, `decided` takes one action for certain and so has the largest weights.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import norm

from experiments.ope import direct, gate, overlap
from experiments.ope.log import Log
from experiments.ope.values import NAMES, judge
from training.contracts import Floats

ACTIONS = ("none", "mail", "coupon", "call", "gift")
POPULATION = 50_000
WORSE, BETTER = (-0.2, -0.1, -0.05, 0.0), (0.05, 0.15, 0.2)
KINDS = ("mixture", "decided")
CLIPS = (float("inf"), 20.0, 10.0, 5.0, 2.0)


@dataclass(frozen=True)
class World:
    """Customers, the chance of a purchase after each action, and the policy that logs."""

    x: Floats
    chance: Floats
    logging: Floats

    @property
    def worth(self) -> Floats:
        """(customers, actions) expected money."""
        return self.chance * np.exp(0.8**2 / 2) * 20.0

    def value(self, policy: Floats) -> float:
        """Expected money per decision: the truth."""
        return float((policy * self.worth).sum(axis=1).mean())

    def least_error(self, policy: Floats) -> float:
        """Standard error of the difference to the logging policy, times the root of the decisions, below which no regular estimator comes.

        The efficiency bound (Hahn, 1998): the spread of (w - 1) (reward - expected reward) and of the expected difference.
        """
        second = self.chance * 20.0**2 * np.exp(2 * 0.8**2)
        noise = ((policy - self.logging) ** 2 / self.logging * (second - self.worth**2)).sum(axis=1)
        return float(np.sqrt(noise.mean() + ((policy - self.logging) * self.worth).sum(axis=1).var()))


def world(seed: int = 0, floor: float = 0.05) -> World:
    """A population; every action is logged with at least ``floor``."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(POPULATION, 4))
    slopes, levels = rng.normal(size=(4, len(ACTIONS))) * 0.6, np.linspace(-0.4, 0.3, len(ACTIONS))
    bends = np.sin(2 * x @ rng.normal(size=(4, len(ACTIONS)))) * 0.5
    chance = 1 / (1 + np.exp(1.5 - levels - x @ slopes - bends))
    lean = np.exp(x @ rng.normal(size=(4, len(ACTIONS))) * 0.7)
    share = lean / lean.sum(axis=1, keepdims=True)
    return World(x, chance, floor + (1 - floor * len(ACTIONS)) * share)


def challenger(true: World, kind: str, gain: float, seed: int = 1) -> Floats:
    """(customers, actions) probabilities of a policy that is worth ``1 + gain`` times the logging one, to within a thousandth."""
    base = true.value(true.logging)
    if kind == "mixture":
        order = true.worth.argmax(axis=1) if gain > 0 else true.worth.argmin(axis=1)
        other = np.eye(len(ACTIONS))[order]
        lean = gain * base / (true.value(other) - base) if gain else 0.3
        if not gain:
            # Equal in value and yet another policy: towards the best and the worst in turn.
            best, worst = (np.eye(len(ACTIONS))[found(true.worth, axis=1)] for found in (np.argmax, np.argmin))
            up, down = true.value(best) - base, base - true.value(worst)
            return (1 - lean) * true.logging + lean * (best * down + worst * up) / (up + down)
        return (1 - lean) * true.logging + lean * other
    noise = np.random.default_rng(seed).normal(size=true.worth.shape) * true.worth.std()
    low, high = -3.0, 3.0
    for _ in range(40):
        middle = (low + high) / 2
        policy = np.eye(len(ACTIONS))[(noise + middle * true.worth).argmax(axis=1)]
        low, high = (middle, high) if true.value(policy) < (1 + gain) * base else (low, middle)
    return policy


def logs(true: World, decisions: int, repeats: int, seed: int) -> Iterator[tuple[np.ndarray[Any, np.dtype[np.intp]], Log]]:
    """Customers and what was logged of them, again and again; the challenger is the logging policy until another is put in."""
    for repeat in range(repeats):
        rng = np.random.default_rng([seed, repeat])
        who = rng.integers(0, len(true.x), decisions)
        policy = true.logging[who]
        action = (rng.random(decisions)[:, None] > policy.cumsum(axis=1)).sum(axis=1).clip(max=len(ACTIONS) - 1)
        rows = np.arange(decisions)
        bought = rng.random(decisions) < true.chance[who, action]
        reward = np.where(bought, 20.0 * np.exp(0.8 * rng.normal(size=decisions)), 0.0)
        yield who, Log(ACTIONS, action.astype(np.int64), policy[rows, action], reward, policy, x=true.x[who])


def measure(
    decisions: int, repeats: int, policies: dict[tuple[str, float], Floats], true: World, clip: float | None = None, seed: int = 2
) -> list[dict[str, Any]]:
    """By policy: coverage and bias of each estimator for value and difference, and the share that the gate lets through."""
    base = true.value(true.logging)
    truth = {name: true.value(policy) for name, policy in policies.items()}
    found: dict[tuple[str, float], list[list[float]]] = {name: [] for name in policies}
    for who, logged in logs(true, decisions, repeats, seed):
        expected = direct.rewards(logged)
        for name, policy in policies.items():
            log = Log(ACTIONS, logged.action, logged.probability, logged.reward, policy[who], x=logged.x)
            values = judge(log, clip, expected=expected)
            row = [float(gate.decide(values, overlap.gaps(log)).is_allowed), values.effective]
            for each in NAMES:
                one = values.estimates[each]
                row += [
                    float(one.value.low <= truth[name] <= one.value.high),
                    float(one.difference.low <= truth[name] - base <= one.difference.high),
                    one.value.value / truth[name] - 1,
                    (one.difference.high - one.difference.low) / 2 / base,
                ]
            row.append(values.direct / truth[name] - 1)
            found[name].append(row)
    table = []
    for (kind, gain), rows in found.items():
        mean = np.mean(rows, axis=0)
        line: dict[str, Any] = {
            "decisions": decisions,
            "kind": kind,
            "gain": gain,
            "launched": mean[0],
            "effective": mean[1],
            "possible": float(norm.cdf(gain * base / (true.least_error(policies[kind, gain]) / np.sqrt(decisions)) - norm.ppf(0.95))),
            "direct_bias": mean[-1],
        }
        for place, each in enumerate(NAMES):
            covers, covers_difference, bias, half = mean[2 + 4 * place : 6 + 4 * place]
            line[each] = {"covers": covers, "covers_difference": covers_difference, "bias": bias, "half_width": half}
        table.append(line)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=1000)
    parser.add_argument("--decisions", type=int, nargs="+", default=[2_000, 20_000])
    parser.add_argument("--json", type=Path, default=None)
    asked = parser.parse_args()
    true = world()
    policies = {(kind, gain): challenger(true, kind, gain) for kind in KINDS for gain in (*WORSE, *BETTER)}
    tables = [line for decisions in asked.decisions for line in measure(decisions, asked.repeats, policies, true)]
    print(
        f"{asked.repeats} repeats each. By estimator: share of nominal 95 % intervals that cover the value (the difference to the log), bias in % of"
    )
    print(
        "the truth, half width of the difference's interval in % of the log's value; bias of the direct method; share that the gate launches, and\n"
        "that the surest regular estimator would (efficiency bound)"
    )
    for line in tables:
        parts = [f"{line['decisions']:>6} {line['kind']:<8} {line['gain']:>+6.0%}  ess {line['effective']:>6.0f}"]
        for each in NAMES:
            one = line[each]
            parts.append(f"{each} {one['covers']:.3f} ({one['covers_difference']:.3f}) {one['bias']:+.1%} +-{one['half_width']:.0%}")
        print(
            "  ".join([*parts, f"direct {line['direct_bias']:+.1%}", f"launched {line['launched']:.1%} (possible {line['possible']:.1%})"]),
            flush=True,
        )
    print("\nclipping: the decided policy worth 20 % more, 2,000 decisions; coverage, bias")
    chosen = {key: policy for key, policy in policies.items() if key == ("decided", 0.2)}
    clipping = []
    for clip in CLIPS:
        line = measure(2_000, min(asked.repeats, 1000), chosen, true, clip)[0]
        clipping.append({"clip": None if clip == float("inf") else clip, **line})
        print(f"weights cut at {clip:>4}  " + "  ".join(f"{each} {line[each]['covers']:.3f} {line[each]['bias']:+.1%}" for each in NAMES), flush=True)
    if asked.json is not None:
        asked.json.write_text(json.dumps({"repeats": asked.repeats, "table": tables, "clipping": clipping}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
