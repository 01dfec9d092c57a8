"""Which machines of a shop are heard, by the clock of the process that listens: no two clocks are ever compared."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass

from serving.segments import Place
from serving.shared import NOTHING_READ, Machine, Read

HEARD_S = 2.0
"""Who has said nothing new for so long is not heard."""
FORGET_S = 600.0
"""Who was not heard for so long is no machine of the shop any more: callers cannot reach it either."""


@dataclass
class _Seen:
    beat: str
    at: float
    is_heard: bool
    has_left: bool = False


class Others:
    """All machines that are known, this one among them: another process may speak for it."""

    def __init__(self, known: Iterable[str], now: float) -> None:
        self._seen = {name: _Seen("", now, is_heard=False) for name in known}

    @property
    def known(self) -> list[str]:
        """Machines that have not left."""
        return sorted(name for name, seen in self._seen.items() if not seen.has_left)

    def see(self, machines: Mapping[str, Machine], now: float) -> None:
        """Take in what machines say of themselves. Who is seen for the first time is heard once it says something new."""
        for name, machine in machines.items():
            seen = self._seen.get(name)
            if seen is None:
                self._seen[name] = _Seen(machine.beat, now, is_heard=False, has_left=machine.has_left)
            elif seen.beat != machine.beat:
                # Also after a loss: what is said since was said to the Redis that is there now.
                self._seen[name] = _Seen(machine.beat, now, is_heard=bool(seen.beat), has_left=machine.has_left)
            else:
                seen.has_left = machine.has_left

    def lose(self) -> None:
        """Nobody is heard until it says something new."""
        for seen in self._seen.values():
            seen.is_heard = False

    def heard(self, now: float) -> list[str]:
        """Machines that said something new within ``HEARD_S``."""
        return [name for name, seen in self._seen.items() if seen.is_heard and now - seen.at <= HEARD_S and not seen.has_left]

    def unheard(self, now: float) -> list[str]:
        """Machines that are known, have not left, and are not heard."""
        heard = set(self.heard(now))
        return [name for name in self.known if name not in heard]

    def forget(self, now: float, but: Container[str]) -> list[str]:
        """Machines that are given up now, but for some; they are not known any more."""
        gone = [name for name, seen in self._seen.items() if name not in but and now - seen.at > FORGET_S]
        for name in gone:
            del self._seen[name]
        return gone


def needed(machines: Mapping[str, Machine], heard: Iterable[str], me: str) -> Place | None:
    """The last record of mine that all machines have that are heard; None where there is no other."""
    return min((machines[name].got.get(me, NOTHING_READ).last for name in heard if name != me and name in machines), default=None)


def missing(machines: Mapping[str, Machine], got: Mapping[str, Read], me: str) -> list[str]:
    """Machines that have told what does not stand in this one's ledger. Who has left told everything to all who were heard then."""
    return [name for name, machine in machines.items() if name != me and not machine.has_left and got.get(name, NOTHING_READ).last < machine.sent]
