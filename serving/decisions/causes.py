"""Which of the eight causes of churn stands behind a customer: what is recorded, else the first rule that holds, else unknown.

A recorded cause is a fact; a rule is a declared guess over recorded events, and is called so. Shares of causes are given only of
customers whose cause is recorded. The rules and remedies are declared in ``configs/causes.yaml``. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, model_validator

from retain import config
from retain.tables import CAUSES
from serving.decisions.cause_table import RECORDED, REMEDIES, RULES, UNKNOWN, Remedy, Rule
from serving.decisions.facts import Language
from serving.decisions.figures import Floats


class Causes(BaseModel):
    """The table of rules, tried from the top, and what answers each cause."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rules: tuple[Rule, ...] = RULES
    remedies: dict[str, Remedy] = dict(REMEDIES)
    """Cause, or ``unknown`` -> its answer."""

    @model_validator(mode="after")
    def _whole(self) -> Causes:
        names = [rule.name for rule in self.rules]
        if len(set(names)) != len(names) or RECORDED in names:
            raise ValueError(f"rules need names that differ from each other and from {RECORDED!r}")
        if set(self.remedies) != {*CAUSES, UNKNOWN}:
            raise ValueError(f"remedies: one for each of {', '.join((*CAUSES, UNKNOWN))} is expected")
        if self.remedies["involuntary"].coupon or self.remedies["involuntary"].kinds != ():
            raise ValueError("remedies: involuntary churn gets no coupon, and no other offer to keep the customer (kinds: [])")
        return self

    @property
    def kinds(self) -> dict[str, tuple[str, ...]]:
        """Cause -> kinds of offers that answer it; a cause that any kind answers is not named."""
        return {cause: remedy.kinds for cause, remedy in self.remedies.items() if remedy.kinds is not None}


def causes() -> Causes:
    """The table of ``configs/causes.yaml``."""
    return config.read(config.shipped("causes.yaml"), Causes)


@dataclass(frozen=True)
class Assigned:
    """Causes of some customers."""

    cause: NDArray[np.int16]
    """Position in ``retain.tables.CAUSES``; -1 is unknown."""
    rule: NDArray[np.int16]
    """Position of the rule that held; -1 where none did, or where the cause is recorded."""
    value: Floats
    """The customer's own figure of that rule; NaN where none held."""


def assign(table: Causes, facts: Mapping[str, Floats], recorded: NDArray[np.int16]) -> Assigned:
    """The recorded cause, else that of the first rule that holds.

    Args:
        table: the rules.
        facts: name -> (customers,); NaN where nothing is known, which no rule takes for anything.
        recorded: (customers,) position in ``CAUSES`` of the cause on record; -1 where none is.
    """
    rule, value = np.full(len(recorded), -1, dtype=np.int16), np.full(len(recorded), np.nan)
    cause = recorded.copy()
    for number, each in enumerate(table.rules):
        fact = facts[each.fact]
        holds = (fact >= each.value if each.is_ == "at_least" else fact <= each.value) & (cause < 0)
        cause[holds], rule[holds], value[holds] = CAUSES.index(each.cause), number, fact[holds]
    return Assigned(cause, rule, value)


def basis(rule: Rule, value: float, language: Language) -> str:
    """Why a rule holds, with the customer's own figure."""
    share = rule.fact in ("returned_share", "discount_fall")
    shown = f"{value * 100:.0f} %" if share else f"{value:.1f}" if rule.fact == "rating_mean" else f"{value:.0f}"
    return (rule.zh if language == "zh" else rule.en).format(value=shown)


@dataclass(frozen=True)
class Share:
    """How often a cause is recorded in a segment, with a 95 % interval (Wilson)."""

    segment: str
    cause: str
    count: int
    of: int
    """Customers of the segment whose cause is recorded."""
    share: float
    low: float
    high: float


def shares(recorded: NDArray[np.int16], segment: NDArray[np.integer], names: Sequence[str]) -> list[Share]:
    """By segment, the causes of those whose cause is recorded; nothing where none is.

    Args:
        recorded: (customers,) position in ``CAUSES``; -1 where nothing is recorded.
        segment: (customers,) position in ``names``.
        names: of the segments.
    """
    found = []
    for number, name in enumerate(names):
        mine = recorded[(segment == number) & (recorded >= 0)]
        for cause, count in enumerate(np.bincount(mine, minlength=len(CAUSES)).tolist()):
            if count:
                found.append(Share(name, CAUSES[cause], count, len(mine), count / len(mine), *wilson(count, len(mine))))
    return found


def wilson(count: int, of: int, z: float = 1.959964) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927): it stays within 0 and 1 and is honest with few.

    >>> low, high = wilson(0, 10)
    >>> low == 0.0, round(high, 3)
    (True, 0.278)
    """
    share, more = count / of, z * z / of
    middle, half = share + more / 2, z * np.sqrt(share * (1 - share) / of + more / (4 * of))
    return max(0.0, float((middle - half) / (1 + more))) if count else 0.0, min(1.0, float((middle + half) / (1 + more)))
