"""One decision told from end to end: the group, the funnel by stage and rule, each candidate's priority with its factors, chance. Plain values."""

from __future__ import annotations

from collections import Counter
from typing import Any

from serving.decisions.decide import Decision
from serving.decisions.eligibility import CONTROL, STAGES
from serving.decisions.policy import Policy
from serving.decisions.scoring import Worth
from serving.schemas import OfferOut, Triple

FORMULA = "priority = margin x weight x lever - cost - contact; p x weight x lever where no margin is known"


def told(decision: Decision, policy: Policy) -> dict[str, Any]:
    """The decision as JSON, beside the answer."""
    return {
        "group": {"arm": decision.arm, "control": policy.groups.control, "random": policy.groups.random},
        "funnel": funnel(decision),
        "formula": FORMULA,
        "candidates": [_candidate(place, one, p) for place, (one, p) in enumerate(zip(decision.candidates, decision.chances, strict=True), start=1)],
        "exploration": {"floor": policy.exploration.floor, "most": policy.exploration.most, "is_on": decision.exploration},
        "probability": decision.probability,
    }


def funnel(decision: Decision) -> list[dict[str, Any]]:
    """By stage in the funnel's order: how many offers were withheld, by which rules; an offer counts where it came furthest."""
    found: dict[str, Counter[str]] = {stage: Counter() for stage in (*STAGES, CONTROL, "arbitration")}
    for each in decision.withheld:
        found.setdefault(each.stage, Counter())[each.rule] += 1
    return [{"stage": stage, "withheld": sum(rules.values()), "rules": dict(rules.most_common())} for stage, rules in found.items()]


def lines(decision: Decision, policy: Policy) -> list[str]:
    """The same in words."""
    groups = f"{policy.groups.control:.0%} control, {policy.groups.random:.0%} random"
    said = [f"  group {decision.arm} ({groups}); lifecycle stage {decision.stage or 'not looked at'}"]
    said += [f"  funnel, {each['stage']}: {_counted(each)}" for each in funnel(decision)]
    if decision.exploration:
        said.append(f"  chance has a part: these offers in this order had probability {decision.probability:.4f}")
    else:
        said.append("  nothing is left to chance: the best candidates are shown in their order")
    return said


def candidates(decision: Decision) -> tuple[list[list[str]], tuple[str, ...]]:
    """The candidates as a table: its cells and its head."""
    head = ("", "candidate", "as", "p", "margin", "weight", "lever", "cost", "contact", "priority", "evidence", "shown with")
    cells = []
    for place, (one, p) in enumerate(zip(decision.candidates, decision.chances, strict=True), start=1):
        margin = "unknown" if one.margin is None else f"{one.margin:,.3f}"
        factors = [f"{one.p.value:.3f}", margin, f"{one.weight:g}", f"{one.lever:g}", f"{one.cost:,.3f}", f"{one.contact:,.3f}"]
        cells.append([str(place), one.passed.offer.offer_id, one.passed.lens, *factors, f"{one.priority:,.3f}", one.evidence, f"{p:.3f}"])
    return cells, head


def proposal(offer: OfferOut, currency: str) -> list[str]:
    """What is offered, in words: every figure that has an interval with it."""
    money = "margin unknown" if offer.expected_margin is None else f"{offer.expected_margin:,.2f} {currency} expected, margin {offer.margin_basis}"
    tag, p = "" if offer.strategy is None else f", {offer.strategy}", between(offer.accept_prob, "{:.3f}")
    said = [f"  {offer.rank}. {offer.name} ({offer.offer_id}, {offer.goal}{tag}): p {p}, {money}, evidence {offer.evidence}"]
    if offer.incremental_value is not None:
        said.append(f"       effect of the contact {between(offer.incremental_value, '{:,.2f}')} {currency} margin, before costs")
    said.append(f"       shown here with probability {offer.p_shown:.4f}")
    return said + [f"       {reason.text}" for reason in offer.reasons]


def between(estimate: Triple, form: str) -> str:
    """A value with its interval, in one form for all three.

    >>> between((0.5, 0.25, 0.75), "{:.2f}")
    '0.50 [0.25, 0.75]'
    """
    value, low, high = (form.format(each) for each in estimate)
    return f"{value} [{low}, {high}]"


def _counted(stage: dict[str, Any]) -> str:
    return ", ".join(f"{count} {rule}" for rule, count in stage["rules"].items()) or "nothing withheld"


def _candidate(place: int, one: Worth, p: float) -> dict[str, Any]:
    return {
        "place": place,
        "offer_id": one.passed.offer.offer_id,
        "goal": one.passed.lens,
        "p": one.p.value,
        "margin": one.margin,
        "weight": one.weight,
        "lever": one.lever,
        "cost": one.cost,
        "contact": one.contact,
        "channel": one.channel,
        "gain": one.gain,
        "priority": one.priority,
        "evidence": one.evidence,
        "p_shown": p,
    }
