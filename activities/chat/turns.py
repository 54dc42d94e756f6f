"""Turns: the activities that open and close one."""

from temporalio import activity

from activities.chat.ports import TurnStore
from activities.runs.runs import RunReconciler
from domain.chat.turns import FloorState, TurnClosing
from domain.runs.runs import Closed, RunRef


class TurnActivities:
    """Activities about a turn as a whole."""

    def __init__(self, turns: TurnStore, reconciler: RunReconciler) -> None:
        self._turns = turns
        self._reconciler = reconciler

    @activity.defn
    async def ask_for_floor(self, run: RunRef) -> FloorState:
        """Whether this turn may run. A holder whose workflow is over is closed on the way."""
        holder = await self._turns.floor_holder(run)
        if holder not in (None, run.run_id):
            await self._reconciler.settle(RunRef(tenant_id=run.tenant_id, run_id=str(holder)))
            holder = await self._turns.floor_holder(run)
        has_floor = holder == run.run_id
        return FloorState(has_floor=has_floor, finished=holder is None, holder=holder)

    @activity.defn
    async def close_turn(self, closing: TurnClosing) -> Closed:
        """End a turn that did not end itself, and give the floor to the next one."""
        return await self._turns.close(closing)
