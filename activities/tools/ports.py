"""What tool calls need: a tool box and the record of calls."""

from datetime import timedelta
from typing import Any, Protocol

from domain.identity.principals import Principal
from domain.runs.attempts import Attempt
from domain.tools.calls import CallOutcome, CallRef, CallStatus, OpenedCall
from domain.tools.decisions import DecisionRef, DecisionState
from domain.tools.todos import Task
from domain.tools.tools import Tool, ToolCaller, ToolResult


class ToolBox(Protocol):
    """Every tool that a tenant may use, wherever it is served."""

    async def tools(self, tenant_id: str) -> dict[str, Tool]:
        """All tools of a tenant by name. A server that does not answer is left out."""
        ...

    async def call(self, tool: Tool, arguments: dict[str, Any], caller: ToolCaller) -> ToolResult:
        """Call one tool. Raises ToolFailed when nobody knows whether the tool acted."""
        ...


class TodoStore(Protocol):
    """Users' task lists. Every change takes an idempotency key: the same key changes a thing once
    and gives the same result again. Raises NotFound for a number that the user does not have."""

    async def add(self, owner: Principal, title: str, key: str) -> Task: ...

    async def list(self, owner: Principal, completed: bool | None = None) -> list[Task]: ...

    async def complete(self, owner: Principal, number: int, key: str) -> Task: ...

    async def update(self, owner: Principal, number: int, title: str, key: str) -> Task: ...

    async def delete(self, owner: Principal, number: int, key: str) -> Task: ...


class CallStore(Protocol):
    """The tool calls of steps, and the decisions about them."""

    async def begin(self, call: CallRef, attempt: Attempt, limit: timedelta) -> OpenedCall: ...

    async def end(self, call: CallRef, attempt: int, result: ToolResult) -> CallOutcome: ...

    async def fail(self, call: CallRef, attempt: int) -> int:
        """Count a failure of the tool in this attempt, and return how many there are."""
        ...

    async def settle(self, call: CallRef, status: CallStatus, reason: str) -> CallOutcome: ...

    async def decision(self, decision: DecisionRef) -> DecisionState: ...
