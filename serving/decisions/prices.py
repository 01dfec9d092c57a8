"""What a list solved for, as a call reads it: prices of money, seats and stock, and the terms by which gains were reckoned. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple

from serving.decisions.facts import Offer


class Own(NamedTuple):
    """What a list says of one customer beyond its prices, so that a call says the same."""

    place: tuple[str, str] | None = None
    """Offer and channel by which the list has the customer contacted: seat, stock and money are set aside."""
    more: float = 0.0
    """Money that every offer costs the customer more: whole numbers make exceptions, and of two who are equal one gets the last seat."""


NOBODY = Own()


@dataclass(frozen=True)
class Prices:
    """What money, seats and stock are worth at the margin: the same for a list and for a call."""

    money: float
    """Gain that one more unit of the budget would bring; 0 where the budget is not used up."""
    seats: Mapping[str, float]
    """By channel: gain that one more seat would bring."""
    stock: Mapping[str, float] = field(default_factory=dict)
    """By offer of which there are only so many: gain that one more would bring."""
    campaign: str = ""
    made_at: datetime | None = None
    valid_until: datetime | None = None
    rows: str = ""
    """Version of the serving rows they were made on."""
    models: Mapping[str, str | None] = field(default_factory=dict)
    contact_cost: Mapping[str, float] = field(default_factory=dict)
    """By channel: what a contact costs, as the list reckoned."""
    margin_rate: float | None = None
    """Margin as a share of money, where the list was told another than the source's."""
    saved_share: float | None = None
    """Share of a loss that an accepted offer keeps, where the list was told another than the house's."""
    run: str = ""
    """Of the list."""
    only: tuple[str, ...] | None = None
    """Where the limits are spent by calls: the campaign's offers, which alone use them. None: prices are of every contact that we start."""
    closed: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    """Where the limits are spent by calls: channels of which no seat, and offers of which none is left."""
    left: float | None = None
    """Money that is left then."""
    own: Own = NOBODY
    """Of the customer who is decided on."""

    def of(self, offer: Offer, channel: str, cost: float) -> float:
        """What an offer on a channel takes away from others: to be taken off its gain, which has paid ``cost`` already; endless if none is left."""
        if self.only is not None and offer.offer_id not in self.only:
            return 0.0
        if channel in self.closed[0] or offer.offer_id in self.closed[1] or (self.left is not None and cost > self.left):
            return math.inf
        price = self.money * cost + self.seats.get(channel, 0.0) + self.stock.get(offer.offer_id, 0.0)
        # Lists hold offers, not items that stand for themselves.
        return price if offer.is_item else price + self.own.more

    def set_aside(self, offer: Offer) -> str | None:
        """The channel on which the list has the customer contacted with this offer."""
        place = self.own.place
        return place[1] if place is not None and place[0] == offer.offer_id else None

    def hold_at(self, at: datetime) -> bool:
        """Whether they are valid at a moment."""
        return (self.made_at is None or self.made_at <= at) and (self.valid_until is None or at < self.valid_until)

    def to(self, own: Own) -> Prices:
        """The same for one customer."""
        return self if own is NOBODY else replace(self, own=own)
