"""The ASGI application: everything under ``/v1``, JSON only, one shape of error. It runs under uvicorn as it is, or mounted in BentoML.

Whoever runs it sets ``app.state.desk``; health and metrics belong to the runner.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal, cast

import msgspec
from litestar import Litestar, Request, Response, get, post
from litestar.enums import MediaType
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Components, SecurityScheme
from litestar.params import FromQuery, JSONBody, Parameter
from litestar.response import Stream

from retain import __version__
from serving import batches, problems, schemas
from serving.access import holder
from serving.desk import Desk
from serving.direct import Caller, Direct, Raw, Route, Streamed, until_gone
from serving.guard import App, Guard, Receive
from serving.openapi import ExactJson
from serving.pull_log import by_key
from serving.strict import parameters, parse

POSTS = ("/v1/decisions", "/v1/scores", "/v1/recommendations", "/v1/outcomes", "/v1/events", "/v1/decisions/batch")
REPEATED = "retain-repeated"
"""Header of a decision: whether this request_id was answered before. After a power loss a retry that says false was not on record."""
PathId = Annotated[str, Parameter(min_length=1, max_length=256, pattern=schemas.NAME, description="A decision's id.")]
Top = Annotated[int, Parameter(ge=1, le=10_000, description="At most so many customers.")]


class StrictRequest(Request[Any, Any, Any]):
    """A request whose body is decoded once, strictly, into the type that its route declares."""

    async def json(self) -> Any:
        """The checked body."""
        return parse(await self.body(), self.route_handler.opt["body"])


def _errors(*statuses: int) -> dict[int, ResponseSpec]:
    return {status: ResponseSpec(schemas.ErrorBody, description=problems.WORDS[status], generate_examples=False) for status in statuses}


DOOR = _errors(400, 401, 403, 422, 429, 500, 503)
"""What every route may answer instead."""
BODY = {**DOOR, **_errors(408, 413, 415)}


async def _decided(desk: Desk, asked: schemas.DecisionRequest, caller: Caller) -> Raw:
    body, is_repeated = desk.answered(asked, caller.since)
    return Raw(body, ((REPEATED, "true" if is_repeated else "false"),))


async def _noted(desk: Desk, asked: schemas.OutcomeRequest, _: Caller) -> Raw:
    return Raw(msgspec.json.encode(await desk.outcome(asked)))


async def _took(desk: Desk, asked: schemas.EventsRequest, _: Caller) -> Raw:
    return Raw(msgspec.json.encode(await desk.events(asked)))


DIRECT = {
    "/v1/decisions": Route(schemas.DecisionRequest, _decided),
    "/v1/decisions/batch": Route(schemas.DecisionsRequest, batches.decisions),
    "/v1/scores": Route(schemas.ScoresRequest, batches.scores),
    "/v1/outcomes": Route(schemas.OutcomeRequest, _noted),
    "/v1/events": Route(schemas.EventsRequest, _took),
}
"""What is answered without the framework between."""


def _query(request: Request[Any, Any, Any]) -> None:
    """Refuse parameters that the route does not know."""
    parameters(request.scope["query_string"], request.route_handler.opt.get("query", ()))


def _desk(request: Request[Any, Any, Any]) -> Desk:
    desk: Desk = request.app.state.desk
    return desk


@post(
    "/v1/decisions",
    opt={"body": schemas.DecisionRequest},
    status_code=200,
    responses={**BODY, **_errors(409)},
    summary="What to offer this customer now",
)
async def decisions(data: JSONBody[schemas.DecisionRequest], request: Request[Any, Any, Any]) -> Response[schemas.DecisionAnswer]:
    """Eligible offers and products by expected margin as far as the evidence goes, with reasons, and what was withheld and why."""
    return await _answered("/v1/decisions", request, data)


@post("/v1/scores", opt={"body": schemas.ScoresRequest}, status_code=200, responses=BODY, summary="Churn, value, band and stage of customers")
async def scores(data: JSONBody[schemas.ScoresRequest], request: Request[Any, Any, Any]) -> Response[schemas.ScoresAnswer]:
    """One score per asked id, in the asked order; an unknown id is answered as unknown."""
    return await _answered("/v1/scores", request, data)


@post(
    "/v1/decisions/batch",
    opt={"body": schemas.DecisionsRequest},
    status_code=200,
    responses=BODY,
    summary="What to offer each of many customers now",
)
async def decisions_batch(data: JSONBody[schemas.DecisionsRequest], request: Request[Any, Any, Any]) -> Response[schemas.DecisionsAnswer]:
    """A result per request, sent while they are made; with ``Accept: application/x-ndjson`` each on a line of its own."""
    return await _answered("/v1/decisions/batch", request, data)


@post("/v1/recommendations", opt={"body": schemas.RecommendationsRequest}, status_code=200, responses=BODY, summary="What a customer may want")
async def recommendations(data: JSONBody[schemas.RecommendationsRequest], request: Request[Any, Any, Any]) -> schemas.RecommendationsAnswer:
    """A ranked list of items: all, new to the customer, or bought before."""
    desk = _desk(request)
    answer = desk.answers.recommendations(data, batches.over(Caller.of(request.scope), data.budget_ms))
    desk.count("recommendations", answer.source)
    return answer


@post("/v1/outcomes", opt={"body": schemas.OutcomeRequest}, status_code=200, responses={**BODY, **_errors(409)}, summary="What came of a decision")
async def outcomes(data: JSONBody[schemas.OutcomeRequest], request: Request[Any, Any, Any]) -> Response[schemas.OutcomeAnswer]:
    """Kept on disk before the answer; sending one again is harmless."""
    return await _answered("/v1/outcomes", request, data)


@post("/v1/events", opt={"body": schemas.EventsRequest}, status_code=200, responses={**BODY, **_errors(409)}, summary="What customers did and bought")
async def events(data: JSONBody[schemas.EventsRequest], request: Request[Any, Any, Any]) -> Response[schemas.EventsAnswer]:
    """Kept on disk before the answer; the next decision knows them. Sending a row again is harmless."""
    return await _answered("/v1/events", request, data)


@get("/v1/lists/churn", opt={"query": ("top", "channel", "language")}, responses=DOOR, summary="Customers by what their leaving would cost")
async def churn_list(
    request: Request[Any, Any, Any],
    top: Top = 100,
    channel: FromQuery[schemas.Channel | None] = None,
    language: FromQuery[Literal["en", "zh"]] = "en",
) -> schemas.ChurnList:
    """Risk, value, expected loss, band, stage and reasons; who must not be contacted is left out and counted."""
    gone = asyncio.ensure_future(until_gone(cast(Receive, request.receive)))
    try:
        return await _desk(request).pulled(by_key(holder(request.scope)), top, channel, language, gone.done)
    finally:
        gone.cancel()


@get("/v1/decisions/{decision_id:str}", responses={**DOOR, **_errors(404)}, summary="A logged decision")
async def decision(request: Request[Any, Any, Any], decision_id: PathId) -> schemas.DecisionTrace:
    """What was asked, what was answered, what came of it; what it rested on is for those who look into models."""
    trace, key = _desk(request).trace(decision_id), holder(request.scope)
    return trace if key is None or {"scientist", "admin"} & set(key.scopes) else msgspec.structs.replace(trace, basis=None)


def application() -> Litestar:
    """The application, without a desk yet."""
    return Litestar(
        [decisions, decisions_batch, scores, recommendations, outcomes, events, churn_list, decision],
        request_class=StrictRequest,
        before_request=_query,
        exception_handlers=problems.HANDLERS,
        logging_config=None,
        openapi_config=OpenAPIConfig(
            title="retain",
            version=__version__,
            description="Which customers are about to leave, what each is worth, and what to offer next. JSON only; every error has one shape.",
            path="/v1/openapi.json",
            create_examples=False,
            components=Components(security_schemes={"key": SecurityScheme(type="http", scheme="bearer", description=_KEY)}),
            # Either, because a service without any key answers this machine as it is.
            security=[{"key": []}, {}],
            render_plugins=[ExactJson(path="/")],
        ),
    )


def direct(app: Litestar) -> Direct:
    """The application with the short way before it."""
    return Direct(cast(App, app), DIRECT, lambda: cast(Desk, app.state.desk))


def guarded(app: Litestar, body_cap: int) -> Guard:
    """The application behind its guard: what a runner serves."""
    return Guard(direct(app), POSTS, body_cap, count=lambda asked, answered: cast(Desk, app.state.desk).count(asked, answered))


_KEY = "A key of `retain keys create`. From the first key of a workspace on every route demands one; docs/api.md says which scope opens which."


async def _answered(path: str, request: Request[Any, Any, Any], data: Any) -> Response[Any]:
    """What answers a route without the framework, as the framework's response."""
    found = await DIRECT[path].answer(_desk(request), data, Caller.of(request.scope))
    if isinstance(found, Streamed):
        return Stream(found.pieces, media_type=found.kind)
    return Response(found.body, media_type=MediaType.JSON, headers=dict(found.headers))
