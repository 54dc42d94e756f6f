"""A tool server for the tests, run as a command: what it does is odd, the protocol is real."""

import os
from typing import Any

import anyio
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.utilities.types import Image
from mcp_types import ToolAnnotations

server = MCPServer("odd", log_level="ERROR")


@server.tool()
def echo(text: str) -> str:
    """Say it again."""
    return text


@server.tool()
def meta(ctx: Context[Any, Any]) -> dict[str, str]:
    """Show what the client sent along, but for the protocol's own."""
    sent: dict[str, Any] = {**(ctx.request_context.meta or {})}
    return {name: str(value) for name, value in sent.items() if name.startswith("perdure/")}


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def much(size: int) -> str:
    """Say a lot."""
    return "ä" * size


@server.tool()
def picture() -> list[str | Image]:
    """Show something that is not text."""
    return ["look", Image(data=b"12345", format="png")]


@server.tool(name="dots.and/slashes")
def dots() -> str:
    """Have a name that no model takes."""
    return "fine"


@server.tool()
async def wait(started: str, cancelled: str) -> None:
    """Make a file, then wait until cancelled, and make another."""
    await anyio.Path(started).touch()
    try:
        await anyio.sleep_forever()
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.Path(cancelled).touch()


@server.tool()
def die() -> str:
    """End the process."""
    os._exit(1)


@server.tool()
def pid() -> str:
    """Say which process this is."""
    return str(os.getpid())


if __name__ == "__main__":
    server.run("stdio")
