"""One tool server: its tools, their names and safety, and calls to them."""

import asyncio
import contextvars
import hashlib
import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import anyio
from mcp.client import Client
from mcp.shared.exceptions import MCPError
from mcp_types import (
    HEADER_MISMATCH,
    INVALID_PARAMS,
    CallToolRequest,
    CallToolRequestParams,
    CallToolResult,
)
from mcp_types import Tool as RemoteTool
from pydantic import ValidationError

from adapters.tools.clients import ServerConnection
from adapters.tools.results import failed, tool_result
from adapters.tools.todo_server import KEY_META, TENANT_META, USER_META
from domain.errors import ToolFailed
from domain.gateway.completions import ToolSpec
from domain.tools.errors import ToolTimeout, ToolUnavailable
from domain.tools.tools import Safety, Tool, ToolCaller, ToolResult, ToolServer

_log = logging.getLogger(__name__)
FIRST_LISTING_SECONDS = 5
_MAX_PAGES = 20
_MAX_NAME = 64


@dataclass(frozen=True)
class Ages:
    """Seconds until a listing is renewed, and until a dead server is asked again."""

    fresh: float
    dead: float


class ToolSource:
    """A server in the settings.

    How safe its tools are, only the settings say: annotations such as `readOnlyHint` are a
    stranger's claim, and a false one would let us repeat what must happen once.
    """

    def __init__(
        self,
        server: ToolServer,
        connection: ServerConnection,
        ask_first: frozenset[str],
        ages: Ages,
    ) -> None:
        self.server = server
        self.tools: tuple[Tool, ...] | None = None
        self._connection = connection
        self._ask_first = ask_first
        self._ages = ages
        self._listing: asyncio.Task[None] | None = None
        self._renew_at = 0.0

    def serves(self, tenant_id: str) -> bool:
        """Return whether a tenant may use this server."""
        return self.server.serves(tenant_id)

    async def first_listing(self) -> None:
        """Wait for the first listing, but not for long: a slow server joins later."""
        self.renew()
        if self._listing is not None:
            await asyncio.wait({self._listing}, timeout=FIRST_LISTING_SECONDS)
        if self.tools is None:
            self._leave_out("no answer yet")

    def renew(self) -> None:
        """List again in the background, if it is time to and nobody does yet."""
        if self._listing is None and time.monotonic() >= self._renew_at:
            self._listing = asyncio.create_task(self._relist(), context=contextvars.Context())

    async def call(self, tool: Tool, arguments: dict[str, Any], caller: ToolCaller) -> ToolResult:
        """Call a tool of this server. Raises ToolUnavailable, ToolTimeout."""
        request = CallToolRequest(
            params=CallToolRequestParams.model_validate(
                {
                    "name": tool.remote_name,
                    "arguments": arguments,
                    "_meta": self._meta(tool, caller),
                }
            )
        )
        with self._failures(tool.timeout):
            return await self._connection.use(lambda client: _request(client, request))

    async def aclose(self) -> None:
        """Close the connection."""
        if self._listing is not None:
            self._listing.cancel()
            await asyncio.wait({self._listing})
        await self._connection.aclose()

    def _name(self, remote: RemoteTool) -> str:
        return model_safe(f"{self.server.name}_{remote.name}")

    def _safety(self, remote: RemoteTool) -> Safety:
        return self.server.tool_safety.get(remote.name, self.server.safety)

    def _meta(self, tool: Tool, caller: ToolCaller) -> dict[str, str]:
        return {KEY_META: caller.key} if tool.safety is Safety.KEYED else {}

    async def _relist(self) -> None:
        try:
            with self._failures(timedelta(seconds=self.server.timeout_seconds)):
                offered = await self._connection.use(_list)
        except ToolFailed as error:
            self._leave_out(error.detail)
            age = self._ages.dead
        else:
            self.tools, age = tuple(map(self._tool, offered)), self._ages.fresh
        finally:
            self._listing = None
        self._renew_at = time.monotonic() + age

    def _leave_out(self, reason: str) -> None:
        if self.tools != ():
            _log.warning("tool server %s is left out: %s", self.server.name, reason)
        self.tools = ()

    def _tool(self, remote: RemoteTool) -> Tool:
        name = self._name(remote)
        asks = name in self._ask_first or not self.server.ask_first.isdisjoint({"*", remote.name})
        return Tool(
            spec=ToolSpec(
                name=name,
                description=remote.description or remote.title or remote.name,
                parameters=remote.input_schema,
            ),
            server=self.server.name,
            remote_name=remote.name,
            safety=self._safety(remote),
            ask_first=asks,
            timeout=timedelta(seconds=self.server.timeout_seconds),
        )

    @contextmanager
    def _failures(self, limit: timedelta) -> Iterator[None]:
        name = self.server.name
        try:
            with anyio.fail_after(limit.total_seconds()):
                yield
        except TimeoutError as error:
            seconds = f"{limit.total_seconds():g} seconds"
            raise ToolTimeout(f"The tool server {name} did not answer in {seconds}.") from error
        except Exception as error:
            detail = f"The tool server {name} failed: {_reason(error)}"
            raise ToolUnavailable(detail) from error


class OwnSource(ToolSource):
    """Our own server: it knows the caller, and its annotations are our own word.

    Every tool of it that is not read-only takes the idempotency key.
    """

    def _name(self, remote: RemoteTool) -> str:
        return remote.name

    def _safety(self, remote: RemoteTool) -> Safety:
        read_only = remote.annotations is not None and remote.annotations.read_only_hint
        return Safety.SAFE if read_only else Safety.KEYED

    def _meta(self, tool: Tool, caller: ToolCaller) -> dict[str, str]:
        caller_meta = {TENANT_META: caller.tenant_id, USER_META: caller.user_id}
        return caller_meta | super()._meta(tool, caller)


def model_safe(name: str) -> str:
    """Return a name that every model provider takes, with a digest if the name had to change."""
    safe = re.sub(r"[^a-zA-Z0-9_-]", "_", name)
    if safe == name and len(name) <= _MAX_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{safe[: _MAX_NAME - 9]}_{digest}"


async def _list(client: Client) -> list[RemoteTool]:
    tools: list[RemoteTool] = []
    cursor: str | None = None
    for _ in range(_MAX_PAGES):
        page = await client.list_tools(cursor=cursor, cache_mode="bypass")
        tools += page.tools
        cursor = page.next_cursor
        if cursor is None:
            break
    return tools


async def _request(client: Client, request: CallToolRequest) -> ToolResult:
    try:
        # Not client.call_tool: it lists all tools first, to check a schema that we do not use.
        return tool_result(await client.session.send_request(request, CallToolResult))
    except MCPError as error:
        if error.code == HEADER_MISMATCH:
            # The server wants arguments in headers, and has refused to act without them.
            params = request.params
            return tool_result(
                await client.call_tool(params.name, params.arguments, meta=params.meta)
            )
        if error.code == INVALID_PARAMS:
            return failed(error.message)
        raise
    except ValidationError:
        return failed("The tool answered in a way that MCP does not know. It may have acted.")


def _reason(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error.message if isinstance(error, MCPError) else type(error).__name__
