"""As much of the protocol of Redis as is needed here: commands out, answers in, and one end to all waiting.

A connection belongs to one thread at a time, and is given up at the first error: an answer can never reach another question.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Sequence
from typing import Any, TypeAlias
from urllib.parse import unquote, urlsplit

from retain.errors import ConfigError, RetainError

Word: TypeAlias = bytes | str | int
LONGEST_LINE, LONGEST_ANSWER, DEEPEST = 64 * 1024, 512 * 2**20, 8
EXPECTED = "RETAIN_REDIS: redis[s]://[[user]:password@]host[:port][/database] or unix:///path is expected"


class RedisError(RetainError):
    """Redis is not there in time, or says no. No message names the address: a password may stand in it."""

    code = "redis"


class RefusedByRedis(RedisError):
    """Redis answered, and said no."""


class Connection:
    """One connection, made when it is first needed and made anew after an error.

    Args:
        url: ``redis://``, ``rediss://`` (TLS, the certificate verified) or ``unix://``.

    Raises:
        ConfigError: the address cannot be.
    """

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            port = parts.port or 6379
        except ValueError as error:
            raise ConfigError(EXPECTED, field="RETAIN_REDIS") from error
        is_unix = parts.scheme == "unix"
        if parts.scheme not in ("redis", "rediss", "unix") or not (parts.path if is_unix else parts.hostname) or parts.query or parts.fragment:
            raise ConfigError(EXPECTED, field="RETAIN_REDIS")
        database = "" if is_unix else parts.path.strip("/")
        if database and not (database.isascii() and database.isdecimal()):
            raise ConfigError("RETAIN_REDIS: the database behind the host is a number", field="RETAIN_REDIS")
        self._unix = parts.path if is_unix else ""
        self._host, self._port = parts.hostname or "", port
        self._tls = ssl.create_default_context() if parts.scheme == "rediss" else None
        who = [unquote(each) for each in (parts.username, parts.password) if each]
        self._first: list[list[Word]] = [["AUTH", *who]] if parts.password else []
        self._first += [["SELECT", database]] if database else []
        self._socket: socket.socket | None = None
        self._read = bytearray()
        self._end = 0.0

    def call(self, *words: Word, within_s: float) -> Any:
        """One command and its answer."""
        return self.calls([words], within_s=within_s)[0]

    def calls(self, commands: Sequence[Sequence[Word]], *, within_s: float) -> list[Any]:
        """Several commands at once and their answers, all within so many seconds, connecting included.

        Raises:
            RefusedByRedis: it says no to one of them; all are read.
            RedisError: it is not there, not in time, or what it says is no answer.
        """
        self._end = time.monotonic() + within_s
        try:
            if self._socket is None:
                self._connect()
            found = self._exchanged(commands)
        except RefusedByRedis:
            self.close()
            raise
        except (OSError, EOFError, ValueError) as error:
            self.close()
            raise RedisError(f"Redis does not answer ({type(error).__name__})") from error
        except BaseException:
            # Whoever is interrupted here leaves answers behind.
            self.close()
            raise
        refused = next((each for each in found if isinstance(each, RefusedByRedis)), None)
        if refused is not None:
            raise refused
        return found

    def close(self) -> None:
        """Let go; the next command connects again."""
        if self._socket is not None:
            self._socket.close()
        self._socket = None
        self._read.clear()

    def _connect(self) -> None:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) if self._unix else socket.create_connection((self._host, self._port), self._left())
        self._socket = made
        made.settimeout(self._left())
        if self._unix:
            made.connect(self._unix)
        else:
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is not None:
            self._socket = self._tls.wrap_socket(made, server_hostname=self._host)
        if self._first:
            for each in self._exchanged(self._first):
                if isinstance(each, RefusedByRedis):
                    raise each

    def _left(self) -> float:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def _exchanged(self, commands: Sequence[Sequence[Word]]) -> list[Any]:
        assert self._socket is not None  # noqa: S101 - connected before
        self._socket.settimeout(self._left())
        self._socket.sendall(b"".join(map(_encoded, commands)))
        return [self._answer(0) for _ in commands]

    def _more(self) -> None:
        assert self._socket is not None  # noqa: S101 - connected before
        # Anew for every piece: one that sends a byte now and then does not hold anybody up.
        self._socket.settimeout(self._left())
        piece = self._socket.recv(256 * 1024)
        if not piece:
            raise EOFError
        self._read += piece

    def _line(self) -> bytes:
        start = 0
        while (end := self._read.find(b"\r\n", start)) < 0:
            if len(self._read) > LONGEST_LINE:
                raise ValueError
            start = max(len(self._read) - 1, 0)
            self._more()
        line = bytes(self._read[:end])
        del self._read[: end + 2]
        return line

    def _bulk(self, size: int) -> bytes:
        if size > LONGEST_ANSWER:
            raise ValueError
        while len(self._read) < size + 2:
            self._more()
        found = bytes(self._read[:size])
        if self._read[size : size + 2] != b"\r\n":
            raise ValueError
        del self._read[: size + 2]
        return found

    def _answer(self, depth: int) -> Any:
        line = self._line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return rest
        if kind == b"-":
            # Its first word says what is wrong; what follows may repeat what was sent.
            return RefusedByRedis(f"Redis refuses ({rest.decode(errors='replace').partition(' ')[0][:40]})")
        size = int(rest)
        if kind == b":":
            return size
        if kind == b"$":
            return None if size < 0 else self._bulk(size)
        if kind == b"*" and depth < DEEPEST:
            return None if size < 0 else [self._answer(depth + 1) for _ in range(size)]
        raise ValueError


def _encoded(command: Sequence[Word]) -> bytes:
    words = [word if isinstance(word, bytes) else str(word).encode("utf-8", "surrogatepass") for word in command]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
