"""Every route and every role, from the one table of the code; what the table does not name is denied."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving import access
from serving.access import OPEN, ROUTES, Access, Refusal, needed
from serving.app import application
from serving.desk import Desk
from serving.guard import Hosts
from serving.keys import SCOPES, Keyring, Scope, add, minted, revoke
from serving.metrics import Metrics
from serving.runner import reachable, whole

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
BODIES: dict[str, Any] = {
    "/v1/decisions": {"customer_id": "ann", "dry_run": True},
    "/v1/decisions/batch": {"requests": [{"customer_id": "ann", "dry_run": True}]},
    "/v1/scores": {"customer_ids": ["ann"]},
    "/v1/recommendations": {"customer_id": "ann"},
    "/v1/outcomes": {"outcome_id": "o", "decision_id": "d", "type": "shown", "occurred_at": "2026-01-01T00:00:00Z"},
    "/v1/events": {"events": [{"event_id": "e", "customer_id": "ann", "occurred_at": "2026-01-01T00:00:00Z", "kind": "visit"}]},
}
BENTO = ("/decisions", "/scores", "/", "/docs.json", "/schema.json")


@dataclass
class Doors:
    """The service behind its doors, and what opens them."""

    path: Path
    app: Any
    now: datetime = NOW
    tick: float = 0.0
    made: dict[str, str] = field(default_factory=dict)

    def key(self, name: str, *scopes: Scope, days: int = 30, per_minute: int = 100_000) -> str:
        if name not in self.made:
            key, self.made[name] = minted(hashlib.sha512(name.encode()).digest()[:38], name, scopes, NOW, days=days, per_minute=per_minute)
            add(self.path, key, NOW)
            self.tick += 1.0
        return self.made[name]

    def call(
        self, method: str, path: str, key: str | None = None, headers: dict[str, str] | None = None, *, address: str = "10.0.0.1", body: Any = None
    ) -> httpx.Response:
        sent = {} if key is None else {"authorization": f"Bearer {key}"}
        if method == "POST":
            sent["content-type"] = "application/json"

        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, client=(address, 1))
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
                content = json.dumps(body or BODIES.get(path, {})) if method == "POST" else None
                return await client.request(method, path, content=content, headers={**sent, **(headers or {})})

        return asyncio.run(send())


@pytest.fixture
def doors(desk: Desk, tmp_path: Path) -> Doors:
    result = Doors(tmp_path / "keys.json", None)
    keyring = Keyring(result.path, lambda: result.now, lambda: result.tick)
    result.app = Hosts(Access(whole(desk, Metrics()), lambda: keyring, tick=lambda: result.tick))
    return result


def refused(response: httpx.Response) -> tuple[int, str]:
    body = response.json()
    assert set(body["error"]) == {"code", "message", "field", "row"}
    return response.status_code, body["error"]["code"]


@pytest.mark.fault("E3")
def test_the_table_names_every_route_of_the_application() -> None:
    routes = {(method, route.path_format) for route in application().routes for method in getattr(route, "methods", ()) if method != "OPTIONS"}
    inside = {(method, path.replace(":str}", "}")) for method, path in routes if not path.startswith("/v1/openapi.json/")}
    assert inside == {route for route in ROUTES if route[1].startswith("/v1/")}


@pytest.mark.fault("E1", "E3")
@pytest.mark.parametrize("route", sorted(ROUTES))
def test_every_route_opens_to_its_scopes_and_to_no_other(doors: Doors, route: tuple[str, str]) -> None:
    method, path = route[0], route[1].replace("{decision_id}", "d_unknown")
    keys = {scope: doors.key(scope, scope) for scope in SCOPES}
    assert refused(doors.call(method, path)) == (401, "unauthorised")
    opened = {scope for scope in SCOPES if doors.call(method, path, keys[scope]).status_code not in (401, 403)}
    assert opened == ROUTES[route]
    for scope in set(SCOPES) - ROUTES[route]:
        assert refused(doors.call(method, path, keys[scope])) == (403, "forbidden")
    if path not in BENTO:
        assert doors.call(method, path, keys["admin"]).status_code == (404 if "unknown" in path else 200)


@pytest.mark.fault("E3")
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/nowhere"),
        ("GET", "/v1/decisions"),
        ("PUT", "/v1/decisions"),
        ("OPTIONS", "/v1/decisions"),
        ("POST", "/v1/decisions/"),
        ("POST", "/v1//decisions"),
        ("POST", "/V1/decisions"),
        ("GET", "/v1/decisions/"),
        ("GET", "/v1/decisions/a/b"),
        ("GET", "/v1/openapi.json/swagger"),
        ("GET", "/v1/lists/churn/%2e%2e/%2e%2e/decisions/d"),
        ("HEAD", "/metrics"),
        ("GET", "/metrics/"),
    ],
)
def test_what_the_table_does_not_name_is_denied_to_all(doors: Doors, method: str, path: str) -> None:
    key = doors.key("all", *SCOPES)
    assert doors.call(method, path).status_code == 401
    assert doors.call(method, path, key).status_code == 403


@pytest.mark.fault("E1")
def test_no_malformed_unknown_expired_and_revoked_keys_are_all_answered_alike(doors: Doors) -> None:
    held = doors.key("held", "crm")
    expired, gone = doors.key("expired", "crm", days=1), doors.key("gone", "crm")
    revoke(doors.path, gone.split("_")[1], NOW)
    doors.now, doors.tick = NOW + timedelta(days=2), doors.tick + 1.0
    said = set()
    for shown in (None, "x", "retain_000000000000_" + "A" * 43, held[:-1] + "-", expired, gone):
        response = doors.call("POST", "/v1/decisions", shown)
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
        said.add(response.content)
    assert len(said) == 1
    assert doors.call("POST", "/v1/decisions", held).status_code == 200
    assert doors.call("POST", "/v1/decisions", None, {"authorization": f"Basic {held}"}).status_code == 401
    assert doors.call("GET", f"/v1/decisions/d?key={held}").status_code == 401


def test_the_description_says_how_to_show_a_key_and_what_comes_without(doors: Doors) -> None:
    document = doors.call("GET", "/v1/openapi.json").json()
    assert document["components"]["securitySchemes"]["key"] == {
        **document["components"]["securitySchemes"]["key"],
        "type": "http",
        "scheme": "bearer",
    }
    assert document["security"] == [{"key": []}, {}]
    for path in document["paths"].values():
        for operation in path.values():
            assert {"401", "403", "429"} <= set(operation["responses"])


@pytest.mark.fault("E13")
def test_without_keys_this_machine_is_answered_and_the_first_key_closes(doors: Doors) -> None:
    assert doors.call("POST", "/v1/decisions").status_code == 200
    assert doors.call("GET", "/v1/nowhere").status_code == 404
    doors.key("first", "marketer")
    assert doors.call("POST", "/v1/decisions").status_code == 401
    for method, path in OPEN:
        assert doors.call(method, path).status_code == 200


def test_what_a_decision_rested_on_is_not_for_every_scope(doors: Doors, desk: Desk) -> None:
    keys = {scope: doors.key(scope, scope) for scope in ("crm", "scientist", "admin")}
    made = doors.call("POST", "/v1/decisions", keys["crm"], body={"customer_id": "ann"}).json()["decision_id"]
    shown = {scope: doors.call("GET", f"/v1/decisions/{made}", key).json()["basis"] is not None for scope, key in keys.items()}
    assert shown == {"crm": False, "scientist": True, "admin": True}


def test_a_key_asks_as_often_as_it_may(doors: Doors) -> None:
    key, other = doors.key("slow", "crm", per_minute=60), doors.key("quick", "crm")
    statuses = [doors.call("POST", "/v1/decisions", key).status_code for _ in range(12)]
    assert statuses == [200] * 10 + [429] * 2, "ten seconds' worth at once"
    response = doors.call("POST", "/v1/decisions", key)
    assert (refused(response), response.headers["retry-after"]) == ((429, "too_often"), "2")
    assert doors.call("POST", "/v1/decisions", other).status_code == 200
    doors.tick += 1.0
    assert [doors.call("POST", "/v1/decisions", key).status_code for _ in range(2)] == [200, 429]


@pytest.mark.fault("E4")
def test_whoever_guesses_is_told_to_wait_and_nobody_else_is(doors: Doors) -> None:
    key = doors.key("held", "crm")
    statuses = [doors.call("POST", "/v1/decisions", f"guess{number}").status_code for number in range(25)]
    assert statuses == [401] * access.FAILURES_PER_MINUTE + [429] * 5
    assert doors.call("POST", "/v1/decisions", "guess", address="10.0.0.2").status_code == 401
    assert doors.call("POST", "/v1/decisions", key).status_code == 200, "a proxy's other callers are not locked out"
    doors.tick += 3.0
    assert doors.call("POST", "/v1/decisions", "guess").status_code == 401


def test_keys_that_cannot_be_read_let_nobody_in(doors: Doors) -> None:
    key = doors.key("held", "admin")
    doors.path.chmod(0o644)
    doors.tick += 1.0
    assert refused(doors.call("POST", "/v1/decisions", key)) == (503, "not_ready")
    assert doors.call("GET", "/livez").status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost@evil", "", "127.0.0.1/v1", "[::1", "localhost:80:80"])
def test_another_host_is_not_answered(doors: Doors, host: str) -> None:
    assert refused(doors.call("GET", "/livez", None, {"host": host})) == (400, "host")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:3000", "127.0.0.1:1", "[::1]:3000"])
def test_this_machine_is_answered_under_its_names(doors: Doors, host: str) -> None:
    assert doors.call("GET", "/livez", None, {"host": host}).status_code == 200


@pytest.mark.fault("E13")
def test_off_loopback_it_listens_only_with_keys_and_a_name(tmp_path: Path) -> None:
    from retain.errors import RefusedError

    path = tmp_path / "keys.json"
    for host in ("0.0.0.0", "10.0.0.1", "example.org"):  # noqa: S104 - refused, not bound
        with pytest.raises(RefusedError, match="loopback"):
            reachable(host, "crm.example", Keyring(path))
    key, _ = minted(bytes(38), "crm", ("crm",), datetime.now(UTC), days=1, per_minute=1)
    add(path, key, NOW)
    with pytest.raises(RefusedError, match="RETAIN_HOSTS"):
        reachable("0.0.0.0", "", Keyring(path))  # noqa: S104
    assert reachable("0.0.0.0", "crm.example, b.example", Keyring(path)) == ("crm.example", "b.example")  # noqa: S104
    assert reachable("10.0.0.1", "", Keyring(path)) == ("10.0.0.1",)
    assert reachable("::1", "", Keyring(path)) == ("[::1]",)
    revoke(path, key.key_id, NOW)
    with pytest.raises(RefusedError, match="loopback"):
        reachable("10.0.0.1", "", Keyring(path))


def test_templates_fit_one_segment_only() -> None:
    assert needed("GET", "/v1/decisions/d_1") == ROUTES["GET", "/v1/decisions/{decision_id}"]
    assert needed("GET", "/v1/decisions/") is None
    assert needed("GET", "/v1/decisions/{decision_id}/x") is None


def test_a_socket_is_closed_and_many_addresses_are_forgotten(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    doors.key("held", "crm")
    monkeypatch.setattr(access, "ADDRESSES", 3)
    for number in range(10):
        doors.call("GET", "/metrics", address=f"10.0.1.{number}")
    assert len(doors.app.app._failures) == 3
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    wanted: Callable[[], Any] = lambda: doors.app({"type": "websocket", "headers": []}, None, send)  # noqa: E731
    asyncio.run(wanted())
    assert sent == [{"type": "websocket.close", "code": 1008}]


@pytest.mark.fault("E13")
@pytest.mark.parametrize(
    ("server", "is_let_in"),
    [
        (("127.0.0.1", 3000), True),
        (("::1", 3000), True),
        (("::ffff:127.0.0.1", 3000), True),
        (("run/retain.sock", None), True),
        (None, True),
        (("192.0.2.7", 3000), False),
        (("::ffff:192.0.2.7", 3000), False),
        (("2001:db8::1", 3000), False),
        (("somewhere", 3000), False),
    ],
)
def test_without_keys_nobody_elsewhere_is_answered_whatever_it_listens_on(
    doors: Doors, server: tuple[str, int | None] | None, *, is_let_in: bool
) -> None:
    """Whoever runs us by `bentoml serve` listens on all addresses, and a Host header is easily said."""
    doors.call("GET", "/livez")
    access = doors.app.app
    assert isinstance(access, Access)
    said = [(b"host", b"localhost"), (b"x-forwarded-for", b"127.0.0.1"), (b"forwarded", b"for=127.0.0.1")]
    scope = {"type": "http", "method": "POST", "path": "/v1/scores", "headers": said, "client": ("127.0.0.1", 1), "server": server}
    verdict = access.judged(scope)
    assert (verdict is None) == is_let_in
    assert isinstance(verdict, Refusal) != is_let_in
    assert verdict is None or (verdict.status, "retain keys create" in verdict.problem.message) == (401, True)
    assert access.judged({**scope, "method": "GET", "path": "/readyz"}) is None
