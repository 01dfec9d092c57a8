"""Long answers made in slices, so that whoever asks for little is answered in between."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

T = TypeVar("T")
SLICE_S = 0.002
"""A slice ends with the first step that ends after so long: nobody else waits longer for it than that and one step."""
REST = 1.0
"""After a slice, all long answers together rest for this part of its time: they take half of a process at most, where others want the rest."""


class Pace:
    """What long answers of one process share: one slice at a time, in turn."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = asyncio.Lock()

    async def slices(self, steps: Iterable[T]) -> AsyncIterator[list[T]]:
        """What the steps give, slice by slice."""
        loop, following = asyncio.get_running_loop(), iter(steps)
        if loop is not self._loop:
            # A lock belongs to the loop that first waited for it.
            self._loop, self._lock = loop, asyncio.Lock()
        is_over = False
        while not is_over:
            found: list[T] = []
            async with self._lock:
                start = time.perf_counter()
                is_over = True
                for each in following:
                    found.append(each)
                    if time.perf_counter() - start >= SLICE_S:
                        is_over = False
                        await asyncio.sleep(REST * (time.perf_counter() - start))
                        break
            if found:
                yield found
