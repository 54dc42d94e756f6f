"""Connections and transactions: each names its tenant first, sealed so that SQL cannot forge it."""

import hashlib
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from domain.errors import DatabaseUnavailable, SettingsInvalid, ValueInvalid
from domain.identity.errors import TenantInvalid
from domain.names import is_tenant
from domain.settings import Settings

Connection = psycopg.AsyncConnection[DictRow]
_POOL_WAIT_SECONDS = 10.0
# A process that was frozen, or whose machine is gone, must not hold what others wait for.
_TIMEOUTS = "-c idle_in_transaction_session_timeout=5s -c lock_timeout=5s"
KEEPALIVES: dict[str, Any] = {
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}


def seal_key(secret: str) -> bytes:
    """Return the 64 bytes that seal tenants' names, derived from the installation's secret."""
    return hashlib.sha512(b"perdure tenant seal\0" + secret.encode()).digest()


def sealed(key: bytes, tenant_id: str) -> str:
    """Return `tenant:hmac`, which the database's `perdure_tenant()` verifies (RFC 2104, SHA-256).

    Only a holder of the secret can name a tenant: SQL that reaches the database by an injection
    may set the variable, but not forge the seal. Raises TenantInvalid.
    """
    if not is_tenant(tenant_id):
        raise TenantInvalid
    return f"{tenant_id}:{hmac.new(key, tenant_id.encode(), 'sha256').hexdigest()}"


def check_secret(secret: str) -> None:
    """Raise SettingsInvalid for a secret that could be guessed."""
    if len(secret) < 32:
        raise SettingsInvalid("PERDURE_SECRET needs at least 32 characters.")


def database_of(settings: Settings) -> "Database":
    """Return the application's database. Raises SettingsInvalid when none is named."""
    if settings.database_url is None:
        raise SettingsInvalid("Set DATABASE_URL, or run `perdure up`.")
    url, secret = settings.database_url.get_secret_value(), settings.secret.get_secret_value()
    check_secret(secret)
    return Database(url, secret, settings.database_connections)


class Database:
    """The application's connections to Postgres.

    Raises DatabaseUnavailable when PostgreSQL cannot be reached or goes away: a statement may then
    have happened all the same, so only idempotent work is tried again.
    """

    def __init__(self, url: str, secret: str, connections: int = 8) -> None:
        self.url = url
        self._key = seal_key(secret)
        self._seals: dict[str, str] = {}
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            url,
            connection_class=psycopg.AsyncConnection[DictRow],
            kwargs={
                "autocommit": True,
                "row_factory": dict_row,
                "prepare_threshold": 2,
                "options": _TIMEOUTS,
                **KEEPALIVES,
            },
            min_size=2,
            max_size=connections,
            timeout=_POOL_WAIT_SECONDS,
            reconnect_timeout=2,
            open=False,
        )

    async def open(self) -> None:
        """Connect. Raises DatabaseUnavailable."""
        try:
            await self._pool.open(wait=True, timeout=_POOL_WAIT_SECONDS)
        except PoolTimeout:
            raise DatabaseUnavailable from None

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.close()

    @asynccontextmanager
    async def transaction(self, tenant_id: str) -> AsyncIterator[Connection]:
        """Open a transaction on behalf of one tenant, committed when the block ends well. Raises
        ValueInvalid for a value that no column holds."""
        try:
            connection = await self._begin(self._seal(tenant_id))
            try:
                yield connection
                await connection.execute("COMMIT")
            except BaseException:
                await _abandon(connection)
                raise
            finally:
                await self._pool.putconn(connection)
        except (psycopg.OperationalError, psycopg.InternalError, PoolTimeout):
            raise DatabaseUnavailable from None
        except psycopg.DataError:
            raise ValueInvalid from None

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Connection]:
        """Open a connection that names no tenant: it sees no tenant's rows, only functions."""
        try:
            connection = await self._begin(None)
            try:
                yield connection
            finally:
                await self._pool.putconn(connection)
        except (psycopg.OperationalError, PoolTimeout):
            raise DatabaseUnavailable from None

    async def listen(self, channel: str) -> AsyncIterator[str]:
        """Yield the payloads of a NOTIFY channel, on a connection of its own; an empty one says
        "listening".

        Raises DatabaseUnavailable when the connection is lost: what came meanwhile must be read
        again.
        """
        try:
            async with await psycopg.AsyncConnection.connect(
                self.url, autocommit=True, **KEEPALIVES
            ) as connection:
                await connection.execute(f"LISTEN {channel}")
                yield ""
                async for notice in connection.notifies():
                    yield notice.payload
        except psycopg.Error:
            raise DatabaseUnavailable from None

    def _seal(self, tenant_id: str) -> str:
        if (seal := self._seals.get(tenant_id)) is None:
            seal = self._seals[tenant_id] = sealed(self._key, tenant_id)
        return seal

    async def _begin(self, seal: str | None) -> Connection:
        try:
            return await self._take(seal)
        except PoolTimeout:
            raise
        except psycopg.OperationalError:
            # Postgres was restarted: every idle connection is as dead as this one.
            await self._pool.check()
            return await self._take(seal)

    async def _take(self, seal: str | None) -> Connection:
        """Return a connection of the pool after its first statement; a failed one goes back."""
        connection = await self._pool.getconn()
        try:
            await _begin(connection, seal)
        except BaseException:
            await _abandon(connection)
            await self._pool.putconn(connection)
            raise
        return connection


_SET_TENANT = """
-- Name the tenant until the transaction ends. Locks nothing.
SELECT set_config('perdure.tenant', %s, true)
"""


async def _begin(connection: Connection, seal: str | None) -> None:
    if seal is None:
        await connection.execute("SELECT 1")
        return
    # A parameter: in pg_stat_activity the sessions of one role can read each other's statements.
    await connection.execute("BEGIN")
    await connection.execute(_SET_TENANT, [seal])


async def _abandon(connection: Connection) -> None:
    if connection.closed:
        return
    try:
        await connection.execute("ROLLBACK")
    except psycopg.Error:
        await connection.close()


async def one(connection: Connection, query: str, values: dict[str, Any]) -> DictRow | None:
    """Return the first row of a query, or None."""
    return await (await connection.execute(query, values)).fetchone()


async def many(connection: Connection, query: str, values: dict[str, Any]) -> list[DictRow]:
    """Return all rows of a query."""
    return await (await connection.execute(query, values)).fetchall()
