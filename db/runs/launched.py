"""Launched runs: those of every kind but turns, for whoever starts and ends them."""

from typing import Any

from db.leads import rescores
from db.runs import lifecycle
from db.scoring import batch_pages
from db.session import Database, one
from domain.runs.runs import Closed, Outcome, RunEnd, RunRef, RunSpec

_PLAN = """
SELECT l.launch FROM run_specs l JOIN runs r ON r.tenant_id = l.tenant_id AND r.id = l.run_id
WHERE l.tenant_id = %(tenant)s AND l.run_id = %(run)s AND r.finished_at IS NULL AND r.step = 0
"""
_WANTED = frozenset({Outcome.COMPLETED, Outcome.CANCELLED})


class LaunchedRuns:
    """Runs that need no more than a row, an input and an ending."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def accept(self, launch: RunSpec) -> bool:
        """Take a run in; false if it was accepted before. Raises as `launches.accept`."""
        async with self._database.transaction(launch.run.tenant_id) as connection:
            return await lifecycle.accept(connection, launch)

    async def plan(self, run: RunRef) -> RunSpec | None:
        """How to start a run; None for one that is gone, has begun or has ended."""
        values: dict[str, Any] = {"tenant": run.tenant_id, "run": run.run_id}
        async with self._database.transaction(run.tenant_id) as connection:
            row = await one(connection, _PLAN, values)
        return RunSpec.model_validate(row["launch"]) if row else None

    async def close(self, closing: RunEnd) -> Closed:
        """End a run that did not end itself. The first ending wins; a later call gives that one
        back. A batch counts no page any more, and says how far it came; a change of a lead that
        nobody has looked at asks for another score."""
        run = closing.run
        async with self._database.transaction(run.tenant_id) as connection:
            if await batch_pages.stop(connection, run):
                counts = (await batch_pages.get(connection, run)).counts
                result = batch_pages.result(counts, closing.outcome)
                closing = closing.model_copy(update={"result": result})
            closed = await lifecycle.close(connection, closing)
            another = None
            if closed.outcome not in _WANTED:
                another = await rescores.renew(connection, run)
        return closed.model_copy(update={"next_run": another.run.run_id}) if another else closed
