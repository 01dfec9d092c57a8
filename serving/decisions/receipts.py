"""What identifies a decision and a request: a request that has a name has the same id and the same hash, whoever computes them."""

from __future__ import annotations

import hashlib
import re
from datetime import datetime, timedelta

from serving.decisions.decide import Decision
from serving.decisions.facts import Shop

OURS = re.compile(r"d_[0-9a-f]{24}")
"""An id of a decision, as both functions make them."""


def one_id(chance: bytes) -> str:
    """Id of a decision whose request has none: nobody asks for it again under a name."""
    return f"d_{chance.hex()}"


def decision_id(request_id: str) -> str:
    """Id of the decision that answers a request."""
    return "d_" + hashlib.sha256(f"decision\n{request_id}".encode("utf-8", "surrogatepass")).hexdigest()[:24]


def fingerprint(canonical: bytes) -> str:
    """Hash of a request in its canonical form: defaults filled in, fields in order."""
    return hashlib.sha256(canonical).hexdigest()


def windows(decision: Decision, shop: Shop, at: datetime) -> dict[str, datetime]:
    """Until when outcomes count, by offer; ``*`` is any other."""
    mostly = later(at, shop.horizon_days)
    ends = {"*": mostly}
    for offered in decision.offers:
        offer = offered.worth.passed.offer
        ends[offer.offer_id] = mostly if offer.outcome_days is None else later(at, offer.outcome_days)
    return ends


def later(at: datetime, days: int) -> datetime:
    """``days`` after, or the end of the calendar."""
    try:
        return at + timedelta(days=days)
    except OverflowError:
        return datetime.max.replace(tzinfo=at.tzinfo)
