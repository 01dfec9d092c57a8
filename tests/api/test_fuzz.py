"""schemathesis reads the service's own description and calls it in process: whatever it sends, the answers are those described."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, settings

from serving.runner import Health

pytestmark = [
    # schemathesis' test client keeps a stream open when its event loop ends.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:starlette"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:starlette_testclient"),
]


@pytest.fixture(scope="session")
def described(app: Health) -> schemathesis.openapi.OpenApiSchema:
    return schemathesis.openapi.from_asgi("/v1/openapi.json", app)


schema = schemathesis.pytest.from_fixture("described")


@schema.parametrize()
@settings(max_examples=20, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
def test_answers_are_those_described(case: schemathesis.Case) -> None:
    case.call_and_validate()


@pytest.mark.slow
@schema.parametrize()
@settings(max_examples=200, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
def test_answers_are_those_described_with_200_examples_each(case: schemathesis.Case) -> None:
    case.call_and_validate()
