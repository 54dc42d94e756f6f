"""Turns: the activities that open and close one."""

from temporalio import activity

from activities.chat.ports import TurnStore
from activities.runs.ports import RunStore
from activities.runs.runs import RunReconciler
from domain.chat.turns import FloorState
from domain.runs.runs import EndedRun, RunEnd, RunRef


class TurnActivities:
    """Activities about a turn as a whole."""

    def __init__(self, turns: TurnStore, runs: RunStore, reconciler: RunReconciler) -> None:
        self._turns = turns
        self._runs = runs
        self._reconciler = reconciler

    @activity.defn
    async def ask_for_floor(self, input: RunRef) -> FloorState:
        """Return whether this turn may run. A holder whose workflow is over is ended on the way."""
        holder = await self._turns.floor_holder(input)
        if holder not in (None, input.run_id):
            await self._reconciler.reconcile(RunRef(tenant_id=input.tenant_id, run_id=str(holder)))
            holder = await self._turns.floor_holder(input)
        has_floor = holder == input.run_id
        return FloorState(has_floor=has_floor, finished=holder is None, holder=holder)

    @activity.defn
    async def close_turn(self, input: RunEnd) -> EndedRun:
        """End a turn that did not end itself, and give the floor to the next one."""
        return await self._runs.end(input)
