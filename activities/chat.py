"""Chat: one step of a turn, one tool call, and the few lines that open and close a turn."""

from collections.abc import Iterator
from contextlib import aclosing, contextmanager

from temporalio import activity

from activities.ports import (
    CallStore,
    EventLog,
    ModelGateway,
    StepStore,
    ToolBox,
    TurnStore,
)
from activities.prompts import fit
from activities.runs import RunKeeper
from activities.streaming import StepWriter
from domain import names
from domain.calls import (
    CallOutcome,
    CallRef,
    CallSettling,
    DecisionRef,
    DecisionState,
    OpenedCall,
    PlannedCall,
)
from domain.chat import (
    Attempt,
    FinishedStep,
    FloorState,
    Opening,
    StepRef,
    StepVerdict,
    TurnClosing,
)
from domain.errors import ModelFailed, ToolFailed
from domain.models import Completion, ModelRequest, ToolCall
from domain.runs import Closed, RunRef
from domain.settings import Settings
from domain.tools import Safety, Tool, ToolCaller, ToolResult

# Three characters a token is less than English text has: better to trim early than to be refused.
_CHARACTERS_PER_TOKEN = 3

# So often a model or a tool may fail. Attempts that were lost with their worker are no fault of
# theirs: the policy allows more, since a frozen worker swallows one for each of its polls.
MODEL_ATTEMPTS = 6
TOOL_ATTEMPTS = 4


class ChatActivities:
    """What a chat turn does to the world."""

    def __init__(
        self,
        settings: Settings,
        turns: TurnStore,
        steps: StepStore,
        calls: CallStore,
        log: EventLog,
        gateway: ModelGateway,
        toolbox: ToolBox,
        keeper: RunKeeper,
    ) -> None:
        self._settings = settings
        self._turns = turns
        self._steps = steps
        self._calls = calls
        self._log = log
        self._gateway = gateway
        self._toolbox = toolbox
        self._keeper = keeper

    @activity.defn
    async def ask_for_floor(self, run: RunRef) -> FloorState:
        """Whether this turn may run. A holder whose workflow is over is closed on the way."""
        holder = await self._turns.floor_holder(run)
        if holder not in (None, run.run_id):
            await self._keeper.settle(RunRef(tenant_id=run.tenant_id, run_id=str(holder)))
            holder = await self._turns.floor_holder(run)
        has_floor = holder == run.run_id
        return FloorState(has_floor=has_floor, finished=holder is None, holder=holder)

    @activity.defn
    async def take_step(self, step: StepRef) -> StepVerdict:
        """Ask the model once, streaming its answer into the log, and store what came of it.

        A retry finds a stored step and gives its verdict, or supersedes what was streamed before.
        """
        attempt = _attempt()
        size = self._gateway.window(step.model) * _CHARACTERS_PER_TOKEN
        opening = await self._steps.begin(step, attempt, size)
        if opening.verdict is not None:
            return opening.verdict
        tools = await self._toolbox.tools(step.run.tenant_id) if step.may_use_tools else {}
        writer = StepWriter(self._log, step, attempt.number, supersede=opening.stale_text)
        with _at_most(MODEL_ATTEMPTS):
            completion = await self._ask(step, opening, tools, writer)
        rest = await writer.rest()
        finished = FinishedStep(
            completion=completion.model_copy(update={"text": writer.text}),
            calls=tuple(_plan(call, tools.get(call.name)) for call in completion.tool_calls),
            rest=rest,
            supersede=writer.must_supersede,
            decision_limit=self._settings.decision_limit,
        )
        return await self._steps.finish(step, attempt.number, finished)

    @activity.defn
    async def call_tool(self, call: CallRef) -> CallOutcome:
        """Make one tool call under its idempotency key, and record what the tool said."""
        opened = await self._calls.begin(call, _attempt(), self._settings.decision_limit)
        if opened.settled is not None:
            return opened.settled
        with _at_most(TOOL_ATTEMPTS):
            result = await self._use(call, opened)
        return await self._calls.end(call, opened.attempt, result)

    @activity.defn
    async def settle_call(self, settling: CallSettling) -> CallOutcome:
        """Record that a call is not made (again), and what the model is told about it."""
        return await self._calls.settle(settling.call, settling.status, settling.reason)

    @activity.defn
    async def read_decision(self, decision: DecisionRef) -> DecisionState:
        """What the record says about a decision."""
        return await self._calls.decision(decision)

    @activity.defn
    async def close_turn(self, closing: TurnClosing) -> Closed:
        """End a turn that did not end itself, and give the floor to the next one."""
        return await self._turns.close(closing)

    async def _ask(
        self, step: StepRef, opening: Opening, tools: dict[str, Tool], writer: StepWriter
    ) -> Completion:
        window = self._gateway.window(step.model) * _CHARACTERS_PER_TOKEN
        request = ModelRequest(
            model=step.model,
            messages=fit(self._settings.system_prompt, opening.messages, window),
            tools=tuple(tool.spec for tool in tools.values()),
            user_id=opening.user_id,
        )
        async with aclosing(self._gateway.stream(request)) as parts:
            async for part in parts:
                if isinstance(part, Completion):
                    return part
                await writer.write(part.text)
        raise ModelFailed("The model's answer broke off.", code="model_truncated")

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


def _attempt() -> Attempt:
    info = activity.info()
    return Attempt(number=info.attempt, activity_id=info.activity_id)


@contextmanager
def _at_most(attempts: int) -> Iterator[None]:
    """What fails in the last of so many attempts is not tried again."""
    try:
        yield
    except (ModelFailed, ToolFailed) as failure:
        failure.retryable &= activity.info().attempt < attempts
        raise


def _plan(call: ToolCall, tool: Tool | None) -> PlannedCall:
    """A call to a tool that does not exist is planned too: the model must hear about it."""
    if tool is None:
        return PlannedCall(call=call, safety="unknown", ask=None)
    if tool.safety is Safety.UNSAFE:
        return PlannedCall(call=call, safety="unsafe", ask="unsafe")
    return PlannedCall(
        call=call, safety=tool.safety.value, ask="ask_first" if tool.ask_first else None
    )
