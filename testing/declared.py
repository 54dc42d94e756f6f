"""Declared errors: whatever a route refuses with stands in the description of the API."""

import json
import re
from functools import cache
from typing import Any, NamedTuple

import httpx
from starlette.routing import compile_path

from api.interface import describe
from api.problems import MEDIA_TYPE
from testing.api_routes import app

# What is answered before a route is found.
OF_NO_ROUTE = frozenset({"route_unknown", "method_not_allowed", "request_refused"})


class Operation(NamedTuple):
    """One method of one path, and the codes that it declares."""

    name: str
    method: str
    path: re.Pattern[str]
    codes: frozenset[str]


@cache
def operations() -> list[Operation]:
    """Return every operation that the API describes, in the order in which paths are matched."""
    return [
        Operation(
            f"{method.upper()} {path}", method.upper(), compile_path(path)[0], codes(operation)
        )
        for path, operations in describe(app()).get("paths", {}).items()
        for method, operation in operations.items()
    ]


def codes(operation: dict[str, Any]) -> frozenset[str]:
    """Return the codes that an operation of the description declares."""
    contents = (response.get("content", {}) for response in operation["responses"].values())
    return frozenset(
        code for content in contents for code in content.get(MEDIA_TYPE, {}).get("examples", {})
    )


def check_declared(answer: httpx.Response) -> None:
    """Fail for a problem that its route does not declare. A hook of every test's client."""
    if answer.headers.get("content-type") != MEDIA_TYPE:
        return
    code = json.loads(answer.read())["code"]
    request = answer.request
    asked = (
        o for o in operations() if o.method == request.method and o.path.match(request.url.path)
    )
    operation = next(asked, None)
    if operation is not None and code not in OF_NO_ROUTE:
        assert code in operation.codes, f"{operation.name} does not declare {code}"
