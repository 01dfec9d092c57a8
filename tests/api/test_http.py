"""Over HTTP: the routes, one shape of error, and what is refused before it is parsed."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, MutableMapping
from typing import Any, cast

import httpx
import pytest

from retain.tables import EVENTS
from serving.app import application, direct
from serving.desk import Desk
from serving.guard import App, Arrival, Guard
from serving.runner import Health

Call = Callable[..., httpx.Response]
ID = "C00000001"


def error(response: httpx.Response) -> tuple[int, str, str | None, int | None]:
    body = response.json()
    assert list(body) == ["error"]
    assert set(body["error"]) == {"code", "message", "field", "row"}
    assert "/" not in body["error"]["message"].replace("application/json", "")
    return response.status_code, body["error"]["code"], body["error"]["field"], body["error"]["row"]


def known(desk: Desk) -> str:
    return next(desk.answers.rows.id(i) for i in range(len(desk.answers.rows)) if desk.answers.rows.array("is_known")[i])


@pytest.mark.fault("C1", "C2")
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('{"customer_id":"a","customer_id":"b"}', (400, "syntax", "customer_id", None)),
        ('{"customer_id":"a","context":{"intent":"x","intent":"x"}}', (400, "syntax", "intent", None)),
        ('{"customer_id":NaN}', (400, "syntax", None, None)),
        ('{"customer_id":-Infinity}', (400, "syntax", None, None)),
        ('{"customer_id":"a"} {}', (400, "syntax", None, None)),
        ('{"customer_id":"a"', (400, "syntax", None, None)),
        (b'{"customer_id":"\xff"}', (400, "syntax", None, None)),
        ('{"customer_id":"\\ud800"}', (400, "syntax", None, None)),
        ("[" * 100_000, (400, "syntax", None, None)),
        ("", (400, "syntax", None, None)),
        ("[]", (422, "content", None, None)),
        ("{}", (422, "content", "customer_id", None)),
        ('{"customer_id":1}', (422, "content", "customer_id", None)),
        ('{"customer_id":""}', (422, "content", "customer_id", None)),
        ('{"customer_id":"a\\n"}', (422, "content", "customer_id", None)),
        ('{"customer_id":"' + "a" * 257 + '"}', (422, "content", "customer_id", None)),
        ('{"customer_id":"a","goal":"sell"}', (422, "content", "goal", None)),
        ('{"customer_id":"a","max_offers":0}', (422, "content", "max_offers", None)),
        ('{"customer_id":"a","max_offers":-1}', (422, "content", "max_offers", None)),
        ('{"customer_id":"a","max_offers":1000000000}', (422, "content", "max_offers", None)),
        ('{"customer_id":"a","max_offers":"10"}', (422, "content", "max_offers", None)),
        ('{"customer_id":"a","max_offers":1.5}', (422, "content", "max_offers", None)),
        ('{"customer_id":"a","max_offers":' + "9" * 5000 + "}", (422, "content", None, None)),
        ('{"customer_id":"a","as_of":"2026-01-01T00:00:00"}', (422, "content", "as_of", None)),
        ('{"customer_id":"a","exclude":["x",2]}', (422, "content", "exclude", 1)),
        ('{"customer_id":"a","customerid":"b"}', (422, "content", "customerid", None)),
    ],
)
def test_bad_bodies_are_told_apart_and_placed(call: Call, body: str | bytes, expected: tuple[int, str, str | None, int | None]) -> None:
    assert error(call("POST", "/v1/decisions", body)) == expected


@pytest.mark.fault("C2")
@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("decisions", {"customer_id": "a", "goal": "Cross-Sell"}, "Expected one of best, cross_sell, repeat, retention; got Cross-Sell"),
        ("decisions", {"customer_id": "a", "goal": "Smith"}, "Expected one of best, cross_sell, repeat, retention"),
        ("decisions", {"customer_id": "a", "language": "+49 176 1234"}, "Expected one of en, zh"),
        ("decisions/batch", {"requests": [{"customer_id": "a", "language": "EN"}]}, "Expected one of en, zh; got EN"),
        ("lists/churn?language=fr", None, "Expected one of en, zh"),
        ("lists/churn?language=C00000001", None, "Expected one of en, zh"),
        (
            "lists/churn?channel=e-mail",
            None,
            "Expected one of agent, call_center, email, in_app, mail, push, sms, store, web; got e-mail",
        ),
    ],
)
def test_who_uses_a_wrong_word_is_told_the_right_ones(call: Call, path: str, body: dict[str, Any] | None, message: str) -> None:
    """What was sent is said back only if it is a slip of one of them: what could be an id, a name or a number of somebody is not."""
    answer = call("GET", f"/v1/{path}") if body is None else call("POST", f"/v1/{path}", body)
    assert (answer.status_code, answer.json()["error"]["message"]) == (422, message)


def test_every_choice_of_words_is_told(call: Call) -> None:
    row = {"event_id": "z", "customer_id": "a", "occurred_at": "2026-01-01T00:00:00Z", "kind": "dance"}
    told = call("POST", "/v1/events", {"events": [row]}).json()["error"]
    assert (told["field"], told["row"]) == ("events.kind", 0)
    kinds = next(column.choices for column in EVENTS.columns if column.name == "kind")
    assert kinds
    assert all(kind in told["message"] for kind in kinds)


@pytest.mark.fault("C4")
@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/octet-stream", "multipart/form-data; boundary=x", "application/vnd.bentoml+pickle", "application/x-python-pickle"],
)
@pytest.mark.parametrize("path", ["/v1/decisions", "/v1/outcomes", "/v1/lists/churn", "/nowhere"])
def test_other_content_types_are_refused_before_any_parser(call: Call, kind: str, path: str) -> None:
    assert error(call("POST", path, b"\x80\x04.", {"content-type": kind}))[:3] == (415, "media_type", "content-type")


@pytest.mark.fault("C4")
def test_no_content_type_and_encodings_are_refused(call: Call) -> None:
    assert error(call("POST", "/v1/decisions"))[0] == 415
    assert error(call("POST", "/v1/decisions", "{}", {"content-encoding": "gzip"}))[:3] == (415, "media_type", "content-encoding")
    assert call("POST", "/v1/decisions", "{}", {"content-type": "application/json; charset=UTF-8"}).status_code == 422


@pytest.mark.fault("C10")
def test_large_bodies_are_refused_whatever_their_length_claims(app: Health) -> None:
    async def send(headers: list[tuple[bytes, bytes]], pieces: int) -> tuple[int, int]:
        read = 0
        status = 0

        async def receive() -> MutableMapping[str, Any]:
            nonlocal read
            read += 1
            return {"type": "http.request", "body": b"x" * 65536, "more_body": read < pieces}

        async def answer(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            status = message.get("status", status)

        scope = {"type": "http", "method": "POST", "path": "/v1/decisions", "headers": [(b"content-type", b"application/json"), *headers]}
        guard = app.app
        assert isinstance(guard, Guard)
        await guard(scope, receive, answer)
        return status, read

    assert asyncio.run(send([(b"content-length", b"5000000")], 1)) == (413, 0)
    assert asyncio.run(send([(b"transfer-encoding", b"chunked")], 10**9)) == (413, 65)
    assert asyncio.run(send([(b"content-length", b"10")], 2)) == (400, 2)
    assert asyncio.run(send([(b"content-length", b"-1")], 1)) == (400, 0)
    assert asyncio.run(send([(b"content-length", b"1"), (b"content-length", b"2")], 1)) == (400, 0)


def test_unknown_paths_and_methods(call: Call) -> None:
    nowhere = call("GET", "/v1/nowhere")
    assert error(nowhere)[:2] == (404, "not_found")
    assert "no such path" in nowhere.json()["error"]["message"]
    assert error(call("GET", "/"))[:2] == (404, "not_found")
    refused = call("PUT", "/v1/decisions", "{}")
    assert error(refused)[:2] == (405, "method_not_allowed")
    assert "POST" in refused.headers["allow"]
    assert error(call("GET", "/v1/decisions/d_unknown"))[:3] == (404, "not_found", "decision_id")


@pytest.mark.fault("C2")
def test_query_parameters_are_checked(call: Call) -> None:
    assert error(call("GET", "/v1/lists/churn?top=0"))[:3] == (422, "content", "top")
    assert error(call("GET", "/v1/lists/churn?top=many"))[:3] == (422, "content", "top")
    assert error(call("GET", "/v1/lists/churn?channel=pigeon"))[:3] == (422, "content", "channel")
    assert error(call("GET", "/v1/lists/churn?topp=5"))[:3] == (422, "content", "topp")
    assert error(call("GET", "/v1/lists/churn?request=5"))[:3] == (422, "content", "request")
    assert error(call("GET", "/v1/decisions/d_unknown?top=5"))[:3] == (422, "content", "top")
    for path in ("decisions", "recommendations"):
        assert error(call("POST", f"/v1/{path}?dry_run", {"customer_id": "nobody"}))[:3] == (422, "content", "dry_run")
    assert call("GET", "/v1/lists/churn?top=5&language=zh").status_code == 200


def test_a_decision_is_answered_logged_and_repeated(call: Call, desk: Desk) -> None:
    body = {"request_id": "http-1", "customer_id": known(desk), "placement": "inbound_end", "channel": "call_center"}
    first = call("POST", "/v1/decisions", body)
    assert first.status_code == 200
    assert call("POST", "/v1/decisions", body).content == first.content
    assert error(call("POST", "/v1/decisions", {**body, "max_offers": 1}))[:3] == (409, "conflict", "request_id")
    trace = call("GET", f"/v1/decisions/{first.json()['decision_id']}").json()
    assert trace["answer"] == first.json()
    assert trace["request"]["request_id"] == "http-1"
    assert {(each["evidence"], each["incremental_value"]) for each in first.json()["offers"]} <= {("D", None)}
    assert all(0 < each["p_shown"] <= 1 for each in first.json()["offers"])
    assert first.json()["arm"] in ("policy", "random", "control")
    assert 0 < first.json()["probability"] <= 1
    assert first.json()["synthetic"] is True


@pytest.mark.fault("C25")
def test_an_outcome_is_kept_once_and_a_different_one_is_refused(call: Call) -> None:
    body = {"outcome_id": "http-o", "decision_id": "nobody-knows", "type": "shown", "occurred_at": "2026-01-01T00:00:00Z"}
    assert call("POST", "/v1/outcomes", body).json() == {"outcome_id": "http-o", "duplicate": False, "pending": True, "late": False}
    assert call("POST", "/v1/outcomes", body).json()["duplicate"] is True
    assert error(call("POST", "/v1/outcomes", {**body, "type": "clicked"}))[:3] == (409, "conflict", "outcome_id")


def test_scores_keep_order_repeats_and_unknown_ids(call: Call, desk: Desk) -> None:
    someone = known(desk)
    answer = call("POST", "/v1/scores", {"customer_ids": [someone, "nobody", someone]}).json()
    assert [each["customer_id"] for each in answer["scores"]] == [someone, "nobody", someone]
    assert answer["scores"][1] == {
        "customer_id": "nobody",
        "status": "unknown",
        **dict.fromkeys(("churn", "clv", "expected_loss", "band", "stage", "segment", "cause", "value_parts", "expected_orders", "next_purchase_at")),
        "reasons": [],
    }
    assert answer["scores"][0] == answer["scores"][2]


@pytest.mark.fault("C8")
def test_more_customers_than_the_cap_are_refused(call: Call, desk: Desk) -> None:
    cap = desk.answers.policy.batch_cap
    assert error(call("POST", "/v1/scores", {"customer_ids": ["x"] * (cap + 1)}))[:3] == (413, "too_large", "customer_ids")
    assert len(call("POST", "/v1/scores", {"customer_ids": ["x"] * cap}).json()["scores"]) == cap


@pytest.mark.fault("C5")
def test_recommendations_separate_new_from_bought(call: Call, desk: Desk) -> None:
    rows = desk.answers.rows
    for position in range(len(rows)):
        row = rows.get(rows.id(position))
        assert row is not None
        scores = desk.answers.score([row])[0]
        customer = row.customer(desk.answers.clock(), scores)
        if (
            customer.owned
            and not (customer.refuses_profiling or customer.is_minor)
            and row.likings("new", None, 5)
            and row.likings("repeat", None, 5)
        ):
            break
    lists = {
        purpose: [
            each["item_id"]
            for each in call("POST", "/v1/recommendations", {"customer_id": customer.customer_id, "purpose": purpose}).json()["recommendations"]
        ]
        for purpose in ("new", "repeat")
    }
    assert lists["new"]
    assert not set(lists["new"]) & set(customer.owned)
    assert set(lists["repeat"]) <= set(customer.owned)
    unknown = call("POST", "/v1/recommendations", {"customer_id": "nobody", "k": 3}).json()
    assert unknown["source"] == "popularity"
    assert unknown["degraded"] == ["unknown_customer"]
    assert len(unknown["recommendations"]) == 3


def test_who_has_no_time_is_shown_what_is_popular(desk: Desk) -> None:
    framework = application()
    framework.state.desk = desk

    async def late(scope: Any, receive: Any, send: Any) -> None:
        await cast(App, framework)({**scope, Arrival.KEY: Arrival(time.monotonic() - 1.0)}, receive, send)

    def asked(budget_ms: int) -> Any:
        body = json.dumps({"customer_id": known(desk), "k": 3, "budget_ms": budget_ms}).encode()
        return json.loads(asyncio.run(_asked(late, "/v1/recommendations", body))[2])

    over, within = asked(500), asked(60_000)
    assert (over["source"], over["degraded"]) == ("popularity", ["over_budget"])
    assert len(over["recommendations"]) == 3
    assert "over_budget" not in within["degraded"]


def test_health_readiness_and_metrics(call: Call) -> None:
    assert {call(method, path).status_code for method in ("GET", "HEAD") for path in ("/livez", "/readyz", "/healthz")} == {200}
    assert call("GET", "/livez").json() == {"alive": True}
    assert call("GET", "/readyz").json() == {"ready": True, "reason": None, "degraded": []}
    assert "retain_answers_total" in call("GET", "/metrics").text


def test_the_document_describes_what_is_checked(call: Call) -> None:
    document = call("GET", "/v1/openapi.json").json()
    assert set(document["paths"]) == {
        "/v1/decisions",
        "/v1/decisions/batch",
        "/v1/scores",
        "/v1/recommendations",
        "/v1/outcomes",
        "/v1/events",
        "/v1/lists/churn",
        "/v1/decisions/{decision_id}",
    }
    schemas = document["components"]["schemas"]
    assert schemas["DecisionRequest"]["additionalProperties"] is False
    assert schemas["ErrorBody"]["required"] == ["error"]
    for path in document["paths"].values():
        for operation in path.values():
            for status, answer in operation["responses"].items():
                if status[0] in "45":
                    assert answer["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/ErrorBody"}


DOORS = [
    ("/v1/decisions", '{"customer_id":"nobody","request_id":"two-doors"}'),
    ("/v1/decisions", '{"customer_id":"nobody","request_id":"two-doors","max_offers":1}'),
    ("/v1/decisions", '{"customer_id":"nobody","max_offers":99}'),
    ("/v1/decisions", '{"customer_id":"a","customer_id":"b"}'),
    ("/v1/decisions", "[" * 5000),
    ("/v1/decisions", b"\xff"),
    ("/v1/scores", '{"customer_ids":["nobody","nobody"]}'),
    ("/v1/scores", '{"customer_ids":[1]}'),
    ("/v1/outcomes", '{"outcome_id":"o"}'),
    ("/v1/events", '{"events":[{"event_id":"doors","customer_id":"nobody","occurred_at":"2025-01-01T00:00:00Z","kind":"visit"}]}'),
    ("/v1/events", '{"events":[{"event_id":"doors","customer_id":"nobody","occurred_at":"2025-01-01T00:00:00Z","kind":"cart"}]}'),
    ("/v1/events", '{"transactions":[{"order_id":"o"}]}'),
]


@pytest.mark.parametrize(("path", "body"), DOORS)
def test_the_short_way_and_the_framework_answer_alike(desk: Desk, path: str, body: str | bytes) -> None:
    framework = application()
    framework.state.desk = desk
    sent = body if isinstance(body, bytes) else body.encode()
    # Once before, so that both repeat what stands.
    asyncio.run(_asked(direct(framework), path, sent))
    assert asyncio.run(_asked(direct(framework), path, sent)) == asyncio.run(_asked(cast(App, framework), path, sent))


async def _asked(door: App, path: str, body: bytes) -> tuple[int, dict[bytes, bytes], bytes]:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"localhost"), (b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http", "path": path, "raw_path": path}
    more = {"query_string": b"", "root_path": "", "headers": headers, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "state": {}}
    await door({**scope, **more}, receive, send)
    return sent[0]["status"], dict(sent[0]["headers"]), b"".join(each.get("body", b"") for each in sent[1:])
