"""Tool servers of the tests: a task list in memory, our API around it, and an odd server."""

import asyncio
import inspect
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import httpx2
import uvicorn
from fastapi import FastAPI
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from starlette.routing import Route

from adapters.tools.http import TaskEndpoint
from adapters.tools.task_server import caller_in_meta, task_server
from adapters.tools.toolbox import McpToolBox
from domain.errors import NotFound, Unauthenticated
from domain.identity.principals import Principal, Role, scopes_of
from domain.settings import Settings
from domain.tools.todos import Task
from domain.tools.tools import Tool, ToolCaller, ToolResult, ToolServer

ANN = Principal(tenant_id="acme", user_id="ann", role=Role.VIEWER, scopes=scopes_of(Role.VIEWER))
GUEST = ANN.model_copy(update={"role": Role.GUEST, "scopes": scopes_of(Role.GUEST)})
SERVERS = Path(__file__).parent / "servers"
ODD = (sys.executable, str(SERVERS / "odd_tools.py"))
STDIO_TASKS = (sys.executable, str(SERVERS / "stdio_tasks.py"))


class TodosInMemory:
    """A TaskStore for these tests: the same answers and errors, and no database."""

    def __init__(self) -> None:
        self.tasks: dict[tuple[str, str], dict[int, Task]] = {}
        self.done: dict[tuple[str, str, str], Task] = {}
        self.broken: Exception | None = None

    async def add(self, owner: Principal, title: str, key: str) -> Task:
        number = len(self._of(owner)) + 1
        task = Task(
            number=number,
            title=title,
            completed=False,
            created_at=datetime.now(UTC),
            completed_at=None,
        )
        return self._once(owner, key, lambda: task)

    async def list(self, owner: Principal, completed: bool | None = None) -> list[Task]:
        tasks = self._of(owner).values()
        return [task for task in tasks if completed in (None, task.completed)]

    async def complete(self, owner: Principal, number: int, key: str) -> Task:
        done = {"completed": True, "completed_at": datetime.now(UTC)}
        return self._once(owner, key, lambda: self._get(owner, number).model_copy(update=done))

    async def update(self, owner: Principal, number: int, title: str, key: str) -> Task:
        change = {"title": title}
        return self._once(owner, key, lambda: self._get(owner, number).model_copy(update=change))

    async def delete(self, owner: Principal, number: int, key: str) -> Task:
        task = self._once(owner, key, lambda: self._get(owner, number))
        self._of(owner).pop(number, None)
        return task

    def _once(self, owner: Principal, key: str, change: Callable[[], Task]) -> Task:
        if self.broken is not None:
            raise self.broken
        place = (owner.tenant_id, owner.user_id, key)
        if place not in self.done:
            task = self.done[place] = change()
            self._of(owner)[task.number] = task
        return self.done[place]

    def _of(self, owner: Principal) -> dict[int, Task]:
        return self.tasks.setdefault((owner.tenant_id, owner.user_id), {})

    def _get(self, owner: Principal, number: int) -> Task:
        if number not in self._of(owner):
            raise NotFound(f"No task {number}.")
        return self._of(owner)[number]


def caller(key: str = "k1", tenant_id: str = "acme") -> ToolCaller:
    """On whose behalf the tests call."""
    return ToolCaller(tenant_id=tenant_id, user_id="ann", key=key)


def odd(**settings: Any) -> ToolServer:
    """The odd server, as a command."""
    return ToolServer(name="odd", command=ODD, timeout_seconds=20, **settings)


@asynccontextmanager
async def tool_box(*servers: ToolServer, **options: Any) -> AsyncIterator[McpToolBox]:
    """A tool box over an in-memory task list and the given servers."""
    settings = Settings(tool_servers=servers, ask_first=options.pop("ask_first", frozenset()))
    local = task_server(options.pop("store", TodosInMemory()), caller_in_meta)
    box = McpToolBox(settings, local, **options)
    try:
        yield box
    finally:
        await box.aclose()


async def offered(box: McpToolBox, name: str) -> dict[str, Tool]:
    """Ann's tools, once a slow server offers this one too."""

    async def listed() -> bool:
        return name in await box.tools("acme")

    await until(listed)
    return await box.tools("acme")


async def use(box: McpToolBox, name: str, key: str = "k1", **arguments: Any) -> ToolResult:
    """Call a tool by its name, for Ann."""
    tools = await offered(box, name)
    return await box.call(tools[name], arguments, caller(key))


async def until(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Wait for a condition to hold; it is looked at a hundred times a second."""
    with anyio.fail_after(20):
        while True:
            holds = condition()
            if holds is True or (inspect.isawaitable(holds) and await holds):
                return
            await anyio.sleep(0.01)


@asynccontextmanager
async def served(app: Any, port: int = 0) -> AsyncIterator[str]:
    """Serve an app on loopback; gives its URL."""
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", ws="none"))
    running = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await running


async def authenticate(authorization: str | None, x_api_key: str | None) -> Principal:
    """The API's authentication, for two callers."""
    callers = {"ann": ANN, "guest": GUEST}
    token = x_api_key or (authorization or "").removeprefix("Bearer ")
    if token not in callers:
        raise Unauthenticated("Who are you?")
    return callers[token]


@asynccontextmanager
async def api(
    store: TodosInMemory, hosts: tuple[str, ...] = (), port: int = 0
) -> AsyncIterator[str]:
    """An API with nothing but the task server; gives its URL."""
    endpoint = TaskEndpoint(store, authenticate, hosts)

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
    """A stranger's MCP client with a key."""
    async with (
        httpx2.AsyncClient(headers={"X-API-Key": key}) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode) as client,
    ):
        yield client
