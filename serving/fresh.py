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
from serving.segments import Place


@dataclass
class _Since:
    contacts: list[Contact] = field(default_factory=list)
    accepted: set[str] = field(default_factory=set)
    unsubscribed: set[str] = field(default_factory=set)
    complaint_at: datetime | None = None


class Fresh:
    """Outcomes by customer, in memory; filled from the ledger at start and by each outcome after."""

    def __init__(self, outcomes: Iterable[Outcome] = ()) -> None:
        self._since: dict[str, _Since] = {}
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

    def on(self, customer: Customer) -> Customer:
        """The customer with what came in since."""
        since = self._since.get(customer.customer_id)
        if since is None:
            return customer
        complaints = [at for at in (customer.complaint_at, since.complaint_at) if at is not None]
        return replace(
            customer,
            contacts=(*customer.contacts, *since.contacts),
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


def since(ledger: Ledger, fed: Fed | None) -> Fresh:
    """Outcomes that did not flow back into the tables behind the rows."""
    if fed is None:
        return Fresh(outcome for _, outcome in ledger.placed())
    until, at = Place(*fed.until), stamp(fed.at)
    return Fresh(outcome for place, outcome in ledger.placed(Place(*fed.since)) if not (place < until and flowed(outcome, at)))


def flowed(outcome: Outcome, at: str) -> bool:
    """Whether an outcome goes into the tables that are made at a moment: it happened and was known before, and its customer is known."""
    return outcome.customer_id is not None and outcome.occurred_at < at and outcome.received_at < at
