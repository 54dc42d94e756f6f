"""Rescue: what a dead worker was doing is given to another one within a second."""

import asyncio

import structlog

from adapters.temporal import TemporalEngine
from db.leases import Leases
from domain.errors import PerdureError

_ROUND_SECONDS = 0.5
_CLAIMED = 200
# After an outage of PostgreSQL every worker has lost its lease for a moment.
_GRACE_SECONDS = 3.0
_log = structlog.get_logger(__name__)


class Rescuer:
    """Fails the attempts of workers that are gone, so that Temporal tries again at once.

    Heartbeats would notice too, but each costs the server a write: with them as the net, they can
    be rare. An attempt that was not pending any more, or is failed wrongly, costs a retry at most.
    """

    def __init__(self, leases: Leases, engine: TemporalEngine) -> None:
        self._leases = leases
        self._engine = engine

    async def run(self) -> None:
        """For ever."""
        await asyncio.sleep(_GRACE_SECONDS)
        while True:
            try:
                lost = await self._leases.claim_lost(_CLAIMED)
                await asyncio.gather(*(self._engine.fail_attempt(attempt) for attempt in lost))
            except PerdureError as error:
                _log.warning("rescue failed", code=error.code)
                await asyncio.sleep(_GRACE_SECONDS)
            await asyncio.sleep(_ROUND_SECONDS)
