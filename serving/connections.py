"""Connections that cost nothing while they do nothing: uvicorn's protocol with an end to every wait.

uvicorn waits for ever for a request line that never ends, keeps headers of any length, and keeps what a caller does not read. Here each of
them has a limit, and beyond so many connections the idle ones go. How long a request stands in line until somebody looks at it is
counted from here.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import time
from collections.abc import Callable
from fcntl import ioctl
from termios import FIONREAD
from typing import Any, cast

import msgspec
from httptools import HttpParserError
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from serving.guard import Arrival
from serving.schemas import ErrorBody, Problem

HEAD_S = 10.0
"""A request line and its headers that are not there by then are not waited for."""
KEEP_S = 75.0
"""A caller who was answered may ask again for so long: longer than the 60 s after which most balancers and pools let a connection go, so that
it is they who end it. Who is the first to end it may end it under a request that is on its way."""
TAKE_S = 30.0
"""A caller who takes nothing of an answer for so long is dropped."""
LINGER_S = 2.0
"""What a caller who was refused goes on sending is read for so long, and dropped: closed at once, the connection would be reset, and most
callers who send a large body would learn that and not why."""
HEAD_BYTES = 64 * 1024
LONG_HEAD = Problem("too_large", f"the headers are larger than {HEAD_BYTES} bytes")
CONNECTIONS = 2000
"""Open at once; one more costs an idle one its place, or is closed where none is idle."""
SPARE_FILES = 64


def room() -> int:
    """How many connections there is room for: as many files as the system lets this process open, less those of its own.

    Ask it once everything is open. As much is left again for what is opened beside it, because each array of the rows is a file.
    """
    own = 2 * len(os.listdir("/dev/fd")) + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS + own
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(min(CONNECTIONS, soft - own), 8)


class _Line:
    """A transport that asks before it ends."""

    def __init__(self, transport: asyncio.Transport, lingers: Callable[[], bool], untaken: Callable[[], None]) -> None:
        self._transport, self._lingers, self._untaken = transport, lingers, untaken
        self._is_over = False
        self.write = transport.write

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        """Whether nothing is answered any more."""
        return self._is_over or self._transport.is_closing()

    def close(self) -> None:
        """End it, now or when the caller has seen why."""
        if self._is_over or not self._lingers():
            self._transport.close()
            if self._transport.get_write_buffer_size():
                self._untaken()
        self._is_over = True


class Bounded(HttpToolsProtocol):
    """A connection of a caller."""

    head_s = HEAD_S
    keep_s = KEEP_S
    take_s = TAKE_S
    linger_s = LINGER_S
    most = CONNECTIONS

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.timeout_keep_alive = self.keep_s  # type: ignore[assignment]
        self._head_bytes = 0
        self._is_leaving = False
        """Whether the service stops: what was asked is answered, and then the connection ends."""
        self._is_head = True
        """Whether a request line or headers are awaited, or on their way."""
        self._is_refused = False
        self._deadline: asyncio.TimerHandle | None = None
        self._taking: asyncio.TimerHandle | None = None
        self._ending: asyncio.TimerHandle | None = None

    @property
    def is_idle(self) -> bool:
        """Whether no answer is on its way."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def _is_late_body(self) -> bool:
        """Whether what comes is the body of a request that was answered before it came: read and dropped, for a while."""
        return not self._is_head and self.is_idle

    def _is_asked(self) -> bool:
        """Whether bytes wait that were not read yet: closed now, the connection would be reset, and a request lost that nobody saw.

        It may have come after the loop last looked, which is a while ago where many are answered or this process stood still.
        """
        line = self.transport.get_extra_info("socket")
        # Who was refused or answered and goes on sending asks nothing, and holds no place.
        if self._is_refused or self._is_late_body or line is None or line.fileno() < 0:
            return False
        return int.from_bytes(ioctl(line.fileno(), FIONREAD, bytes(4)), sys.byteorder) > 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Make room, and wait for a request no longer than the limit."""
        if len(self.connections) >= self.most:
            others = [each for each in self.connections if isinstance(each, Bounded)]
            ending = next((each for each in others if each.transport.is_closing()), None)
            idle = next((each for each in others if each.is_idle and not each.transport.is_closing() and not each._is_asked()), None)
            if idle is not None or ending is None:
                (transport if idle is None else idle.transport).close()
            else:
                # It waits for a caller who takes nothing.
                ending.transport.abort()
        super().connection_made(cast(asyncio.Transport, _Line(transport, self._lingers, self._untaken)))
        self._wait(self.head_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._wait_no_more()
        for timer in (self._taking, self._ending):
            if timer is not None:
                timer.cancel()
        # Of a connection that was reset uvicorn keeps it, and with it all of this.
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what belongs to a request's head."""
        if self._is_refused:
            return
        if self._is_late_body:
            self._wait(self.linger_s)
        elif self._is_head:
            self._head_bytes += len(data)
            self._wait(self.head_s)
        super().data_received(data)
        if self._is_head and self._head_bytes > HEAD_BYTES:
            self._refuse(431, LONG_HEAD)
        if self._is_leaving and self.cycle is not None:
            # The last of those that came; nothing of it was answered yet.
            self.cycle.keep_alive = False
        if self.is_idle and self._head_bytes == 0 and self.timeout_keep_alive_task is None:
            # uvicorn starts it with an answer only, and whatever comes then ends it.
            self.timeout_keep_alive_task = self.loop.call_later(self.keep_s, self.timeout_keep_alive_handler)

    def on_message_begin(self) -> None:
        """A head begins, perhaps behind a request that came in the same piece."""
        self._head_bytes = max(self._head_bytes, 1)
        self._wait(self.head_s)
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is whole.

        Raises:
            HttpParserError: it is too long, and came in one piece; nothing of the request is looked at.
        """
        # What was counted may hold a body too; only then is it worth a look at each header.
        if self._head_bytes > HEAD_BYTES and len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > HEAD_BYTES:
            self._refuse(431, LONG_HEAD)
            raise HttpParserError(LONG_HEAD.message)
        self._is_head, self._head_bytes = False, 0
        self._wait_no_more()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is whole; the next bytes begin another."""
        self._is_head = True
        self._wait_no_more()
        arrival = cast(dict[str, Any], self.cycle.scope).get(Arrival.KEY)
        if arrival is not None:
            arrival.at, arrival.is_whole = time.monotonic(), True
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """From here on it stands in line; what waited for an answer of its own connection was not in it."""
        cast(dict[str, Any], cycle.scope)[Arrival.KEY] = Arrival(time.monotonic())
        super()._start_asgi_task(cycle, app)

    def pause_writing(self) -> None:
        """The caller does not keep up with reading."""
        self._taking = self.loop.call_later(self.take_s, self.transport.abort)
        super().pause_writing()

    def resume_writing(self) -> None:
        """The caller has read."""
        if self._taking is not None:
            self._taking.cancel()
            self._taking = None
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """Nothing was asked for long: end it, unless something is just being asked."""
        if self._is_asked():
            self.timeout_keep_alive_task = self.loop.call_later(self.keep_s, self.timeout_keep_alive_handler)
        else:
            super().timeout_keep_alive_handler()

    def shutdown(self) -> None:
        """The service stops: end it, or once what is asked on it was answered."""
        self._is_leaving = True
        if self._is_refused or not (self.is_idle and (self._head_bytes or self._is_asked())):
            super().shutdown()
            return
        self._wait_no_more()
        self._wait(self.linger_s)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn says what; so do we
        """What is no HTTP is told in the one shape too."""
        self._refuse(400, Problem("syntax", "this is not HTTP"))

    def _lingers(self) -> bool:
        """Read on for a moment, and drop it, where a body is still coming that was answered already; return whether."""
        if self._is_refused or self.cycle is None or not (self.cycle.response_complete and self.cycle.more_body):
            return False
        self._is_refused = True
        self.transport.write_eof()
        self.flow.resume_reading()
        self._taking = self.loop.call_later(self.linger_s, self.transport.abort)
        return True

    def _untaken(self) -> None:
        """An ended connection waits for its caller to take what is left; for a while."""
        self._ending = self.loop.call_later(self.take_s, self.transport.abort)

    def _wait(self, seconds: float) -> None:
        """What is on its way has to be here within that time; where something is waited for already, within what is left of that."""
        if self._deadline is None:
            self._deadline = self.loop.call_later(seconds, self._too_slow)

    def _wait_no_more(self) -> None:
        """It is here."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        if self._head_bytes == 0 and self._is_asked():
            self._wait(self.head_s)
        elif self._head_bytes == 0:
            # Nothing was asked, or what came belongs to what was answered. Nothing is said: what comes next would take it for its own answer.
            self.transport.close()
        elif not self.transport.is_closing():
            self._refuse(408, Problem("too_slow", f"no whole request was here within {self.head_s:g} s"))

    def _refuse(self, status: int, problem: Problem) -> None:
        if self._is_refused or self.transport.is_closing():
            return
        self._is_refused = True
        if self.cycle is not None and not self.is_idle and not self.cycle.more_body:
            # It stands behind a whole request that is being answered: that answer is the last.
            self.cycle.keep_alive = False
            return
        body = msgspec.json.encode(ErrorBody(problem))
        head = f"HTTP/1.1 {status} Refused\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        self.transport.write(head.encode() + body)
        # Closed at once, what the caller is still sending would reset the connection, and the refusal be lost: we read on for a moment, and drop it.
        self.transport.write_eof()
        self._taking = self.loop.call_later(self.linger_s if self._is_leaving else self.take_s, self.transport.abort)
