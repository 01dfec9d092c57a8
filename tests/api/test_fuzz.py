"""schemathesis reads the service's own description and calls it in process: whatever it sends, the answers are those described.

Beside it a fuzzer that knows no description: bodies, ids and headers bent at random, in process and on a socket.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import cast

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from benchmarks.fuzz.inputs import SEEDS
from benchmarks.fuzz.ways import Found, in_process, on_sockets
from retain.workspace import Workspace
from serving.app import POSTS, application
from serving.guard import App, Receive, Scope, Send
from serving.runner import Health

pytestmark = [
    # schemathesis' test client keeps a stream open when its event loop ends.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:starlette"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:starlette_testclient"),
]


LEAP = re.compile(r":60(\.\d+)?([Zz+-])")
FUTURE = re.compile(r'"occurred_at": "(202[6-9]|20[3-9]|2[1-9]|[3-9])')
"""From the year of the shop's clock on."""


class Late:
    """The application as soon as its fixture stands; until then one that can only describe itself."""

    def __init__(self) -> None:
        self.app = cast(App, application())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


late = Late()
schema = schemathesis.openapi.from_asgi("/v1/openapi.json", late)


def described(case: schemathesis.Case) -> None:
    """Answered as the description says. It cannot say of rows that come in what their currency is and that a return is negative, and of moments
    that a leap second is none of ours, and that no outcome comes from the future."""
    said = json.dumps(case.body, default=str)
    is_more = case.path == "/v1/events" or LEAP.search(said) is not None or (case.path == "/v1/outcomes" and FUTURE.search(said) is not None)
    case.call_and_validate(excluded_checks=[positive_data_acceptance] if is_more else [])


@pytest.fixture(autouse=True)
def _answered_by(app: Health) -> None:
    late.app = app


@pytest.mark.fault("C1", "C2")
@schema.parametrize()
@settings(max_examples=20, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
def test_answers_are_those_described(case: schemathesis.Case) -> None:
    described(case)


@pytest.mark.fault("C1", "C2")
@pytest.mark.slow
@schema.parametrize()
@settings(max_examples=200, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
def test_answers_are_those_described_with_200_examples_each(case: schemathesis.Case) -> None:
    described(case)


def test_every_route_that_takes_a_body_is_bent() -> None:
    assert set(SEEDS) == set(POSTS)


def sound(found: Found, count: int) -> str:
    assert found.problems == []
    assert found.sent == count
    assert not {status for status in found.statuses if status >= 500}
    assert found.statuses[200] > count / 20, "some of what is bent is still a request"
    return f"{found.sent:,} inputs, no status of 500 or above, slowest {found.slowest_s:.2f} s, no name in a log, a metric or an error"


@pytest.mark.fault("C1", "C2", "C4", "C35", "E12")
def test_whatever_comes_in_no_answer_is_an_accident(place: Workspace) -> None:
    sound(in_process(place, 1500, seed=11), 1500)


@pytest.mark.slow
@pytest.mark.fault("C1", "C2", "C4", "C35", "E12")
def test_a_hundred_thousand_inputs(place: Workspace, happened: Callable[[str], None]) -> None:
    happened(sound(in_process(place, 100_000, seed=7), 100_000))


@pytest.mark.slow
@pytest.mark.fault("C35", "E12")
def test_thousands_of_inputs_as_bytes_on_a_socket(place: Workspace, happened: Callable[[str], None]) -> None:
    found = on_sockets(place, 5_000, seed=7)
    assert found.problems == []
    happened(f"{found.sent:,} of them as bytes on a socket")
