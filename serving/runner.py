"""uvicorn around the application: health, readiness and metrics beside ``/v1``, behind the doors; on loopback only until there are keys."""

from __future__ import annotations

import gc
import os
import resource
import socket
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec

from retain.errors import RefusedError
from retain.settings import Settings
from retain.workspace import Workspace
from serving.access import Access, is_loopback
from serving.app import application, guarded
from serving.desk import Desk
from serving.freshening import Freshener
from serving.guard import App, Hosts, Receive, Scope, Send
from serving.keys import Keyring
from serving.logs import in_lines
from serving.metrics import Metrics, forget
from serving.opening import Opener
from serving.swap import Swap
from serving.timed import Timed

SWITCH_S = 0.0005


GRACE_S = 20
"""Told to stop, what was taken is still answered; whoever needs longer than so many seconds is cut off."""


class Health:
    """Answers ``/livez`` (also as ``/healthz``), ``/readyz`` and ``/metrics``; everything else goes to the application."""

    def __init__(self, app: App, desk: Desk, metrics: Metrics) -> None:
        self.app = app
        self.desk = desk
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand on."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            await self.app(scope, receive, send)
        elif scope["path"] in ("/livez", "/healthz"):
            await send_whole(send, 200, msgspec.json.encode({"alive": True}))
        elif scope["path"] == "/readyz":
            reason = self.desk.unready()
            await send_whole(
                send,
                200 if reason is None else 503,
                msgspec.json.encode({"ready": reason is None, "reason": reason, "degraded": self.desk.current.codes}),
            )
        elif scope["path"] == "/metrics":
            body, kind = self.metrics.page()
            await send_whole(send, 200, body, kind)
        else:
            await self.app(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            else:
                await send({"type": "lifespan.shutdown.complete"})
                return


def reachable(host: str, hosts: str, keyring: Keyring) -> tuple[str, ...]:
    """Names by which callers may reach a service on an address, if it may listen there.

    Raises:
        RefusedError: others than this machine could reach it, and no key holds or nobody said under which name.
    """
    names = tuple(dict.fromkeys(name.strip() for name in hosts.split(",") if name.strip()))
    if is_loopback(host):
        return (*names, _literal(host))
    if not keyring.has_any:
        raise RefusedError(
            f"--host {host}: without API keys the service listens on loopback only; make one with `retain keys create`, or use 127.0.0.1",
            field="host",
        )
    if host in _EVERYWHERE and not names:
        raise RefusedError(
            f"--host {host}: say in RETAIN_HOSTS under which names callers reach it; requests for other names are refused", field="host"
        )
    return names if host in _EVERYWHERE else (*names, _literal(host))


def whole(desk: Desk, metrics: Metrics) -> Health:
    """The application with its guard, health and metrics."""
    app = application()
    app.state.desk = desk
    return Health(guarded(app, desk.answers.policy.body_cap), desk, metrics)


def settle() -> None:
    """Once everything is loaded: it stays, so the collector need not walk it again, and what a request leaves is no garbage that hangs together."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    # What is opened beside must not hold up who answers: Python hands over between threads after so long.
    sys.setswitchinterval(SWITCH_S)
    # A process that breaks leaves no copy of its memory on the disk: customers and keys are in it.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def run(workspace: Workspace, host: str, port: int, hosts: str = "", workers: int = 1) -> int:
    """Serve until told to stop, with so many processes; return the exit code."""
    keyring = Keyring(workspace.keys)
    names = reachable(host, hosts, keyring)
    if url := Settings.read().redis.get_secret_value():
        from serving.resp import Connection

        # An address that cannot be is told before anything begins.
        Connection(url)
    in_lines()
    if workers == 1:
        _serve(workspace, host, port, names, keyring)
        return 0
    from serving.workers import bound, supervise

    line = bound(host, port)
    with tempfile.TemporaryDirectory() as folder:
        # Each process counts in files of its own there, and any of them tells what all counted.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        return supervise(lambda: _serve(workspace, host, port, names, keyring, line), workers, forget)


def _serve(workspace: Workspace, host: str, port: int, names: tuple[str, ...], keyring: Keyring, line: socket.socket | None = None) -> None:
    """Serve in this process until told to stop; on a socket that several share, where one is given."""
    import uvicorn

    from serving.connections import Bounded, room

    metrics, opener = Metrics(drift=workspace.drift, several=line is not None), Opener(workspace)
    desk = Desk.open(workspace, metrics.count, opener)
    settle()
    Bounded.most = room()
    swap, freshener = Swap(desk, opener, metrics.told).start(), Freshener(desk, workspace, metrics.waiting).start()
    leave = exchanging(desk, metrics)
    doors = Timed(Hosts(Access(whole(desk, metrics), lambda: keyring, metrics.count), names), lambda: metrics)
    try:
        config = uvicorn.Config(
            doors,
            host=host,
            port=port,
            http=Bounded,
            ws="none",
            access_log=False,
            log_config=None,
            log_level="warning",
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=GRACE_S,
        )
        # Told to stop, uvicorn says so once more when it has.
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=None if line is None else [line])
    finally:
        swap.stop()
        freshener.stop()
        leave()
        desk.close()


def exchanging(desk: Desk, metrics: Metrics) -> Callable[[], None]:
    """Tell other machines and hear them, where the deployment says through which Redis; return what ends that."""
    url = Settings.read().redis.get_secret_value()
    if not url:
        return lambda: None
    # Only here: whoever runs one machine loads nothing of it.
    from serving.exchange import Exchange

    return Exchange(desk, url, lambda *how: metrics.exchanged(desk.current, *how)).start().stop


_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - compared, not bound


def _literal(host: str) -> str:
    """An address as a Host header writes it."""
    return f"[{host}]" if ":" in host else host


async def send_whole(send: Send, status: int, body: bytes, kind: str = "application/json") -> None:
    """An answer in one piece."""
    headers: list[tuple[bytes, Any]] = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
