"""The description of the API: each operation says how it may refuse."""

import pytest

from api.interface import VERSION, describe
from api.problems import MEDIA_TYPE, errors
from docs.pages import error_classes
from domain.errors import Invalid
from domain.runs.errors import EventUnknown, KeyReused
from testing.api_routes import Endpoint, app, guarded
from testing.declared import codes, operations

OPERATIONS = [pytest.param(endpoint, id=endpoint.name) for endpoint in guarded()]
DESCRIPTION = describe(app())


@pytest.mark.parametrize("endpoint", OPERATIONS)
def test_an_operation_says_whom_it_refuses(endpoint: Endpoint) -> None:
    """Without credentials 401, without the scope 403; both are problems with a code."""
    operation = DESCRIPTION["paths"][endpoint.path][endpoint.method.lower()]

    refusals = {status: operation["responses"][status]["content"] for status in ("401", "403")}

    assert all(MEDIA_TYPE in content for content in refusals.values())
    assert {"credentials_missing", "token_expired", "scope_missing"} <= codes(operation)
    assert operation["security"] == [{name: list(endpoint.scopes)} for name in ("bearer", "key")]


@pytest.mark.parametrize("endpoint", OPERATIONS)
def test_an_operation_with_a_body_says_which_bodies_it_refuses(endpoint: Endpoint) -> None:
    operation = DESCRIPTION["paths"][endpoint.path][endpoint.method.lower()]

    assert ("body_invalid" in codes(operation)) == ("requestBody" in operation)
    assert ("body_too_large" in codes(operation)) == ("requestBody" in operation)


def test_each_declared_code_is_that_of_a_class() -> None:
    known = {kind.code for kind in error_classes()}

    assert {o.name: o.codes - known for o in operations() if o.codes - known} == {}
    assert len(operations()) >= len(OPERATIONS)


def test_errors_of_one_status_are_one_response() -> None:
    """A route names classes; readers find them by their status, with an example of each."""
    described = errors(KeyReused, EventUnknown)

    assert list(described) == [Invalid.status]
    examples = described[422]["content"][MEDIA_TYPE]["examples"]
    assert list(examples) == ["key_reused", "event_unknown"]
    assert examples["key_reused"]["value"] == {
        "type": "about:blank",
        "status": 422,
        "code": "key_reused",
        "detail": KeyReused.sentence(),
    }


def test_nothing_of_the_frameworks_own_errors_is_left() -> None:
    assert "HTTPValidationError" not in str(DESCRIPTION)
    assert DESCRIPTION["info"]["version"] == VERSION
