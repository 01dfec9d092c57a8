"""What a ledger of the first release (one SQLite file) holds; the ledger takes it over into its log, once."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec

from serving.entries import Entry, Outcome

TAKEN = "ledger.db.taken"
"""Its name once it was taken over."""
_DECISION = "decision_id, body_hash, customer_id, at, request, answer, windows"
# What is only worked out when it is read was never kept.
_OUTCOME = tuple(name for name in Outcome.__struct_fields__ if name not in ("named", "filler"))


def held(place: Path) -> tuple[list[Entry], list[Outcome]]:
    """Decisions in the order of their time, and what came of them.

    What those decisions rested on was kept in another form: they keep request, answer and outcomes, and cannot be made again.
    """
    with closing(sqlite3.connect(place)) as old:
        entries = [Entry(row[0], *row) for row in old.execute(f"select {_DECISION} from decisions order by at, decision_id")]
        columns = ", ".join(_OUTCOME)
        outcomes = [
            msgspec.convert(row, Outcome, strict=False) for row in old.execute(f"select {columns} from outcomes order by received_at, outcome_id")
        ]
    return entries, outcomes
