"""Bodies that are wrong are refused in time that grows with their length, and by words that do not."""

from __future__ import annotations

import time

import pytest

from serving.schemas import DecisionRequest, EventsRequest, OutcomeRequest
from serving.strict import LONGEST_WORD, LONGEST_WORDS, ContentProblem, SyntaxProblem, parse

CPU_S = 5.0


@pytest.mark.fault("C10")
def test_the_doubled_key_among_very_many_is_found_in_one_pass() -> None:
    keys = ",".join(f'"k{number}":0' for number in range(150_000))
    start = time.process_time()
    with pytest.raises(SyntaxProblem, match="twice") as told:
        parse(f'{{{keys},"k149999":0}}'.encode(), DecisionRequest)
    assert told.value.field == "k149999"
    assert time.process_time() - start < CPU_S


@pytest.mark.fault("C10")
@pytest.mark.parametrize("piece", ["`$[", " - at `$[", "a", "$.a["])
def test_a_key_as_long_as_a_body_is_neither_searched_nor_said_back(piece: str) -> None:
    start = time.process_time()
    with pytest.raises(ContentProblem, match="unknown field") as told:
        parse(f'{{"customer_id":"a","{piece * (3_000_000 // len(piece))}":1}}'.encode(), DecisionRequest)
    assert time.process_time() - start < CPU_S
    assert len(told.value.message) <= LONGEST_WORDS
    assert len(told.value.field or "") <= LONGEST_WORD


@pytest.mark.fault("C2")
@pytest.mark.parametrize(
    ("body", "kind", "place"),
    [
        ('{"customer_id":"a","budget_ms":1e400}', DecisionRequest, ("budget_ms", None)),
        (
            '{"outcome_id":"o","decision_id":"d","type":"shown","occurred_at":"2026-01-01T00:00:00Z","amount":-1e400}',
            OutcomeRequest,
            ("amount", None),
        ),
        (
            '{"transactions":[{"order_id":"o","line_id":"1","customer_id":"a","product_id":"p","occurred_at":"2026-01-01T00:00:00Z",'
            '"kind":"sale","quantity":1e400,"amount":1}]}',
            EventsRequest,
            ("transactions.quantity", 0),
        ),
    ],
)
def test_a_number_beyond_all_numbers_is_placed(body: str, kind: type, place: tuple[str, int | None]) -> None:
    with pytest.raises(ContentProblem) as told:
        parse(body.encode(), kind)
    assert (told.value.field, told.value.row) == place
