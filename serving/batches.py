"""Answers to many at once, sent while they are made: scores and decisions, as one JSON document in pieces or as lines of their own.

All scores of a call come from the same versions, and each decision names its own. Who is erased meanwhile is known no more within a second.
What goes wrong with one decision is told in its row, and the others are made.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator

import msgspec

from serving import problems, schemas, scored
from serving.desk import Desk
from serving.direct import Caller, Raw, Streamed
from serving.keys import Key
from serving.pull_log import by_key
from serving.scored import refuse_too_many

SMALL = 32
"""Scores of so few are answered in one piece."""
_encode = msgspec.json.encode


class _Result(msgspec.Struct, omit_defaults=True):
    """A row of a batch of decisions, with the decision as it is kept; ``schemas.DecisionResult`` describes it."""

    row: int
    status: int
    repeated: bool = False
    decision: msgspec.Raw | None = None
    error: schemas.Problem | None = None


async def scores(desk: Desk, asked: schemas.ScoresRequest, caller: Caller) -> Raw | Streamed:
    """Scores of customers: one document, or a line for what holds for all and then one for each.

    Raises:
        TooManyError: more customers than the cap of one call.
    """
    answers = desk.answers
    at = answers.clock()
    frame = scored.around(answers, asked, at)
    desk.count("scores", frame.source)
    await desk.noted(by_key(caller.key), "scores", {"explain": asked.explain, "language": asked.language}, asked.customer_ids)
    groups = scored.groups(answers, asked, at, over(caller, asked.budget_ms), desk.without_erased)
    if not caller.wants_lines and len(asked.customer_ids) <= SMALL:
        return Raw(_encode(msgspec.structs.replace(frame, scores=[one for group in groups for one in group])))
    head, tail = _encode(frame).split(b'"scores":[]', 1)
    rows = (_encode(one) for group in groups for one in group)
    if caller.wants_lines:
        return Streamed(_lines(desk, rows, _encode(_without_scores(frame))), lines=True)
    return Streamed(_document(desk, rows, head + b'"scores":[', b"]" + tail))


async def whole(desk: Desk, asked: schemas.ScoresRequest, key: Key | None = None) -> bytes:
    """The same scores in one piece, for those who cannot take several; ``key`` is what opened the request."""
    answer = await scores(desk, asked, Caller(time.monotonic(), key=key))
    return answer.body if isinstance(answer, Raw) else b"".join([piece async for piece in answer.pieces])


async def decisions(desk: Desk, asked: schemas.DecisionsRequest, caller: Caller) -> Raw | Streamed:
    """Decisions on requests, in order; each is written down, and answered again, as if it had been asked for alone.

    Raises:
        TooManyError: more requests than the cap of one call.
    """
    refuse_too_many("requests", len(asked.requests), desk.answers.policy.batch_cap)
    dry = sum(each.dry_run for each in asked.requests)
    await desk.noted(by_key(caller.key), "decisions", {"dry_run": dry}, [each.customer_id for each in asked.requests])
    rows = map(_encode, _decided(desk, asked, over(caller, asked.budget_ms)))
    return Streamed(_lines(desk, rows), lines=True) if caller.wants_lines else Streamed(_document(desk, rows, b'{"results":[', b"]}"))


def _decided(desk: Desk, asked: schemas.DecisionsRequest, is_over: Callable[[], bool]) -> Iterator[_Result]:
    for number, request in enumerate(asked.requests):
        try:
            body, is_repeated = desk.answered(request, is_over=is_over)
            yield _Result(number, 200, is_repeated, msgspec.Raw(body))
        except Exception as error:
            status, told = problems.of(error)
            yield _Result(number, status, error=told.error)


async def _lines(desk: Desk, rows: Iterator[bytes], first: bytes | None = None) -> AsyncIterator[bytes]:
    if first is not None:
        yield first + b"\n"
    async for some in desk.pace.slices(rows):
        yield b"\n".join(some) + b"\n"


async def _document(desk: Desk, rows: Iterator[bytes], head: bytes, tail: bytes) -> AsyncIterator[bytes]:
    before = head
    async for some in desk.pace.slices(rows):
        yield before + b",".join(some)
        before = b","
    yield tail if before == b"," else head + tail


def _without_scores(whole: schemas.ScoresAnswer) -> dict[str, object]:
    return {name: getattr(whole, name) for name in whole.__struct_fields__ if name != "scores"}


def over(caller: Caller, budget_ms: int | None) -> Callable[[], bool]:
    """Whether the caller's time is up, counted from when the request was whole."""
    return lambda: budget_ms is not None and (time.monotonic() - caller.since) * 1000 > budget_ms
