"""Newer champions, rows, prices and rules, taken up while the service answers.

A thread looks at the pointers a few times a second. Where one is another, what is named now is opened beside what is in use, verified, warmed,
and taken up between two requests. What is refused changes nothing but that answers say so; it is tried again when a pointer or a manifest
changes, and else after pauses that grow.
"""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Callable

from retain.errors import IntegrityError, RetainError
from serving.answers import Answers
from serving.desk import Desk
from serving.opening import Opener, Stamps, SwapError

LOOK_S = 0.25
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 300.0
FELL = ("previous_rows", "_previous_model", "_model_refused")
"""How codes end that say that what is named was not opened."""
ERASED_UNKNOWN = "erased_unknown"
"""The code while it cannot be read who was erased: every answer is a 503 then."""
_LOG = logging.getLogger("retain.serving")


def _untold(_: Answers) -> None:
    """Nobody looks."""


class Swap:
    """Brings a desk what its workspace points to now."""

    def __init__(self, desk: Desk, opener: Opener, tell: Callable[[Answers], None] = _untold, tick: Callable[[], float] = time.monotonic) -> None:
        self.desk = desk
        self._opener = opener
        self._tell = tell
        self._tick = tick
        # Where the start took one of before, or none, what is named is tried again from now on: a disk may have failed for that moment only.
        is_named = not any(code.endswith(FELL) for code in desk.current.codes)
        self._seen: Stamps | None = opener.opened if is_named else None
        self._told: Stamps | None = None
        self._codes: tuple[str, ...] = ()
        self._pause_s, self._again_at = FIRST_PAUSE_S, 0.0
        self._buried = desk.buried
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="swap", daemon=True)

    def start(self) -> Swap:
        """Look from now on, in a thread of its own."""
        self._say()
        self._thread.start()
        return self

    def stop(self) -> None:
        """Look no more; waits for an opening that is under way."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def look(self) -> bool:
        """Look once; take up what is newer. Return whether anything was taken up."""
        is_known = self._knows_erased()
        if self.desk.current.codes != self._codes:
            # What fails elsewhere, or works again, is told here: this thread looks anyway.
            self._say()
        if not is_known:
            return False
        if self.desk.buried != self._buried:
            self._buried = self.desk.buried
            self._opener.forget()
        stamps = self._opener.stamps()
        is_new = stamps != self._seen
        if not is_new and not (self.desk.current.refused and self._tick() >= self._again_at):
            return False
        if is_new:
            self._pause_s = FIRST_PAUSE_S
        self._seen = stamps
        try:
            self.desk.take_up(self._opener.newest(self.desk.current))
        except SwapError as error:
            self._refused(stamps, error.part, error.message)
            return False
        except Exception as error:
            # Whatever it was, what answered before answers on, and answers say so.
            self._refused(stamps, "swap_refused", error.message if isinstance(error, RetainError) else type(error).__name__)
            return False
        self._opener.taken()
        self._told = None
        # What was opened stays: the collector need not walk it again.
        gc.collect()
        gc.freeze()
        self.desk.count("swap", "done")
        self._say()
        return True

    def _refused(self, stamps: Stamps, part: str, why: str) -> None:
        self.desk.refuse((part,))
        self._again_at = self._tick() + self._pause_s
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        self.desk.count("swap", "refused")
        self._say()
        if stamps != self._told:
            self._told = stamps
            _LOG.error("%s: what is named now is not taken up, what answered before answers on: %s", part, why)

    def _knows_erased(self) -> bool:
        """Look up who was erased though nobody asks; where that cannot be read nobody is answered, and the log says once why."""
        try:
            self.desk.answers  # noqa: B018 - looks
        except IntegrityError as error:
            if ERASED_UNKNOWN not in self.desk.current.codes:
                _LOG.error("nobody is answered: %s", error.message)
            self.desk.trouble(ERASED_UNKNOWN, is_on=True)
            return False
        self.desk.trouble(ERASED_UNKNOWN, is_on=False)
        return True

    def _say(self) -> None:
        answers = self.desk.current
        self._codes = answers.codes
        self._tell(answers)

    def _run(self) -> None:
        while not self._stop.wait(LOOK_S):
            try:
                self.look()
            except Exception as error:
                # Whatever it was, the service answers on; the next look tries again.
                _LOG.error("looking for newer answers failed: %s", type(error).__name__)
