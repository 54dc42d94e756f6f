"""Models: routes, the deployments behind them, and the cache of answers."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel

from api.deps import InstallationSettings, requires
from api.gateway.dependencies import Cache, Routes
from api.problems import errors
from domain.gateway.errors import RouteInvalid
from domain.gateway.routes import Health, Price, Route, check_route
from domain.identity.principals import Principal, Scope
from domain.names import ID_PATTERN
from domain.settings import Settings

router = APIRouter(prefix="/api/v1/models", tags=["models"])
Reader = Annotated[Principal, Depends(requires(Scope.MODELS_READ))]
Admin = Annotated[Principal, Depends(requires(Scope.MODELS_ADMIN))]
Name = Annotated[str, Path(pattern=ID_PATTERN)]


class RouteView(BaseModel):
    """A route as it holds for the caller's tenant."""

    name: str
    source: Literal["settings", "tenant"]
    route: Route


class DeploymentView(BaseModel):
    """A deployment, without its address and its key: those are the operator's."""

    name: str
    model: str
    provider: str
    window: int | None
    price: Price | None
    requests_per_minute: int | None
    tokens_per_minute: int | None
    supports: list[str]
    health: Health


class CacheCleared(BaseModel):
    """The number of answers that were forgotten."""

    deleted: int


@router.get("/routes")
async def routes(
    caller: Reader, overrides: Routes, settings: InstallationSettings
) -> list[RouteView]:
    """List every route, with those that the tenant has set in place of the settings'."""
    own = await overrides.read(caller.tenant_id)
    return [_view(settings, own, name) for name in sorted(settings.routes | own)]


@router.put("/routes/{name}", responses=errors(RouteInvalid))
async def put(
    name: Name, body: Route, caller: Admin, settings: InstallationSettings, overrides: Routes
) -> RouteView:
    """Set a route of the tenant's own, over deployments that the operator has configured."""
    check_route(name, body, settings.deployments)
    await overrides.put(caller, name, body)
    return RouteView(name=name, source="tenant", route=body)


@router.delete("/routes/{name}", status_code=204)
async def delete(name: Name, caller: Admin, overrides: Routes) -> None:
    """Go back to the settings' route."""
    await overrides.delete(caller, name)


@router.get("/deployments", dependencies=[Depends(requires(Scope.MODELS_READ))])
async def deployments(settings: InstallationSettings, overrides: Routes) -> list[DeploymentView]:
    """List the operator's deployments, and what the fleet knows of their health."""
    known = settings.deployments
    health = await overrides.health(list(known))
    return [
        DeploymentView(
            **deployment.model_dump(include=DeploymentView.model_fields.keys() - {"supports"}),
            name=name,
            provider=deployment.provider,
            supports=sorted(deployment.supports),
            health=health.get(name, Health(name=name)),
        )
        for name, deployment in sorted(known.items())
    ]


@router.delete("/cache")
async def clear(
    caller: Admin,
    cache: Cache,
    route: Annotated[str | None, Query(max_length=100)] = None,
    prompt: Annotated[str | None, Query(max_length=100)] = None,
) -> CacheCleared:
    """Forget the tenant's cached answers, all of them or those of a route or a prompt."""
    deleted = await cache.invalidate(caller.tenant_id, route, prompt)
    return CacheCleared(deleted=deleted)


def _view(settings: Settings, own: dict[str, Route], name: str) -> RouteView:
    if name in own:
        return RouteView(name=name, source="tenant", route=own[name])
    return RouteView(name=name, source="settings", route=settings.routes[name])
