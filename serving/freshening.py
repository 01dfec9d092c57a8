"""A thread that makes rows again for customers of whom something came in, a moment after it did, beside whoever answers."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from retain.errors import NotReadyError, RetainError
from retain.workspace import Workspace
from serving.answers import Answers
from serving.desk import Desk
from serving.overlay import Made

if TYPE_CHECKING:
    from serving.refreshing import Refresher

BLOCK = 256
"""Customers whose rows are made at once."""
GATHER_S = 0.02
"""What comes in within so short a time is made together."""
LISTEN_S = 0.25
"""So often it listens to what other processes took in."""
REST = 0.5
"""After each round it rests for this part of the time that the round took: two thirds of a core at most."""
AGAIN_S = 5.0
"""After a failure it is tried again so much later."""
NOT_MADE = "rows_not_made"
"""The code of every answer while rows cannot be made again."""
_LOG = logging.getLogger("retain.serving")


def _untold(_: int) -> None:
    """Nobody looks."""


class Freshener:
    """Keeps the overlay of a desk up to date."""

    def __init__(self, desk: Desk, workspace: Workspace, tell: Callable[[int], None] = _untold) -> None:
        self.desk = desk
        self._workspace = workspace
        self._tell = tell
        """Is told how many customers wait."""
        self._wake, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="freshen", daemon=True)
        self._refresher: Refresher | None = None
        self._rules_of: object = None
        self._is_warm, self._why = False, ""

    def start(self) -> Freshener:
        """Work from now on, in a thread of its own."""
        self.desk.came_in = self._wake.set
        self._thread.start()
        return self

    def stop(self) -> None:
        """Work no more; waits for a round that is under way."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._refresher is not None:
            self._refresher.close()

    def round(self) -> int:
        """Make rows of the next customers again; return how many were made.

        Raises:
            NotReadyError: there are no tables here, or they are being replaced; who waits goes on waiting.
        """
        answers = self.desk.answers
        counts = answers.fresh.next(BLOCK)
        known = {customer_id: count for customer_id, count in counts.items() if answers.rows.get(customer_id) is not None}
        if not known:
            return 0
        try:
            self._make(answers, known)
        except BaseException:
            answers.fresh.again(known)
            raise
        return len(known)

    def _make(self, answers: Answers, counts: dict[str, int]) -> None:
        from serving.refreshing import just_after

        facts = {customer_id: self.desk.ledger.facts_of(customer_id) for customer_id in sorted(counts)}
        rows = self._ready(answers).made(answers.rows, answers.champions, facts, just_after(facts, answers.clock()))
        known_at = {customer_id: max(each.received for each in found) for customer_id, found in facts.items()}
        answers.overlay.put({each: Made(rows.row(place), counts[each], known_at[each]) for place, each in enumerate(facts)})

    def _ready(self, answers: Answers) -> Refresher:
        """What makes rows, by the rules of these answers."""
        from serving.decisions.value_parts import value_parts
        from serving.refreshing import Refresher, Rules
        from training import segments

        if self._refresher is None or self._rules_of is not answers.policy:
            if self._refresher is not None:
                self._refresher.close()
            self._refresher, self._rules_of = Refresher(self._workspace, Rules(segments.rules(), value_parts())), answers.policy
        return self._refresher

    def _run(self) -> None:
        again_at = -math.inf
        while not self._stop.is_set():
            try:
                # Also while rows cannot be made: limits and consent rest on what is heard.
                self.desk.listen()
                if time.monotonic() >= again_at:
                    self._work()
            except Exception as error:
                again_at = time.monotonic() + AGAIN_S
                self._failed(error)
            self._wake.wait(LISTEN_S)
            self._wake.clear()

    def _work(self) -> None:
        """What is due: the first time a row that nobody asked for, else those of who waits."""
        if not self._is_warm:
            self._warm()
        if self.desk.waiting:
            self._stop.wait(GATHER_S)
            self._wake.clear()
            start = time.monotonic()
            if self.round():
                self.desk.count("freshen", "round")
            self._stop.wait(REST * (time.monotonic() - start))
        self._why = ""
        self.desk.trouble(NOT_MADE, is_on=False)
        self._tell(self.desk.waiting)

    def _warm(self) -> None:
        """Imported, and its tables attached, before the first fact comes, which is answered for within a second."""
        if self._workspace.table("transactions").is_file():
            answers = self.desk.answers
            # Tables that are being replaced are no failure yet: nobody waits.
            with suppress(NotReadyError):
                self._ready(answers).warm(answers.rows, answers.champions, answers.clock())
        self._is_warm = True

    def _failed(self, error: Exception) -> None:
        """Who waits is answered by the published row and what came in; every answer says so, and the log does once."""
        self.desk.trouble(NOT_MADE, is_on=True)
        why = error.message if isinstance(error, RetainError) else type(error).__name__
        if why != self._why:
            self._why = why
            _LOG.error("rows are not made again for what came in: %s", why)
        with suppress(Exception):
            if self._refresher is not None:
                self._refresher.close()
            self.desk.count("freshen", "failed")
            self._tell(self.desk.waiting)
