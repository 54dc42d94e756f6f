"""Steps: one question to the model each, streamed into the log and stored with what follows."""

from collections.abc import Sequence
from contextlib import aclosing

from temporalio import activity

from activities.chat import context
from activities.chat.ports import StepStore
from activities.chat.writer import StepWriter
from activities.gateway.ports import ModelGateway, PromptStore
from activities.runs import attempts
from activities.runs.ports import EventLog
from activities.tools.ports import ToolBox
from domain.chat.steps import FinishedStep, NewSummary, StepRef, StepStart, StepVerdict
from domain.gateway.calls import CallOrigin
from domain.gateway.completions import (
    Completion,
    ModelNotice,
    ModelRequest,
    PromptMessage,
    ToolCall,
)
from domain.gateway.errors import ContextTooLong, ModelTruncated
from domain.runs.attempts import Attempt
from domain.runs.events import NewEvent
from domain.settings import Settings
from domain.tools.calls import PlannedCall
from domain.tools.tools import Safety, Tool

# No more characters than this are loaded for each token of the window.
_CHARACTERS_PER_TOKEN = 16

_SUMMARISE = "summarise"


class StepActivities:
    """Activities about one step of a turn."""

    def __init__(
        self,
        settings: Settings,
        steps: StepStore,
        log: EventLog,
        gateway: ModelGateway,
        toolbox: ToolBox,
        prompts: PromptStore,
    ) -> None:
        self._settings = settings
        self._steps = steps
        self._log = log
        self._gateway = gateway
        self._toolbox = toolbox
        self._prompts = prompts

    @activity.defn
    async def take_step(self, input: StepRef) -> StepVerdict:
        """Ask the model once, streaming its answer into the log, and store what came of it.

        A retry returns the verdict of a step that is stored, or supersedes what was streamed
        before. Raises ModelFailed, Superseded, RunUnknown, RunFinished, RunCancelled.
        """
        attempt = attempts.current()
        start = await self._begin(input, attempt)
        if isinstance(start, StepVerdict):
            return start
        tools = await self._toolbox.tools(input.run.tenant_id) if input.may_use_tools else {}
        request = await self._request(input, start, tools)
        if request is None:
            return await self._steps.defer(input, attempt.number)
        writer = StepWriter(self._log, input, attempt.number, supersede=start.has_stale_text)
        try:
            completion = await self._stream(request, _origin(input, start), writer)
        except ContextTooLong:
            if not _may_summarise(input, start):
                raise
            return await self._steps.defer(input, attempt.number)
        rest = await writer.rest()
        finished = FinishedStep(
            completion=completion.model_copy(update={"text": writer.text}),
            calls=tuple(_plan(call, tools.get(call.name)) for call in completion.tool_calls),
            rest=rest,
            supersede=writer.must_supersede,
            decision_limit=self._settings.decision_limit,
        )
        return await self._steps.finish(input, attempt.number, finished)

    @activity.defn
    async def summarise_thread(self, input: StepRef) -> StepVerdict:
        """Sum up all that the thread had before this turn, on top of the summary before.

        A retry has nothing left to sum up. Raises ModelFailed, Superseded, RunUnknown,
        RunFinished, RunCancelled.
        """
        attempt = attempts.current()
        start = await self._begin(input, attempt)
        if isinstance(start, StepVerdict):
            return start
        older = start.messages[: context.last_exchange(start.messages)]
        if not older:
            return await self._steps.defer(input, attempt.number)
        prompt = await self._prompts.active(input.run.tenant_id, _SUMMARISE)
        conversation = context.transcript(await self._clip(input, older))
        values = {"summary": start.summary or "", "conversation": conversation}
        request = ModelRequest(
            model=input.model,
            messages=(PromptMessage(role="user", text=prompt.render(values)),),
            user_id=start.user_id,
            max_output=await self._room(input) // 4,
            prompt=prompt.name,
            prompt_version=prompt.version,
        )
        completion = await self._gateway.ask(request, _origin(input, start, _SUMMARISE))
        summary = NewSummary(
            text=completion.text,
            prompt_version=prompt.version,
            tokens_before=context.size(older, self._counter(input)),
            tokens_after=self._gateway.count(input.model, [completion.text]),
            completion=completion,
        )
        return await self._steps.summarise(input, attempt.number, summary)

    async def _begin(self, step: StepRef, attempt: Attempt) -> StepVerdict | StepStart:
        window = await self._gateway.window(step.run.tenant_id, step.model)
        return await self._steps.begin(step, attempt, window * _CHARACTERS_PER_TOKEN)

    async def _request(
        self, step: StepRef, start: StepStart, tools: dict[str, Tool]
    ) -> ModelRequest | None:
        """Return the request to the model; None if what came before must be summed up first."""
        prompt = await self._prompts.active(step.run.tenant_id, "chat")
        own = self._settings.system_prompt
        system = own or prompt.render({})
        if start.summary is not None:
            system += f"\n\nSummary of the conversation so far:\n{start.summary}"
        specs = tuple(tool.spec for tool in tools.values())
        messages = (PromptMessage(role="system", text=system), *start.messages)
        room = await self._room(step) - self._gateway.count(step.model, [str(s) for s in specs])
        fitting = context.without_old_results(messages, room, self._counter(step))
        if fitting is None and _may_summarise(step, start):
            return None
        return ModelRequest(
            model=step.model,
            messages=fitting or tuple(context.clip(messages, room, self._counter(step))),
            tools=specs,
            user_id=start.user_id,
            may_degrade=True,
            prompt=None if own else prompt.name,
            prompt_version=None if own else prompt.version,
        )

    async def _stream(
        self, request: ModelRequest, origin: CallOrigin, writer: StepWriter
    ) -> Completion:
        """Write the model's answer as it comes, and return the whole."""
        async with aclosing(self._gateway.stream(request, origin)) as parts:
            async for part in parts:
                if isinstance(part, Completion):
                    return part
                if isinstance(part, ModelNotice):
                    await writer.report(NewEvent(type=part.type, data=part.data))
                else:
                    await writer.write(part.text)
        raise ModelTruncated

    async def _room(self, step: StepRef) -> int:
        window = await self._gateway.window(step.run.tenant_id, step.model)
        return int(window * context.PROMPT_SHARE)

    async def _clip(self, step: StepRef, messages: Sequence[PromptMessage]) -> list[PromptMessage]:
        """Clip messages to fit into a prompt themselves, beside the summary before them."""
        head = PromptMessage(role="system", text="")
        room = await self._room(step) // 2
        return context.clip([head, *messages], room, self._counter(step))[1:]

    def _counter(self, step: StepRef) -> context.Count:
        return lambda texts: self._gateway.count(step.model, texts)


def _may_summarise(step: StepRef, start: StepStart) -> bool:
    return step.may_summarise and context.last_exchange(start.messages) > 0


def _origin(step: StepRef, start: StepStart, feature: str = "chat") -> CallOrigin:
    return CallOrigin(
        tenant_id=step.run.tenant_id,
        user_id=start.user_id,
        feature=feature,
        run_id=step.run.run_id,
        step=step.number,
        attempt=activity.info().attempt,
    )


def _plan(call: ToolCall, tool: Tool | None) -> PlannedCall:
    """Plan a call, also to a tool that does not exist: the model must hear about it."""
    if tool is None:
        return PlannedCall(call=call, safety="unknown", ask=None)
    if tool.safety is Safety.UNSAFE:
        return PlannedCall(call=call, safety="unsafe", ask="unsafe")
    return PlannedCall(
        call=call, safety=tool.safety.value, ask="ask_first" if tool.ask_first else None
    )
