"""What several machines of one shop tell each other through Redis: what stands in their ledgers, and whose turn it is with a customer.

Each machine answers from its own ledger, and acknowledges what is on its own disk. What came into it is told to the others, who write it down
by the idempotent ways that callers use: every ledger comes to hold everything, once. A contact that we start is weighed while no other machine
decides about the same customer, and after everything that was decided before was taken in. While Redis is away, or a machine that is known is
not heard, no such contact is proposed (limits fail closed); everything else goes on, and is told later from the ledgers.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import blake2b

from msgspec.structs import replace

from retain.errors import RetainError
from serving import others, remembered, teller
from serving.desk import Desk, TurnError
from serving.others import Others
from serving.remembered import Remembered
from serving.resp import Connection, RedisError
from serving.segments import Place
from serving.shared import NOTHING, NOTHING_READ, Machine, Span, Store
from serving.taker import Taker
from serving.teller import Teller

ROUND_S = 0.05
"""Pause between two rounds: about so late is known what others recorded."""
ANSWER_S, PATIENCE_S = 1.0, 0.2
"""How long Redis may take: beside whoever answers, and all in all before and after a decision. A turn that is not free is waited for half as long."""
TURN_MS = 10_000
"""A machine that dies with its turn loses it then; by then another process has told what it decided."""
APART_S, LONGEST_APART_S = 1.0, 30.0
"""After Redis failed a turn none is tried for so long, twice as long each time."""
AGAIN_S, KEEP_S, LEAVE_S = 0.25, 1.0, 1.0
LATE_S = 0.5
"""Who has not on record what others told so long ago is behind, and no turn is tried: whoever has to catch up would hold callers up."""
STRANGE = 3
FORGOTTEN = "Redis does not know this machine"
_LOG = logging.getLogger("retain.serving")


def _untold(_is_apart: bool, _unheard: int, _lag_s: float) -> None:
    """Nobody looks."""


class Exchange:
    """One process's part. Of the processes on one ledger one speaks and listens for all of them; each takes turns for itself.

    Args:
        desk: answers, and holds the ledger.
        url: where Redis is (``serving.resp``).
        tell: told after each round whether machines are apart, how many are not heard, and since when not all was told and heard, in seconds.
    """

    def __init__(self, desk: Desk, url: str, tell: Callable[[bool, int, float], None] = _untold) -> None:
        self.desk = desk
        self.is_apart = True
        self._tell = tell
        self._ledger = desk.ledger
        self._teller, self._taker = Teller(desk.ledger), Taker(desk)
        # A connection of its own for whoever answers; its lock is held for a whole turn.
        self._turns, self._rounds = Store(Connection(url)), Store(Connection(url), ANSWER_S)
        self._turning, self._seeing = threading.Lock(), threading.Lock()
        self._me, self._beat, self._gate = "", "", -1
        self._others = Others((), time.monotonic())
        self._sent, self._is_told, self._told = NOTHING, False, NOTHING_READ
        """The last record that was told, whether it was the last of all, and what is remembered of that."""
        self._said: object = None
        self._strange = 0
        """So often what stands under this machine's name was not what it had said."""
        self._needed: Place | None = None
        """The last record that all have that are heard."""
        self._kept, self._kept_at = Remembered(), 0.0
        self._before: tuple[float, Mapping[str, Machine]] | None = None
        self._late: list[str] = []
        self._whole_at, self._turns_at, self._pause_s = time.monotonic(), 0.0, APART_S
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="exchange", daemon=True)

    def start(self) -> Exchange:
        """Exchange from now on, in a thread of its own."""
        self.attach()
        self._thread.start()
        return self

    def attach(self) -> None:
        """The desk takes turns from now on."""
        self.desk.come_apart(is_apart=True)
        self.desk.turn = self.turn

    def stop(self) -> None:
        """Tell what waits, as far as Redis is there, say that this machine leaves, and exchange no more."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        with suppress(RetainError, OSError):
            if self._gate >= 0 and self._is_heard_out():
                self._rounds.say(self._me, Machine(_beat(), self._sent, self._taker.got, has_left=True))
        for each in (self._turns, self._rounds):
            each.connection.close()
        if self._gate >= 0:
            os.close(self._gate)
            self._gate = -1

    def _is_heard_out(self) -> bool:
        """Whether all that are heard have everything that stands here, within a while."""
        end = time.monotonic() + LEAVE_S
        while True:
            self.round()
            self._keep(always=True)
            if self._is_told and (self._needed is None or self._needed >= self._sent):
                return True
            if time.monotonic() > end:
                return False
            time.sleep(ROUND_S)

    @contextmanager
    def turn(self, customer_id: str) -> Iterator[Callable[[], bool]]:
        """No other machine decides about a contact with this customer within; what is given says whether that still holds.

        Raises:
            TurnError: that cannot be had now.
        """
        if self.is_apart or time.monotonic() < self._turns_at:
            raise TurnError("the other machines cannot be asked")
        name = blake2b(customer_id.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        token = os.urandom(8).hex()
        with self._turning:
            try:
                span = self._take(name, token)
            except RedisError as error:
                # What was taken runs out; nobody waits for who is not there.
                self._failed(error)
                raise TurnError(error.message) from error
            try:
                yield lambda: self._holds(name, token)
            finally:
                self._end(name, token, span)

    def _take(self, name: str, token: str) -> Span:
        """Take the turn, and whatever was recorded before it."""
        self._turns.until(PATIENCE_S)
        end = time.monotonic() + PATIENCE_S / 2
        while True:
            is_ours, machines, span = self._turns.take(name, token, TURN_MS, self._me)
            if is_ours:
                break
            if time.monotonic() > end:
                raise TurnError("another machine decides about this customer for too long")
            time.sleep(0.002)
        is_all = self._taker.take(self._turns, self._me, machines, until=end)
        self._see(machines)
        why = self._why_apart(machines, span, others.missing(machines, self._taker.got, self._me))
        if span is not None and why is None and is_all:
            return span
        if why is not None:
            self._come_apart(why)
        self._turns.free(name, token)
        raise TurnError(why or "other machines have recorded much lately")

    def _holds(self, name: str, token: str) -> bool:
        self._turns.until(PATIENCE_S)
        try:
            return not self.is_apart and self._turns.holds(name, token)
        except RedisError as error:
            self._failed(error)
            return False

    def _end(self, name: str, token: str, span: Span) -> None:
        """Tell what was decided, then let others decide."""
        self._turns.until(PATIENCE_S)
        try:
            self._teller.tell(self._turns, self._me, span)
            if not self._turns.free(name, token):
                _LOG.error("a turn with a customer ended before what was decided in it was told")
                self.desk.count("exchange", "turn_lost")
            self._pause_s = APART_S
        except RedisError as error:
            # What was decided stands. Others decide about this customer once the turn has run out, and hear of it before.
            self._failed(error)

    def round(self) -> None:
        """Tell and listen once.

        Raises:
            RedisError: Redis is not there.
        """
        start = time.monotonic()
        is_speaker = self._is_speaker()
        if not is_speaker and self.is_apart:
            # Whoever speaks for this machine says who it is, now and then anew.
            before = remembered.recall(self._ledger.folder)
            if before.name != self._me:
                self._take_up(before)
        if not self._me:
            return
        self.desk.listen()
        machines, span = self._look()
        if is_speaker:
            self._speak(machines, span, start)
            machines, span = self._look()
        else:
            self._others.forget(start, machines)
        if self._me in machines:
            self._taker.know(machines[self._me].got)
        self._judge(self._why_apart(machines, span, self._is_late(machines)))
        if not self.is_apart:
            self._whole_at = start

    def _speak(self, machines: Mapping[str, Machine], span: Span | None, start: float) -> None:
        mine = machines.get(self._me)
        self._strange = self._strange + 1 if mine is not None and self._beat and mine.beat != self._beat else 0
        if self._strange >= STRANGE:
            self._rename("another machine speaks under the name of this one (was the workspace copied?)")
            machines, span = self._look()
        self._needed = others.needed(machines, self._others.heard(time.monotonic()), self._me)
        span = self._teller.span(self._rounds, self._me, span, self._needed)
        self._is_told, self._sent = self._teller.tell(self._rounds, self._me, span, teller.LONGEST)
        self._taker.take(self._rounds, self._me, machines)
        got = self._taker.got
        if got != self._said:
            # Who hears that something stands here lets go of it: only when it is on disk.
            self._ledger.journal.sync()
        if self._is_told and time.monotonic() - start < others.HEARD_S:
            self._beat = _beat()
        self._rounds.say(self._me, Machine(self._beat, self._sent, got))
        self._said = got
        for name in self._others.forget(time.monotonic(), {self._me}):
            _LOG.error("machine %s was not heard for %d s and is not waited for any more", name, others.FORGET_S)
            self._rounds.forget(name)
        self._keep()

    def _look(self) -> tuple[Mapping[str, Machine], Span | None]:
        machines, span = self._rounds.look(self._me)
        self._see(machines)
        return machines, span

    def _see(self, machines: Mapping[str, Machine]) -> None:
        with self._seeing:
            self._others.see(machines, time.monotonic())

    def _is_late(self, machines: Mapping[str, Machine]) -> list[str]:
        """Machines that told something a while ago that does not stand here yet."""
        now = time.monotonic()
        at, before = self._before or (now - 2 * LATE_S, machines)
        if now - at > LATE_S or self._late:
            # Not more than they tell now: a stream that is begun anew ends earlier at first.
            told = {name: replace(each, sent=min(each.sent, before[name].sent)) for name, each in machines.items() if name in before}
            self._late = others.missing(told, self._taker.got, self._me)
        if now - at > LATE_S:
            self._before = (now, machines)
        return self._late

    def _why_apart(self, machines: Mapping[str, Machine], span: Span | None, behind: list[str]) -> str | None:
        """Why a contact cannot be weighed here; None where everything is known that was decided."""
        if span is None or self._me not in machines or machines[self._me].has_left:
            return FORGOTTEN
        unheard = self._others.unheard(time.monotonic())
        if unheard:
            return f"of {len(self._others.known)} machines {len(unheard)} are not heard"
        return f"{len(behind)} machines have told what is not on record here yet" if behind else None

    def _judge(self, why: str | None) -> None:
        if why is not None:
            self._come_apart(why)
        elif self.is_apart and time.monotonic() >= self._turns_at:
            with self._turning:
                # Connected before somebody waits for it, and quick enough for that.
                self._turns.connection.close()
                self._turns.until(PATIENCE_S)
                self._turns.look(self._me)
            self.is_apart = False
            self.desk.come_apart(is_apart=False)
            _LOG.warning("all machines are heard; contacts that we start are proposed")

    def _failed(self, error: RedisError) -> None:
        """A turn could not be had, or not ended: for a while none is tried, longer each time."""
        self._turns_at = time.monotonic() + self._pause_s
        self._pause_s = min(2 * self._pause_s, LONGEST_APART_S)
        self._come_apart(error.message)

    def _come_apart(self, why: str) -> None:
        if not self.is_apart:
            self.is_apart = True
            _LOG.error("contacts that we start are not proposed until the other machines are heard again: %s", why)
            self.desk.count("exchange", "apart")
            self.desk.come_apart(is_apart=True)

    def lose(self, why: str) -> None:
        """Redis was not there: who was heard before may have gone, and what was told may be lost."""
        with self._seeing:
            self._others.lose()
        self._teller.forget()
        self._before = None
        self._come_apart(why)

    def _run(self) -> None:
        while not self._stop.is_set():
            pause = ROUND_S
            try:
                self.round()
            except RedisError as error:
                self.lose(error.message)
                pause = AGAIN_S
            except Exception as error:
                _LOG.error("exchanging with other machines failed: %s", error.message if isinstance(error, RetainError) else type(error).__name__)
                self.lose(type(error).__name__)
                pause = 1.0
            now = time.monotonic()
            self._tell(self.is_apart, len(self._others.unheard(now)), now - self._whole_at)
            self._stop.wait(pause)

    def _is_speaker(self) -> bool:
        if self._gate < 0:
            handle = remembered.gate(self._ledger.folder)
            if handle is None:
                return False
            try:
                self._settle(remembered.recall(self._ledger.folder))
            except BaseException:
                os.close(handle)
                raise
            self._gate = handle
        return True

    def _settle(self, before: Remembered) -> None:
        """Speak for this machine under the name that it had, unless its log is not the one that others were told of."""
        if before.name:
            machines, _ = self._rounds.look(before.name)
            mine = machines.get(before.name)
            told = [before.told, self._rounds.last(before.name), *(each.got.get(before.name) for each in machines.values())]
            if all(remembered.stands(self._ledger, each) for each in told):
                self._take_up(before)
                self._taker.know({} if mine is None else mine.got)
            else:
                self._take_up(before)
                self._rename("the ledger is not the one that other machines were told of")
        if not self._me:
            self._me = os.urandom(8).hex()
            # Whoever remembers nobody looks around first.
            self._turns_at = time.monotonic() + others.HEARD_S
        self._keep(always=True)

    def _rename(self, why: str) -> None:
        """Tell everything again under a new name, and that nobody has the old one any more; who has it all the same says so."""
        _LOG.error("%s; all of it is told again, under a new name", why)
        was, self._me = self._me, os.urandom(8).hex()
        self._beat, self._strange, self._told = "", 0, NOTHING_READ
        self._keep(always=True)
        self._rounds.say(was, Machine(_beat(), NOTHING, {}, has_left=True))

    def _take_up(self, before: Remembered) -> None:
        self._me, self._told = before.name, before.told
        self._taker.know(before.got)
        with self._seeing:
            self._others = Others({*before.known, *self._others.known}, time.monotonic())

    def _keep(self, *, always: bool = False) -> None:
        now = time.monotonic()
        if not always and now - self._kept_at < KEEP_S:
            return
        if self._sent != self._told.last:
            self._told = remembered.read_up_to(self._ledger, self._sent) or self._told
        what = Remembered(self._me, self._told, self._taker.got, tuple(self._others.known))
        if always or what != self._kept:
            remembered.remember(self._ledger.folder, what)
        self._kept, self._kept_at = what, now


def _beat() -> str:
    return os.urandom(6).hex()
