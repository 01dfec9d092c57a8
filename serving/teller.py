"""What one machine tells the others: the records of its own ledger, in order, and what its decisions share."""

from __future__ import annotations

import time
from collections.abc import Iterable
from itertools import islice

from retain.errors import RetainError
from serving import grounds
from serving.entries import Entry
from serving.ledger import DECISION, FACT, OUTCOME, Ledger, decoded, is_brought
from serving.resp import RedisError
from serving.segments import START, Place, Record
from serving.shared import GROUNDS_S, NOTHING, Span, Store, after, before

LONGEST = 5_000
"""Records that wait for others at most; what comes after waits in the ledger."""
AT_ONCE = 200
_KINDS = (DECISION, OUTCOME, FACT)


class Teller:
    """Keeps the stream of a machine. Any process on its ledger may add to it; one of them begins and cuts it."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._cursor = (NOTHING, START)
        """What was told last, and behind it where the next to tell may stand."""
        self._shared: dict[str, float] = {}
        """When decisions' grounds were laid down last."""

    def forget(self) -> None:
        """Redis may have lost what was laid down."""
        self._shared.clear()

    def span(self, store: Store, me: str, span: Span | None, needed: Place | None) -> Span:
        """My stream as others need it: begun anew where it was lost or lacks what one of them has not read, cut where all have.

        Args:
            store: Redis.
            me: this machine.
            span: what lies in the stream; None where Redis knows nothing of it.
            needed: the last record that all have that are heard; None where nobody is.
        """
        if span is None:
            return store.begin(me, before(self._ledger.journal.end) if needed is None else needed)
        if needed is not None and needed < span.after:
            return store.begin(me, needed)
        upto = span.sent if needed is None else min(needed, span.sent)
        if upto > span.after:
            store.trim(me, upto)
            return Span(upto, span.sent)
        return span

    def tell(self, store: Store, me: str, span: Span, most: int | None = None) -> tuple[bool, Place]:
        """Add what came into the log to the stream; whether all of it is there, and up to where. At most so many wait there, where that is said."""
        room = None if most is None else most - store.length(me)
        sent = span.sent
        while True:
            told, behind = self._cursor
            start = behind if told == sent else after(sent)
            end = self._ledger.journal.end
            records = list(islice((each for each in self._ledger.journal.records(_KINDS, start) if not is_brought(each)), AT_ONCE))
            if not records:
                self._cursor = (sent, max(start, end))
                return True, sent
            if room is not None and room < len(records):
                return False, sent
            self._share(store, records)
            if store.append(me, sent, records):
                sent = records[-1].place
                room = None if room is None else room - len(records)
                continue
            # Another process of this machine told some of it.
            _, now = store.look(me)
            if now is None:
                raise RedisError("Redis has lost what it was told")
            sent = now.sent

    def _share(self, store: Store, records: Iterable[Record]) -> None:
        """What decisions share is there before them."""
        now = time.monotonic()
        named = {entry.grounds for record in records if record.kind == DECISION and isinstance(entry := decoded(record.kind, record.body), Entry)}
        for digest in named - {""}:
            if now - self._shared.get(digest, -GROUNDS_S) > GROUNDS_S / 2:
                try:
                    contents = grounds.contents(self._ledger.folder, digest)
                except RetainError:
                    # It is missing here: the decision is told all the same.
                    continue
                store.put(contents)
                self._shared[digest] = now
