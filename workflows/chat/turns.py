"""Chat: one workflow per turn, from the user's message to the final answer."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    FailureError,
    is_cancelled_exception,
)

with workflow.unsafe.imports_passed_through():
    from activities.chat.steps import ChatActivities
    from domain import names
    from domain.chat.steps import CallVerdict, StepRef, StepVerdict
    from domain.chat.turns import TurnClosing, TurnInput, TurnResult
    from domain.runs.runs import Outcome
    from domain.tools.calls import CallRef, CallStatus, SkippedCall
    from domain.tools.decisions import DecisionRef, Verdict
    from workflows import endings, policy

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
    def __init__(self, turn: TurnInput) -> None:
        self._turn = turn
        self._floor_given = turn.has_floor
        self._decided: set[str] = set()
        self._interrupted = False
        self._work: asyncio.Task[TurnResult] | None = None
        self._steps = 0
        self._lines: list[str] = []
        self._spent = timedelta()
        self._asked = False

    @workflow.signal
    def give_floor(self) -> None:
        """The turn before this one has ended."""
        self._floor_given = True

    @workflow.signal
    def decided(self, decision_id: str) -> None:
        """A person has answered; the record says what."""
        self._decided.add(decision_id)

    @workflow.signal
    def interrupt(self) -> None:
        """Another message wants the floor: stop, and keep what was said so far."""
        self._interrupted = True
        if self._work is not None:
            self._work.cancel()

    @workflow.run
    async def run(self, turn: TurnInput) -> TurnResult:
        self._work = asyncio.create_task(self._answer(turn))
        if self._interrupted:
            self._work.cancel()
        try:
            result = await self._work
        except (asyncio.CancelledError, FailureError) as error:
            result = await self._close(self._ending(error))
        endings.tell(result.outcome)
        return result

    async def _answer(self, turn: TurnInput) -> TurnResult:
        if not turn.has_floor and not await self._wait_for_floor(turn):
            return await self._close(self._closing(Outcome.CANCELLED))
        number, most = 0, turn.max_steps
        may_summarise = True
        while number < most:
            number += 1
            self._steps = number
            verdict = await self._take_step(number, last=number == most, fresh=may_summarise)
            if verdict.summarise:
                number += 1
                most += 2
                await self._summarise(number)
            may_summarise = not verdict.summarise
            if verdict.closed:
                await self._hand_over(verdict.next_run)
                outcome = Outcome.DEGRADED if verdict.degraded else Outcome.ANSWERED
                return TurnResult(outcome=outcome, steps=number)
            if verdict.summarise:
                continue
            # Without calls, a message that was steered in waits: it is worth a step of its own.
            most += not verdict.calls
            await self._make_calls(number, verdict)
            if self._spent >= timedelta(seconds=turn.limit_seconds):
                return await self._close(self._closing(Outcome.TIMED_OUT))
        return await self._close(self._closing(Outcome.EXHAUSTED))

    async def _wait_for_floor(self, turn: TurnInput) -> bool:
        """False if the turn was ended meanwhile, by somebody else's hand."""
        if turn.interrupts is not None:
            await self._signal(turn.interrupts, ChatTurn.interrupt.__name__)
        waited = 0
        while True:
            floor = await workflow.execute_local_activity_method(
                ChatActivities.ask_for_floor, turn.run, **policy.STORE
            )
            if floor.has_floor or floor.finished:
                return floor.has_floor
            if waited and floor.holder is not None and floor.holder == turn.interrupts:
                await self._signal(turn.interrupts, ChatTurn.interrupt.__name__)
            workflow.set_current_details("Waiting for the turn before this one to end.")
            net = policy.net(waited, timedelta(seconds=4), timedelta(minutes=1))
            await self._wait_until(lambda: self._floor_given, net, "wait for the floor")
            self._floor_given = False
            waited += 1

    async def _take_step(self, number: int, *, last: bool, fresh: bool) -> StepVerdict:
        step = StepRef(
            run=self._turn.run,
            number=number,
            model=self._turn.model,
            may_use_tools=not last,
            may_summarise=fresh,
        )
        started = workflow.now()
        verdict = await workflow.execute_activity_method(
            ChatActivities.take_step,
            step,
            summary=f"step {number}: {self._turn.model:.60}",
            schedule_to_close_timeout=self._time_left(),
            **policy.MODEL,
        )
        self._spent += workflow.now() - started
        tokens = f"{verdict.input_tokens} → {verdict.output_tokens} tokens"
        why = f" ({verdict.note})" if verdict.note else ""
        self._report(f"step {number}: {verdict.model}, {tokens}{why}")
        return verdict

    async def _summarise(self, number: int) -> None:
        """What came before this turn is summed up in a step of its own."""
        self._steps = number
        started = workflow.now()
        await workflow.execute_activity_method(
            ChatActivities.summarise_thread,
            StepRef(run=self._turn.run, number=number, model=_SUMMARISE),
            summary=f"step {number}: summary of the thread",
            schedule_to_close_timeout=self._time_left(),
            **policy.MODEL,
        )
        self._spent += workflow.now() - started
        self._report(f"step {number}: the conversation so far was summed up")

    async def _make_calls(self, number: int, verdict: StepVerdict) -> None:
        """All calls of a step at once; the time that people take to decide is not the turn's."""
        self._asked = False
        started = workflow.now()
        await asyncio.gather(*(self._call(number, call) for call in verdict.calls))
        if not self._asked:
            self._spent += workflow.now() - started

    async def _call(self, step: int, call: CallVerdict) -> None:
        """Make one call, asking a person before it, or after its outcome was lost."""
        ref = CallRef(run=self._turn.run, step=step, n=call.n)
        if call.decision_id is not None and not await self._allowed(
            ref, call, call.decision_id, _DENIED
        ):
            return
        while True:
            try:
                outcome = await workflow.execute_activity_method(
                    ChatActivities.call_tool,
                    ref,
                    summary=f"tool {call.name:.60}",
                    schedule_to_close_timeout=self._time_left(),
                    **policy.TOOL,
                )
            except ActivityError as error:
                if is_cancelled_exception(error):
                    raise
                await self._settle(ref, CallStatus.FAILED, _SILENT)
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
        """Wait for a person; without a yes, the call is settled and the model is told why."""
        workflow.set_current_details(
            f"**Waiting for a person:** may `{call.name}` be called? (decision `{decision_id}`)\n\n"
            + "\n".join(self._lines)
        )
        self._asked = True
        limit = timedelta(seconds=self._turn.decision_seconds)
        deadline = workflow.now() + limit
        decision = DecisionRef(run=self._turn.run, decision_id=decision_id)
        waited = 0
        while (left := deadline - workflow.now()) > timedelta():
            net = min(left, policy.net(waited, timedelta(seconds=10), timedelta(minutes=10)))
            await self._wait_until(lambda: decision_id in self._decided, net, "wait for a decision")
            state = await workflow.execute_local_activity_method(
                ChatActivities.read_decision, decision, **policy.STORE
            )
            if state.verdict is Verdict.APPROVE:
                return True
            if state.verdict is Verdict.DENY:
                await self._settle(ref, CallStatus.DENIED, denial)
                return False
            self._decided.discard(decision_id)
            waited += 1
        await self._settle(ref, CallStatus.DENIED, _TOO_LATE)
        return False

    async def _wait_until(self, ready: Callable[[], bool], net: timedelta, why: str) -> None:
        try:
            await workflow.wait_condition(ready, timeout=net, timeout_summary=why)
        except TimeoutError:
            return

    async def _settle(self, ref: CallRef, status: CallStatus, reason: str) -> None:
        await workflow.execute_local_activity_method(
            ChatActivities.settle_call,
            SkippedCall(call=ref, status=status, reason=reason),
            **policy.STORE,
        )

    async def _close(self, closing: TurnClosing) -> TurnResult:
        closed = await workflow.execute_local_activity_method(
            ChatActivities.close_turn, closing, **policy.STORE
        )
        await self._hand_over(closed.next_run)
        return TurnResult(outcome=closed.outcome, steps=self._steps)

    async def _hand_over(self, next_run: str | None) -> None:
        if next_run is not None:
            await self._signal(next_run, ChatTurn.give_floor.__name__)

    async def _signal(self, run_id: str, signal: str) -> None:
        """A wake-up call; if nobody hears it, the other turn's own timer finds out."""
        workflow_id = names.workflow_id(self._turn.run.tenant_id, run_id)
        try:
            await workflow.get_external_workflow_handle(workflow_id).signal(signal)
        except ApplicationError:
            return

    def _ending(self, error: BaseException) -> TurnClosing:
        if self._interrupted and is_cancelled_exception(error):
            return self._closing(Outcome.INTERRUPTED)
        return TurnClosing.of(endings.closing(self._turn.run, error))

    def _closing(self, outcome: Outcome) -> TurnClosing:
        return TurnClosing(run=self._turn.run, outcome=outcome)

    def _time_left(self) -> timedelta:
        limit = timedelta(seconds=self._turn.limit_seconds)
        return max(limit - self._spent, timedelta(seconds=1))

    def _report(self, line: str) -> None:
        self._lines = [*self._lines[-19:], f"- {line}"]
        workflow.set_current_details("\n".join(self._lines))
