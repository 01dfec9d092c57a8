"""What came in since the rows were published: outcomes that limits and consent must know at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

import msgspec

from retain.workspace import Workspace
from serving.decisions.facts import Contact, Customer
from serving.ledger import Ledger, Outcome, reading, stamp
from serving.rows import Fed, open_rows
from serving.segments import START, Place


@dataclass
class _Since:
    contacts: list[Contact] = field(default_factory=list)
    accepted: set[str] = field(default_factory=set)
    unsubscribed: set[str] = field(default_factory=set)
    complaint_at: datetime | None = None


@dataclass(frozen=True)
class Hold:
    """A contact that was decided and of which nobody has said yet that it was made."""

    decision_id: str
    contact: Contact
    until: datetime


class Fresh:
    """Outcomes and held contacts by customer, in memory; filled from the ledger at start and by each decision and outcome after."""

    def __init__(self, outcomes: Iterable[Outcome] = ()) -> None:
        self._since: dict[str, _Since] = {}
        self._holds: dict[str, list[Hold]] = {}
        self._waiting: dict[str, list[Outcome]] = {}
        """Outcomes whose customer nobody knows yet, by decision."""
        for outcome in outcomes:
            self.add(outcome)

    def add(self, outcome: Outcome) -> None:
        """Take an outcome in. ``shown`` counts as a contact; leaving a channel closes it, an unknown channel closes all."""
        if outcome.customer_id is None:
            self._waiting.setdefault(outcome.decision_id, []).append(outcome)
            return
        since = self._since.setdefault(outcome.customer_id, _Since())
        if outcome.kind == "shown":
            self.release(outcome.customer_id, outcome.decision_id)
        at = datetime.fromisoformat(outcome.occurred_at)
        if outcome.kind == "shown":
            since.contacts.append(Contact(at, outcome.channel, outcome.offer_id))
        elif outcome.kind in ("accepted", "purchased") and outcome.offer_id is not None:
            since.accepted.add(outcome.offer_id)
        elif outcome.kind == "unsubscribed":
            since.unsubscribed.add(outcome.channel or "*")
        elif outcome.kind == "complained":
            since.complaint_at = at if since.complaint_at is None else max(at, since.complaint_at)

    def join(self, decision_id: str, customer_id: str) -> None:
        """A decision became known: outcomes that waited for it are its customer's."""
        for outcome in self._waiting.pop(decision_id, ()):
            self.add(msgspec.structs.replace(outcome, customer_id=customer_id))

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
        held = tuple(one.contact for one in self._holds.get(customer.customer_id, ()) if at is None or one.until > at)
        since = self._since.get(customer.customer_id)
        if since is None:
            return replace(customer, contacts=(*customer.contacts, *held)) if held else customer
        complaints = [at for at in (customer.complaint_at, since.complaint_at) if at is not None]
        return replace(
            customer,
            contacts=(*customer.contacts, *since.contacts, *held),
            accepted=customer.accepted | since.accepted,
            unsubscribed=customer.unsubscribed | since.unsubscribed,
            complaint_at=max(complaints) if complaints else None,
        )


def read(workspace: Workspace) -> Fresh:
    """Outcomes of a workspace's ledger that its rows do not know, also while a service writes it; nothing where there is no ledger."""
    if not workspace.ledger.is_dir():
        return Fresh()
    card = open_rows(workspace).card
    return reading(workspace.ledger, lambda ledger: since(ledger, card.fed))


def since(ledger: Ledger, fed: Fed | None, end: Place | None = None) -> Fresh:
    """Outcomes that did not flow back into the tables behind the rows; only those before a place of the log, where one is named."""
    start, until, at = (Place(*fed.since), Place(*fed.until), stamp(fed.at)) if fed is not None else (START, START, "")
    placed = ledger.placed(start)
    return Fresh(each for place, each in placed if (end is None or place < end) and not (place < until and flowed(each, at)))


def flowed(outcome: Outcome, at: str) -> bool:
    """Whether an outcome goes into the tables that are made at a moment: it happened and was known before, and its customer is known."""
    return outcome.customer_id is not None and outcome.occurred_at < at and outcome.received_at < at
