"""The wiring of the API: whatever a route asks for is there."""

from collections.abc import Iterator

import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, APIWebSocketRoute, iter_route_contexts

from api.identity.authentication import Authenticator
from api.wiring import build_parts
from db.identity.tenants import Keys
from db.session import database_of
from domain.settings import Settings
from testing.api_routes import app

pytestmark = pytest.mark.anyio


def kinds(dependant: Dependant) -> Iterator[type]:
    """Return the types that a route asks for, and those that its dependencies ask for."""
    for dependency in dependant.dependencies:
        kind = getattr(dependency.call, "kind", None)
        yield from [kind] if isinstance(kind, type) else []
        yield from kinds(dependency)


async def test_every_part_that_a_route_asks_for_is_built() -> None:
    environ = {"DATABASE_URL": "postgresql://nobody@/none", "PERDURE_SECRET": "x" * 32}
    settings = Settings.from_env(environ)
    database = database_of(settings)

    parts = await build_parts(settings, database, Authenticator(Keys(database), "x" * 32))

    asked = {
        kind
        for route in iter_route_contexts(app().routes)
        if isinstance(route.route, APIRoute | APIWebSocketRoute)
        for kind in kinds(route.dependant)
    }
    assert len(asked) > 20
    assert asked - parts.keys() == set()
    assert all(isinstance(part, kind) for kind, part in parts.items())
