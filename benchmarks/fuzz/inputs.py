"""Requests bent at random: bodies, ids, headers, methods and paths. Each follows from a seed and its number alone."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_from_bytes, unquote

MARK = "zQxFuzz"
"""Stands in every name that is sent, and may stand nowhere afterwards."""
WHEN = "2026-01-01T00:00:00Z"
SEEDS: dict[str, dict[str, Any]] = {
    "/v1/decisions": {
        "customer_id": "C00000001",
        "request_id": "r",
        "goal": "best",
        "channel": "email",
        "placement": "inbound_end",
        "context": {"intent": "cancel", "device": "web"},
        "max_offers": 3,
        "exclude": ["product:a"],
        "budget_ms": 1000,
        "dry_run": False,
        "explain": True,
        "language": "zh",
        "as_of": WHEN,
        "personalised": True,
    },
    "/v1/decisions/batch": {
        "requests": [{"customer_id": "C00000001", "goal": "best", "max_offers": 3}, {"customer_id": "C00000002"}],
        "budget_ms": 5000,
    },
    "/v1/scores": {"customer_ids": ["C00000001", "C00000002"]},
    "/v1/recommendations": {"customer_id": "C00000001", "purpose": "new", "k": 5, "budget_ms": 1000},
    "/v1/outcomes": {
        "outcome_id": "o",
        "decision_id": "d",
        "type": "shown",
        "occurred_at": WHEN,
        "customer_id": "C00000001",
        "offer_id": "x",
        "channel": "email",
        "amount": 1.5,
        "currency": "EUR",
    },
    "/v1/events": {
        "events": [{"event_id": "e", "customer_id": "C00000001", "occurred_at": WHEN, "kind": "complaint", "resolved_at": WHEN}],
        "transactions": [
            {
                "order_id": "b",
                "line_id": "1",
                "customer_id": "C00000001",
                "product_id": "p",
                "occurred_at": WHEN,
                "kind": "sale",
                "quantity": 2,
                "amount": 12.5,
            }
        ],
    },
}
ODD_TEXTS = (
    "",
    " ",
    "\x00",
    "\n",
    "\r\nx: y",
    "\x1b[31m",
    "\u202e",
    "é",
    "e\u0301",
    "Ａ",
    "😀",
    "\ud83d",
    "\ufeff",
    "a" * 256,
    "a" * 257,
    "a" * 5000,
    "../../etc/passwd",
    "{{7*7}}",
    "%s%n",
    "' or 1=1 --",
    "<script>",
    "=1+1",
    "null",
    "-1",
    "1e309",
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:60Z",
    "2024-02-30T00:00:00Z",
    "2026-01-01",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
)
ODD_VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    10**9,
    10**30,
    -(2**63),
    2**64,
    0.1,
    -0.0,
    1e308,
    1e-320,
    [],
    {},
    [[]],
    [None],
    {"a": {"b": {}}},
    [1, "x", None],
    *ODD_TEXTS,
)
ODD_JSON = (
    "NaN",
    "Infinity",
    "-Infinity",
    "1e999",
    "01",
    "+1",
    ".5",
    "1.",
    "0x10",
    "'a'",
    "\\u0000",
    "9" * 5000,
    "[" * 3000,
    '{"a":' * 500,
    '"\\ud800"',
    "tru",
    "/**/1",
)
ODD_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"content-type", b"text/plain"),
    (b"content-type", b"application/json; charset=latin-1"),
    (b"content-type", b"application/vnd.bentoml+pickle"),
    (b"content-type", b""),
    (b"content-type", b"APPLICATION/JSON"),
    (b"content-type", b"application/json;"),
    (b"content-encoding", b"gzip"),
    (b"content-length", b"0"),
    (b"content-length", b"-1"),
    (b"content-length", b"99999999999999999999"),
    (b"content-length", b"1_0"),
    (b"content-length", "٣".encode()),
    (b"transfer-encoding", b"chunked"),
    (b"transfer-encoding", b"gzip, chunked"),
    (b"host", b""),
    (b"host", b"evil.example"),
    (b"host", b"127.0.0.1:x"),
    (b"host", b"[::1"),
    (b"authorization", b"Bearer "),
    (b"authorization", b"Basic x"),
    (b"authorization", b"Bearer \xff\xfe"),
    (b"authorization", b"bearer retain_" + b"a" * 5000),
    (b"expect", b"100-continue"),
    (b"accept", b"*/*;q=nan"),
    (b"accept", b"\xff"),
    (b"cookie", b"a" * 9000),
    (b"x-forwarded-for", b"1\r\n2"),
    (b"range", b"bytes=0-"),
    (b"origin", b"null"),
    (b"upgrade", b"websocket"),
    (b"connection", b"upgrade"),
    (b"traceparent", b"00-zz"),
    (b"x", b""),
    (b"\xff", b"\xff"),
    (b"content-type", b"\x00"),
)
METHODS = ("POST", "POST", "POST", "POST", "GET", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "BREW", "post")


@dataclass(frozen=True)
class Input:
    """One request as it would be handed on."""

    method: str
    raw_path: bytes
    query: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes
    pieces: int

    @property
    def path(self) -> str:
        """The path as a framework sees it."""
        return unquote(self.raw_path.decode("ascii", "replace"))


def marked(rng: random.Random, text: str) -> str:
    """A name with the mark in it, somewhere."""
    at = rng.randrange(len(text) + 1)
    return text[:at] + MARK + text[at:]


def name(rng: random.Random) -> str:
    """A customer's or a decision's name, known or odd."""
    return f"C{rng.randrange(1, 400):08d}" if rng.random() < 0.3 else marked(rng, rng.choice(ODD_TEXTS))


def bent(rng: random.Random, value: Any) -> Any:
    """A value with one or more of its parts changed."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        changed = dict(value)
        key = rng.choice(list(changed))
        kind = rng.random()
        if kind < 0.15:
            del changed[key]
        elif kind < 0.25:
            changed[rng.choice(("customer", "Customer_id", "", "__proto__", "a" * 300, "\x1b"))] = rng.choice(ODD_VALUES)
        elif key.endswith("_id") and kind < 0.7:
            changed[key] = name(rng)
        else:
            changed[key] = bent(rng, changed[key])
        return changed
    if isinstance(value, list) and value and rng.random() < 0.6:
        changed_list = [*value, *([name(rng)] * rng.choice((0, 1, 1, 1, 50)))]
        changed_list[rng.randrange(len(changed_list))] = name(rng) if rng.random() < 0.5 else rng.choice(ODD_VALUES)
        return changed_list
    odd = rng.choice(ODD_VALUES)
    return marked(rng, odd) if isinstance(odd, str) and rng.random() < 0.5 else odd


def written(rng: random.Random, value: Any) -> bytes:
    """JSON as somebody might write it, sometimes wrongly."""
    text = json.dumps(value, ensure_ascii=rng.random() < 0.5)
    kind = rng.random()
    if kind < 0.08:
        text = text.replace(":", ": " + rng.choice(ODD_JSON) + rng.choice(("", ",")), 1)
    elif kind < 0.12:
        text = text[:-1] + ', "customer_id": "twice", "customer_id": "twice"}'
    body = text.encode("utf-8", "surrogatepass")
    if kind > 0.9:
        data = bytearray(body)
        for _ in range(rng.randrange(1, 6)):
            at = rng.randrange(len(data) + 1)
            change = rng.random()
            if change < 0.4 and data:
                data[at % len(data)] = rng.randrange(256)
            elif change < 0.7:
                data[at:at] = bytes([rng.randrange(256)])
            else:
                del data[at:]
        body = bytes(data)
    return body if rng.random() < 0.97 else body + rng.choice((b"", b" ", b"\n{}", b"\x00", b"x" * 100_000))


def _own(value: Any, mark: str) -> Any:
    """A copy in which what must be one of a kind is."""
    if isinstance(value, dict):
        once = ("request_id", "outcome_id", "decision_id", "event_id", "order_id")
        return {name: mark if name in once else _own(part, mark) for name, part in value.items()}
    return [_own(part, mark) for part in value] if isinstance(value, list) else value


def made(seed: int, number: int, key: str = "") -> Input:
    """The input of a number."""
    rng = random.Random(f"{seed}-{number}")
    route = rng.choice(list(SEEDS))
    asked: Any = _own(SEEDS[route], f"{MARK}{seed}-{number}-{rng.random():.3f}")
    for _ in range(rng.choice((0, 1, 1, 1, 2, 4))):
        asked = bent(rng, asked)
    body, path, query = written(rng, asked), route.encode(), b""
    method = "POST" if rng.random() < 0.85 else rng.choice(METHODS)
    if rng.random() < 0.15:
        method = "GET" if rng.random() < 0.8 else method
        odd = quote_from_bytes(name(rng).encode("utf-8", "surrogatepass"), safe=rng.choice(("", "/", "%")))
        path = rng.choice(
            (f"/v1/decisions/{odd}", f"/v1/{odd}", f"/{odd}", f"/v1/lists/churn/{odd}", "/v1/lists/churn", "/metrics", "//v1/decisions")
        ).encode()
        query = rng.choice(
            (b"", b"top=1", b"top=" + odd.encode(), b"channel=" + odd.encode(), b"top=1&top=2", b"language=zh&top=-1", b"%ff=%00", b"=" * 2000)
        )
        body = b"" if rng.random() < 0.8 else body
    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if key:
        headers.append((b"authorization", f"Bearer {key}".encode()))
    if rng.random() < 0.25:
        odd_name, odd_value = rng.choice(ODD_HEADERS)
        if rng.random() < 0.6:
            headers = [pair for pair in headers if pair[0] != odd_name]
        headers.append((odd_name, odd_value + (MARK.encode() if rng.random() < 0.3 else b"")))
    if rng.random() < 0.03:
        headers.append(rng.choice(headers))
    return Input(method, path, query, headers, body, rng.choice((1, 1, 1, 2, 7)))


def as_bytes(rng: random.Random, sent: Input) -> bytes:
    target = sent.raw_path + (b"?" + sent.query if sent.query else b"")
    head = b"%b %b HTTP/1.1\r\n" % (sent.method.encode(), target)
    data = head + b"".join(b"%b: %b\r\n" % pair for pair in sent.headers) + b"\r\n" + sent.body
    kind = rng.random()
    if kind < 0.2:
        bent_bytes = bytearray(data)
        for _ in range(rng.randrange(1, 8)):
            bent_bytes[rng.randrange(min(len(bent_bytes), 300))] = rng.randrange(256)
        return bytes(bent_bytes)
    if kind < 0.3:
        return data[: rng.randrange(len(data))]
    if kind < 0.35:
        return rng.randbytes(rng.randrange(1, 2000))
    return data * 2 if kind < 0.4 else data
