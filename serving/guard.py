"""What is refused before anything is parsed: forged hosts, other content types than JSON, bodies that are too large or too slow."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, MutableMapping, Sequence
from contextlib import nullcontext
from typing import Any, TypeAlias

import msgspec

from serving.schemas import ErrorBody, Problem

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


BODY_S = 10.0
"""A body that is not there by then is not waited for."""
LINE_S = 0.2
"""A request that stood in line for so long since it was whole is sent away: whoever stands behind it would wait as long, and nobody be served."""
RETRY_S = 1
"""When to come back then."""
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


class Hosts:
    """ASGI middleware: a request for a name that is not ours is not answered, so that no page can point its own name at this service."""

    def __init__(self, app: App, names: Collection[str] = ()) -> None:
        self.app = app
        self.names = frozenset(name.lower().encode() for name in (*LOOPBACK, *names))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or hand on."""
        if scope["type"] == "http":
            asked = [value for name, value in scope["headers"] if name.lower() == b"host"]
            if len(asked) != 1 or _name(bytes(asked[0])) not in self.names:
                await refuse(
                    send, 400, Problem("host", "the Host header names another service; RETAIN_HOSTS lists further names of this one", "host")
                )
                return
        await self.app(scope, receive, send)


class Arrival:
    """When a request was whole, on the clock of ``time.monotonic``; whoever reads from the socket knows."""

    __slots__ = ("at", "is_whole")
    KEY = "retain.arrival"
    """Where it stands in an ASGI scope."""

    def __init__(self, at: float) -> None:
        self.at = at
        self.is_whole = False
        """Whether all of it is here, so that nobody waits for it."""


def _uncounted(_asked: str, _answered: str) -> None:
    """Nobody counts."""


class Guard:
    """ASGI middleware before every framework. It reads the whole body within its limit and hands it on as one piece.

    A request that had to stand in line for too long is sent away at little cost: under twice the load that can be borne, about as many are
    answered as under once, and none after everybody has given up.
    """

    def __init__(
        self,
        app: App,
        posts: Collection[str],
        limit: int,
        body_s: float = BODY_S,
        line_s: float = LINE_S,
        count: Callable[[str, str], None] = _uncounted,
    ) -> None:
        self.app = app
        self.line_s = line_s
        self.count = count
        self.posts = frozenset(posts)
        """Paths whose POST must be JSON even with an empty body."""
        self.limit = limit
        self.body_s = body_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or hand on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        lengths, kinds, encodings, is_chunked = _of_body(scope["headers"])
        has_body = is_chunked or any(length != b"0" for length in lengths)
        must_be_json = scope["method"] == "POST" and scope["path"] in self.posts
        if not has_body and not must_be_json:
            if not await self._is_too_late(scope, send):
                await self.app(scope, receive, send)
            return
        if lengths and not (len(set(lengths)) == 1 and lengths[0].isdigit()):
            await refuse(send, 400, Problem("syntax", "the Content-Length header is not a number"))
            return
        if len(kinds) != 1 or not _is_json(kinds[0]):
            await refuse(send, 415, Problem("media_type", "send the body as application/json in UTF-8", "content-type"))
            return
        if any(each.strip().lower() != b"identity" for each in encodings):
            await refuse(send, 415, Problem("media_type", "send the body without a content encoding", "content-encoding"))
            return
        if lengths and int(lengths[0]) > self.limit:
            await refuse(send, 413, self._too_large())
            return
        arrival = scope.get(Arrival.KEY)
        try:
            # A body that is here is not waited for, and a timer costs as much as reading it.
            async with nullcontext() if arrival is not None and arrival.is_whole else asyncio.timeout(self.body_s):
                body = await self._read(receive)
        except TimeoutError:
            await refuse(send, 408, Problem("too_slow", f"the body was not here within {self.body_s:g} s"))
            return
        if body is None:
            await refuse(send, 413, self._too_large())
            return
        if not body:
            await refuse(send, 400, Problem("syntax", "the body is empty; send a JSON object"))
            return
        if lengths and len(body) != int(lengths[0]):
            await refuse(send, 400, Problem("syntax", "the body is not as long as Content-Length says"))
            return
        if not await self._is_too_late(scope, send):
            await self.app(scope, _once(body, receive), send)

    async def _is_too_late(self, scope: Scope, send: Send) -> bool:
        """Send away who stood in line for too long; the connection stays, because making another costs us more."""
        arrival = scope.get(Arrival.KEY)
        if arrival is None or time.monotonic() - arrival.at <= self.line_s:
            return False
        self.count("refused", "503")
        wait = [(b"retry-after", str(RETRY_S).encode())]
        await refuse(send, 503, Problem("too_busy", "more requests come in than can be answered; wait and ask again"), wait, is_over=False)
        return True

    async def _read(self, receive: Receive) -> bytes | None:
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return b"".join(parts)
            part: bytes = message.get("body", b"")
            size += len(part)
            if size > self.limit:
                return None
            parts.append(part)
            if not message.get("more_body", False):
                return b"".join(parts)

    def _too_large(self) -> Problem:
        return Problem("too_large", f"the body is larger than {self.limit} bytes; split the request")


async def refuse(send: Send, status: int, problem: Problem, more: Sequence[tuple[bytes, bytes]] = (), *, is_over: bool = True) -> None:
    """Answer with the one error shape and, where it ``is_over``, close the connection: whatever follows on it is not read."""
    body = msgspec.json.encode(ErrorBody(problem))
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *more]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, (b"connection", b"close")] if is_over else headers})
    await send({"type": "http.response.body", "body": body})


def _of_body(headers: Iterable[tuple[bytes, bytes]]) -> tuple[list[bytes], list[bytes], list[bytes], bool]:
    """What headers say of a body: lengths, content types, encodings, and whether it comes in pieces."""
    lengths: list[bytes] = []
    kinds: list[bytes] = []
    encodings: list[bytes] = []
    is_chunked = False
    for name, value in headers:
        match name.lower():
            case b"content-length":
                lengths.append(value)
            case b"content-type":
                kinds.append(value)
            case b"content-encoding":
                encodings.append(value)
            case b"transfer-encoding":
                is_chunked = True
    return lengths, kinds, encodings, is_chunked


def _once(body: bytes, receive: Receive) -> Receive:
    """A receive that gives the body first and then whatever comes."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def given() -> Message:
        return waiting.pop() if waiting else await receive()

    return given


def _name(host: bytes) -> bytes:
    """A Host header without its port.

    >>> _name(b"[::1]:3000"), _name(b"Crm.example:80"), _name(b"a:b:80")
    (b'[::1]', b'crm.example', b'a:b')
    """
    name, colon, port = host.lower().rpartition(b":")
    return name if colon and port.isdigit() else host.lower()


def _is_json(value: bytes) -> bool:
    kind, _, parameters = value.partition(b";")
    charset = parameters.strip().lower()
    return kind.strip().lower() == b"application/json" and charset in (b"", b"charset=utf-8", b'charset="utf-8"')
