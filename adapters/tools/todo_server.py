"""The to-do server: a user's list as five MCP tools, for our own turns and any MCP client."""

import logging
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal
from uuid import uuid4

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError, UnexpectedToolError
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INTERNAL_ERROR,
    CallToolResult,
    InputRequiredResult,
    TextContent,
    ToolAnnotations,
)
from pydantic import AfterValidator, Field, StringConstraints, ValidationError

from activities.tools.ports import TodoStore
from domain.base import Contract
from domain.errors import Forbidden, Invalid, PerdureError, Unauthenticated
from domain.identity.principals import Principal, Role, Scope, first_role
from domain.settings import Settings
from domain.tools.errors import TodoUnknown
from domain.tools.todos import Todo

KEY_META = "perdure/idempotency-key"
TENANT_META = "perdure/tenant"
USER_META = "perdure/user"

_log = logging.getLogger(__name__)
_MAX_KEY = 500
_MAX_NUMBERS = 20
_HINTS = {
    "title": "A title has 1 to 500 characters: say in them what is to be done.",
    "number": "Say which task by its number, such as 3; list_tasks shows the numbers.",
    "status": "The status is one of: all, pending, completed.",
}
_INSTRUCTIONS = "The user's to-do list. Tasks are named by their number, as list_tasks shows it."

RequestContext = Context[Any, Any]
Caller = Callable[[RequestContext], Principal]
"""Names the caller of a request: each transport brings its own, and trusts nothing else."""


def _storable(title: str) -> str:
    if "\x00" in title:
        raise ValueError("PostgreSQL cannot store this character")
    return title


Title = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=500),
    AfterValidator(_storable),
    Field(description="What is to be done, in the user's own words."),
]
Number = Annotated[int, Field(ge=1, le=2**31 - 1, description="The task's number.")]
TodoStatus = Annotated[
    Literal["all", "pending", "completed"], Field(description="Which tasks; all by default.")
]


class TodoList(Contract):
    """To-dos in the order of their numbers."""

    tasks: list[Todo]


def todo_server(store: TodoStore, caller: Caller) -> MCPServer[Any]:
    """Build the five tools over a store; `caller` says for whom each request is."""
    server = _TodoServer("tasks", instructions=_INSTRUCTIONS, subscriptions=False)
    tools = _TodoTools(store, caller)
    read = ToolAnnotations(read_only_hint=True, open_world_hint=False)
    write = ToolAnnotations(read_only_hint=False, destructive_hint=False, open_world_hint=False)
    destroy = ToolAnnotations(read_only_hint=False, destructive_hint=True, open_world_hint=False)
    server.add_tool(tools.add_task, annotations=write)
    server.add_tool(tools.list_tasks, annotations=read)
    server.add_tool(tools.complete_task, annotations=write)
    server.add_tool(tools.delete_task, annotations=destroy)
    server.add_tool(tools.update_task, annotations=write)
    return server


def caller_in_meta(ctx: RequestContext) -> Principal:
    """Return the caller that `_meta` names. Raises Unauthenticated.

    Only for the server inside our own process, which the turn's activity reaches: starting the turn
    was authorised already.
    """
    meta: dict[str, Any] = {**(ctx.request_context.meta or {})}
    if TENANT_META not in meta or USER_META not in meta:
        raise Unauthenticated("The call does not say for whom it is.")
    return Principal(
        tenant_id=meta[TENANT_META],
        user_id=meta[USER_META],
        role=Role.VIEWER,
        scopes=frozenset({Scope.TASKS_READ, Scope.TASKS_WRITE}),
    )


async def serve_stdio(store: TodoStore, principal: Principal) -> None:
    """Serve one user's to-dos on stdin and stdout, until stdin ends."""
    await todo_server(store, lambda _: principal).run_stdio_async()


def stdio_key(settings: Settings) -> str:
    """Return the API key of the user of `perdure mcp`; raises Unauthenticated without one."""
    if settings.api_key is not None:
        return settings.api_key.get_secret_value()
    file = settings.home / "api_key"
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError:
        raise Unauthenticated(f"Set PERDURE_API_KEY: there is no key in {file}.") from None


class _TodoServer(MCPServer[Any]):
    """An MCP server that explains failures in plain words. One that is not the caller's becomes a
    protocol error, so that our own turns try again with their key, and the model never hears it."""

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: RequestContext | None = None
    ) -> CallToolResult | InputRequiredResult:
        try:
            return await super().call_tool(name, arguments, context)
        except ToolError as error:
            text = _explanation(error)
        return CallToolResult(content=[TextContent(text=text)], is_error=True)


def _explanation(error: ToolError) -> str:
    cause = error.__cause__
    if isinstance(cause, PerdureError) and cause.status < 500:
        return cause.detail
    if isinstance(error, UnexpectedToolError):
        _log.error("a to-do tool failed", exc_info=cause)
        raise MCPError(INTERNAL_ERROR, "The task list cannot be reached just now.") from cause
    if isinstance(cause, ValidationError):
        fields = dict.fromkeys(str(item["loc"][0]) for item in cause.errors() if item["loc"])
        return " ".join(_HINTS.get(field, f"{field} is wrong.") for field in fields)
    return str(error)


class _TodoTools:
    """The tools. A model reads their docstrings."""

    def __init__(self, store: TodoStore, caller: Caller) -> None:
        self._store = store
        self._caller = caller

    async def add_task(self, title: Title, ctx: RequestContext) -> Todo:
        """Add a task to the user's to-do list. Use it when the user wants to remember, note or
        add something to do; call it once for each thing. Returns the task with its number."""
        return await self._store.add(self._writer(ctx), title, _key(ctx))

    async def list_tasks(self, ctx: RequestContext, status: TodoStatus = "all") -> TodoList:
        """Show the user's tasks with their numbers. Use it when the user asks what there is to
        do or what is done, and to find the number of a task that the user names in words."""
        owner = self._allowed(ctx, Scope.TASKS_READ)
        completed = None if status == "all" else status == "completed"
        return TodoList(tasks=await self._store.list(owner, completed))

    async def complete_task(self, number: Number, ctx: RequestContext) -> Todo:
        """Mark a task as done. Use it when the user says that something is finished; the task
        stays on the list as completed."""
        owner = self._writer(ctx)
        return await self._explained(owner, number, self._store.complete(owner, number, _key(ctx)))

    async def delete_task(self, number: Number, ctx: RequestContext) -> Todo:
        """Remove a task for good. Use it only when the user wants it gone; for a task that is
        done use complete_task. Returns the task as it was."""
        owner = self._writer(ctx)
        return await self._explained(owner, number, self._store.delete(owner, number, _key(ctx)))

    async def update_task(self, number: Number, title: Title, ctx: RequestContext) -> Todo:
        """Give a task another title. Use it when the user wants to rename, correct or reword a
        task; its number and whether it is done stay the same."""
        owner = self._writer(ctx)
        change = self._store.update(owner, number, title, _key(ctx))
        return await self._explained(owner, number, change)

    def _writer(self, ctx: RequestContext) -> Principal:
        return self._allowed(ctx, Scope.TASKS_WRITE)

    def _allowed(self, ctx: RequestContext, scope: Scope) -> Principal:
        principal = self._caller(ctx)
        if not principal.may(scope):
            verb = "see" if scope is Scope.TASKS_READ else "change"
            raise Forbidden(
                f"You may not {verb} tasks: this needs the scope {scope}, which comes with the "
                f"role {first_role(scope).name.lower()}. Ask an administrator for it."
            )
        return principal

    async def _explained(self, owner: Principal, number: int, change: Awaitable[Todo]) -> Todo:
        """Name the numbers that there are, where the model has named another."""
        try:
            return await change
        except TodoUnknown:
            numbers = await self._numbers(owner)
        raise TodoUnknown(f"There is no task {number}. {numbers}")

    async def _numbers(self, owner: Principal) -> str:
        if not owner.may(Scope.TASKS_READ):
            return "Ask the user for the right number."
        return _describe_numbers([todo.number for todo in await self._store.list(owner)])


def _describe_numbers(numbers: list[int]) -> str:
    if not numbers:
        return "The list is empty."
    if len(numbers) == 1:
        return f"You have only task {numbers[0]}."
    if len(numbers) > _MAX_NUMBERS:
        return f"You have {len(numbers)} tasks; list_tasks shows their numbers."
    *first, last = map(str, numbers)
    return f"You have tasks {', '.join(first)} and {last}."


def _key(ctx: RequestContext) -> str:
    meta: dict[str, Any] = {**(ctx.request_context.meta or {})}
    key = meta.get(KEY_META, uuid4().hex)
    if not isinstance(key, str) or not 0 < len(key) <= _MAX_KEY:
        raise Invalid(f"{KEY_META} is a text of 1 to {_MAX_KEY} characters.")
    return key
