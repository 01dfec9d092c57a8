"""The five parts of what a customer is worth: purchases, word of mouth, information, knowledge, transactions through the company. Pure.

Only purchases are always there: they are predicted by the value model. The other parts are counted from recorded events and priced by
amounts that the company declares in ``configs/value_parts.yaml``; they are switched off until it does, and shown as assumed where on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from retain import config
from retain.tables import EVENTS
from serving.decisions.figures import Floats

PURCHASE = "purchase"
KINDS: Mapping[str, tuple[str, ...]] = {
    "word_of_mouth": ("referral", "share"),
    "information": ("survey", "rating", "inquiry"),
    "knowledge": ("review",),
    "transaction": (),
}
"""Part -> kinds of events that are data for it unless the company names others. No kind of the contract records what others pay for
access to a customer (joint selling, market access), so ``transaction`` has data only where the company names one."""
PARTS = (PURCHASE, *KINDS)


class Part(BaseModel):
    """How one part is priced."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    counted: bool = False
    per_event: dict[str, float] = {}
    """Kind of event -> money that one is worth to the company."""
    basis: str = ""
    """Why those amounts; shown wherever they carry a figure."""

    @model_validator(mode="after")
    def _whole(self) -> Part:
        known = EVENTS.by_name["kind"].choices
        strange = sorted(set(self.per_event) - set(known))
        if strange:
            raise ValueError(f"{strange[0]!r} is no kind of event; the kinds are {', '.join(known)}")
        if any(amount < 0 for amount in self.per_event.values()):
            raise ValueError("an event is worth at least nothing")
        if self.counted and not (self.per_event and self.basis):
            raise ValueError("a part that is counted needs per_event (money by kind of event) and basis (why)")
        return self


class ValueParts(BaseModel):
    """The parts besides purchases."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    window_days: int = Field(default=365, ge=1)
    """Events of so many days are taken to go on at the same pace."""
    word_of_mouth: Part = Part()
    information: Part = Part()
    knowledge: Part = Part()
    transaction: Part = Part()

    def part(self, name: str) -> Part:
        """A part by its name."""
        found: Part = getattr(self, name)
        return found

    def kinds(self, name: str) -> tuple[str, ...]:
        """Kinds of events that are data for a part."""
        return tuple(sorted(self.part(name).per_event)) or KINDS[name]


@dataclass(frozen=True)
class Priced:
    """One part as the rows hold it."""

    counted: bool
    per_event: dict[str, float]
    basis: str
    coverage: float | None
    """Share of active customers with data; None where no table records any."""


def value_parts() -> ValueParts:
    """The parts of ``configs/value_parts.yaml``."""
    return config.read(config.shipped("value_parts.yaml"), ValueParts)


def amounts(parts: ValueParts, counts: Mapping[str, Floats], horizon_days: int, customers: int) -> Floats:
    """(customers, parts without purchases) money within the horizon at the pace of the window; NaN where the part is off or has no data.

    Args:
        parts: prices.
        counts: kind of event -> (customers,) events in the window.
        horizon_days: what value looks ahead.
        customers: how many.
    """
    found = np.full((customers, len(KINDS)), np.nan)
    for place, name in enumerate(KINDS):
        part = parts.part(name)
        if part.counted:
            money = sum((counts[kind] * amount for kind, amount in part.per_event.items()), np.zeros(customers))
            found[:, place] = np.where(_data(parts, name, counts, customers), money * horizon_days / parts.window_days, np.nan)
    return found


def priced(parts: ValueParts, counts: Mapping[str, Floats], active: Floats) -> dict[str, Priced]:
    """Each part with its coverage among active customers (``active`` is 1 or 0)."""
    result = {}
    for name in KINDS:
        part, who = parts.part(name), active > 0
        has = _data(parts, name, counts, len(active))
        coverage = float(has[who].mean()) if parts.kinds(name) and who.any() else None
        result[name] = Priced(part.counted, dict(part.per_event), part.basis, coverage)
    return result


def total(purchase: Floats, more: Floats) -> Floats:
    """Purchases and what is known of the other parts; what is not known counts as nothing."""
    return np.asarray(purchase + np.nan_to_num(more, nan=0.0).sum(axis=-1))


def _data(parts: ValueParts, name: str, counts: Mapping[str, Floats], customers: int) -> Floats:
    return np.asarray(sum((counts[kind] for kind in parts.kinds(name)), np.zeros(customers)) > 0)
