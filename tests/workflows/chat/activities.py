"""The activities of a turn by their real names, on fakes."""

from temporalio import activity

from domain.chat.steps import CallVerdict, StepRef, StepVerdict
from domain.chat.turns import FloorState
from domain.errors import ModelFailed
from domain.runs.runs import EndedRun, Outcome, RunEnd, RunRef
from domain.tools.calls import CallOutcome, CallRef, CallStatus, SkippedCall
from domain.tools.decisions import DecisionRef, DecisionState
from tests.workflows.chat.fakes import Record, Reply, ScriptedModel, ScriptedToolbox, ToolUse


class FakeActivities:
    """What a turn does to a world that is only in memory."""

    def __init__(self, model: ScriptedModel, toolbox: ScriptedToolbox, record: Record) -> None:
        self._model = model
        self._toolbox = toolbox
        self._record = record
        self._planned: dict[tuple[str, int, int], ToolUse] = {}

    @activity.defn
    async def ask_for_floor(self, run: RunRef) -> FloorState:
        holder = self._record.floor
        return FloorState(
            has_floor=holder == run.run_id,
            finished=run.run_id in self._record.endings,
            holder=holder,
        )

    @activity.defn
    async def take_step(self, step: StepRef) -> StepVerdict:
        prompt = tuple(self._record.prompts[step.run.run_id])
        reply = await self._model.reply(prompt, may_use_tools=step.may_use_tools)
        if reply.is_too_long and not step.may_summarise:
            raise ModelFailed("It is too long.", code="context_too_long", retryable=False)
        next_run = self._end(step.run, reply) if reply.is_final else None
        return StepVerdict(
            model=step.model,
            input_tokens=len(prompt),
            output_tokens=1,
            calls=await self._plan(step, reply),
            closed=reply.is_final,
            next_run=next_run,
            degraded=reply.is_degraded,
            summarise=reply.is_too_long,
        )

    @activity.defn
    async def summarise_thread(self, step: StepRef) -> StepVerdict:
        await self._record.summarise(step.number)
        return StepVerdict(model=step.model, input_tokens=9, output_tokens=1)

    @activity.defn
    async def call_tool(self, call: CallRef) -> CallOutcome:
        planned = self._planned[(call.run.run_id, call.step, call.n)]
        status = await self._toolbox.use(ToolUse(planned.name, planned.arguments, call.again))
        if status is CallStatus.AMBIGUOUS:
            question = await self._record.ask(f"{call.run.run_id}/{call.step}/{call.n}/again")
            return CallOutcome(status=status, decision_id=question)
        self._record.prompts[call.run.run_id].append(f"{planned.name}: {status}")
        return CallOutcome(status=status)

    @activity.defn
    async def settle_call(self, settling: SkippedCall) -> CallOutcome:
        line = f"{settling.status}: {settling.reason}"
        self._record.prompts[settling.call.run.run_id].append(line)
        return CallOutcome(status=settling.status)

    @activity.defn
    async def read_decision(self, decision: DecisionRef) -> DecisionState:
        return DecisionState(verdict=await self._record.read(decision.decision_id))

    @activity.defn
    async def close_turn(self, end: RunEnd) -> EndedRun:
        ending = self._record.end(end.run.run_id, end.outcome, end.error_code)
        return EndedRun(outcome=ending.outcome, next_run=ending.next_run)

    def _end(self, run: RunRef, reply: Reply) -> str | None:
        outcome = Outcome.DEGRADED if reply.is_degraded else Outcome.ANSWERED
        return self._record.end(run.run_id, outcome).next_run

    async def _plan(self, step: StepRef, reply: Reply) -> tuple[CallVerdict, ...]:
        verdicts = []
        for n, call in enumerate(reply.calls):
            place = (step.run.run_id, step.number, n)
            self._planned[place] = call
            asked = call.name in self._toolbox.ask_first
            question = await self._record.ask("/".join(map(str, place))) if asked else None
            verdicts.append(CallVerdict(n=n, name=call.name, decision_id=question))
        return tuple(verdicts)
