"""The tool box: every MCP server that a tenant may use, as one set of tools."""

import asyncio
from collections.abc import Iterable
from datetime import timedelta
from itertools import permutations
from typing import Any

from mcp.server.mcpserver import MCPServer

from adapters.tools.clients import connection_in_memory, connection_to
from adapters.tools.results import failed
from adapters.tools.sources import Ages, OwnSource, ToolSource
from domain.errors import SettingsInvalid
from domain.settings import Settings
from domain.tools.tools import Safety, Tool, ToolCaller, ToolResult, ToolServer

FRESH = timedelta(seconds=60)
DEAD = timedelta(seconds=5)


class McpToolBox:
    """Tools of our own to-do server under their plain names, others' as `server_tool`.

    A listing older than `fresh` is renewed in the background, and a server that did not answer is
    asked again after `dead`: a step waits for a server only the first time.
    """

    def __init__(
        self,
        settings: Settings,
        local: MCPServer[Any],
        *,
        fresh: timedelta = FRESH,
        dead: timedelta = DEAD,
    ) -> None:
        own = ToolServer(name=local.name, safety=Safety.KEYED)
        _check_names([own, *settings.tool_servers])
        ages = Ages(fresh.total_seconds(), dead.total_seconds())
        self._sources: dict[str, ToolSource] = {
            own.name: OwnSource(own, connection_in_memory(local), settings.ask_first, ages)
        }
        for server in settings.tool_servers:
            connection = connection_to(server)
            self._sources[server.name] = ToolSource(server, connection, settings.ask_first, ages)

    async def tools(self, tenant_id: str) -> dict[str, Tool]:
        """Return all tools of a tenant by name. A server that does not answer is left out."""
        serving = [source for source in self._sources.values() if source.serves(tenant_id)]
        unknown = [source.first_listing() for source in serving if source.tools is None]
        if unknown:
            await asyncio.gather(*unknown)
        tools: dict[str, Tool] = {}
        for source in serving:
            source.renew()
            for tool in source.tools or ():
                tools.setdefault(tool.name, tool)
        return tools

    async def call(self, tool: Tool, arguments: dict[str, Any], caller: ToolCaller) -> ToolResult:
        """Call one tool. Raises ToolFailed when nobody knows whether the tool acted.

        A refusal of the tool itself is a result. Cancelling this cancels the call there.
        """
        source = self._sources.get(tool.server)
        if source is None or not source.serves(caller.tenant_id):
            return failed(f"The tool {tool.name} is not available any more.")
        return await source.call(tool, arguments, caller)

    async def aclose(self) -> None:
        """Close all connections, and end the servers that run as our commands."""
        await asyncio.gather(*(source.aclose() for source in self._sources.values()))


def _check_names(servers: Iterable[ToolServer]) -> None:
    """Make sure that a name such as `a_b_c` means one tool, whichever servers are up.

    Raises SettingsInvalid.
    """
    for one, other in permutations([server.name for server in servers], 2):
        if one == other or other.startswith(f"{one}_"):
            raise SettingsInvalid(
                f"The tool servers {one} and {other} could both name a tool {other}_…: rename one."
            )
