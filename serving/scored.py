"""Scores of asked customers, in the asked order: risk, value, what is at stake, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import Literal

import msgspec
import numpy as np

from retain.errors import RetainError
from serving import likely, schemas
from serving.ahead import ahead
from serving.answers import Answers
from serving.champions import SCORED
from serving.decisions.eligibility import may_profile
from serving.decisions.facts import Scores
from serving.decisions.scoring import expected_loss
from serving.pulls import assumed, parts, why
from serving.rows import Row, Rows

GROUP, EXPLAINED = 32, 4
"""Customers who are scored at once: few enough that others need not wait."""


class TooManyError(RetainError):
    """More than one call may ask for."""

    code = "too_large"


def refuse_too_many(field: str, count: int, cap: int) -> None:
    """Hold a call to the cap.

    Raises:
        TooManyError: it asks for more.
    """
    if count > cap:
        raise TooManyError(f"{field}: {count} are asked for, at most {cap} fit into one call; split it", field=field)


def around(answers: Answers, request: schemas.ScoresRequest, at: datetime) -> schemas.ScoresAnswer:
    """The answer but for its scores.

    Raises:
        TooManyError: more customers than the cap of one call.
    """
    refuse_too_many("customer_ids", len(request.customer_ids), answers.policy.batch_cap)
    rows = answers.rows
    source, degraded = answers.rung(None, at)
    return schemas.ScoresAnswer(
        scores=[],
        horizon_days=rows.shop.horizon_days,
        currency=rows.shop.currency,
        as_of=at,
        source=source,
        degraded=list(degraded),
        assumed=assumed(rows),
        synthetic=rows.shop.synthetic,
        freshness=answers.freshness_of(request.customer_ids, at),
        models=answers.models,
        reasons_by=rows.card.reasons,
        value_parts=parts(rows),
    )


def _same(answers: Answers) -> Answers:
    """Nobody is erased meanwhile."""
    return answers


def groups(
    answers: Answers,
    request: schemas.ScoresRequest,
    at: datetime,
    is_over: Callable[[], bool] = lambda: False,
    without_erased: Callable[[Answers], Answers] = _same,
) -> Iterator[list[schemas.Score]]:
    """Scores in the asked order, some at a time.

    Once the caller's time is over, the rest gets the figures that were published, and is called so. ``without_erased`` is asked before each
    group: all come from the same versions, and whoever was erased since the first is unknown.
    """
    ids, size = request.customer_ids, EXPLAINED if request.explain else GROUP
    for start in range(0, len(ids), size):
        answers = without_erased(answers)
        some = ids[start : start + size]
        rows = [answers.row(each, at) for each in some]
        known = [row for row in rows if row is not None]
        if is_over():
            scores = iter([_published(answers, row, at) for row in known])
        else:
            scores = iter([one for of, same in groupby(known, key=attrgetter("rows")) for one in _scored(answers, of, list(same), at, request)])
        yield [schemas.Score(customer_id, "unknown") if row is None else next(scores) for customer_id, row in zip(some, rows, strict=True)]


def scores(answers: Answers, request: schemas.ScoresRequest) -> schemas.ScoresAnswer:
    """The whole answer at once.

    Raises:
        TooManyError: more customers than the cap of one call.
    """
    at = answers.clock()
    whole = around(answers, request, at)
    return msgspec.structs.replace(whole, scores=[one for group in groups(answers, request, at) for one in group])


def _scored(answers: Answers, of: Rows, rows: Sequence[Row], at: datetime, request: schemas.ScoresRequest) -> list[schemas.Score]:
    """Scores of rows of one kind, published or made again."""
    found = answers.score(rows)
    figures = [np.array([getattr(each, task) for each in found], dtype=np.float64) for task in SCORED]
    outlooks = ahead(of, np.array([row.position for row in rows], dtype=np.intp), *figures)
    return [_score(answers, row, one, outlook, at, request) for row, one, outlook in zip(rows, found, outlooks, strict=True)]


def _score(
    answers: Answers, row: Row, found: Scores, outlook: tuple[float | None, datetime | None], at: datetime, request: schemas.ScoresRequest
) -> schemas.Score:
    of = row.rows
    customer_id = of.id(row.position)
    customer = row.customer(at, found, explain=request.explain, purposes=())
    if not may_profile(customer, answers.policy):
        return schemas.Score(customer_id, "not_profiled")
    status: Literal["ok", "no_features"] = "ok" if row.has_features else "no_features"
    made_of = None if found.clv is None else row.value_parts(found.clv)
    loss = expected_loss(found.churn, None if made_of is None else sum(made_of.values()))
    signs = why(of, answers.fresh.on(customer, at), request.language) if request.explain else []
    cause = likely.cause(of, row.position, answers.causes, request.language) if request.explain else None
    segment = f"{found.band}/{found.stage}"
    return schemas.Score(customer_id, status, found.churn, found.clv, loss, found.band, found.stage, segment, signs, cause, made_of, *outlook)


def _published(answers: Answers, row: Row, at: datetime) -> schemas.Score:
    """What was published of a customer: looked up, not computed."""
    customer_id, found = row.customer_id, row.stored
    if not may_profile(row.customer(at, found, purposes=()), answers.policy):
        return schemas.Score(customer_id, "not_profiled")
    loss = None if found.clv is None else expected_loss(found.churn, sum(row.value_parts(found.clv).values()))
    return schemas.Score(customer_id, "over_budget", found.churn, found.clv, loss, found.band, found.stage, f"{found.band}/{found.stage}")
