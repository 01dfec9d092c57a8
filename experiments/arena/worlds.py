"""What is true in a world of the arena. The shipped worlds lie in ``configs/arena/`` and say only what differs from here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from retain.config import read, shipped
from retain.errors import ConfigError

Trait = Literal["income", "household", "age", "tenure", "is_member", "has_pass", "from_coupon_site", "hidden"]
"""What a liking may depend on; ``hidden`` is a disposition that nobody sees."""


class Offer(BaseModel):
    """One way to contact a customer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    cost: float = Field(ge=0)
    """Money per contact."""
    seats: float | None = Field(default=None, gt=0)
    """Contacts that can be made in a month, as a share of the customers; None means any number."""
    lift: float
    """Orders that a contact adds in its month, on average over customers."""
    fading: float = Field(default=1.0, ge=0)
    """Factor on the lift for those who are turning away."""
    rescue: float = Field(default=0.0, ge=0, le=1)
    """Chance that a contact brings back one who is turning away."""
    discount: float = Field(default=0.0, ge=0, lt=1)
    """Share of its margin that an order gives away in the month of the contact, whether the contact brought it or not."""
    likes: Mapping[Trait, float] = Field(default_factory=dict)
    """How a standardised trait moves the liking of the offer, in spreads."""


OFFERS = (
    Offer(name="mail", cost=0.02, lift=0.08, likes={"age": -0.5, "hidden": 0.6}),
    Offer(name="coupon", cost=0.05, lift=0.30, discount=0.10, likes={"income": -0.6, "from_coupon_site": 0.5, "hidden": 0.5}),
    Offer(name="gift", cost=1.20, lift=0.55, likes={"is_member": 0.7, "household": 0.3, "hidden": 0.5}),
    Offer(name="call", cost=3.00, seats=0.02, lift=0.50, fading=2.5, rescue=0.25, likes={"tenure": 0.6, "hidden": 0.5}),
)


class World(BaseModel):
    """How customers live and how they answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    words: str
    """What is special about it, in a sentence."""
    offers: tuple[Offer, ...] = OFFERS
    budget: float = Field(default=0.20, gt=0)
    """Money for contacts per customer and month."""
    spread: float = Field(default=1.0, ge=0)
    """Of the effect between customers, in mean effects; 0 means that all answer alike."""
    level: float = 1.0
    """Factor on all lifts."""
    by_baseline: float = Field(default=0.5, ge=0, le=2)
    """Power of what a customer orders anyway, over its mean, that the effect goes with: 0 not at all, 1 in proportion."""
    dogs: float = Field(default=0.0, ge=0, lt=1)
    """Share of sleeping dogs: long with us, ordering little, and gone for good when they are reminded."""
    dog_leaves: float = Field(default=0.0, ge=0, le=1)
    """Chance that a sleeping dog leaves when contacted."""
    drift_at: int | None = Field(default=None, ge=1)
    """Month of play, from 0, in which likings change: each offer is from then on liked by those who liked the one before it."""
    late: float = Field(default=0.0, ge=0, lt=1)
    """Share of the month's money that is known a month later."""
    late_contacted: float = Field(default=0.0, ge=0, lt=1)
    """The same for those who were contacted."""
    fatigue: float = Field(default=0.3, ge=0)
    """How much of the effect each contact still remembered takes away, as a log."""


def shipped_worlds() -> dict[str, World]:
    """The fixed worlds by name, in order."""
    return {path.stem.partition("_")[2]: read(path, World) for path in sorted(shipped("arena").glob("*.yaml"))}


def world(name: str) -> World:
    """A shipped world by name, or one from a file.

    Raises:
        ConfigError: there is none.
    """
    found = shipped_worlds()
    if name in found:
        return found[name]
    if name.endswith((".yaml", ".yml")):
        return read(Path(name), World)
    raise ConfigError(f"there is no world {name!r}; the shipped ones are {', '.join(found)}, or give the path of a YAML file", field="worlds")
