"""Problems: every error as problem+json (RFC 9457) with a stable `code`."""

from collections import defaultdict
from typing import Any, ClassVar

import structlog
from fastapi import FastAPI
from fastapi.exceptions import (
    RequestValidationError,
    ValidationException,
    WebSocketRequestValidationError,
)
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.websockets import WebSocket

from domain.errors import Invalid, PerdureError, TooLarge
from domain.gateway.errors import RouteUnknown

MEDIA_TYPE = "application/problem+json"
SCHEMA: dict[str, Any] = {
    "title": "Problem",
    "description": "What went wrong (RFC 9457). A code may add members of its own.",
    "type": "object",
    "required": ["type", "status", "code", "detail"],
    "properties": {
        "type": {"type": "string", "const": "about:blank"},
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "Stable: for programs (docs/errors.md)."},
        "detail": {"type": "string", "description": "A sentence for people."},
    },
    "additionalProperties": True,
}
_SCHEMA_REF = {"$ref": "#/components/schemas/Problem"}
_log = structlog.get_logger(__name__)


class BodyInvalid(PerdureError):
    """The body is not valid JSON."""

    code = "body_invalid"
    status: ClassVar[int] = 400


class MethodNotAllowed(PerdureError):
    """This path does not take this method."""

    code = "method_not_allowed"
    status: ClassVar[int] = 405


class RequestRefused(PerdureError):
    """This is not a request that the API can read."""

    code = "request_refused"
    status: ClassVar[int] = 400


_BY_STATUS = {400: BodyInvalid, 404: RouteUnknown, 405: MethodNotAllowed, 413: TooLarge}


def errors(*kinds: type[PerdureError]) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route that may answer these errors: per status a problem, with an
    example for each code."""
    by_status: defaultdict[int, list[type[PerdureError]]] = defaultdict(list)
    for kind in kinds:
        by_status[kind.status].append(kind)
    return {
        status: {
            "description": " ".join(kind.sentence() for kind in kinds_of_status),
            "content": {
                MEDIA_TYPE: {"schema": _SCHEMA_REF, "examples": _examples(kinds_of_status)}
            },
        }
        for status, kinds_of_status in by_status.items()
    }


def problem(error: PerdureError, headers: dict[str, str] | None = None) -> Response:
    """Return the problem document of an error; its facts are members of the document."""
    headers = dict(headers or {})
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if error.retry_after is not None or error.status == 503:
        seconds = error.retry_after.total_seconds() if error.retry_after else 1
        headers["Retry-After"] = str(max(1, round(seconds)))
    return _response(error.status, _document(error) | error.facts, headers)


def install(app: FastAPI) -> None:
    """Make the app answer every error as a problem."""
    app.exception_handler(PerdureError)(_answer_known)
    app.exception_handler(RequestValidationError)(_answer_invalid)
    app.exception_handler(WebSocketRequestValidationError)(_answer_invalid)
    app.exception_handler(HTTPException)(_answer_http)
    app.exception_handler(Exception)(_answer_unexpected)


async def _answer_known(connection: HTTPConnection, error: PerdureError) -> Response:
    return await _deny(connection, problem(error))


async def _answer_invalid(connection: HTTPConnection, error: ValidationException) -> Response:
    if any(item["type"] == "json_invalid" for item in error.errors()):
        return problem(BodyInvalid())
    fields = [
        {
            "path": ".".join(map(str, item["loc"])),
            "message": item["msg"].removeprefix("Value error, "),
        }
        for item in error.errors()
    ]
    invalid = Invalid(f"{fields[0]['path']}: {fields[0]['message']}" if fields else None)
    answer = _response(invalid.status, _document(invalid) | {"errors": fields}, {})
    return await _deny(connection, answer)


async def _answer_http(_connection: HTTPConnection, error: HTTPException) -> Response:
    kind = _BY_STATUS.get(error.status_code, RequestRefused)
    document = _document(kind(str(error.detail))) | {"status": error.status_code}
    return _response(error.status_code, document, dict(error.headers or {}))


async def _answer_unexpected(connection: HTTPConnection, error: Exception) -> Response:
    _log.error("unexpected error", path=connection.url.path, error=type(error).__name__)
    return problem(PerdureError())


async def _deny(connection: HTTPConnection, answer: Response) -> Response:
    """Answer a WebSocket that was not accepted yet with a response as well."""
    if isinstance(connection, WebSocket):
        await connection.send_denial_response(answer)
    return answer


def _document(error: PerdureError) -> dict[str, Any]:
    return {
        "type": "about:blank",
        "status": error.status,
        "code": error.code,
        "detail": error.detail,
    }


def _response(status: int, document: dict[str, Any], headers: dict[str, str]) -> Response:
    return JSONResponse(document, status, headers, media_type=MEDIA_TYPE)


def _examples(kinds: list[type[PerdureError]]) -> dict[str, Any]:
    return {kind.code: {"summary": kind.sentence(), "value": _document(kind())} for kind in kinds}
