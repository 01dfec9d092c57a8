"""schemathesis reads the service's own description and calls it in process: whatever it sends, the answers are those described."""

from __future__ import annotations

from typing import cast

import pytest
import schemathesis
from hypothesis import HealthCheck, settings

from serving.app import application
from serving.guard import App, Receive, Scope, Send
from serving.runner import Health

pytestmark = [
    # schemathesis' test client keeps a stream open when its event loop ends.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:starlette"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:starlette_testclient"),
]


class Late:
    """The application as soon as its fixture stands; until then one that can only describe itself."""

    def __init__(self) -> None:
        self.app = cast(App, application())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


late = Late()
schema = schemathesis.openapi.from_asgi("/v1/openapi.json", late)


@pytest.fixture(autouse=True)
def _answered_by(app: Health) -> None:
    late.app = app


@pytest.mark.fault("C1", "C2")
@schema.parametrize()
@settings(max_examples=20, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
def test_answers_are_those_described(case: schemathesis.Case) -> None:
    case.call_and_validate()


@pytest.mark.fault("C1", "C2")
@pytest.mark.slow
@schema.parametrize()
@settings(max_examples=200, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
def test_answers_are_those_described_with_200_examples_each(case: schemathesis.Case) -> None:
    case.call_and_validate()
