"""Tool calls: made once under their key, skipped, or left to a person's decision."""

from contextlib import suppress
from datetime import timedelta

from temporalio import activity

from activities.runs import attempts
from activities.tools.ports import ToolBox, ToolCallStore
from domain import names
from domain.errors import ToolFailed, Unavailable
from domain.tools.calls import CallOutcome, CallRef, OpenedCall, SkippedCall
from domain.tools.decisions import DecisionRef, DecisionState
from domain.tools.tools import ToolCaller, ToolResult

# So often may a tool fail at one call. Attempts that were lost with their worker are not its fault:
# the policy allows more, since a frozen worker swallows one for each of its polls.
MAX_TOOL_FAILURES = 4


class ToolActivities:
    """Activities about one tool call. `decision_limit`: how long a person may take to decide."""

    def __init__(self, calls: ToolCallStore, toolbox: ToolBox, decision_limit: timedelta) -> None:
        self._calls = calls
        self._toolbox = toolbox
        self._decision_limit = decision_limit

    @activity.defn
    async def call_tool(self, call: CallRef) -> CallOutcome:
        """Make one tool call under its idempotency key, and record what the tool said."""
        opened = await self._calls.begin(call, attempts.current(), self._decision_limit)
        if isinstance(opened, CallOutcome):
            return opened
        try:
            result = await self._use(call, opened)
        except ToolFailed as failure:
            if await self._has_failed_too_often(call, opened.attempt):
                raise failure.final() from failure
            raise
        return await self._calls.end(call, opened.attempt, result)

    @activity.defn
    async def settle_call(self, input: SkippedCall) -> CallOutcome:
        """Record that a call is not made (again), and the reason, which the model gets."""
        return await self._calls.skip(input.call, input.status, input.reason)

    @activity.defn
    async def read_decision(self, decision: DecisionRef) -> DecisionState:
        """Read what the record says about a decision."""
        return await self._calls.decision(decision)

    async def _has_failed_too_often(self, call: CallRef, attempt: int) -> bool:
        """Count this failure; one that cannot be counted now does not stop the next attempt."""
        with suppress(Unavailable):
            return await self._calls.fail(call, attempt) >= MAX_TOOL_FAILURES
        return False

    async def _use(self, call: CallRef, opened: OpenedCall) -> ToolResult:
        tools = await self._toolbox.tools(call.run.tenant_id)
        tool = tools.get(opened.call.name)
        # What was planned without a question must not become a call that needs one.
        if tool is None or tool.safety != opened.safety:
            text = f"There is no tool {opened.call.name} at this step."
            return ToolResult(status="failed", text=text)
        caller = ToolCaller(
            tenant_id=call.run.tenant_id,
            user_id=opened.user_id,
            key=names.effect_key(call.run.run_id, call.step, call.n),
        )
        return await self._toolbox.call(tool, opened.call.arguments, caller)
