"""The whole service in this process, over the simulated shop."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from retain.workspace import Workspace
from serving.desk import Desk
from serving.metrics import Metrics
from serving.runner import Health, whole

Call = Callable[..., httpx.Response]


@pytest.fixture(scope="session")
def desk(served: Workspace) -> Iterator[Desk]:
    """One desk, as one process has one."""
    desk = Desk.open(served)
    yield desk
    desk.close()


@pytest.fixture(scope="session")
def app(desk: Desk) -> Health:
    """What uvicorn serves."""
    return whole(desk, Metrics())


@pytest.fixture(scope="session")
def call(app: Health) -> Call:
    """One request: method, path, body (text, bytes, or anything that becomes JSON), headers."""

    def request(method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> httpx.Response:
        content = body if body is None or isinstance(body, (str, bytes)) else json.dumps(body)
        sent = {"content-type": "application/json"} if body is not None else {}

        async def send() -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
                return await client.request(method, path, content=content, headers={**sent, **(headers or {})})

        return asyncio.run(send())

    return request
