"""The to-do server over HTTP: one route of the API, for callers with our own credentials.

Light to import: the MCP SDK (more than a second) is loaded in a thread by the first request.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from activities.tools.ports import TodoStore
from domain.errors import PerdureError, Unauthenticated
from domain.identity.principals import Principal

if TYPE_CHECKING:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

    from adapters.tools.todo_server import RequestContext

Authenticate = Callable[[str | None, str | None], Awaitable[Principal]]
"""Returns the caller from the headers `Authorization` and `X-API-Key`; raises Unauthenticated."""

ANY_HOST = "*"
_LOCAL_HOSTS = ("127.0.0.1", "localhost", "[::1]")
_PRINCIPAL = "perdure.principal"


class TodoEndpoint:
    """An ASGI app for the path `/mcp` itself: add it as a route, a mount would redirect.

    Stateless (any replica answers any request) and POST only, so no stream outlives a request.
    `allowed_hosts` are the names under which the API is reached, besides this machine's own;
    `"*"` allows all.
    """

    def __init__(
        self, store: TodoStore, authenticate: Authenticate, allowed_hosts: Collection[str] = ()
    ) -> None:
        self._store = store
        self._authenticate = authenticate
        self._allowed_hosts = allowed_hosts
        self._requested = asyncio.Event()
        self._manager: asyncio.Future[StreamableHTTPSessionManager] | None = None

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Answer requests while this is open: enter it in the API's lifespan."""
        self._manager = asyncio.get_running_loop().create_future()
        serving = asyncio.create_task(self._serve(self._manager))
        try:
            yield
        finally:
            serving.cancel()
            await asyncio.wait({serving})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = await self._refusal(scope)
        if answer is not None:
            await answer(scope, receive, send)
            return
        assert self._manager is not None, "enter run() in the lifespan"
        self._requested.set()
        manager = await asyncio.shield(self._manager)
        await manager.handle_request(scope, receive, send)

    async def _refusal(self, scope: Scope) -> Response | None:
        if scope["method"] != "POST":
            return _problem(405, "method_not_allowed", "Send a POST.", {"Allow": "POST"})
        headers = Headers(scope=scope)
        try:
            scope[_PRINCIPAL] = await self._authenticate(
                headers.get("authorization"), headers.get("x-api-key")
            )
        except Unauthenticated as error:
            return _problem(401, error.code, error.detail, {"WWW-Authenticate": "Bearer"})
        except PerdureError as error:
            return _problem(error.status, error.code, error.detail, {})
        return None

    async def _serve(self, ready: "asyncio.Future[StreamableHTTPSessionManager]") -> None:
        await self._requested.wait()
        try:
            manager = await asyncio.to_thread(_manager, self._store, self._allowed_hosts)
        except Exception as error:
            ready.set_exception(error)
            raise
        async with manager.run():
            ready.set_result(manager)
            await asyncio.Event().wait()


def _problem(status: int, code: str, detail: str, headers: dict[str, str]) -> Response:
    body = {"type": "about:blank", "status": status, "code": code, "detail": detail}
    return JSONResponse(body, status, headers, media_type="application/problem+json")


def _manager(store: TodoStore, hosts: Collection[str]) -> "StreamableHTTPSessionManager":
    from mcp.server.transport_security import TransportSecuritySettings

    from adapters.tools.todo_server import todo_server

    server = todo_server(store, _caller_of_request)
    names = (*_LOCAL_HOSTS, *hosts)
    security = TransportSecuritySettings(
        enable_dns_rebinding_protection=ANY_HOST not in hosts,
        allowed_hosts=[form for name in names for form in (name, f"{name}:*")],
        allowed_origins=[
            f"{scheme}://{form}"
            for name in names
            for form in (name, f"{name}:*")
            for scheme in ("http", "https")
        ],
    )
    server.streamable_http_app(stateless_http=True, json_response=True, transport_security=security)
    return server.session_manager


def _caller_of_request(ctx: "RequestContext") -> Principal:
    request = ctx.request_context.request
    assert request is not None, "this server is only reached over HTTP"
    principal = request.scope[_PRINCIPAL]
    assert isinstance(principal, Principal)
    return principal
