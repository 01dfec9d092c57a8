"""What one machine takes from the others: their records, each in its turn, into its own ledger."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Mapping

from serving import grounds
from serving.desk import Desk
from serving.entries import Entry
from serving.ledger import decoded, mark
from serving.shared import NOTHING_READ, Machine, Read, Store, Told

_DIGEST = re.compile("[0-9a-f]{64}")
_LOG = logging.getLogger("retain.serving")


class Taker:
    """Reads the streams of other machines; two threads may do so at once, since what is taken twice is kept once."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._got: dict[str, Read] = {}
        self._mutex = threading.Lock()

    @property
    def got(self) -> dict[str, Read]:
        """How far each machine was read: everything up to there stands in the ledger."""
        with self._mutex:
            return dict(self._got)

    def know(self, got: Mapping[str, Read]) -> None:
        """So far somebody read on this ledger."""
        with self._mutex:
            self._got.update({name: max(each, self._got.get(name, NOTHING_READ)) for name, each in got.items()})

    def take(self, store: Store, me: str, machines: Mapping[str, Machine], until: float | None = None) -> bool:
        """Write down what others recorded; whether that is all there is by now. What does not follow is left until it is told again."""
        known = self.got
        got = {name: known.get(name, NOTHING_READ) for name in machines if name != me}
        while got:
            is_more = False
            for name, told in store.read({name: each.last for name, each in got.items()}).items():
                for each in told:
                    if each.after > got[name].last:
                        break
                    self._bring(each, store)
                    got[name], is_more = Read(each.place, mark(each.body)), True
            if not is_more:
                return True
            self.know(got)
            if until is not None and time.monotonic() > until:
                return False
        return True

    def _bring(self, told: Told, store: Store) -> None:
        try:
            each = decoded(told.kind, told.body)
        except ValueError:
            _LOG.error("another machine told what cannot be read here; is it of another release? It is left out")
            self._desk.count("exchange", "unreadable")
            return
        folder = self._desk.ledger.folder
        if isinstance(each, Entry) and _DIGEST.fullmatch(each.grounds) and not grounds.is_kept(folder, each.grounds):
            content = store.get([each.grounds]).get(each.grounds)
            if content is not None and grounds.put(folder, each.grounds, content):
                for digest, shared in store.get(grounds.named(content)).items():
                    grounds.put(folder, digest, shared)
        self._desk.bring(each)
