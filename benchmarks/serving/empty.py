"""The least that can be mounted in BentoML: what its server and an ASGI endpoint cost before anything is decided."""

from __future__ import annotations

import bentoml

from serving.guard import Receive, Scope, Send

BODY = b"{}"


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the body, answer two bytes."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(BODY)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY})


@bentoml.service(name="empty", workers=1, traffic={"timeout": 2}, logging={"access": {"enabled": False}})
@bentoml.asgi_app(app, path="/v1")
class Empty:
    """Nothing."""
