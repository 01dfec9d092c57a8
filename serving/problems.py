"""How every error is answered: one shape, a status by its kind, no stack trace, no values of rows, no absolute file names."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from typing import Any

from litestar import Request, Response
from litestar.enums import MediaType
from litestar.exceptions import HTTPException, ValidationException

from retain.errors import IntegrityError, NotReadyError, RetainError
from serving.desk import BusyError, ConflictError
from serving.guard import RETRY_S
from serving.ledger import LedgerError
from serving.schemas import ErrorBody, Problem
from serving.scored import TooManyError
from serving.strict import ContentProblem, SyntaxProblem, choices, plain
from serving.tracing import NotFoundError

_LOG = logging.getLogger("retain.serving")
WORDS = {
    400: "The request is not well-formed: JSON syntax, a key twice, NaN, wrong length.",
    401: "A key is demanded, and none that holds was sent.",
    403: "The key does not open this.",
    404: "Nothing stands under that id.",
    405: "The path has no such method.",
    408: "The body came too slowly.",
    409: "The key was used for something else before.",
    413: "The body or the batch is too large.",
    415: "The body is not application/json.",
    422: "The request is well-formed and says what cannot be; field and row are named.",
    429: "Too many requests; Retry-After says how long to wait.",
    500: "An error that we did not foresee.",
    503: "The service cannot answer now.",
}
NO_PATH = "The service has no such path; its OpenAPI document lists those that it has."
_CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large", 415: "media_type"}
_STATUS: tuple[tuple[type[RetainError], int], ...] = (
    (SyntaxProblem, 400),
    (ContentProblem, 422),
    (TooManyError, 413),
    (ConflictError, 409),
    (NotFoundError, 404),
    (LedgerError, 503),
    (BusyError, 503),
    (NotReadyError, 503),
    (IntegrityError, 503),
)


def status(error: RetainError) -> int:
    """The HTTP status of an error that we raise on purpose."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def foreseen(error: RetainError) -> tuple[int, ErrorBody]:
    """An error that we raise on purpose: status and body."""
    message = "the ledger cannot be written; nothing that was acknowledged is lost" if isinstance(error, LedgerError) else error.message
    return status(error), ErrorBody(Problem(error.code, message, error.field, error.row))


def of_framework(request: Request[Any, Any, Any], error: HTTPException) -> Response[ErrorBody]:
    """An error of the framework: no such path or method, a parameter that cannot be."""
    if isinstance(error, ValidationException):
        first = error.extra[0] if isinstance(error.extra, list) and error.extra else {}
        field = first.get("key")
        allowed = choices(request.route_handler.signature_model, f"$.{field}")
        return answer(422, Problem("content", plain(str(first.get("message", error.detail)), allowed), field))
    message = NO_PATH if error.status_code == 404 else WORDS.get(error.status_code, "the request cannot be answered")
    return answer(error.status_code, Problem(_CODES.get(error.status_code, "request"), message), dict(error.headers or {}))


def unforeseen(error: Exception) -> tuple[int, ErrorBody]:
    """Any other error: said, not explained; the log has the place where it happened, and no values."""
    frames = traceback.extract_tb(error.__traceback__)
    _LOG.error("unforeseen %s in %s", type(error).__name__, " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames[-5:])))
    return 500, ErrorBody(Problem("internal", "an error that we did not foresee; please report it with the time of the request"))


def of(error: Exception) -> tuple[int, ErrorBody]:
    """Any error: status and body."""
    return foreseen(error) if isinstance(error, RetainError) else unforeseen(error)


def answer(code: int, problem: Problem, headers: dict[str, str] | None = None) -> Response[ErrorBody]:
    """One error as a response."""
    return Response(ErrorBody(problem), status_code=code, media_type=MediaType.JSON, headers=headers)


def _by(tell: Callable[[Any], tuple[int, ErrorBody]]) -> Callable[[Request[Any, Any, Any], Any], Response[ErrorBody]]:
    """What tells of an error, as a handler of the framework."""

    def handler(_request: Request[Any, Any, Any], error: Any) -> Response[ErrorBody]:
        code, body = tell(error)
        return answer(code, body.error, {"retry-after": str(RETRY_S)} if isinstance(error, BusyError) else None)

    return handler


HANDLERS: dict[int | type[Exception], Any] = {RetainError: _by(foreseen), HTTPException: of_framework, Exception: _by(unforeseen)}
