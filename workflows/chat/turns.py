"""Chat: one workflow per turn, from the user's message to the final answer."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    FailureError,
    is_cancelled_exception,
)

with workflow.unsafe.imports_passed_through():
    from activities.chat.steps import StepActivities
    from activities.chat.turns import TurnActivities
    from activities.tools.calls import ToolActivities
    from domain import names
    from domain.chat.steps import CallVerdict, StepRef, StepVerdict
    from domain.chat.turns import TurnInput, TurnResult
    from domain.runs.runs import Outcome, RunEnd
    from domain.tools.calls import CallRef, CallStatus, SkippedCall
    from domain.tools.decisions import DecisionRef, Verdict
    from workflows import endings, policy
    from workflows.chat.budget import NextStep, StepBudget

_TOO_LATE = "Nobody decided in time, so this call was not made."
_DENIED = "A person said no to this call, so it was not made."
_UNKNOWN = "Nobody knows whether this call took effect; a person said not to repeat it."
_SUMMARISE = "summarise"
_SILENT = "The tool did not answer."


@workflow.defn(name=names.WorkflowType.CHAT_TURN)
class ChatTurn:
    """Answer one message, calling tools until the model has no more questions.

    It returns how the turn ended and never fails: failures, cancellations and limits are outcomes,
    and each of them is written into the record before the workflow ends.
    """

    @workflow.init
    def __init__(self, input: TurnInput) -> None:
        self._input = input
        self._floor_given = input.has_floor
        self._decided: set[str] = set()
        self._interrupted = False
        self._work: asyncio.Task[TurnResult] | None = None
        self._budget = StepBudget(input.max_steps, timedelta(seconds=input.limit_seconds))
        self._lines: list[str] = []
        self._waited_for_person = False

    @workflow.signal
    def give_floor(self) -> None:
        """Let the turn begin: the one before it has ended."""
        self._floor_given = True

    @workflow.signal
    def decided(self, decision_id: str) -> None:
        """Note that a person has answered; the record says what."""
        self._decided.add(decision_id)

    @workflow.signal
    def interrupt(self) -> None:
        """Stop, and keep what was said so far: another message is to be answered."""
        self._interrupted = True
        if self._work is not None:
            self._work.cancel()

    @workflow.run
    async def run(self, input: TurnInput) -> TurnResult:
        self._work = asyncio.create_task(self._answer())
        if self._interrupted:
            self._work.cancel()
        try:
            result = await self._work
        except (asyncio.CancelledError, FailureError) as error:
            result = await self._close(self._end_of(error))
        endings.set_outcome_attribute(result.outcome)
        return result

    async def _answer(self) -> TurnResult:
        if not self._input.has_floor and not await self._wait_for_floor():
            return await self._close(self._end(Outcome.CANCELLED))
        while step := self._budget.next_step():
            verdict = await self._take_step(step)
            if verdict.closed:
                return await self._finished(verdict)
            if verdict.summarise:
                await self._summarise(self._budget.next_summary())
            elif verdict.calls:
                await self._make_calls(step.number, verdict.calls)
            else:
                # A message was steered in: it deserves a step of its own.
                self._budget.grant_one()
            if self._budget.time_is_up():
                return await self._close(self._end(Outcome.TIMED_OUT))
        return await self._close(self._end(Outcome.EXHAUSTED))

    async def _finished(self, verdict: StepVerdict) -> TurnResult:
        await self._hand_over(verdict.next_run)
        outcome = Outcome.DEGRADED if verdict.degraded else Outcome.ANSWERED
        return TurnResult(outcome=outcome, steps=self._budget.taken)

    async def _wait_for_floor(self) -> bool:
        """Return True with the floor, False if the turn was ended by somebody else's hand."""
        interrupts = self._input.interrupts
        await self._interrupt(interrupts)
        waited = 0
        while True:
            floor = await workflow.execute_local_activity_method(
                TurnActivities.ask_for_floor, self._input.run, **policy.STORE
            )
            if floor.has_floor or floor.finished:
                return floor.has_floor
            if waited and floor.holder == interrupts:
                await self._interrupt(interrupts)
            workflow.set_current_details("Waiting for the turn before this one to end.")
            interval = policy.poll_interval(waited, timedelta(seconds=4), timedelta(minutes=1))
            await self._wait_until(lambda: self._floor_given, interval, "wait for the floor")
            self._floor_given = False
            waited += 1

    async def _interrupt(self, run_id: str | None) -> None:
        if run_id is not None:
            await self._signal(run_id, ChatTurn.interrupt.__name__)

    async def _take_step(self, step: NextStep) -> StepVerdict:
        ref = StepRef(
            run=self._input.run,
            number=step.number,
            model=self._input.model,
            may_use_tools=step.may_use_tools,
            may_summarise=step.may_summarise,
        )
        started = workflow.now()
        verdict = await workflow.execute_activity_method(
            StepActivities.take_step,
            ref,
            summary=f"step {step.number}: {self._input.model:.60}",
            schedule_to_close_timeout=self._budget.time_left(),
            **policy.MODEL,
        )
        self._budget.spend(workflow.now() - started)
        tokens = f"{verdict.input_tokens} → {verdict.output_tokens} tokens"
        why = f" ({verdict.note})" if verdict.note else ""
        self._report(f"step {step.number}: {verdict.model}, {tokens}{why}")
        return verdict

    async def _summarise(self, number: int) -> None:
        """Sum up what came before this turn, in a step of its own."""
        started = workflow.now()
        await workflow.execute_activity_method(
            StepActivities.summarise_thread,
            StepRef(run=self._input.run, number=number, model=_SUMMARISE),
            summary=f"step {number}: summary of the thread",
            schedule_to_close_timeout=self._budget.time_left(),
            **policy.MODEL,
        )
        self._budget.spend(workflow.now() - started)
        self._report(f"step {number}: the conversation so far was summed up")

    async def _make_calls(self, step: int, calls: Sequence[CallVerdict]) -> None:
        """Make all calls of a step at once; a step that waits for a person costs no time."""
        self._waited_for_person = False
        started = workflow.now()
        await asyncio.gather(*(self._call(step, call) for call in calls))
        if not self._waited_for_person:
            self._budget.spend(workflow.now() - started)

    async def _call(self, step: int, call: CallVerdict) -> None:
        """Make one call, asking a person before it, or after its outcome was lost."""
        ref = CallRef(run=self._input.run, step=step, n=call.n)
        if call.decision_id is not None and not await self._allowed(
            ref, call, call.decision_id, _DENIED
        ):
            return
        while True:
            try:
                outcome = await workflow.execute_activity_method(
                    ToolActivities.call_tool,
                    ref,
                    summary=f"tool {call.name:.60}",
                    schedule_to_close_timeout=self._budget.time_left(),
                    **policy.TOOL,
                )
            except ActivityError as error:
                if is_cancelled_exception(error):
                    raise
                await self._skip(ref, CallStatus.FAILED, _SILENT)
                return
            self._report(f"tool {call.name}: {outcome.status}")
            if outcome.decision_id is None:
                return
            if not await self._allowed(ref, call, outcome.decision_id, _UNKNOWN):
                return
            ref = ref.model_copy(update={"again": True})

    async def _allowed(
        self, ref: CallRef, call: CallVerdict, decision_id: str, denial: str
    ) -> bool:
        """Wait for a person; without a yes, skip the call and let the model know why."""
        workflow.set_current_details(
            f"**Waiting for a person:** may `{call.name}` be called? (decision `{decision_id}`)\n\n"
            + "\n".join(self._lines)
        )
        self._waited_for_person = True
        limit = timedelta(seconds=self._input.decision_seconds)
        deadline = workflow.now() + limit
        decision = DecisionRef(run=self._input.run, decision_id=decision_id)
        waited = 0
        while (left := deadline - workflow.now()) > timedelta():
            interval = policy.poll_interval(waited, timedelta(seconds=10), timedelta(minutes=10))
            interval = min(interval, left)
            await self._wait_until(
                lambda: decision_id in self._decided, interval, "wait for a decision"
            )
            state = await workflow.execute_local_activity_method(
                ToolActivities.read_decision, decision, **policy.STORE
            )
            if state.verdict is Verdict.APPROVE:
                return True
            if state.verdict is Verdict.DENY:
                await self._skip(ref, CallStatus.DENIED, denial)
                return False
            self._decided.discard(decision_id)
            waited += 1
        await self._skip(ref, CallStatus.DENIED, _TOO_LATE)
        return False

    async def _wait_until(self, ready: Callable[[], bool], interval: timedelta, why: str) -> None:
        try:
            await workflow.wait_condition(ready, timeout=interval, timeout_summary=why)
        except TimeoutError:
            return

    async def _skip(self, ref: CallRef, status: CallStatus, reason: str) -> None:
        await workflow.execute_local_activity_method(
            ToolActivities.settle_call,
            SkippedCall(call=ref, status=status, reason=reason),
            **policy.STORE,
        )

    async def _close(self, end: RunEnd) -> TurnResult:
        ended = await workflow.execute_local_activity_method(
            TurnActivities.close_turn, end, **policy.STORE
        )
        await self._hand_over(ended.next_run)
        return TurnResult(outcome=ended.outcome, steps=self._budget.taken)

    async def _hand_over(self, next_run: str | None) -> None:
        if next_run is not None:
            await self._signal(next_run, ChatTurn.give_floor.__name__)

    async def _signal(self, run_id: str, signal: str) -> None:
        """Wake another turn up; if the signal is lost, that turn's own timer finds out."""
        workflow_id = names.workflow_id(self._input.run.tenant_id, run_id)
        try:
            await workflow.get_external_workflow_handle(workflow_id).signal(signal)
        except ApplicationError:
            return

    def _end_of(self, error: BaseException) -> RunEnd:
        if self._interrupted and is_cancelled_exception(error):
            return self._end(Outcome.INTERRUPTED)
        return endings.end_of(self._input.run, error)

    def _end(self, outcome: Outcome) -> RunEnd:
        return RunEnd(run=self._input.run, outcome=outcome)

    def _report(self, line: str) -> None:
        self._lines = [*self._lines[-19:], f"- {line}"]
        workflow.set_current_details("\n".join(self._lines))
