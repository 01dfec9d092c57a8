"""The short way to the answers that thousands a minute wait for: body in, bytes out, without the framework's machinery between.

The framework keeps the same routes, describes them and answers everything else; both ways call one function and answer alike to the byte.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import msgspec

from serving import problems
from serving.access import GOES_ON, holder
from serving.desk import Desk
from serving.guard import App, Arrival, Receive, Scope, Send
from serving.keys import Key
from serving.strict import parameters, parse

LINES = "application/x-ndjson"
LONG = 2**17
"""Bytes of a body that takes milliseconds to read."""


class Raw(NamedTuple):
    """An answer as it is sent."""

    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


class Streamed(NamedTuple):
    """An answer that is sent while it is made."""

    pieces: AsyncIterator[bytes]
    lines: bool = False
    """Whether each line is a document of its own."""

    @property
    def kind(self) -> str:
        """Its media type."""
        return LINES if self.lines else "application/json"


class Caller(NamedTuple):
    """What is known of a request besides its body."""

    since: float
    """When it was whole, on the clock of ``time.monotonic``."""
    headers: Sequence[tuple[bytes, bytes]] = ()
    key: Key | None = None
    """What opened it; None where none was demanded."""

    @classmethod
    def of(cls, scope: Mapping[str, Any]) -> Caller:
        """Of an ASGI scope."""
        arrival = scope.get(Arrival.KEY)
        return cls(time.monotonic() if arrival is None else arrival.at, scope["headers"], holder(scope))

    @property
    def wants_lines(self) -> bool:
        """Whether each row of a long answer is to be a line of its own."""
        return any(name.lower() == b"accept" and LINES.encode() in value.lower() for name, value in self.headers)


class Route(NamedTuple):
    """One POST: what its body is, and what answers it."""

    body: type[Any]
    answer: Callable[[Desk, Any, Caller], Awaitable[Raw | Streamed]]


class Direct:
    """ASGI: answers the routes of its table itself, and hands on what is not in it."""

    def __init__(self, app: App, routes: Mapping[str, Route], desk: Callable[[], Desk]) -> None:
        self.app = app
        self._routes = routes
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand on."""
        route = self._routes.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if route is None:
            await self.app(scope, receive, send)
            return
        message = await receive()
        body: bytes = message.get("body", b"")
        while message.get("more_body", False):
            message = await receive()
            body += message.get("body", b"")
        if message["type"] != "http.request":
            # Whoever asked is gone.
            return
        status = 200
        try:
            parameters(scope.get("query_string", b""), ())
            # What is long enough to hold others up is read beside them.
            asked = parse(body, route.body) if len(body) < LONG else await asyncio.to_thread(parse, body, route.body)
            answer = await route.answer(self._desk(), asked, Caller.of(scope))
        except Exception as error:
            status, said = problems.of(error)
            answer = Raw(msgspec.json.encode(said))
        if isinstance(answer, Streamed):
            await _sent(answer, receive, send, scope.get(GOES_ON, _always))
            return
        headers = [(b"content-type", b"application/json"), *((name.encode(), value.encode()) for name, value in answer.headers)]
        headers.append((b"content-length", str(len(answer.body)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body, "more_body": False})


async def _sent(answer: Streamed, receive: Receive, send: Send, goes_on: Callable[[], bool]) -> None:
    """Send pieces as they are made, as long as somebody takes them and the key holds; who is cut off sees an answer without an end."""
    gone = asyncio.ensure_future(until_gone(receive))
    try:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", answer.kind.encode())]})
        async for piece in answer.pieces:
            if gone.done() or not goes_on():
                return
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    finally:
        gone.cancel()
        await cast(AsyncGenerator[bytes, None], answer.pieces).aclose()


def _always() -> bool:
    return True


async def until_gone(receive: Receive) -> None:
    """Wait until whoever asked has hung up; the body was read before, or there is none."""
    while (await receive())["type"] != "http.disconnect":
        pass
