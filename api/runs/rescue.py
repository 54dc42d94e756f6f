"""Rescue: what a dead worker was doing is given to another one within a second."""

import asyncio

import structlog

from adapters.runs.engine import TemporalEngine
from db.runs.leases import Leases
from domain.errors import PerdureError

_CLAIMED = 200
_log = structlog.get_logger(__name__)


class LeaseMonitor:
    """Fails the attempts of workers that are gone, so that Temporal tries again at once.

    Heartbeats would notice too, but each costs the server a write: beside leases they can be rare.
    An attempt that was not pending any more, or is failed wrongly, costs a retry at most.
    """

    def __init__(self, leases: Leases, engine: TemporalEngine, round_seconds: float) -> None:
        self._leases = leases
        self._engine = engine
        self._pause = round_seconds

    async def run(self) -> None:
        """Look after lost attempts for ever."""
        before: set[int] = set()
        while True:
            await asyncio.sleep(self._pause)
            try:
                gone = await self._leases.gone()
                await self._rescue(gone & before)
                before = gone
            except PerdureError as error:
                _log.warning("rescue failed", code=error.code)
                before = set()

    async def _rescue(self, workers: set[int]) -> None:
        """Fail the attempts of workers that were gone in the last round too: a lost connection is
        taken up again sooner."""
        if not workers:
            return
        for attempt in await self._leases.claim(workers, _CLAIMED):
            await self._engine.fail_attempt(attempt)
