"""Routes that tenants have set in place of the settings' routes."""

from psycopg.types.json import Jsonb

from db.gateway import deployments
from db.identity import audit
from db.session import Connection, Database, many
from domain.gateway.routes import Health, Route
from domain.identity.principals import Principal


class RouteOverrides:
    """The routes that a tenant has set, and the health of deployments."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self, tenant_id: str) -> dict[str, Route]:
        """Return a tenant's own routes by name."""
        async with self._database.transaction(tenant_id) as connection:
            return await _read(connection, tenant_id)

    async def put(self, caller: Principal, name: str, route: Route) -> None:
        """Set a route; it holds in every worker within seconds."""
        async with self._database.transaction(caller.tenant_id) as connection:
            await _put(connection, caller, name, route)
            await audit.record(connection, caller.tenant_id, caller.user_id, "route.set", name)

    async def delete(self, caller: Principal, name: str) -> None:
        """Go back to the settings' route."""
        async with self._database.transaction(caller.tenant_id) as connection:
            await _delete(connection, caller, name)
            await audit.record(connection, caller.tenant_id, caller.user_id, "route.reset", name)

    async def health(self, names: list[str]) -> dict[str, Health]:
        """Return the health of these deployments; those that nobody has asked are left out."""
        async with self._database.session() as connection:
            return await deployments.health(connection, names)


_READ = """
-- A tenant's own routes; locks nothing.
SELECT route, value FROM route_overrides WHERE tenant_id = %(tenant)s
"""


async def _read(connection: Connection, tenant_id: str) -> dict[str, Route]:
    rows = await many(connection, _READ, {"tenant": tenant_id})
    return {row["route"]: Route.model_validate(row["value"]) for row in rows}


_PUT = """
-- One row for each route, the last one to write wins; locks that row.
INSERT INTO route_overrides (tenant_id, route, value, changed_by)
VALUES (%(tenant)s, %(route)s, %(value)s, %(user)s)
ON CONFLICT (tenant_id, route) DO UPDATE SET value = excluded.value,
    changed_by = excluded.changed_by, changed_at = now()
"""


async def _put(connection: Connection, caller: Principal, name: str, route: Route) -> None:
    value = Jsonb(route.model_dump(mode="json"))
    await connection.execute(_PUT, caller.key | {"route": name, "value": value})


_DELETE = """
-- The tenant's own route goes, if there is one; locks its row.
DELETE FROM route_overrides WHERE tenant_id = %(tenant)s AND route = %(route)s
"""


async def _delete(connection: Connection, caller: Principal, name: str) -> None:
    await connection.execute(_DELETE, caller.key | {"route": name})
