"""BentoML around the application, and nothing else: the same desk, the same guard, its own page and client."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from http import HTTPStatus
from typing import Any, TypeVar, cast

import bentoml
import msgspec
from bentoml.exceptions import BentoMLException

from retain.errors import RetainError
from retain.settings import Settings
from retain.workspace import Workspace
from serving import batches, problems, schemas
from serving.access import Access, holder
from serving.app import POSTS, application, direct
from serving.decisions.policy import policy
from serving.desk import Desk
from serving.freshening import Freshener
from serving.guard import App, Guard, Hosts, Receive, Scope, Send
from serving.keys import Key, Keyring
from serving.logs import in_lines
from serving.metrics import Metrics, forget
from serving.opening import Opener
from serving.runner import exchanging, send_whole, settle
from serving.strict import parse
from serving.swap import Swap
from serving.timed import Timed

# BentoML prints this one for every request with typed arguments; every other warning stays.
warnings.filterwarnings(
    "ignore", message=r"Accessing the 'model_(computed_)?fields' attribute on the instance is deprecated.*", category=DeprecationWarning
)

T = TypeVar("T")
TIMEOUT_S = 10
"""An answer that has not begun by then is BentoML's 504. For as long it keeps a timer of each request, finished ones too: 0.8 kB each, so its
default of a minute is 80 MB of nothing at 1,600 requests a second; in 2 s the list of a large shop, or the scores of thousands, are not made."""

_KEY: ContextVar[Key | None] = ContextVar("key", default=None)
_app = application()
_direct = direct(_app)


async def _v1(scope: Scope, receive: Receive, send: Send) -> None:
    """The application below ``/v1``: its paths are whole, so the prefix that a mount takes off is put back."""
    await _direct({**scope, "root_path": ""}, receive, send)


UNTRACED = ["/v1/"]
"""What BentoML makes no spans of: they take half as long as a decision even where nobody collects them. Whoever collects them says so;
``services.retain.tracing.excluded_urls`` of BentoML's configuration comes before this."""


# The timeout is the trap: a timer is kept for every request until it has passed. So are its metrics: whatever path anybody asks for, refused or
# not, becomes a label that is kept for good, names of customers and decisions among them. We tell the same figures as under uvicorn instead.
@bentoml.service(
    name="retain",
    workers=1,
    traffic={"timeout": TIMEOUT_S},
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},
    tracing={"excluded_urls": UNTRACED},
)
@bentoml.asgi_app(_v1, path="/v1")
class Retain:
    """Scores and decisions for BentoML's page and client; everything under ``/v1`` is the mounted application."""

    def __init__(self) -> None:
        in_lines("retain")
        workspace = Workspace.at(Settings.read().workspace)
        metrics, opener = Metrics(shared=True, drift=workspace.drift, several=True), Opener(workspace)
        self._desk = Desk.open(workspace, metrics.count, opener)
        _app.state.desk, _app.state.metrics = self._desk, metrics
        settle()
        self._swap = Swap(self._desk, opener, metrics.told).start()
        self._freshener = Freshener(self._desk, workspace, metrics.waiting).start()
        self._leave = exchanging(self._desk, metrics)

    async def __is_ready__(self) -> bool:
        """BentoML's /readyz asks the one readiness of every runner."""
        return self._desk.unready() is None

    @bentoml.api  # type: ignore[untyped-decorator]
    async def decisions(self, request: dict[str, Any]) -> dict[str, Any]:
        """What to offer a customer now; the request is that of /v1/decisions."""
        with _told():
            answer: dict[str, Any] = msgspec.json.decode(await self._desk.decide(_checked(request, schemas.DecisionRequest)))
        return answer

    @bentoml.api  # type: ignore[untyped-decorator]
    async def scores(self, request: dict[str, Any]) -> dict[str, Any]:
        """Churn, value, band and stage; the request is that of /v1/scores."""
        with _told():
            answer: dict[str, Any] = msgspec.json.decode(await batches.whole(self._desk, _checked(request, schemas.ScoresRequest), _KEY.get()))
        return answer

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    def close(self) -> None:
        """Write what waits."""
        self._swap.stop()
        self._freshener.stop()
        self._leave()
        self._desk.close()
        forget(os.getpid())


def _keyring() -> Keyring:
    return Keyring(Workspace.at(Settings.read().workspace).keys)


def _metrics() -> Metrics:
    return cast(Metrics, _app.state.metrics)


def _count(asked: str, answered: str) -> None:
    _metrics().count(asked, answered)


class Page:
    """ASGI middleware: ``/metrics``; and what opened a request, for methods that are not told of it."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand on."""
        if scope["type"] == "http" and (scope["method"], scope["path"]) == ("GET", "/metrics"):
            await send_whole(send, 200, *_metrics().page())
        else:
            if scope["type"] == "http":
                _KEY.set(holder(scope))
            await self.app(scope, receive, send)


# The decorator made a service of the class; the types do not know. What is added first sees a request first.
cast(Any, Retain).add_asgi_middleware(Timed, watch=_metrics)
cast(Any, Retain).add_asgi_middleware(Hosts, names=tuple(name.strip() for name in Settings.read().hosts.split(",") if name.strip()))
cast(Any, Retain).add_asgi_middleware(Access, open_keyring=_keyring, count=_count)
cast(Any, Retain).add_asgi_middleware(Guard, posts=(*POSTS, "/decisions", "/scores"), limit=policy().body_cap, count=_count)
cast(Any, Retain).add_asgi_middleware(Page)


def _checked(request: dict[str, Any], kind: type[T]) -> T:
    return parse(msgspec.json.encode(request), kind)


@contextmanager
def _told() -> Iterator[None]:
    """Errors as BentoML tells them, with the status that the same request has below /v1."""
    try:
        yield
    except RetainError as error:
        raise BentoMLException(error.message, error_code=HTTPStatus(problems.status(error))) from error
