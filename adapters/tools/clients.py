"""Connections to MCP servers: in our own memory, over HTTP, or to a command that we run."""

import asyncio
import contextvars
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Protocol, TypeVar

import anyio
import httpx2
from anyio.streams.memory import MemoryObjectReceiveStream
from mcp.client import Client
from mcp.client._transport import TransportStreams
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.server.mcpserver import MCPServer
from mcp.shared.exceptions import MCPError
from mcp_types import CONNECTION_CLOSED, DiscoverResult
from pydantic import ValidationError

from domain.errors import SettingsInvalid
from domain.tools.tools import ToolServer

Result = TypeVar("Result")
Request = Callable[[Client], Awaitable[Result]]

_log = logging.getLogger(__name__)
_CONNECT_SECONDS = 10


class ServerConnection(Protocol):
    """A way to a server that outlives its failures: the next use connects again."""

    async def use(self, request: Request[Result]) -> Result:
        """Make a request through a live client. Cancelling this cancels it on the server."""
        ...

    async def aclose(self) -> None:
        """Close what is open, and end the server's process if there is one."""
        ...


def connection_to(server: ToolServer) -> ServerConnection:
    """Return the connection of a server's settings; raises SettingsInvalid when they name none."""
    if server.url is not None:
        return HttpConnection(server.url, server.headers)
    if server.command:
        return PersistentConnection(lambda: _Command(server), server.timeout_seconds)
    raise SettingsInvalid(f"Tool server {server.name} needs a url or a command.")


def connection_in_memory(server: MCPServer[Any]) -> ServerConnection:
    """Return a connection to a server in this process; requests run in their callers' own tasks."""
    return PersistentConnection(lambda: server, math.inf)


class HttpConnection:
    """A client for each request, over pooled sockets: a request that breaks its client cannot
    harm another. The server's protocol is remembered, so that a request is one round trip."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        self._url = url
        timeout = httpx2.Timeout(None, connect=_CONNECT_SECONDS)
        self._http = httpx2.AsyncClient(headers=headers, timeout=timeout)
        self._mode = "auto"
        self._discovered: DiscoverResult | None = None

    async def use(self, request: Request[Result]) -> Result:
        result: Result | MCPError | ValidationError
        try:
            async with self._client() as client:
                try:
                    result = await request(client)
                except (MCPError, ValidationError) as error:
                    # Raised here, it would leave the client's task group inside an ExceptionGroup.
                    result = error
        except Exception:
            self._forget()
            raise
        if isinstance(result, MCPError | ValidationError):
            self._forget()
            raise result
        return result

    async def aclose(self) -> None:
        await self._http.aclose()

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[Client]:
        transport = streamable_http_client(self._url, http_client=self._http)
        async with Client(transport, mode=self._mode, prior_discover=self._discovered) as client:
            self._discovered = client.session.discover_result
            self._mode = client.protocol_version if self._discovered else "legacy"
            yield client

    def _forget(self) -> None:
        self._mode, self._discovered = "auto", None


class PersistentConnection:
    """One client that stays open, and is opened again after it broke."""

    def __init__(self, target: "Callable[[], _Target]", start_seconds: float) -> None:
        self._target = target
        self._start_seconds = start_seconds
        self._live: _LiveClient | None = None

    @property
    def alive(self) -> bool:
        """Return whether the next use can go through what is open."""
        return self._live is not None and not self._live.gone

    async def use(self, request: Request[Result]) -> Result:
        if self._live is None or self._live.gone:
            self._live = _LiveClient(self._target(), self._start_seconds)
        live = self._live
        try:
            return await request(await live.client())
        except MCPError as error:
            if error.code == CONNECTION_CLOSED:
                live.close()
            raise

    async def aclose(self) -> None:
        if self._live is not None:
            self._live.close()
            await self._live.ended()


class _Command:
    """The stdio transport of a command, which notices when its process stops talking."""

    def __init__(self, server: ToolServer) -> None:
        program, *arguments = server.command
        self._streams = stdio_client(
            StdioServerParameters(command=program, args=arguments, env=server.environment)
        )
        self._replies: MemoryObjectReceiveStream[Any] | None = None

    @property
    def gone(self) -> bool:
        return self._replies is not None and not self._replies.statistics().open_send_streams

    async def __aenter__(self) -> TransportStreams:
        streams = await self._streams.__aenter__()
        if isinstance(streams[0], MemoryObjectReceiveStream):
            self._replies = streams[0]
        return streams

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        return await self._streams.__aexit__(kind, error, trace)


_Target = MCPServer[Any] | _Command


class _LiveClient:
    """A client that one task enters and leaves, since anyio lets no other task leave it."""

    def __init__(self, target: _Target, start_seconds: float) -> None:
        self._target = target
        self._ready: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
        self._scope = anyio.CancelScope(deadline=anyio.current_time() + start_seconds)
        self._task = asyncio.create_task(self._hold(), context=contextvars.Context())
        self._task.add_done_callback(_report)

    @property
    def gone(self) -> bool:
        return self._task.done() or (isinstance(self._target, _Command) and self._target.gone)

    async def client(self) -> Client:
        if not self._ready.done():
            either: set[asyncio.Future[Any]] = {self._task, self._ready}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if self._ready.done():
            return self._ready.result()
        self._task.result()
        raise TimeoutError("the server did not start in time")

    def close(self) -> None:
        self._scope.cancel()

    async def ended(self) -> None:
        await asyncio.wait({self._task})

    async def _hold(self) -> None:
        with self._scope:
            async with Client(self._target) as client:
                self._scope.deadline = math.inf
                self._ready.set_result(client)
                await anyio.sleep_forever()


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.info("the connection to a tool server broke: %r", error)
