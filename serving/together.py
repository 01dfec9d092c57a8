"""Outcomes that come at once are written under one lock and wait for one sync: the disk says how long an acknowledgement takes, not how many."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from serving.entries import Kept, Outcome
from serving.ledger import Ledger

Waiting = tuple[Outcome, bytes, "asyncio.Future[Kept]"]


class Together:
    """Collects what one turn of an event loop brings."""

    def __init__(self, write: Callable[[Sequence[tuple[Outcome, bytes]]], list[Kept]], ledger: Ledger) -> None:
        self._write = write
        """Writes outcomes down, in order, all within one lock."""
        self._ledger = ledger
        self._loop: asyncio.AbstractEventLoop | None = None
        self._batch: list[Waiting] = []

    async def keep(self, outcome: Outcome, body: bytes) -> Kept:
        """Keep an outcome; it is on disk when this returns, and so is the one that it repeats.

        Raises:
            LedgerError: it cannot be written down.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Kept] = loop.create_future()
        if loop is not self._loop or not self._batch:
            self._loop, self._batch = loop, []
            loop.call_soon(self._down, loop, self._batch)
        self._batch.append((outcome, body, future))
        return await future

    def _down(self, loop: asyncio.AbstractEventLoop, batch: list[Waiting]) -> None:
        if self._batch is batch:
            self._batch = []
        try:
            kept = self._write([(outcome, body) for outcome, body, _ in batch])
            synced = self._ledger.journal.syncing(loop)
        except Exception as error:
            _fail(batch, error)
            return

        def told(done: asyncio.Future[None]) -> None:
            refused = done.exception()
            if refused is not None:
                _fail(batch, refused)
                return
            for (_, _, future), each in zip(batch, kept, strict=True):
                if not future.done():
                    future.set_result(each)

        synced.add_done_callback(told)


def _fail(batch: list[Waiting], error: BaseException) -> None:
    for _, _, future in batch:
        if not future.done():
            future.set_exception(error)
