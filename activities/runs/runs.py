"""Runs that did not end themselves: ended by their workflow, or when that is over too."""

from temporalio import activity

from activities.runs.ports import Engine, EngineState, RunStore
from domain.runs.runs import EndedRun, Outcome, RunEnd, RunRef, RunSpec

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
    """Activities of runs of every kind."""

    def __init__(self, runs: RunStore) -> None:
        self._runs = runs

    @activity.defn
    async def accept_run(self, input: RunSpec) -> None:
        """Write a run down that a schedule has started; doing it twice changes nothing."""
        await self._runs.accept(input)

    @activity.defn
    async def close_run(self, input: RunEnd) -> EndedRun:
        """End a run that did not end itself. The first end wins."""
        return await self._runs.end(input)


class RunReconciler:
    """Makes the record of a run agree with Temporal, when its workflow can no longer do so."""

    def __init__(self, runs: RunStore, engine: Engine) -> None:
        self._runs = runs
        self._engine = engine

    async def reconcile(self, run: RunRef) -> bool:
        """Look after one open run; return whether it has ended. Doing it twice changes nothing."""
        state = await self._engine.state(run)
        if state is EngineState.OPEN:
            return False
        if state is EngineState.UNKNOWN:
            await self._start(run)
            return False
        ended = await self._runs.end(_end(run, state))
        if ended.next_run is not None:
            await self._wake(RunRef(tenant_id=run.tenant_id, run_id=ended.next_run))
        return True

    async def _start(self, run: RunRef) -> None:
        if (spec := await self._runs.spec(run)) is not None:
            await self._engine.start(spec)

    async def _wake(self, run: RunRef) -> None:
        if (spec := await self._runs.spec(run)) is not None:
            await self._engine.wake(spec)


def _end(run: RunRef, state: EngineState) -> RunEnd:
    detail = _DETAILS.get(state)
    code = f"run_{state}" if detail else None
    return RunEnd(run=run, outcome=_OUTCOMES[state], error_code=code, error_detail=detail)
