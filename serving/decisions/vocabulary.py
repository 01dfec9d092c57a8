"""The words that the rules of the house may use. A word that nothing is called is a rule that never holds, so a file with one is refused. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from retain.tables import CAUSES, CHANNELS, CUSTOMERS, OFFERS, STAGES
from serving.decisions.facts import LENSES

if TYPE_CHECKING:
    from serving.decisions.policy import Policy

KINDS = (*OFFERS.by_name["kind"].choices, "category")
"""What an offer may be, and what an item that stands for itself is where it is no product."""
WORDS: Mapping[str, tuple[str, ...]] = {
    "stage": STAGES,
    "cause": CAUSES,
    "relation": CUSTOMERS.by_name["relation"].choices,
    # Bands are named in configs/segments.yaml.
    "band": (),
}
"""Facts that are words, and which; all others are numbers."""


def strange(policy: Policy) -> tuple[str, str] | None:
    """Place and sentence of the first thing that no rule can mean; None where all can."""
    return next(_strange(policy), None)


def _strange(policy: Policy) -> Iterator[tuple[str, str]]:
    yield from _unknown("quiet_hours.channels", policy.quiet_hours.channels, CHANNELS)
    yield from _unknown("complaint_kinds", policy.complaint_kinds, KINDS)
    for number, law in enumerate(policy.laws):
        yield from _unknown(f"laws.{number}.channels", law.channels, CHANNELS)
        yield from _unknown(f"laws.{number}.kinds", law.kinds, KINDS)
    for lens, stages in policy.lifecycle.items():
        yield from _unknown(f"lifecycle.{lens}", stages, STAGES)
    yield from _unknown("remedies", policy.remedies, CAUSES)
    for cause, kinds in policy.remedies.items():
        yield from _unknown(f"remedies.{cause}", kinds, KINDS)
    for number, rule in enumerate(policy.suitability):
        place = f"suitability.{number}"
        yield from _unknown(f"{place}.kinds", rule.kinds, KINDS)
        words = WORDS.get(rule.fact)
        if words is None and isinstance(rule.value, str):
            yield f"{place}.value", f"{rule.fact} is a number, so it never compares with {rule.value!r}; give a number"
        if words is not None and (rule.is_ != "equal" or not isinstance(rule.value, str)):
            yield f"{place}.is", f"{rule.fact} is a word, so nothing but `is: equal` with a word ever holds"
        if words:
            yield from _unknown(f"{place}.value", (str(rule.value),), words)
    if policy.same_offer_limit.most < 1:
        yield "same_offer_limit.most", "no offer could ever be proposed; a number from 1 is expected"
    for name, lever in policy.levers.items():
        if not 0 <= lever < math.inf:
            yield f"levers.{name}", f"{lever} is no lever; a number from 0 is expected, and 1 is neutral"
    weights = {"weights": policy.weights, **{f"intents.{name}": each for name, each in policy.intents.items()}}
    for place, each in weights.items():
        missing = [lens for lens in LENSES if lens not in each]
        if missing:
            yield place, f"{missing[0]} is not named, and would weigh nothing; give all of {', '.join(LENSES)}"
        for lens, weight in each.items():
            if not 0 <= weight < math.inf:
                yield f"{place}.{lens}", f"{weight} is no weight; a number from 0 is expected"


def _unknown(place: str, found: Iterable[str], known: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for word in found:
        if word not in known:
            yield place, f"nothing is called {word!r}; it is one of {', '.join(known)}"


__all__ = ["KINDS", "WORDS", "strange"]
