"""A ledger of the first release (one SQLite file) taken over into the log, once."""

from __future__ import annotations

import sqlite3
from datetime import datetime

import msgspec

from serving.ledger import Entry, Ledger, Outcome

TAKEN = "ledger.db.taken"
_DECISION = "decision_id, body_hash, customer_id, at, request, answer, windows"


def take_over(ledger: Ledger) -> None:
    """Record what an older ledger holds; its file stays beside the log under another name. Interrupted, it is done again and doubles nothing.

    What those decisions rested on was kept in another form: they keep request, answer and outcomes, and cannot be made again.
    """
    place = ledger.folder / "ledger.db"
    old = sqlite3.connect(place)
    try:
        with ledger.journal.alone():
            for row in old.execute(f"select {_DECISION} from decisions order by at, decision_id").fetchall():
                entry = Entry(row[0], *row)
                ledger.record(entry, datetime.fromisoformat(entry.at))
            for row in old.execute(f"select {', '.join(Outcome.__struct_fields__)} from outcomes order by received_at, outcome_id").fetchall():
                ledger.add(msgspec.convert(row, Outcome, strict=False), b"")
        ledger.journal.sync()
    finally:
        old.close()
    place.rename(ledger.folder / TAKEN)
