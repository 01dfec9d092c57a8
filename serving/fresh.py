"""What came in since the rows were published: outcomes and facts that limits, consent and the funnel must know at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from retain.workspace import Workspace
from serving.decisions.facts import Contact, Customer, Owned
from serving.entries import CLOSING, Outcome
from serving.incoming import Fact
from serving.ledger import Ledger, reading, stamp
from serving.rows import Fed, open_rows
from serving.segments import START, Place


@dataclass
class _Since:
    contacts: list[Contact] = field(default_factory=list)
    accepted: set[str] = field(default_factory=set)
    unsubscribed: set[str] = field(default_factory=set)
    complaints: list[tuple[datetime, datetime | None]] = field(default_factory=list)
    """When each was made, and when it is closed, where that was said with it."""
    settled: list[datetime] = field(default_factory=list)
    """Moments up to which all complaints are settled: only a row of its own says so of others."""
    bought: dict[str, datetime] = field(default_factory=dict)
    """Product -> the last purchase of it that came in."""
    facts: int = 0
    facts_at: datetime | None = None
    """When the last fact came in."""


@dataclass(frozen=True)
class Hold:
    """A contact that was decided and of which nobody has said yet that it was made."""

    decision_id: str
    contact: Contact
    until: datetime


class Fresh:
    """Outcomes and held contacts by customer, in memory; filled from the ledger at start and by each decision and outcome after."""

    def __init__(self, outcomes: Iterable[Outcome] = (), facts: Iterable[Fact] = ()) -> None:
        self._since: dict[str, _Since] = {}
        self._holds: dict[str, list[Hold]] = {}
        self._waiting: dict[str, list[Outcome]] = {}
        """Outcomes whose decision nobody knows yet, by decision."""
        self.has_facts = False
        """Whether facts of anybody came in."""
        self._dirty: dict[str, None] = {}
        """Customers of whom facts came in that no row made since knows of."""
        for outcome in outcomes:
            self.add(outcome)
        for fact in facts:
            self.happened(fact)

    def happened(self, fact: Fact) -> None:
        """Take a fact in, as far as it needs neither history nor a model: what was bought, offers that were used, complaints."""
        since = self._since.setdefault(fact.customer_id, _Since())
        since.facts += 1
        self.has_facts = True
        self._dirty[fact.customer_id] = None
        received = datetime.fromisoformat(fact.received_at)
        since.facts_at = received if since.facts_at is None else max(since.facts_at, received)
        row, at = msgspec.json.decode(fact.row, type=_Row), datetime.fromisoformat(fact.occurred_at)
        if fact.table == "transactions":
            if row.kind in ("sale", "free") and row.quantity > 0:
                since.bought[row.product_id] = max(at, since.bought.get(row.product_id, at))
            if row.kind == "sale" and row.offer_id is not None:
                since.accepted.add(row.offer_id)
        elif row.kind == "complaint":
            since.complaints.append((at, None if row.resolved_at is None else datetime.fromisoformat(row.resolved_at)))
        elif row.kind == "complaint_resolved":
            since.settled.append(at)

    def facts(self, customer_id: str) -> tuple[int, datetime | None]:
        """How many facts of a customer came in, and when the last did."""
        since = self._since.get(customer_id)
        return (0, None) if since is None else (since.facts, since.facts_at)

    @property
    def facts_at(self) -> datetime | None:
        """When the last fact of anybody came in."""
        return max((since.facts_at for since in list(self._since.values()) if since.facts_at is not None), default=None)

    @property
    def waiting(self) -> int:
        """Customers whose rows are to be made again."""
        return len(self._dirty)

    def next(self, most: int) -> dict[str, int]:
        """Customers who have waited longest, and how many facts of each had come in; they wait no longer, unless another comes in."""
        chosen = list(self._dirty)[:most]
        for customer_id in chosen:
            self._dirty.pop(customer_id, None)
        return {customer_id: self.facts(customer_id)[0] for customer_id in chosen}

    def again(self, customers: Iterable[str] | None = None) -> None:
        """Rows of these customers, or of all of whom facts came in, are to be made again."""
        named = [customer_id for customer_id, since in list(self._since.items()) if since.facts] if customers is None else customers
        self._dirty.update(dict.fromkeys(named))

    def add(self, outcome: Outcome) -> None:
        """Take an outcome in. ``shown`` counts as a contact; leaving a channel closes it, an unknown channel closes all.

        It is its decision's customer's. Until the decision is known it is whoever's the caller names; who was named wrongly then has left the
        channel, or complained, as well.
        """
        if outcome.customer_id is None or outcome.is_pending:
            self._waiting.setdefault(outcome.decision_id, []).append(outcome)
        if outcome.customer_id is not None:
            self._take(outcome.customer_id, outcome)
        if outcome.named is not None and outcome.kind in CLOSING:
            self._take(outcome.named, outcome)

    def recall(self, outcome: Outcome) -> None:
        """An outcome that flowed back as whoever's the caller named: its decision may come yet, or came since and was about somebody else."""
        if outcome.is_pending:
            self._waiting.setdefault(outcome.decision_id, []).append(outcome)
        elif outcome.named is not None and outcome.kind in CLOSING:
            self.add(outcome)

    def _take(self, customer_id: str, outcome: Outcome) -> None:
        since = self._since.setdefault(customer_id, _Since())
        if outcome.kind == "shown":
            self.release(customer_id, outcome.decision_id)
        at = datetime.fromisoformat(outcome.occurred_at)
        if outcome.kind == "shown":
            since.contacts.append(_shown(outcome))
        elif outcome.kind in ("accepted", "purchased") and outcome.offer_id is not None:
            since.accepted.add(outcome.offer_id)
        elif outcome.kind == "unsubscribed":
            since.unsubscribed.add(outcome.channel or "*")
        elif outcome.kind == "complained":
            since.complaints.append((at, None))

    def join(self, decision_id: str, customer_id: str) -> None:
        """A decision became known: outcomes that waited for it are its customer's, and not whoever's a caller named."""
        for outcome in self._waiting.pop(decision_id, ()):
            if outcome.customer_id == customer_id:
                continue
            if outcome.customer_id is not None and outcome.kind == "shown":
                self._withdraw(outcome.customer_id, outcome)
            self.add(msgspec.structs.replace(outcome, customer_id=customer_id, named=outcome.customer_id, is_pending=False))

    def _withdraw(self, customer_id: str, outcome: Outcome) -> None:
        since = self._since.get(customer_id)
        shown = _shown(outcome)
        if since is not None and shown in since.contacts:
            since.contacts.remove(shown)

    def hold(self, customer_id: str, hold: Hold) -> None:
        """A contact was decided; those that have lapsed by then are forgotten."""
        holds = self._holds.get(customer_id, [])
        self._holds[customer_id] = [*(one for one in holds if one.until > hold.contact.at and one.decision_id != hold.decision_id), hold]

    def release(self, customer_id: str, decision_id: str) -> None:
        """What was held for a decision is no longer held: it was made, or nobody was answered."""
        if customer_id in self._holds:
            self._holds[customer_id] = [one for one in self._holds[customer_id] if one.decision_id != decision_id]

    def on(self, customer: Customer, at: datetime | None = None) -> Customer:
        """The customer with what came in since, and with the contacts that are held at a moment (all that are, where none is named)."""
        holds = self._holds.get(customer.customer_id)
        held = tuple(one.contact for one in holds if at is None or one.until > at) if holds else ()
        since = self._since.get(customer.customer_id)
        if since is None:
            return msgspec.structs.replace(customer, contacts=(*customer.contacts, *held)) if held else customer
        if since.bought:
            customer = msgspec.structs.replace(customer, owned=_owned(customer.owned, since.bought, at))
        return msgspec.structs.replace(
            customer,
            contacts=(*customer.contacts, *since.contacts, *held),
            accepted=customer.accepted | since.accepted,
            unsubscribed=customer.unsubscribed | since.unsubscribed,
            complaint_at=_open(customer.complaint_at, since, at),
        )


def _shown(outcome: Outcome) -> Contact:
    return Contact(datetime.fromisoformat(outcome.occurred_at), outcome.channel, outcome.offer_id)


class _Row(msgspec.Struct):
    """As much of a fact as is taken in at once."""

    kind: str
    product_id: str = ""
    quantity: float = 0.0
    offer_id: str | None = None
    resolved_at: str | None = None


def _open(before: datetime | None, since: _Since, at: datetime | None) -> datetime | None:
    """The last complaint that is open at a moment, each by itself as in the tables; without a moment, one that is ever closed is still open."""
    # Copies: another thread may be taking in what comes now.
    opened = [made for made, closed in list(since.complaints) if closed is None or at is None or closed >= at]
    settled = max((each for each in list(since.settled) if at is None or each <= at), default=None)
    complaints = [each for each in (before, *opened) if each is not None and (settled is None or each > settled)]
    return max(complaints, default=None)


def _owned(owned: Mapping[str, Owned], bought: Mapping[str, datetime], at: datetime | None) -> dict[str, Owned]:
    """What a customer owns with what was bought since. Orders are counted when the row is made again; here what is owned already stays as counted."""
    found = dict(owned)
    # A copy: another thread may be taking in what comes now.
    for item, last in list(bought.items()):
        if at is None or last <= at:
            days = 0 if at is None else (at - last).days
            known = owned.get(item)
            found[item] = Owned(1, days) if known is None else Owned(known.orders, min(known.last_days, days))
    return found


def read(workspace: Workspace) -> Fresh:
    """Outcomes of a workspace's ledger that its rows do not know, also while a service writes it; nothing where there is no ledger."""
    if not workspace.ledger.is_dir():
        return Fresh()
    card = open_rows(workspace).card
    return reading(workspace.ledger, lambda ledger: since(ledger, card.fed))


def since(ledger: Ledger, fed: Fed | None, end: Place | None = None) -> Fresh:
    """What did not flow back into the tables behind the rows; only what stands before a place of the log, where one is named."""
    start, until, at = (Place(*fed.since), Place(*fed.until), stamp(fed.at)) if fed is not None else (START, START, "")

    def is_new(place: Place, each: Outcome | Fact) -> bool:
        return (end is None or place < end) and not (place < until and flowed(each, at))

    fresh = Fresh()
    for place, outcome in ledger.placed(start):
        if is_new(place, outcome):
            fresh.add(outcome)
        elif end is None or place < end:
            fresh.recall(outcome)
    for place, fact in ledger.facts(start):
        if is_new(place, fact):
            fresh.happened(fact)
    return fresh


def flowed(outcome: Outcome | Fact, at: str) -> bool:
    """Whether something goes into the tables that are made at a moment: it happened and was known before, and its customer is known."""
    return outcome.customer_id is not None and outcome.occurred_at < at and outcome.received_at < at
