"""Leases: a worker process holds an advisory lock while it lives, and PostgreSQL lets go of it
the moment the process dies. Whoever finds an attempt whose worker's lock is gone may fail it."""

import asyncio
import secrets
from dataclasses import dataclass
from typing import Any

import psycopg

from db.session import KEEPALIVES, Database, many
from domain.runs.attempts import Attempt, LostAttempt

_RETRY_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Fence:
    """An attempt at a step of a run: what it writes is refused once a newer one has begun. An
    attempt with a `worker` is failed as soon as that worker's lease is gone."""

    step: int
    attempt: int
    worker: int | None = None
    activity_id: str = ""

    @property
    def values(self) -> dict[str, Any]:
        """The parameters of a statement that begins a step."""
        return {
            "step": self.step,
            "attempt": self.attempt,
            "worker": self.worker,
            "activity": self.activity_id,
        }


class Lease:
    """A worker process's sign of life, on a connection of its own."""

    def __init__(self, database: Database) -> None:
        self._key = secrets.randbits(62)
        self._url = database.url
        self._held = asyncio.Event()

    @property
    def key(self) -> int | None:
        """The mark of attempts; None while the lock is lost: heartbeats cover those."""
        return self._key if self._held.is_set() else None

    async def held(self) -> None:
        """Wait until the lock is held for the first time."""
        await self._held.wait()

    async def hold(self) -> None:
        """Hold the lock for ever: take it again when the connection was lost."""
        while True:
            try:
                await self._hold_once()
            except psycopg.Error:
                await asyncio.sleep(_RETRY_SECONDS)
            finally:
                self._held.clear()

    async def _hold_once(self) -> None:
        async with await psycopg.AsyncConnection.connect(
            self._url, autocommit=True, **KEEPALIVES
        ) as connection:
            await connection.execute("SELECT pg_advisory_lock(%s)", [self._key])
            self._held.set()
            async for _ in connection.notifies():
                pass


def fence(lease: Lease | None, attempt: Attempt, step: int = 1) -> Fence:
    """Return the fence of an attempt in a process, which may hold a lease."""
    return Fence(step, attempt.number, lease.key if lease else None, attempt.activity_id)


_GONE = """
-- Read the workers of open attempts whose lock nobody holds.
SELECT worker FROM lost_workers()
"""
_CLAIM = """
-- Clear the worker of open attempts, so that each is given to one claimer once. Skips locked rows.
SELECT * FROM claim_lost_attempts(%(workers)s, %(limit)s)
"""


class Leases:
    """The leases of all workers, as seen by whoever looks after their attempts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def gone(self) -> set[int]:
        """Return the workers that open attempts are marked with, and whose lock nobody holds."""
        async with self._database.session() as connection:
            return {int(row["worker"]) for row in await many(connection, _GONE, {})}

    async def claim(self, workers: set[int], limit: int) -> list[LostAttempt]:
        """Return open attempts of these workers, of all tenants, each to one claimer once."""
        values = {"workers": list(workers), "limit": limit}
        async with self._database.session() as connection:
            rows = await many(connection, _CLAIM, values)
        return [LostAttempt.model_validate(row) for row in rows]
