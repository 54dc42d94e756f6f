"""Runs that did not end themselves: closed by their workflow, or when that is over too."""

from temporalio import activity

from activities.chat.ports import TurnStore
from activities.runs.ports import Engine, EngineState, RunStore
from domain.chat.turns import TurnClosing
from domain.names import Kind
from domain.runs.runs import Closed, Outcome, RunEnd, RunRef

_OUTCOMES = {
    EngineState.COMPLETED: Outcome.FAILED,
    EngineState.FAILED: Outcome.FAILED,
    EngineState.CANCELLED: Outcome.CANCELLED,
    EngineState.TERMINATED: Outcome.TERMINATED,
    EngineState.TIMED_OUT: Outcome.TIMED_OUT,
}
_DETAILS = {
    EngineState.COMPLETED: "The workflow ended without closing its run.",
    EngineState.FAILED: "The workflow failed.",
    EngineState.TERMINATED: "The workflow was terminated from outside.",
    EngineState.TIMED_OUT: "The workflow ran out of time.",
}


class RunActivities:
    """Activities of runs of every kind but turns."""

    def __init__(self, runs: RunStore) -> None:
        self._runs = runs

    @activity.defn
    async def close_run(self, closing: RunEnd) -> Closed:
        """End a run that did not end itself."""
        return await self._runs.close(closing)


class RunReconciler:
    """Makes the record of a run agree with Temporal, when its workflow can no longer do so."""

    def __init__(self, turns: TurnStore, runs: RunStore, engine: Engine) -> None:
        self._turns = turns
        self._runs = runs
        self._engine = engine

    async def settle(self, run: RunRef) -> bool:
        """Look after one open run; whether it has ended now. Doing it twice changes nothing."""
        state = await self._engine.state(run)
        if state is EngineState.OPEN:
            return False
        if state is EngineState.UNKNOWN:
            await self._start(run)
            return False
        detail = _DETAILS.get(state)
        closed = await self._close(
            run, _OUTCOMES[state], f"run_{state}" if detail else None, detail
        )
        if closed.next_run is not None:
            await self._go_on(RunRef(tenant_id=run.tenant_id, run_id=closed.next_run))
        return True

    async def _go_on(self, run: RunRef) -> None:
        if _is_turn(run):
            return await self._engine.give_floor(run)
        await self._start(run)

    async def _close(
        self, run: RunRef, outcome: Outcome, code: str | None, detail: str | None
    ) -> Closed:
        ending = RunEnd(run=run, outcome=outcome, error_code=code, error_detail=detail)
        if _is_turn(run):
            return await self._turns.close(TurnClosing.of(ending))
        return await self._runs.close(ending)

    async def _start(self, run: RunRef) -> None:
        if not _is_turn(run):
            launch = await self._runs.plan(run)
            return await self._engine.start(launch) if launch is not None else None
        plan = await self._turns.plan(run)
        if plan is not None and not plan.finished:
            await self._engine.start_turn(plan)


def _is_turn(run: RunRef) -> bool:
    return run.run_id.startswith(f"{Kind.TURN}.")
