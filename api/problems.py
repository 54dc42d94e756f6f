"""Problems: every error as problem+json (RFC 9457) with a stable `code`."""

from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.websockets import WebSocket

from domain.errors import PerdureError

_log = structlog.get_logger(__name__)
_CODES = {
    400: "body_invalid",
    404: "route_unknown",
    405: "method_not_allowed",
    413: "body_too_large",
}


def problem(
    status: int, code: str, detail: str, headers: dict[str, str] | None = None, **facts: Any
) -> Response:
    """A problem document; `facts` are its extra members."""
    body = {"type": "about:blank", "status": status, "code": code, "detail": detail, **facts}
    return JSONResponse(body, status, headers, media_type="application/problem+json")


def install(app: FastAPI) -> None:
    """Make the app answer every error as a problem."""
    app.exception_handler(PerdureError)(_known)
    app.exception_handler(RequestValidationError)(_invalid)
    app.exception_handler(HTTPException)(_http)
    app.exception_handler(Exception)(_unknown)


async def _known(request: HTTPConnection, error: PerdureError) -> Response:
    answer = _of(error)
    if isinstance(request, WebSocket):
        await request.send_denial_response(answer)
    return answer


def _of(error: PerdureError) -> Response:
    headers = {}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if error.retry_after is not None or error.status == 503:
        seconds = error.retry_after.total_seconds() if error.retry_after else 1
        headers["Retry-After"] = str(max(1, round(seconds)))
    return problem(error.status, error.code, error.detail, headers, **error.facts)


async def _invalid(_request: Request, error: RequestValidationError) -> Response:
    errors = [
        {
            "path": ".".join(map(str, item["loc"])),
            "message": item["msg"].removeprefix("Value error, "),
        }
        for item in error.errors()
    ]
    if any(item["type"] == "json_invalid" for item in error.errors()):
        return problem(400, "body_invalid", "The body is not valid JSON.")
    first = f"{errors[0]['path']}: {errors[0]['message']}" if errors else "The request is invalid."
    return problem(422, "request_invalid", first, errors=errors)


async def _http(_request: Request, error: HTTPException) -> Response:
    code = _CODES.get(error.status_code, "request_refused")
    return problem(error.status_code, code, str(error.detail), dict(error.headers or {}))


async def _unknown(request: Request, error: Exception) -> Response:
    _log.error("unexpected error", path=request.url.path, error=type(error).__name__)
    return problem(500, "internal_error", "Something unexpected went wrong; it was logged.")
