"""The requests in docs/api.md are accepted as they stand."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import httpx

PAGE = Path(__file__).resolve().parents[2] / "docs" / "api.md"


def test_every_request_of_the_page_is_answered(call: Callable[..., httpx.Response]) -> None:
    found = re.findall(r"`POST (/v1/[\w/]+)`\n+```json\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert {path for path, _ in found} == {"/v1/decisions", "/v1/decisions/batch", "/v1/scores", "/v1/recommendations", "/v1/outcomes", "/v1/events"}
    for path, body in found:
        answer = call("POST", path, json.loads(body))
        assert answer.status_code == 200, (path, answer.text)
