"""Ports of tool calls: a tool box, the store of the calls, and the to-do lists."""

from datetime import timedelta
from typing import Any, Protocol

from domain.identity.principals import Principal
from domain.runs.attempts import Attempt
from domain.tools.calls import CallOutcome, CallRef, CallStatus, OpenedCall
from domain.tools.decisions import DecisionRef, DecisionState
from domain.tools.todos import Todo
from domain.tools.tools import Tool, ToolCaller, ToolResult


class ToolBox(Protocol):
    """Every tool that a tenant may use, wherever it is served."""

    async def tools(self, tenant_id: str) -> dict[str, Tool]:
        """Return all tools of a tenant by name. A server that does not answer is left out."""
        ...

    async def call(self, tool: Tool, arguments: dict[str, Any], caller: ToolCaller) -> ToolResult:
        """Call one tool. Raises ToolFailed when nobody knows whether the tool acted."""
        ...


class TodoStore(Protocol):
    """Users' to-do lists. Every change takes an idempotency key: the same key changes a thing once
    and gives the same result again. Raises TodoUnknown for a number that the user does not have."""

    async def add(self, owner: Principal, title: str, key: str) -> Todo:
        """Add a to-do under the user's next number."""
        ...

    async def list(self, owner: Principal, completed: bool | None = None) -> list[Todo]:
        """List to-dos by number: all of them, or those that are (not) completed."""
        ...

    async def complete(self, owner: Principal, number: int, key: str) -> Todo:
        """Mark a to-do as done; one that is done stays as it is."""
        ...

    async def update(self, owner: Principal, number: int, title: str, key: str) -> Todo:
        """Give a to-do another title."""
        ...

    async def delete(self, owner: Principal, number: int, key: str) -> Todo:
        """Remove a to-do for good, and return it as it was."""
        ...


class ToolCallStore(Protocol):
    """The tool calls of steps, and the decisions about them."""

    async def begin(
        self, call: CallRef, attempt: Attempt, limit: timedelta
    ) -> CallOutcome | OpenedCall:
        """Take a call for this attempt, or return the outcome of one that needs no making.

        Raises Superseded when a newer attempt has it or the run has ended.
        """
        ...

    async def fail(self, call: CallRef, attempt: int) -> int:
        """Count a failure of the tool in this attempt, and return how many there are."""
        ...

    async def end(self, call: CallRef, attempt: int, result: ToolResult) -> CallOutcome:
        """Record a tool's result, once. Raises Superseded for an attempt that lost the call."""
        ...

    async def skip(self, call: CallRef, status: CallStatus, reason: str) -> CallOutcome:
        """End a call that is not made (again); the model gets `reason` as its result."""
        ...

    async def decision(self, decision: DecisionRef) -> DecisionState:
        """Return the recorded verdict of a decision."""
        ...
