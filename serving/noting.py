"""Who is told of many customers at once is written down beside whoever answers; what comes meanwhile goes down together, with one sync."""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from serving import pull_log
from serving.pull_log import Pulled


class Noting:
    """Writes pulls of one workspace down in a thread."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._waiting: deque[tuple[Pulled, Future[None]]] = deque()
        self._thread = ThreadPoolExecutor(1, "pulls")

    async def note(self, entry: Pulled) -> None:
        """Return once it is on disk.

        Raises:
            NotReadyError: the disk refuses; nothing is handed over then.
            IntegrityError: the log was changed; nothing is either.
        """
        told: Future[None] = Future()
        self._waiting.append((entry, told))
        self._thread.submit(self._write)
        await asyncio.wrap_future(told)

    def close(self) -> None:
        """Write what waits and let go."""
        self._thread.shutdown()

    def _write(self) -> None:
        some = [self._waiting.popleft() for _ in range(min(len(self._waiting), pull_log.TOGETHER))]
        # Who went away meanwhile is handed nothing.
        asked = [(entry, told) for entry, told in some if told.set_running_or_notify_cancel()]
        if not asked:
            return
        try:
            pull_log.note_all(self._root, [entry for entry, _ in asked])
        except Exception as error:
            for _, told in asked:
                told.set_exception(error)
        else:
            for _, told in asked:
                told.set_result(None)
