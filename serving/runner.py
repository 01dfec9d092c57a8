"""uvicorn around the application: health, readiness and metrics beside ``/v1``, on loopback only."""

from __future__ import annotations

import gc
import ipaddress
from typing import Any

import msgspec

from retain.errors import RefusedError
from retain.workspace import Workspace
from serving.app import application, guarded
from serving.desk import Desk
from serving.guard import App, Receive, Scope, Send
from serving.metrics import Metrics


class Health:
    """Answers ``/livez``, ``/readyz`` and ``/metrics``; everything else goes to the application."""

    def __init__(self, app: App, desk: Desk, metrics: Metrics) -> None:
        self.app = app
        self.desk = desk
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand on."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] != "http" or scope["method"] != "GET":
            await self.app(scope, receive, send)
        elif scope["path"] == "/livez":
            await _send(send, 200, msgspec.json.encode({"alive": True}))
        elif scope["path"] == "/readyz":
            reason = self.desk.unready()
            await _send(send, 200 if reason is None else 503, msgspec.json.encode({"ready": reason is None, "reason": reason}))
        elif scope["path"] == "/metrics":
            body, kind = self.metrics.page()
            await _send(send, 200, body, kind)
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


def loopback(host: str) -> str:
    """``host``, if only this machine can reach it.

    Raises:
        RefusedError: others could; there are no API keys yet.
    """
    try:
        is_local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_local = False
    if not is_local:
        raise RefusedError(
            f"--host {host}: without API keys the service listens on loopback only; use 127.0.0.1 and a proxy that authenticates", field="host"
        )
    return host


def whole(desk: Desk, metrics: Metrics) -> Health:
    """The application with its guard, health and metrics."""
    app = application()
    app.state.desk = desk
    return Health(guarded(app, desk.answers.policy.body_cap), desk, metrics)


def run(workspace: Workspace, host: str, port: int) -> None:
    """Serve until told to stop."""
    import uvicorn

    metrics = Metrics(drift=workspace.drift)
    desk = Desk.open(workspace, metrics.count)
    # What is loaded by now stays: the collector need not walk it again.
    gc.collect()
    gc.freeze()
    try:
        uvicorn.run(whole(desk, metrics), host=loopback(host), port=port, access_log=False, log_level="warning", server_header=False)
    finally:
        desk.close()


async def _send(send: Send, status: int, body: bytes, kind: str = "application/json") -> None:
    headers: list[tuple[bytes, Any]] = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
