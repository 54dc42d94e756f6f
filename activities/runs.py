"""Runs that nobody drives any more: started if they were not, closed if their workflow is over."""

from activities.ports import Engine, EngineState, TurnStore
from domain.chat import TurnClosing
from domain.runs import Outcome, RunRef

_OUTCOMES = {
    EngineState.COMPLETED: Outcome.FAILED,
    EngineState.FAILED: Outcome.FAILED,
    EngineState.CANCELLED: Outcome.CANCELLED,
    EngineState.TERMINATED: Outcome.TERMINATED,
    EngineState.TIMED_OUT: Outcome.TIMED_OUT,
}
_DETAILS = {
    EngineState.COMPLETED: "The workflow ended without closing its turn.",
    EngineState.FAILED: "The workflow failed.",
    EngineState.TERMINATED: "The workflow was terminated from outside.",
    EngineState.TIMED_OUT: "The workflow ran out of time.",
}


class RunKeeper:
    """Makes the record of a run agree with Temporal, when its workflow can no longer do so."""

    def __init__(self, turns: TurnStore, engine: Engine) -> None:
        self._turns = turns
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
        closing = TurnClosing(
            run=run,
            outcome=_OUTCOMES[state],
            error_code=f"run_{state}" if detail else None,
            error_detail=detail,
        )
        closed = await self._turns.close(closing)
        if closed.next_run is not None:
            await self._engine.give_floor(RunRef(tenant_id=run.tenant_id, run_id=closed.next_run))
        return True

    async def _start(self, run: RunRef) -> None:
        plan = await self._turns.plan(run)
        if plan is not None and not plan.finished:
            await self._engine.start_turn(plan)
