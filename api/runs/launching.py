"""Launching: an accepted run gets its workflow, at once or as soon as Temporal answers again."""

import asyncio
from datetime import timedelta

import structlog

from activities.runs.ports import Engine
from activities.runs.runs import RunReconciler
from db.runs.runs import Runs
from domain.errors import PerdureError, TemporalUnavailable
from domain.runs.runs import RunSpec
from domain.settings import Settings

_AGAIN = timedelta(minutes=1)
# No attempt at a step lasts longer (`workflows/policy.py`).
_LONGEST_CALL = timedelta(minutes=11)
_LONGEST_PAUSE_SECONDS = 5.0
_CLAIMED = 50
_FIRST_PAUSE_SECONDS = 0.5
_log = structlog.get_logger(__name__)


class Launcher:
    """Starts workflows, and looks after runs that have been silent for long."""

    def __init__(
        self, engine: Engine, runs: Runs, reconciler: RunReconciler, settings: Settings
    ) -> None:
        self._stalled = timedelta(seconds=settings.stalled_seconds)
        self._round_seconds = settings.sweep_seconds
        self._engine = engine
        self._runs = runs
        self._reconciler = reconciler
        self._late: set[asyncio.Task[None]] = set()

    async def launch(self, spec: RunSpec) -> None:
        """Start a run. The record has it already, so a Temporal that does not answer is no
        failure: the start is repeated until it works, here or by any process's sweep."""
        try:
            await self._engine.start(spec)
        except TemporalUnavailable:
            task = asyncio.create_task(self._until_started(spec))
            self._late.add(task)
            task.add_done_callback(self._late.discard)

    async def sweep(self) -> None:
        """Start runs that were never started, end runs whose workflow is over; for ever."""
        while True:
            await asyncio.sleep(self._round_seconds)
            try:
                await self._runs.close_lost_calls(_LONGEST_CALL, _CLAIMED)
                stalled = await self._runs.claim_stalled(self._stalled, _AGAIN, _CLAIMED)
            except PerdureError as error:
                _log.warning("sweep failed", code=error.code)
                continue
            work = (self._reconciler.reconcile(run) for run in stalled)
            for result in await asyncio.gather(*work, return_exceptions=True):
                if isinstance(result, Exception):
                    _log.warning("a run could not be reconciled", error=type(result).__name__)

    async def _until_started(self, spec: RunSpec) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while True:
            await asyncio.sleep(pause)
            try:
                return await self._engine.start(spec)
            except TemporalUnavailable:
                pause = min(pause * 1.5, _LONGEST_PAUSE_SECONDS)
