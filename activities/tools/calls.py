"""Tool calls: made once under their key, skipped, or left to a person's decision."""

from contextlib import suppress
from datetime import timedelta

from temporalio import activity

from activities.runs import attempts
from activities.tools.ports import CallStore, ToolBox
from domain import names
from domain.errors import ToolFailed, Unavailable
from domain.tools.calls import CallOutcome, CallRef, CallSettling, OpenedCall
from domain.tools.decisions import DecisionRef, DecisionState
from domain.tools.tools import ToolCaller, ToolResult

# So often may a tool fail at one call. Attempts that were lost with their worker are not its fault:
# the policy allows more, since a frozen worker swallows one for each of its polls.
MAX_TOOL_FAILURES = 4


class ToolActivities:
    """Activities about one tool call. `decision_limit`: how long a person may take to decide."""

    def __init__(self, calls: CallStore, toolbox: ToolBox, decision_limit: timedelta) -> None:
        self._calls = calls
        self._toolbox = toolbox
        self._decision_limit = decision_limit

    @activity.defn
    async def call_tool(self, call: CallRef) -> CallOutcome:
        """Make one tool call under its idempotency key, and record what the tool said."""
        opened = await self._calls.begin(call, attempts.current(), self._decision_limit)
        if opened.settled is not None:
            return opened.settled
        try:
            result = await self._use(call, opened)
        except ToolFailed as failure:
            with suppress(Unavailable):
                failures = await self._calls.fail(call, opened.attempt)
                failure.retryable &= failures < MAX_TOOL_FAILURES
            raise
        return await self._calls.end(call, opened.attempt, result)

    @activity.defn
    async def settle_call(self, settling: CallSettling) -> CallOutcome:
        """Record that a call is not made (again), and what the model is told about it."""
        return await self._calls.settle(settling.call, settling.status, settling.reason)

    @activity.defn
    async def read_decision(self, decision: DecisionRef) -> DecisionState:
        """Read what the record says about a decision."""
        return await self._calls.decision(decision)

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
