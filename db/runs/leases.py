"""Leases: a worker process holds an advisory lock while it lives, and PostgreSQL lets go of it
the moment the process dies. Whoever finds an attempt whose worker's lock is gone may fail it."""

import asyncio
import secrets

import psycopg

from db.session import KEEPALIVES, Database, many
from domain.runs.attempts import LostAttempt

_RETRY_SECONDS = 0.2
_GONE = "SELECT worker FROM lost_workers()"
_CLAIM = "SELECT * FROM claim_lost_attempts(%(workers)s, %(limit)s)"


class Lease:
    """One worker process's sign of life, on a connection of its own."""

    def __init__(self, database: Database) -> None:
        self._key = secrets.randbits(62)
        self._url = database.url
        self._held = asyncio.Event()

    @property
    def key(self) -> int | None:
        """What attempts are marked with; None while the lock is lost: heartbeats cover those."""
        return self._key if self._held.is_set() else None

    async def held(self) -> None:
        """Until the lock is held for the first time."""
        await self._held.wait()

    async def hold(self) -> None:
        """For ever: hold the lock, and take it again when the connection was lost."""
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


class Leases:
    """The leases of all workers, as seen by whoever looks after their attempts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def gone(self) -> set[int]:
        """Workers that open attempts are marked with, and whose lock nobody holds."""
        async with self._database.session() as connection:
            return {int(row["worker"]) for row in await many(connection, _GONE, {})}

    async def claim(self, workers: set[int], limit: int) -> list[LostAttempt]:
        """The open attempts of these workers, of all tenants, each given to one claimer once."""
        values = {"workers": list(workers), "limit": limit}
        async with self._database.session() as connection:
            rows = await many(connection, _CLAIM, values)
        return [LostAttempt.model_validate(row) for row in rows]
