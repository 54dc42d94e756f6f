"""Routes of tenants: what a tenant has set in place of the settings' routes."""

from psycopg.types.json import Jsonb

from db.gateway import deployments
from db.identity import audit
from db.session import Database, many
from domain.gateway.routes import Health, Route
from domain.identity.principals import Principal

_READ = "SELECT route, value FROM route_overrides WHERE tenant_id = %(tenant)s"
_PUT = """
INSERT INTO route_overrides (tenant_id, route, value, changed_by)
VALUES (%(tenant)s, %(route)s, %(value)s, %(user)s)
ON CONFLICT (tenant_id, route) DO UPDATE SET value = excluded.value,
    changed_by = excluded.changed_by, changed_at = now()
"""
_DELETE = "DELETE FROM route_overrides WHERE tenant_id = %(tenant)s AND route = %(route)s"


class RouteOverrides:
    """The routes that a tenant has set, and the health of deployments."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self, tenant_id: str) -> dict[str, Route]:
        """A tenant's own routes by name."""
        async with self._database.transaction(tenant_id) as connection:
            rows = await many(connection, _READ, {"tenant": tenant_id})
        return {row["route"]: Route.model_validate(row["value"]) for row in rows}

    async def put(self, caller: Principal, name: str, route: Route) -> None:
        """Set a route; it holds in every worker within seconds."""
        values = {
            "tenant": caller.tenant_id,
            "user": caller.user_id,
            "route": name,
            "value": Jsonb(route.model_dump(mode="json")),
        }
        async with self._database.transaction(caller.tenant_id) as connection:
            await connection.execute(_PUT, values)
            await audit.record(connection, caller.tenant_id, caller.user_id, "route.set", name)

    async def delete(self, caller: Principal, name: str) -> None:
        """Go back to the settings' route."""
        values = {"tenant": caller.tenant_id, "route": name}
        async with self._database.transaction(caller.tenant_id) as connection:
            await connection.execute(_DELETE, values)
            await audit.record(connection, caller.tenant_id, caller.user_id, "route.reset", name)

    async def health(self, names: list[str]) -> dict[str, Health]:
        """What the fleet knows of these deployments; those that nobody has asked are left out."""
        async with self._database.session() as connection:
            return await deployments.health(connection, names)
