"""Who may call what: one table of routes, asked before anything else looks at a request.

Without any key the service answers what comes to loopback, which is this machine only, whatever address it listens on. From the first key on
every route of the table demands one with a scope that the table names, and what the table does not name is denied. Whether the service is
alive and ready is told to all.
"""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from serving.guard import App, Receive, Scope, Send, refuse
from serving.keys import SCOPES, Key, Keyring
from serving.keys import Scope as Role
from serving.schemas import Problem

ALL = frozenset(SCOPES)
HEALTH = ("/livez", "/readyz", "/healthz")
OPEN = frozenset((method, path) for method in ("GET", "HEAD") for path in HEALTH)
"""What whoever balances load must reach; it says nothing of anybody."""
ROUTES: dict[tuple[str, str], frozenset[Role]] = {
    ("POST", "/v1/decisions"): frozenset({"crm", "admin"}),
    ("POST", "/v1/decisions/batch"): frozenset({"crm", "admin"}),
    ("POST", "/v1/scores"): frozenset({"crm", "marketer", "scientist", "admin"}),
    ("POST", "/v1/recommendations"): frozenset({"crm", "admin"}),
    ("POST", "/v1/outcomes"): frozenset({"crm", "admin"}),
    ("POST", "/v1/events"): frozenset({"crm", "admin"}),
    ("GET", "/v1/lists/churn"): frozenset({"marketer", "admin"}),
    ("GET", "/v1/decisions/{decision_id}"): frozenset({"crm", "scientist", "admin"}),
    ("GET", "/v1/openapi.json"): ALL,
    ("GET", "/metrics"): frozenset({"scientist", "admin"}),
    # BentoML's own.
    ("POST", "/decisions"): frozenset({"crm", "admin"}),
    ("POST", "/scores"): frozenset({"crm", "marketer", "scientist", "admin"}),
    ("GET", "/"): frozenset({"admin"}),
    ("GET", "/docs.json"): frozenset({"admin"}),
    ("GET", "/schema.json"): frozenset({"admin"}),
}
"""Every route of both runners, and the scopes that open it."""
HOLDER = "retain.key"
"""Where the key that opened a request stands in its ASGI scope."""
GOES_ON = "retain.goes_on"
"""Where a function stands that says whether a request that was let in may still be answered: a stream asks it."""
FAILURES_PER_MINUTE = 20
"""Unknown keys that one address may show before it is told to wait."""
ADDRESSES = 4096
"""Addresses that are remembered for it."""


def needed(method: str, path: str) -> frozenset[Role] | None:
    """Scopes that open a route, or None where the table does not name it. Paths are taken as they are: nothing is tidied up first."""
    exact = ROUTES.get((method, path))
    if exact is not None:
        return exact
    parts = path.split("/")
    return next((scopes for (verb, named), scopes in ROUTES.items() if verb == method and "{" in named and _fits(named.split("/"), parts)), None)


def named(method: str, path: str) -> str:
    """The path of the table that a request is for, or ``other``: no word of a caller becomes a label of a metric."""
    if (method, path) in ROUTES or (method, path) in OPEN:
        return path
    parts = path.split("/")
    return next((pattern for verb, pattern in ROUTES if verb == method and "{" in pattern and _fits(pattern.split("/"), parts)), "other")


@lru_cache(64)
def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def _is_here(scope: Scope) -> bool:
    """Whether a request came to an address that only this machine can reach; a socket in the file system has none.

    What a caller says of itself (Host, X-Forwarded-For) is no sign of it.
    """
    server = scope.get("server")
    return not server or server[1] is None or is_loopback(str(server[0]))


def _fits(named: list[str], parts: list[str]) -> bool:
    return len(named) == len(parts) and all(part == name or (name.startswith("{") and part != "") for name, part in zip(named, parts, strict=True))


@dataclass
class Bucket:
    """Requests that may still come: full at first, filled again steadily."""

    size: float
    per_second: float
    left: float
    at: float

    @classmethod
    def of(cls, per_minute: float, seconds: float, now: float) -> Bucket:
        """A full one that holds what comes in some seconds."""
        size = max(per_minute / 60 * seconds, 1.0)
        return cls(size, per_minute / 60, size, now)

    def take(self, now: float) -> float:
        """Take one; return 0, or the seconds until there is one."""
        self.left = min(self.size, self.left + (now - self.at) * self.per_second)
        self.at = now
        if self.left < 1.0:
            return (1.0 - self.left) / self.per_second
        self.left -= 1.0
        return 0.0


@dataclass(frozen=True)
class Refusal:
    """Why a request goes no further."""

    status: int
    problem: Problem
    wait_s: float = 0.0


def _uncounted(_asked: str, _answered: str) -> None:
    """Nobody counts."""


class Access:
    """ASGI middleware: the first to see a request after its host."""

    def __init__(
        self,
        app: App,
        open_keyring: Callable[[], Keyring],
        count: Callable[[str, str], None] = _uncounted,
        tick: Callable[[], float] = time.monotonic,
    ) -> None:
        self.app = app
        self._open = open_keyring
        self._count = count
        self._tick = tick
        self._keyring: Keyring | None = None
        self._buckets: dict[str, Bucket] = {}
        self._failures: OrderedDict[str, Bucket] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let in, or refuse."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        verdict = self.judged(scope)
        if isinstance(verdict, Refusal):
            self._count("refused", str(verdict.status))
            headers = [(b"www-authenticate", b"Bearer")] if verdict.status == 401 else []
            if verdict.wait_s:
                headers.append((b"retry-after", str(int(verdict.wait_s) + 1).encode()))
            await refuse(send, verdict.status, verdict.problem, headers)
            return
        keyring = self._keyring
        await self.app({**scope, HOLDER: verdict, GOES_ON: lambda: keyring is None or keyring.lets(verdict)}, receive, send)

    def judged(self, scope: Scope) -> Key | Refusal | None:
        """The key that opens the request, None where none is demanded, or why not."""
        if self._keyring is None:
            self._keyring = self._open()
        keyring = self._keyring
        keyring.refresh()
        method, path = scope["method"], scope["path"]
        if (method, path) in OPEN:
            return None
        if not keyring.is_closed:
            # Whatever runs us may listen elsewhere too: BentoML by itself does.
            return None if _is_here(scope) else Refusal(401, _NO_KEYS)
        if keyring.broken is not None:
            return Refusal(503, Problem("not_ready", "the keys of this service cannot be read; nobody is let in until they can"))
        key = keyring.find(_shown(scope))
        if key is None:
            return self._unknown(scope)
        wait_s = self._bucket(key).take(self._tick())
        if wait_s:
            return Refusal(429, Problem("too_often", f"this key may ask {key.per_minute} times a minute; wait and ask again"), wait_s)
        scopes = needed(method, path)
        if scopes is None:
            return Refusal(403, Problem("forbidden", "no route of that method and path is open to anybody"))
        if not scopes & set(key.scopes):
            return Refusal(403, Problem("forbidden", f"this key does not open it; one with the scope {' or '.join(sorted(scopes))} does"))
        return key

    def _bucket(self, key: Key) -> Bucket:
        found = self._buckets.get(key.key_id)
        if found is None:
            found = self._buckets[key.key_id] = Bucket.of(key.per_minute, 10, self._tick())
        return found

    def _unknown(self, scope: Scope) -> Refusal:
        """No key, or one that opens nothing. The same words for every kind, so that nobody learns which it was."""
        address = str((scope.get("client") or ("",))[0])
        bucket = self._failures.pop(address, None) or Bucket.of(FAILURES_PER_MINUTE, 60, self._tick())
        self._failures[address] = bucket
        while len(self._failures) > ADDRESSES:
            self._failures.popitem(last=False)
        wait_s = bucket.take(self._tick())
        if wait_s:
            return Refusal(429, Problem("too_often", "too many requests without a key that holds; wait and ask again"), wait_s)
        return Refusal(401, Problem("unauthorised", "send a key that holds as `Authorization: Bearer retain_...`", "authorization"))


_NO_KEYS = Problem("unauthorised", "without keys only this machine is answered, on loopback; make a key with `retain keys create`", "authorization")


def holder(scope: Mapping[str, Any]) -> Key | None:
    """The key that opened a request; None where none was demanded."""
    found = scope.get(HOLDER)
    return found if isinstance(found, Key) else None


def _shown(scope: Scope) -> bytes:
    """What the one Authorization header shows; two of them show nothing."""
    shown = [value for name, value in scope["headers"] if name.lower() == b"authorization"]
    if len(shown) != 1:
        return b""
    kind, _, value = bytes(shown[0]).partition(b" ")
    return value.strip() if kind.lower() == b"bearer" else b""
