"""The rules of the house as configuration: ``configs/decisions.yaml``, checked at load."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from retain import config
from retain.errors import ConfigError
from retain.tables import CHANNELS, is_protected
from serving.decisions.causes import Causes, causes
from serving.decisions.control import Groups
from serving.decisions.facts import Customer, Lens
from serving.decisions.vocabulary import strange

Fact = Literal["returned_share", "recency_days", "tenure_days", "orders", "churn", "stage", "band", "relation", "cause"]


Level = Literal["basic", "reactive", "accountable", "proactive", "partner"]


class _Rule(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Limit(_Rule):
    """At most so many contacts in so many days."""

    most: int = Field(ge=0)
    days: int = Field(ge=1, le=31)

    @property
    def rule(self) -> str:
        """Name of the rule in answers."""
        return f"max_{self.most}_per_{self.days}d"


class QuietHours(_Rule):
    """No contact on these channels from ``start`` to ``end`` o'clock where the customer lives."""

    channels: tuple[str, ...] = ("sms", "push", "call_center", "agent")
    start: int = Field(default=21, ge=0, le=23)
    end: int = Field(default=8, ge=0, le=23)

    def cover(self, hour: int) -> bool:
        """Whether an hour of the day is quiet."""
        return self.start <= hour or hour < self.end if self.start > self.end else self.start <= hour < self.end


class Suitability(_Rule):
    """What does not suit whom: where ``fact`` compares so with ``value``, the named lenses and kinds are withheld."""

    name: str
    fact: Fact
    is_: Literal["at_least", "at_most", "equal"] = Field(alias="is")
    value: float | str
    lenses: tuple[Lens, ...] = ("cross_sell", "repeat", "retention")
    kinds: tuple[str, ...] = ()
    """Empty: every kind."""
    only_named: bool = False
    """Holds only for products whose ``suitability`` names this rule."""

    @field_validator("fact", mode="before")
    @classmethod
    def _is_lawful(cls, value: object) -> object:
        if isinstance(value, str) and is_protected(value):
            raise ValueError(f"{value!r} is a protected attribute: no rule may look at it (retain/tables.py names them all)")
        return value

    def holds(self, customer: Customer) -> bool:
        """Whether the customer is one of those meant; an unknown fact is nobody's."""
        fact: float | str | None = getattr(customer.scores, self.fact, None)
        if fact is None:
            fact = getattr(customer, self.fact, None)
        if fact is None:
            fact = getattr(customer.habits, self.fact, None)
        if fact is None:
            return False
        if isinstance(fact, str) or isinstance(self.value, str):
            return self.is_ == "equal" and fact == self.value
        return fact >= self.value if self.is_ == "at_least" else fact <= self.value if self.is_ == "at_most" else fact == self.value


class Law(_Rule):
    """What must not be proposed where; whose region and country are unknown counts as living there."""

    name: str
    regions: tuple[str, ...] = ()
    """Regions or countries; empty: everywhere."""
    kinds: tuple[str, ...] = ()
    """Empty: every kind."""
    channels: tuple[str, ...] = ()
    """Empty: every channel."""

    def covers(self, kind: str, region: str | None, country: str | None) -> bool:
        """Whether an offer of this kind falls under it for who lives there."""
        if self.kinds and kind not in self.kinds:
            return False
        known = {region, country} - {None}
        return not self.regions or not known or not known.isdisjoint(self.regions)


class Exploration(_Rule):
    """How much of what is shown is left to chance; nothing unless it is declared. Vulnerable customers and open complaints are spared."""

    floor: float = Field(default=0.0, ge=0, le=0.1)
    """Probability that each explored candidate gets in each slot by chance."""
    most: float = Field(default=0.0, ge=0, le=0.5)
    """The explored share is never more; ``most / floor`` candidates are explored at most, the best ones."""
    seed: str = ""
    """Another seed draws otherwise."""

    @model_validator(mode="after")
    def _bounded(self) -> Exploration:
        if self.floor > self.most:
            raise ValueError(f"floor {self.floor} is above most {self.most}: the explored share has to hold the floor of one candidate at least")
        return self


class Prior(_Rule):
    """What is believed of an offer kind before anything was seen: ``rate``, worth ``weight`` contacts."""

    rate: float = Field(default=0.02, gt=0, lt=1)
    weight: float = Field(default=50.0, gt=0)


class Policy(_Rule):
    """The whole of it."""

    name: str = "nbo"
    inbound_placements: tuple[str, ...] = ("inbound_start", "inbound_end", "web_page", "app_page", "store_counter")
    """Placements where the customer turned to us."""
    profiling: Literal["opt_out", "opt_in"] = "opt_out"
    """opt_out: personalised unless refused; opt_in: only with a consent for profiling."""
    total_limits: tuple[Limit, ...] = (Limit(most=3, days=7), Limit(most=8, days=28))
    channel_limits: dict[str, tuple[Limit, ...]] = {}
    level_limits: dict[Level, tuple[Limit, ...]] = {}
    """Over all channels, by how much contact the relation has earned; beside ``total_limits``."""
    same_offer_limit: Limit = Limit(most=2, days=7)
    quiet_hours: QuietHours = QuietHours()
    complaint_days: int = Field(default=60, ge=0)
    """An open complaint suppresses selling for so long."""
    complaint_kinds: tuple[str, ...] = ("repair", "service", "information")
    """Kinds of offer that an open complaint does not suppress."""
    lifecycle: dict[Lens, tuple[str, ...]] = {
        "repeat": ("acquired", "growing", "mature", "declining", "won_back"),
        "retention": ("acquired", "growing", "mature", "declining", "won_back"),
    }
    """Stages that a lens applies to; a lens that is not named applies to all."""
    laws: tuple[Law, ...] = ()
    suitability: tuple[Suitability, ...] = ()
    remedies: dict[str, tuple[str, ...]] = Causes().kinds
    """Cause -> kinds of offers that may keep a customer who leaves for it; taken from ``configs/causes.yaml``. A cause not named admits all."""
    groups: Groups = Groups()
    exploration: Exploration = Exploration()
    weights: dict[Lens, float] = {"cross_sell": 1.0, "repeat": 1.0, "retention": 1.0}
    """Weight of each lens when the goal is ``best``."""
    intents: dict[str, dict[Lens, float]] = {}
    """Weights instead of those, by what the customer wants."""
    levers: dict[str, float] = {}
    """What the house wants more or less of than money says, by offer or kind of offers, the offer before its kind; times the offer's own lever."""
    accept_prior: Prior = Prior()
    saved_share: float = Field(default=0.1, ge=0, le=1)
    """Share of the expected loss that an accepted retention proposal is assumed to keep, until effects are estimated."""
    seat_price: float = Field(default=0.0, ge=0)
    """Price of the contact slot, in money, where no list has solved for one."""
    fatigue_price: float = Field(default=0.0, ge=0)
    """Money that each contact of the last ``fatigue_days`` adds to the price of the next."""
    fatigue_days: int = Field(default=7, ge=1, le=31)
    fresh_hours: float = Field(default=36.0, gt=0)
    """Rows at most so old are called fresh."""
    max_age_days: float = Field(default=8.0, gt=0)
    """Rows older than this are called stale."""
    hold_hours: float = Field(default=24.0, ge=0)
    """A proposal that we start holds its contact against the limits from the moment it is decided, so that callers at once cannot exceed them;
    where nothing says within so many hours that it was shown, the contact is free again. 0: only what was shown counts."""
    when_unlogged: Literal["deterministic", "refuse"] = "deterministic"
    """What is done with decisions while the ledger cannot be written: given without chance and marked ``not_logged``, or refused."""
    batch_cap: int = Field(default=10_000, ge=1)
    """Most customers in one call."""
    body_cap: int = Field(default=4 * 2**20, ge=1024)
    """Most bytes of a request's body."""

    @field_validator("channel_limits")
    @classmethod
    def _channels(cls, value: dict[str, tuple[Limit, ...]]) -> dict[str, tuple[Limit, ...]]:
        unknown = sorted(set(value) - set(CHANNELS))
        if unknown:
            raise ValueError(f"{unknown[0]!r} is no channel; the channels are {', '.join(CHANNELS)}")
        return value

    @field_validator("suitability")
    @classmethod
    def _named_once(cls, value: tuple[Suitability, ...]) -> tuple[Suitability, ...]:
        names = [rule.name for rule in value]
        if len(set(names)) != len(names):
            raise ValueError("rules need names that differ from each other")
        return value

    @cached_property
    def version(self) -> str:
        """Name and a hash of every rule: equal versions decide equally."""
        # Rules of before there were levers keep their version.
        whole = self.model_dump_json(by_alias=True, exclude=None if self.levers else {"levers"})
        return f"{self.name}@{hashlib.sha256(whole.encode()).hexdigest()[:8]}"


def policy(path: Path | None = None) -> Policy:
    """The policy of a file, or of ``configs/decisions.yaml``; remedies that it does not name are those of ``configs/causes.yaml``.

    Raises:
        ConfigError: names the file, the place and what is wrong there. Rules that a receipt kept are not asked again what their words mean.
    """
    place = config.shipped("decisions.yaml") if path is None else path
    found = config.read(place, Policy)
    whole = found if "remedies" in found.model_fields_set else found.model_copy(update={"remedies": causes().kinds})
    wrong = strange(whole)
    if wrong is not None:
        raise ConfigError(f"{place}: {wrong[0]}: {wrong[1]}", field=wrong[0])
    return whole
