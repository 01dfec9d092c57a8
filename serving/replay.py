"""A decision made again from its receipt: the same bytes, whatever rows, offers and rules are by now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from retain import __version__
from serving.basis import decided, unpacked
from serving.entries import Entry
from serving.grounds import Opened
from serving.schemas import DecisionRequest


@dataclass(frozen=True)
class Replayed:
    """What came of making a decision again."""

    decision_id: str
    answer: bytes
    """The answer made now; empty where it cannot be made."""
    is_equal: bool
    """Whether it is the answer that was given, byte for byte."""
    why: str | None
    """Why not, where it is not."""


def replay(entry: Entry, opened: Callable[[str], Opened]) -> Replayed:
    """Make a decision again. Pure, but for the grounds that ``opened`` fetches.

    Raises:
        IntegrityError: what it rested on is missing or was changed.
    """
    basis = unpacked(entry.basis)
    if basis is None or not entry.grounds:
        return Replayed(entry.decision_id, b"", False, "a release that kept too little decided it")
    rested = opened(entry.grounds)
    request = msgspec.json.decode(entry.request, type=DecisionRequest)
    answer, _, _ = decided(request, entry.decision_id, basis, rested.shop, rested.policy)
    made = msgspec.json.encode(answer)
    if made == entry.answer:
        return Replayed(entry.decision_id, made, True, None)
    return Replayed(entry.decision_id, made, False, _difference(entry.answer, made, rested.grounds.release))


def _difference(kept: bytes, made: bytes, release: str) -> str:
    before, now = msgspec.json.decode(kept), msgspec.json.decode(made)
    names = [name for name in dict.fromkeys([*before, *now]) if name not in before or name not in now or before[name] != now[name]]
    other = "" if release == __version__ else f"; release {release} decided it, this is {__version__}"
    return f"{', '.join(names) or 'the order of fields'} differ{other}"
