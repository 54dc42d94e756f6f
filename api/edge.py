"""Limits on requests, and the counting of them, before anything is parsed."""

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import problem
from domain.errors import TooLarge

MAX_BODY_BYTES = 768 * 1024
# Read piece by piece, and never held as a whole.
STREAMED = frozenset({"/api/v1/ai/leads/import"})
_DETAIL = f"A body may have {MAX_BODY_BYTES // 1024} KiB; more is an attachment."
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class RequestLimits:
    """An ASGI middleware that refuses large bodies, and counts requests for `/metrics`."""

    def __init__(self, app: ASGIApp, registry: CollectorRegistry) -> None:
        self._app = app
        labels = ("method", "route", "status")
        self._requests = Counter(
            "perdure_requests", "Requests answered.", labels, registry=registry
        )
        self._seconds = Histogram(
            "perdure_request_seconds", "Time to the first byte.", ("route",), registry=registry
        )
        self._open = Gauge("perdure_requests_open", "Requests in flight.", registry=registry)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        streamed = scope["path"] in STREAMED
        if not streamed and _content_length(scope) > MAX_BODY_BYTES:
            await problem(TooLarge(_DETAIL))(scope, receive, send)
            return
        with self._open.track_inprogress():
            body = receive if streamed else _limited(receive)
            await self._app(scope, body, self._counted(scope, send))

    def _counted(self, scope: Scope, send: Send) -> Send:
        started = time.perf_counter()

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", "unknown")
                self._requests.labels(_method(scope), route, message["status"]).inc()
                self._seconds.labels(route).observe(time.perf_counter() - started)
            await send(message)

        return counted


def _method(scope: Scope) -> str:
    """Return the method if it is a known one: a label may not hold whatever anybody sends."""
    return scope["method"] if scope["method"] in _METHODS else "OTHER"


def _content_length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else 0
    return 0


def _limited(receive: Receive) -> Receive:
    """Cut off a body without a Content-Length where it grows too large."""
    total = 0

    async def limited() -> Message:
        nonlocal total
        message = await receive()
        total += len(message.get("body", b""))
        if total > MAX_BODY_BYTES:
            raise HTTPException(413, _DETAIL)
        return message

    return limited
