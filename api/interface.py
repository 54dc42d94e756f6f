"""The interface described: `/openapi.json` with the errors of each route, and `/docs`."""

import asyncio
from copy import deepcopy
from functools import lru_cache
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.routing import APIRoute, iter_route_contexts

from api.problems import MEDIA_TYPE, SCHEMA, BodyInvalid, errors
from domain.errors import (
    DatabaseUnavailable,
    Forbidden,
    Invalid,
    PerdureError,
    TooLarge,
    Unauthenticated,
    ValueInvalid,
)
from domain.identity.errors import CredentialsMissing, TokenExpired, TokenInvalid

VERSION = version("perdure")
_DESCRIPTION = "/openapi.json"
_CALLER_ERRORS = (
    *(CredentialsMissing, Unauthenticated, TokenExpired, TokenInvalid, Forbidden),
    *(DatabaseUnavailable, ValueInvalid),
)
_SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key or a JWT."},
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def install(app: FastAPI) -> None:
    """Add both pages. The description takes a second to make, once: it is made in a thread, so that
    no stream waits for it."""

    @app.get(_DESCRIPTION, include_in_schema=False)
    async def openapi() -> JSONResponse:
        return JSONResponse(await asyncio.to_thread(describe, app))

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(openapi_url=_DESCRIPTION, title=app.title)


@lru_cache(maxsize=1)
def describe(app: FastAPI) -> dict[str, Any]:
    """Return FastAPI's description of the app, completed with the scopes of callers, and with the
    errors that follow from what a route takes, besides those that it declares."""
    description = deepcopy(app.openapi())
    schemas = description["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Problem"] = SCHEMA
    description["components"]["securitySchemes"] = _SECURITY
    scopes = _scopes(app)
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            _complete(operation, scopes.get((method.upper(), path)))
    return description


def _scopes(app: FastAPI) -> dict[tuple[str, str], str]:
    """Return the scope that each method of each path asks for."""
    return {
        (method, str(route.path)): dependency.call.__dict__["scope"]
        for route in iter_route_contexts(app.routes)
        if isinstance(route.route, APIRoute)
        for dependency in route.dependant.dependencies
        if "scope" in getattr(dependency.call, "__dict__", {})
        for method in route.methods or ()
    }


def _complete(operation: dict[str, Any], scope: str | None) -> None:
    common: list[type[PerdureError]] = [PerdureError]
    if scope is not None:
        operation["security"] = [{name: [scope]} for name in _SECURITY]
        common += _CALLER_ERRORS
    if "parameters" in operation or "requestBody" in operation:
        common += [Invalid]
    if "requestBody" in operation:
        common += [BodyInvalid, TooLarge]
    for status, response in errors(*common).items():
        _merge(operation["responses"], str(status), response)


def _merge(responses: dict[str, Any], status: str, response: dict[str, Any]) -> None:
    declared = responses.get(status, {})
    if MEDIA_TYPE not in declared.get("content", {}):
        responses[status] = response
        return
    declared["description"] += f" {response['description']}"
    examples = declared["content"][MEDIA_TYPE]["examples"]
    declared["content"][MEDIA_TYPE]["examples"] = (
        examples | response["content"][MEDIA_TYPE]["examples"]
    )
