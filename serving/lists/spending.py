"""What calls have used of the limits of a list, where its limits are spent by calls: read from the log of decisions, whoever wrote them.

A decision that starts a contact with an offer of the campaign uses a seat, its cost, and one of each such offer that it shows; of what those are
expected to cost, the dearest. What nobody says was shown is free again after the house's ``hold_hours``. Whoever decides sees what all others
used, and nobody else decides meanwhile: no limit is exceeded.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from serving.decisions import pacing
from serving.decisions.figures import Floats
from serving.decisions.pacing import Plan
from serving.decisions.policy import Policy
from serving.decisions.prices import Prices
from serving.entries import Entry, Outcome
from serving.holds import hold, holds
from serving.ledger import DECISION, Ledger, micros
from serving.lists.running import ARMS, BASE
from serving.schemas import DecisionRequest
from serving.segments import Place

STEPS = 2000
"""Prices are worked out again each time another so-many-th part of the plan is over."""


class Use(NamedTuple):
    """What one contact takes."""

    money: float
    channel: str | None
    offers: tuple[str, ...]


class _Offer(msgspec.Struct):
    offer_id: str
    accept_prob: tuple[float, float, float]
    cost: float


class _Answer(msgspec.Struct):
    """As much of an answer as its cost needs."""

    offers: list[_Offer]


class _Run(msgspec.Struct):
    run: str = ""


class _Basis(msgspec.Struct):
    """As much of a basis as says at which prices was decided."""

    prices: _Run | None = None


@dataclass(frozen=True)
class Known:
    """Whom the list knew, and what it means each to have."""

    ids: NDArray[np.bytes_]
    """Sorted."""
    is_planned: NDArray[np.bool_]
    """Who may be contacted."""
    meant: Mapping[str, Use] = field(default_factory=dict)

    def find(self, customer_id: str) -> bool | None:
        """Whether the plan reckons with a customer; None where it knows nothing of them."""
        name = customer_id.encode("utf-8", "surrogatepass")
        place = int(np.searchsorted(self.ids, name))
        return bool(self.is_planned[place]) if place < len(self.ids) and self.ids[place] == name else None


class Spending:
    """Used so far, of the limits of one list."""

    def __init__(self, prices: Prices, plan: Plan, known: Known) -> None:
        self._plan, self._known, self._run, self._only = plan, known, prices.run, frozenset(prices.only or ())
        self._began, self._ends = prices.made_at, prices.valid_until
        self._cost = prices.contact_cost
        self._seats, self._stock = sorted(prices.seats), sorted(prices.stock)
        size = 1 + len(self._seats) + len(self._stock)
        self._cursor: Place | None = None
        self._used = np.zeros(size)
        self._meant = np.zeros(size)
        self._asked: set[str] = set()
        self._held: dict[str, Floats] = {}
        self._lapses: list[tuple[datetime, str]] = []
        self._paced: tuple[tuple[int, int], Prices, Prices] | None = None

    def heed(self, ledger: Ledger, policy: Policy) -> None:
        """Take in what was decided and shown since this was asked last."""
        if self._cursor is None:
            began = [] if self._began is None else ledger.journal.lately(DECISION, micros(self._began))
            self._cursor = began[0].place if began else ledger.journal.end
        since, self._cursor = self._cursor, ledger.journal.end
        if since == self._cursor:
            return
        for each in ledger.written(since):
            if isinstance(each, Outcome):
                if each.kind == "shown":
                    self._held.pop(each.decision_id, None)
            elif isinstance(each, Entry):
                self._decided(each, policy)

    def within(self, prices: Prices, at: datetime) -> Prices:
        """Prices as they stand, with what is left."""
        self._lapse(at)
        left = np.array(self._plan.limits) - self._used
        seats, stock = (tuple(name for name, rest in zip(names, rests, strict=True) if rest < 1) for names, rests in self._parts(left.tolist()))
        return replace(prices, closed=(seats, stock), left=float(left[0]) if np.isfinite(left[0]) else None)

    def knows(self, customer_id: str) -> bool:
        """Whether the list decided on a customer."""
        return self._known.find(customer_id) is not None

    def prices(self, prices: Prices, at: datetime, *, is_decided: bool) -> Prices:
        """Prices that follow what was used, with what is left; of whoever the list decided on, never below the list's."""
        now = self.within(prices, at)
        time = self._time(at)
        part = (len(self._asked) * STEPS // max(self._plan.customers, 1), int(time * STEPS))
        if self._paced is None or self._paced[0] != part:
            rest = pacing.rest(self._plan, len(self._asked), self._meant, time)
            found = pacing.paced(self._plan, self._used, rest)
            self._paced = (part, self._named(prices, found), self._named(prices, np.maximum(found, self._plan.prices)))
        _, moved, raised = self._paced
        return replace(raised if is_decided else moved, closed=now.closed, left=now.left)

    def _named(self, prices: Prices, values: Floats) -> Prices:
        seats, stock = (dict(zip(names, part, strict=True)) for names, part in self._parts(values.tolist()))
        return replace(prices, money=float(values[0]), seats=seats, stock=stock)

    def _parts(self, values: list[float]) -> tuple[tuple[list[str], list[float]], tuple[list[str], list[float]]]:
        """Seats and stock by name, of what is in the order of resources."""
        ends = 1 + len(self._seats)
        return (self._seats, values[1:ends]), (self._stock, values[ends:])

    def _time(self, at: datetime) -> float:
        """Share of the time that is over."""
        if self._began is None or self._ends is None or self._ends <= self._began:
            return 0.0
        return min(max((at - self._began) / (self._ends - self._began), 0.0), 1.0)

    def _decided(self, entry: Entry, policy: Policy) -> None:
        rested = _BASIS.decode(entry.basis) if entry.basis else _Basis()
        if rested.prices is None or rested.prices.run != self._run:
            return
        if not holds(msgspec.json.decode(entry.request, type=DecisionRequest), policy):
            return
        self._ask(entry.customer_id)
        held = hold(entry, policy)
        if held is None:
            return
        ours = [each for each in msgspec.json.decode(entry.answer, type=_Answer).offers if each.offer_id in self._only]
        if not ours:
            return
        channel = held.contact.channel
        money = self._cost.get(channel or "", 0.0) + max(each.accept_prob[0] * each.cost for each in ours)
        use = self._vector(Use(money, channel, tuple(each.offer_id for each in ours)))
        self._used += use
        self._held[entry.decision_id] = use
        heapq.heappush(self._lapses, (held.until, entry.decision_id))

    def _ask(self, customer_id: str) -> None:
        """A customer has come: what the plan means them to use is no longer to come."""
        is_planned = self._known.find(customer_id)
        if customer_id in self._asked or is_planned is False:
            return
        self._asked.add(customer_id)
        meant = self._known.meant.get(customer_id)
        if meant is not None:
            self._meant += self._vector(meant)
        elif is_planned is None:
            self._meant += np.array(self._plan.uses) / max(self._plan.customers, 1)

    def _vector(self, use: Use) -> Floats:
        return np.array([use.money, *(float(name == use.channel) for name in self._seats), *(float(name in use.offers) for name in self._stock)])

    def _lapse(self, at: datetime) -> None:
        """What nobody said was shown is free again."""
        while self._lapses and self._lapses[0][0] <= at:
            use = self._held.pop(heapq.heappop(self._lapses)[1], None)
            if use is not None:
                self._used -= use


def opened(folder: Path, prices: Prices, plan: Plan) -> Spending:
    """Of the list that lies in a folder."""
    import pyarrow.parquet as pq

    base = pq.read_table(folder / BASE, columns=["customer_id", "is_free", "is_held_out"])
    names = np.array([str(each).encode("utf-8", "surrogatepass") for each in base.column(0).to_pylist()], dtype=bytes)
    is_planned = base.column(1).to_numpy().astype(bool) & ~base.column(2).to_numpy().astype(bool)
    order = np.argsort(names)
    arms = pq.read_table(folder / ARMS, columns=["customer_id", "is_contacted", "offer_id", "channel", "cost"]).to_pylist()
    meant = {str(row["customer_id"]): Use(float(row["cost"]), str(row["channel"]), (str(row["offer_id"]),)) for row in arms if row["is_contacted"]}
    return Spending(prices, plan, Known(names[order], is_planned[order], meant))


_BASIS = msgspec.msgpack.Decoder(_Basis)
