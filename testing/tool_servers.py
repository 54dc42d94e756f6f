"""Tool servers of the tests: to-dos in memory, our API around them, and an odd server."""

import asyncio
import inspect
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import uvicorn
from fastapi import FastAPI
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from starlette.routing import Route

from adapters.tools.http import TodoEndpoint
from adapters.tools.todo_server import caller_in_meta, todo_server
from adapters.tools.toolbox import McpToolBox
from domain.errors import Unauthenticated
from domain.identity.principals import Principal, Role, scopes_of
from domain.settings import Settings
from domain.tools.tools import Tool, ToolCaller, ToolResult, ToolServer
from testing.fakes.todos import TodosInMemory

ANN = Principal(tenant_id="acme", user_id="ann", role=Role.VIEWER, scopes=scopes_of(Role.VIEWER))
GUEST = ANN.model_copy(update={"role": Role.GUEST, "scopes": scopes_of(Role.GUEST)})
SERVERS = Path(__file__).parent / "servers"
ODD = (sys.executable, str(SERVERS / "odd_tools.py"))
STDIO_TASKS = (sys.executable, str(SERVERS / "stdio_tasks.py"))


def caller(key: str = "k1", tenant_id: str = "acme") -> ToolCaller:
    """Return the caller of the tests: Ann, or her namesake of another tenant."""
    return ToolCaller(tenant_id=tenant_id, user_id="ann", key=key)


def odd(**settings: Any) -> ToolServer:
    """Return the odd server, as a command."""
    return ToolServer(name="odd", command=ODD, timeout_seconds=20, **settings)


@asynccontextmanager
async def tool_box(*servers: ToolServer, **options: Any) -> AsyncIterator[McpToolBox]:
    """Open a tool box over to-dos in memory and the given servers."""
    settings = Settings(tool_servers=servers, ask_first=options.pop("ask_first", frozenset()))
    local = todo_server(options.pop("store", TodosInMemory()), caller_in_meta)
    box = McpToolBox(settings, local, **options)
    try:
        yield box
    finally:
        await box.aclose()


async def offered(box: McpToolBox, name: str) -> dict[str, Tool]:
    """Return Ann's tools, once a slow server offers this one too."""

    async def listed() -> bool:
        return name in await box.tools("acme")

    await until(listed)
    return await box.tools("acme")


async def use(box: McpToolBox, name: str, key: str = "k1", **arguments: Any) -> ToolResult:
    """Call a tool by its name, for Ann."""
    tools = await offered(box, name)
    return await box.call(tools[name], arguments, caller(key))


async def until(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Wait for a condition to hold, which is checked a hundred times a second."""
    with anyio.fail_after(20):
        while True:
            holds = condition()
            if holds is True or (inspect.isawaitable(holds) and await holds):
                return
            await anyio.sleep(0.01)


@asynccontextmanager
async def served(app: Any, port: int = 0) -> AsyncIterator[str]:
    """Serve an app on loopback, and give its URL."""
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", ws="none"))
    running = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await running


async def authenticate(authorization: str | None, x_api_key: str | None) -> Principal:
    """Authenticate Ann and a guest, as the API does."""
    callers = {"ann": ANN, "guest": GUEST}
    token = x_api_key or (authorization or "").removeprefix("Bearer ")
    if token not in callers:
        raise Unauthenticated("Who are you?")
    return callers[token]


@asynccontextmanager
async def api(
    store: TodosInMemory, hosts: tuple[str, ...] = (), port: int = 0
) -> AsyncIterator[str]:
    """Serve an API with nothing but the to-do server, and give its URL."""
    endpoint = TodoEndpoint(store, authenticate, hosts)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with endpoint.run():
            yield

    app = FastAPI(lifespan=lifespan)
    app.router.routes.append(Route("/mcp", endpoint))
    async with served(app, port) as url:
        yield f"{url}/mcp"


@asynccontextmanager
async def mcp_client(url: str, key: str, mode: str = "auto") -> AsyncIterator[Client]:
    """Open a stranger's MCP client with a key."""
    async with (
        httpx2.AsyncClient(headers={"X-API-Key": key}) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode) as client,
    ):
        yield client
