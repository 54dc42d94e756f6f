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
from domain.chat.steps import FinishedStep, NewSummary, Opening, StepRef, StepVerdict
from domain.errors import ModelFailed
from domain.gateway.calls import CallOrigin
from domain.gateway.completions import (
    Completion,
    ModelNotice,
    ModelRequest,
    PromptMessage,
    ToolCall,
)
from domain.runs.attempts import Attempt
from domain.runs.events import NewEvent
from domain.settings import Settings
from domain.tools.calls import PlannedCall
from domain.tools.tools import Safety, Tool

# What stands further back than so many characters for each token of the window is not loaded.
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
    async def take_step(self, step: StepRef) -> StepVerdict:
        """Ask the model once, streaming its answer into the log, and store what came of it.

        A retry finds a stored step and gives its verdict, or supersedes what was streamed before.
        """
        attempt = attempts.current()
        opening = await self._begin(step, attempt)
        if opening.verdict is not None:
            return opening.verdict
        tools = await self._toolbox.tools(step.run.tenant_id) if step.may_use_tools else {}
        request = await self._request(step, opening, tools)
        if request is None:
            return await self._steps.defer(step, attempt.number)
        writer = StepWriter(self._log, step, attempt.number, supersede=opening.stale_text)
        try:
            completion = await self._ask(request, _origin(step, opening), writer)
        except ModelFailed as failed:
            if failed.code == "context_too_long" and _may_summarise(step, opening):
                return await self._steps.defer(step, attempt.number)
            raise
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
    async def summarise_thread(self, step: StepRef) -> StepVerdict:
        """Sum up all that the thread had before this turn, on top of the summary before.

        A retry finds nothing left to sum up.
        """
        attempt = attempts.current()
        opening = await self._begin(step, attempt)
        place = context.last_exchange(opening.messages)
        if place == 0:
            return await self._steps.defer(step, attempt.number)
        prompt = await self._prompts.active(step.run.tenant_id, _SUMMARISE)
        older = await self._clipped(step, opening.messages[:place])
        values = {"summary": opening.summary or "", "conversation": context.transcript(older)}
        request = ModelRequest(
            model=step.model,
            messages=(PromptMessage(role="user", text=prompt.render(values)),),
            user_id=opening.user_id,
            max_output=await self._room(step) // 4,
            prompt=prompt.name,
            prompt_version=prompt.version,
        )
        completion = await self._ask(request, _origin(step, opening, _SUMMARISE))
        summary = NewSummary(
            text=completion.text,
            prompt_version=prompt.version,
            tokens_before=self._size(step, opening.messages[:place]),
            tokens_after=self._gateway.count(step.model, [completion.text]),
            completion=completion,
        )
        return await self._steps.summarise(step, attempt.number, summary)

    async def _begin(self, step: StepRef, attempt: Attempt) -> Opening:
        window = await self._gateway.window(step.run.tenant_id, step.model)
        return await self._steps.begin(step, attempt, window * _CHARACTERS_PER_TOKEN)

    async def _request(
        self, step: StepRef, opening: Opening, tools: dict[str, Tool]
    ) -> ModelRequest | None:
        """The question to the model; None if what came before must be summed up first."""
        prompt = await self._prompts.active(step.run.tenant_id, "chat")
        own = self._settings.system_prompt
        system = own or prompt.render({})
        if opening.summary is not None:
            system += f"\n\nSummary of the conversation so far:\n{opening.summary}"
        messages = (PromptMessage(role="system", text=system), *opening.messages)
        specs = tuple(tool.spec for tool in tools.values())
        room = await self._room(step) - self._gateway.count(step.model, [str(s) for s in specs])
        fitting = context.fitted(messages, room, self._counter(step))
        if fitting is None and _may_summarise(step, opening):
            return None
        if fitting is None:
            fitting = tuple(context.clipped(messages, room, self._counter(step)))
        return ModelRequest(
            model=step.model,
            messages=fitting,
            tools=specs,
            user_id=opening.user_id,
            may_degrade=True,
            prompt=None if own else prompt.name,
            prompt_version=None if own else prompt.version,
        )

    async def _ask(
        self, request: ModelRequest, origin: CallOrigin, writer: StepWriter | None = None
    ) -> Completion:
        """The model's answer, shown as it comes if there is somewhere to write it."""
        async with aclosing(self._gateway.stream(request, origin)) as parts:
            async for part in parts:
                if isinstance(part, Completion):
                    return part
                if writer is None:
                    continue
                if isinstance(part, ModelNotice):
                    await writer.report(NewEvent(type=part.type, data=part.data))
                else:
                    await writer.write(part.text)
        raise ModelFailed("The model's answer broke off.", code="model_truncated")

    async def _room(self, step: StepRef) -> int:
        window = await self._gateway.window(step.run.tenant_id, step.model)
        return int(window * context.PROMPT_SHARE)

    async def _clipped(
        self, step: StepRef, messages: Sequence[PromptMessage]
    ) -> list[PromptMessage]:
        """What is summed up must fit into a prompt itself, beside the summary before."""
        head = PromptMessage(role="system", text="")
        room = await self._room(step) // 2
        return context.clipped([head, *messages], room, self._counter(step))[1:]

    def _counter(self, step: StepRef) -> context.Count:
        return lambda texts: self._gateway.count(step.model, texts)

    def _size(self, step: StepRef, messages: Sequence[PromptMessage]) -> int:
        return context.size(messages, self._counter(step))


def _may_summarise(step: StepRef, opening: Opening) -> bool:
    return step.may_summarise and context.last_exchange(opening.messages) > 0


def _origin(step: StepRef, opening: Opening, feature: str = "chat") -> CallOrigin:
    return CallOrigin(
        tenant_id=step.run.tenant_id,
        user_id=opening.user_id,
        feature=feature,
        run_id=step.run.run_id,
        step=step.number,
        attempt=activity.info().attempt,
    )


def _plan(call: ToolCall, tool: Tool | None) -> PlannedCall:
    """A call to a tool that does not exist is planned too: the model must hear about it."""
    if tool is None:
        return PlannedCall(call=call, safety="unknown", ask=None)
    if tool.safety is Safety.UNSAFE:
        return PlannedCall(call=call, safety="unsafe", ask="unsafe")
    return PlannedCall(
        call=call, safety=tool.safety.value, ask="ask_first" if tool.ask_first else None
    )
