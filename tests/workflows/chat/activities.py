"""The activities of a turn by their real names, on fakes."""

from temporalio import activity

from domain.chat.steps import CallVerdict, StepRef, StepVerdict
from domain.chat.turns import FloorState
from domain.gateway.errors import ContextTooLong
from domain.runs.runs import EndedRun, Outcome, RunEnd, RunRef
from domain.tools.calls import CallOutcome, CallRef, CallStatus, SkippedCall
from domain.tools.decisions import DecisionRef, DecisionState
from tests.workflows.chat.fakes import Record, Reply, ScriptedModel, ScriptedToolbox, ToolUse


class FakeActivities:
    """The activities of a turn, in a world that is only in memory."""

    def __init__(self, model: ScriptedModel, toolbox: ScriptedToolbox, record: Record) -> None:
        self._model = model
        self._toolbox = toolbox
        self._record = record
        self._planned: dict[tuple[str, int, int], ToolUse] = {}

    @activity.defn
    async def ask_for_floor(self, input: RunRef) -> FloorState:
        holder = self._record.floor
        return FloorState(
            has_floor=holder == input.run_id,
            finished=input.run_id in self._record.ended,
            holder=holder,
        )

    @activity.defn
    async def take_step(self, input: StepRef) -> StepVerdict:
        prompt = tuple(self._record.prompts[input.run.run_id])
        reply = await self._model.reply(prompt, may_use_tools=input.may_use_tools)
        if reply.is_too_long and not input.may_summarise:
            raise ContextTooLong
        next_run = self._end(input.run, reply) if reply.is_final else None
        return StepVerdict(
            model=input.model,
            input_tokens=len(prompt),
            output_tokens=1,
            calls=await self._plan(input, reply),
            closed=reply.is_final,
            next_run=next_run,
            degraded=reply.is_degraded,
            summarise=reply.is_too_long,
        )

    @activity.defn
    async def summarise_thread(self, input: StepRef) -> StepVerdict:
        await self._record.summarise(input.number)
        return StepVerdict(model=input.model, input_tokens=9, output_tokens=1)

    @activity.defn
    async def call_tool(self, input: CallRef) -> CallOutcome:
        planned = self._planned[(input.run.run_id, input.step, input.n)]
        status = await self._toolbox.use(ToolUse(planned.name, planned.arguments, input.again))
        if status is CallStatus.AMBIGUOUS:
            question = await self._record.ask(f"{input.run.run_id}/{input.step}/{input.n}/again")
            return CallOutcome(status=status, decision_id=question)
        self._record.prompts[input.run.run_id].append(f"{planned.name}: {status}")
        return CallOutcome(status=status)

    @activity.defn
    async def settle_call(self, input: SkippedCall) -> CallOutcome:
        line = f"{input.status}: {input.reason}"
        self._record.prompts[input.call.run.run_id].append(line)
        return CallOutcome(status=input.status)

    @activity.defn
    async def read_decision(self, input: DecisionRef) -> DecisionState:
        return DecisionState(verdict=await self._record.read(input.decision_id))

    @activity.defn
    async def close_turn(self, input: RunEnd) -> EndedRun:
        end = self._record.end(input.run.run_id, input.outcome, input.error_code)
        return EndedRun(outcome=end.outcome, next_run=end.next_run)

    def _end(self, run: RunRef, reply: Reply) -> str | None:
        outcome = Outcome.DEGRADED if reply.is_degraded else Outcome.ANSWERED
        return self._record.end(run.run_id, outcome).next_run

    async def _plan(self, step: StepRef, reply: Reply) -> tuple[CallVerdict, ...]:
        verdicts = []
        for n, call in enumerate(reply.calls):
            index = (step.run.run_id, step.number, n)
            self._planned[index] = call
            is_asked = call.name in self._toolbox.ask_first
            question = await self._record.ask("/".join(map(str, index))) if is_asked else None
            verdicts.append(CallVerdict(n=n, name=call.name, decision_id=question))
        return tuple(verdicts)
