"""The short way to the answers that thousands a minute wait for: body in, bytes out, without the framework's machinery between.

The framework keeps the same routes, describes them and answers everything else; both ways call one function and answer alike to the byte.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from retain.errors import RetainError
from serving import problems
from serving.desk import Desk
from serving.guard import App, Receive, Scope, Send
from serving.strict import parse


class Raw(NamedTuple):
    """An answer as it is sent."""

    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


class Route(NamedTuple):
    """One POST: what its body is, and what answers it."""

    body: type[Any]
    answer: Callable[[Desk, Any], Awaitable[Raw]]


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
            raw = await route.answer(self._desk(), parse(body, route.body))
        except RetainError as error:
            status, raw = _told(problems.foreseen(error))
        except Exception as error:
            status, raw = _told(problems.unforeseen(error))
        headers = [(b"content-type", b"application/json"), *((name.encode(), value.encode()) for name, value in raw.headers)]
        headers.append((b"content-length", str(len(raw.body)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": raw.body, "more_body": False})


def _told(said: tuple[int, Any]) -> tuple[int, Raw]:
    return said[0], Raw(msgspec.json.encode(said[1]))
