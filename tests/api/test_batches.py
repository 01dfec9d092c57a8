"""Many at once: the same bytes as one by one, sent while they are made, a status for each, and nobody else waits for the end of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest

from retain.workspace import Workspace
from serving import batches, scored
from serving.app import application, direct
from serving.desk import Desk
from serving.direct import Caller, Direct, Raw, Streamed
from serving.guard import App
from serving.pacing import REST, SLICE_S, Pace
from serving.runner import Health
from serving.schemas import DecisionRequest, DecisionsAnswer, ScoresAnswer, ScoresRequest

LINES = {"accept": "application/x-ndjson"}


def everybody(desk: Desk) -> list[str]:
    rows = desk.answers.rows
    return [*(rows.id(place) for place in range(len(rows))), "nobody"]


async def sent(app: App | Health, path: str, body: Any, headers: dict[str, str] | None = None) -> tuple[int, dict[str, str], list[bytes]]:
    """Status, headers and pieces of one answer."""
    pieces: list[bytes] = []
    found: dict[str, Any] = {}
    asked = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]

    over = asyncio.Event()

    async def receive() -> Any:
        if asked:
            return asked.pop()
        await over.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            found.update(message)
        elif message.get("body"):
            pieces.append(message["body"])
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            over.set()

    told = [(b"content-type", b"application/json"), (b"host", b"127.0.0.1"), *((k.encode(), v.encode()) for k, v in (headers or {}).items())]
    scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": told}
    await app({**scope, "scheme": "http", "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 1), "http_version": "1.1"}, receive, send)
    return found["status"], {k.decode(): v.decode() for k, v in found["headers"]}, pieces


@pytest.mark.fault("C8")
@pytest.mark.parametrize("explain", [False, True])
def test_scores_in_pieces_are_the_scores_in_one(app: Health, desk: Desk, explain: bool) -> None:
    ids = everybody(desk)
    status, headers, pieces = asyncio.run(sent(app, "/v1/scores", {"customer_ids": ids, "explain": explain}))
    assert (status, headers["content-type"], "content-length" in headers) == (200, "application/json", False)
    whole = msgspec.json.encode(scored.scores(desk.answers, ScoresRequest(ids, explain)))
    assert b"".join(pieces) == whole
    assert len(pieces) >= 2
    status, headers, pieces = asyncio.run(sent(app, "/v1/scores", {"customer_ids": ids, "explain": explain}, LINES))
    assert (status, headers["content-type"]) == (200, "application/x-ndjson")
    first, *rows = b"".join(pieces).splitlines()
    assert {**json.loads(first), "scores": [json.loads(row) for row in rows]} == json.loads(whole)
    assert msgspec.json.decode(whole, type=ScoresAnswer).scores[-1].status == "unknown"


def test_few_scores_come_in_one_piece(app: Health, desk: Desk) -> None:
    _, headers, pieces = asyncio.run(sent(app, "/v1/scores", {"customer_ids": everybody(desk)[:3]}))
    assert int(headers["content-length"]) == len(b"".join(pieces))


@pytest.mark.fault("C8")
def test_decisions_at_once_are_decisions_one_by_one_and_each_has_its_status(app: Health, desk: Desk) -> None:
    ids = everybody(desk)[:40]
    requests: list[dict[str, Any]] = [{"customer_id": each, "request_id": f"batch-{each}", "placement": "inbound_end"} for each in ids]
    alone = [desk.answered(msgspec.convert(each, DecisionRequest))[0] for each in requests[:5]]
    requests.append({**requests[0], "max_offers": 1})
    requests.append({"customer_id": "nobody", "placement": "inbound_end", "dry_run": True})
    status, _, pieces = asyncio.run(sent(app, "/v1/decisions/batch", {"requests": requests}))
    answer = msgspec.json.decode(b"".join(pieces), type=DecisionsAnswer)
    assert status == 200
    assert [each.row for each in answer.results] == list(range(len(requests)))
    assert [each.status for each in answer.results] == [200] * len(ids) + [409, 200]
    assert [each.repeated for each in answer.results[:6]] == [True] * 5 + [False]
    assert [msgspec.json.encode(each.decision) for each in answer.results[:5]] == alone
    conflict = answer.results[-2].error
    assert conflict is not None
    assert (conflict.code, conflict.field) == ("conflict", "request_id")
    kept = answer.results[10].decision
    assert kept is not None
    assert desk.trace(kept.decision_id or "").answer == kept, "each is written down"
    status, headers, pieces = asyncio.run(sent(app, "/v1/decisions/batch", {"requests": requests}, LINES))
    rows = [json.loads(line) for line in b"".join(pieces).splitlines()]
    assert headers["content-type"] == "application/x-ndjson"
    assert [row["status"] for row in rows] == [each.status for each in answer.results]
    assert [row["decision"] for row in rows[:-2]] == [json.loads(msgspec.json.encode(each.decision)) for each in answer.results[:-2]]


@pytest.mark.fault("C8")
def test_more_than_the_cap_is_refused_before_anything_is_sent(app: Health, desk: Desk) -> None:
    cap = desk.answers.policy.batch_cap
    for path, body, field in (
        ("/v1/scores", {"customer_ids": ["a"] * (cap + 1)}, "customer_ids"),
        ("/v1/decisions/batch", {"requests": [{"customer_id": "a"}] * (cap + 1)}, "requests"),
    ):
        status, _, pieces = asyncio.run(sent(app, path, body))
        assert (status, json.loads(b"".join(pieces))["error"]["field"]) == (413, field)
    status, _, pieces = asyncio.run(sent(app, "/v1/decisions/batch", {"requests": [{"customer_id": "a"}, {"customer_id": "b", "goal": "none"}]}))
    assert (status, json.loads(b"".join(pieces))["error"]["row"]) == (422, 1)


def test_once_the_time_is_up_the_rest_is_answered_by_what_was_published(desk: Desk) -> None:
    ids = everybody(desk)
    late = Caller(since=0.0)

    async def run() -> tuple[Any, Any]:
        one = await batches.scores(desk, ScoresRequest(ids, explain=True, budget_ms=1), late)
        many = await batches.decisions(
            desk, msgspec.convert({"requests": [{"customer_id": ids[0]}] * 3, "budget_ms": 1}, batches.schemas.DecisionsRequest), late
        )
        return [b"".join([piece async for piece in each.pieces]) for each in (one, many) if isinstance(each, Streamed)]

    scores, decisions = asyncio.run(run())
    found = msgspec.json.decode(scores, type=ScoresAnswer).scores
    assert {each.status for each in found} <= {"over_budget", "not_profiled", "unknown"}
    for each in found[:20]:
        row = desk.answers.rows.get(each.customer_id)
        if each.status == "over_budget" and row is not None:
            assert (each.churn, each.clv, each.reasons) == (row.stored.churn, row.stored.clv, [])
    answers = [each.decision for each in msgspec.json.decode(decisions, type=DecisionsAnswer).results]
    assert all(each is not None and (not each.offers or "over_budget" in each.degraded) for each in answers)


def test_the_callers_time_runs_from_when_the_request_was_whole(desk: Desk) -> None:
    customer = next(each for each in everybody(desk) if json.loads(desk.answered(DecisionRequest(each, placement="inbound_end"))[0])["offers"])
    asked = DecisionRequest(customer, placement="inbound_end", budget_ms=60_000, dry_run=True)
    assert "over_budget" not in json.loads(desk.answered(asked)[0])["degraded"]
    assert "over_budget" in json.loads(desk.answered(asked, since=-1e6)[0])["degraded"]


def test_the_framework_streams_alike(desk: Desk) -> None:
    framework = application()
    framework.state.desk = desk
    door: App = framework  # type: ignore[assignment]
    ids = everybody(desk)
    for headers in (None, LINES):
        for path, body in (
            ("/v1/scores", {"customer_ids": ids}),
            ("/v1/decisions/batch", {"requests": [{"customer_id": each, "request_id": f"alike-{each}"} for each in ids[:20]]}),
        ):
            asyncio.run(sent(direct(framework), path, body, headers))
            ours, theirs = asyncio.run(sent(direct(framework), path, body, headers)), asyncio.run(sent(door, path, body, headers))
            assert (ours[0], ours[1]["content-type"], b"".join(ours[2])) == (theirs[0], theirs[1]["content-type"], b"".join(theirs[2]))


def test_slices_end_and_rest_so_that_others_come_between() -> None:
    """Two long answers and one that wants its turn: no step of it waits for more than a slice, and both long ones are whole."""

    async def run() -> tuple[list[int], list[int], int]:
        pace, turns, done = Pace(), 0, asyncio.Event()

        def steps(count: int) -> Any:
            for number in range(count):
                end = asyncio.get_running_loop().time() + SLICE_S / 2
                while asyncio.get_running_loop().time() < end:
                    pass
                yield number

        async def long(count: int) -> list[int]:
            return [each async for some in pace.slices(steps(count)) for each in some]

        async def other() -> int:
            nonlocal turns
            while not done.is_set():
                turns += 1
                await asyncio.sleep(0)
            return turns

        others = asyncio.ensure_future(other())
        first, second = await asyncio.gather(long(40), long(30))
        done.set()
        return first, second, await others

    first, second, turns = asyncio.run(run())
    assert (first, second) == (list(range(40)), list(range(30)))
    # Each slice holds two or three steps; between two slices others have their turn while all long answers rest.
    assert turns >= (40 + 30) // 3
    assert REST > 0


@pytest.mark.fault("E6")
def test_who_goes_away_or_loses_the_key_is_sent_no_more(desk: Desk) -> None:
    made, taken = 0, 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal made
        for _ in range(100):
            made += 1
            yield b"x"
            await asyncio.sleep(0)

    async def answer(_desk: Desk, _asked: Any, _caller: Caller) -> Raw | Streamed:
        return Streamed(pieces())

    async def run(*, is_gone_after: int, holds_for: int) -> bool:
        nonlocal made, taken
        made = taken = 0
        is_whole = False
        waiting = [{"type": "http.request", "body": b'{"customer_ids":["a"]}', "more_body": False}]
        left = asyncio.Event()

        async def receive() -> Any:
            if waiting:
                return waiting.pop()
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            nonlocal taken, is_whole
            taken += bool(message.get("body"))
            is_whole = is_whole or (message["type"] == "http.response.body" and not message["more_body"])
            if taken == is_gone_after:
                left.set()

        from serving.app import Route

        door = Direct(direct(application()), {"/v1/scores": Route(ScoresRequest, answer)}, lambda: desk)
        scope = {"type": "http", "method": "POST", "path": "/v1/scores", "headers": [], "retain.goes_on": lambda: taken < holds_for}
        await door(scope, receive, send)
        return is_whole

    assert asyncio.run(run(is_gone_after=1000, holds_for=1000))
    assert (made, taken) == (100, 100)
    assert not asyncio.run(run(is_gone_after=5, holds_for=1000))
    assert made < 20
    assert not asyncio.run(run(is_gone_after=1000, holds_for=7))
    assert taken == 7


async def _served(app: Health, path: str) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        return await client.get(path)


def test_a_list_is_made_beside_whoever_answers(app: Health, desk: Desk, served: Workspace) -> None:
    async def run() -> tuple[httpx.Response, int]:
        turns, pulled = 0, asyncio.ensure_future(_served(app, "/v1/lists/churn?top=50"))
        while not pulled.done():
            turns += 1
            await asyncio.sleep(0.001)
        return pulled.result(), turns

    response, turns = asyncio.run(run())
    assert response.status_code == 200
    assert turns > 1, "others had their turn while it was made"
