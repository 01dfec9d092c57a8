"""How long answers take, how long requests stood in line, and how many are on their way: of every request, whatever refused it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from serving.access import named
from serving.guard import App, Arrival, Message, Receive, Scope, Send

GONE = "gone"
"""The status of whoever went away before anything was answered."""


class Watch(Protocol):
    """Who is told."""

    def began(self, line_s: float | None) -> None:
        """A request is on its way; it stood in line for so long, where that is known."""

    def ended(self, asked: str, status: str, seconds: float) -> None:
        """A request was answered whole, so long after it was whole itself, or given up."""


class Timed:
    """ASGI middleware, before all others: refusals take time too."""

    def __init__(self, app: App, watch: Callable[[], Watch], tick: Callable[[], float] = time.monotonic) -> None:
        self.app = app
        self._watch = watch
        self._tick = tick

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on, and say how long it took."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        watch, now = self._watch(), self._tick()
        arrival = scope.get(Arrival.KEY) or Arrival(now)
        status = GONE

        async def told(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        watch.began(now - arrival.at if Arrival.KEY in scope else None)
        try:
            await self.app(scope, receive, told)
        finally:
            # A body that came slowly moved the moment: what the caller took is not counted as ours.
            watch.ended(named(scope["method"], scope["path"]), status, self._tick() - arrival.at)
