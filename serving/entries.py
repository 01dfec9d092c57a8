"""What the ledger keeps: a decision with its receipt, what came of it, and a request that contradicts one that was kept."""

from __future__ import annotations

import msgspec

CLOSING = frozenset({"unsubscribed", "complained"})
"""Kinds of outcomes after which somebody is not contacted, or not sold to."""


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """A decision as it is kept: its receipt."""

    decision_id: str
    key: str
    """What its request_id stands for; the decision_id itself, but where the same request_id was used more than a day before."""
    body_hash: str
    customer_id: str
    at: str
    request: bytes
    answer: bytes
    windows: str
    """JSON: offer id -> end of its outcome window; ``*`` is any other offer's."""
    basis: bytes = b""
    """What the decision rested on (``serving.basis``); empty where an older release decided."""
    grounds: str = ""
    """Hash of what it shared with others: shop, rules, columns (``serving.grounds``)."""


class Outcome(msgspec.Struct, frozen=True, array_like=True):
    """What came of a decision, as it is kept. Times are ISO 8601 in UTC."""

    outcome_id: str
    body_hash: str
    decision_id: str
    customer_id: str | None
    kind: str
    occurred_at: str
    offer_id: str | None
    channel: str | None
    amount: float | None
    currency: str | None
    received_at: str
    is_pending: bool = False
    is_late: bool = False
    named: str | None = None
    """Whom the caller named where the decision is another customer's; worked out when it is read, kept nowhere."""
    filler: bytes | None = None
    """Nothing, where the name of somebody erased stood: the record keeps its length."""


class Kept(msgspec.Struct, frozen=True):
    """What the ledger holds after a write."""

    entry: Outcome
    is_duplicate: bool
    is_conflict: bool
    is_of_another: bool = False
    """It names another customer than its decision's, and was not kept."""


class Conflict(msgspec.Struct, frozen=True, array_like=True):
    """A request that contradicts one that was kept."""

    kind: str
    identity: str
    body: bytes
    received_at: str
