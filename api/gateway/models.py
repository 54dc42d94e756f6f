"""Models: routes, the deployments behind them, and the cache of answers."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel

from api.deps import Parts, requires
from api.state import State
from domain.gateway.routes import Health, Price, Route, check_route
from domain.identity.principals import Principal, Scope
from domain.names import ID_PATTERN

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
    """How many answers were forgotten."""

    deleted: int


@router.get("/routes")
async def routes(caller: Reader, parts: Parts) -> list[RouteView]:
    """Every route, with those that the tenant has set in place of the settings'."""
    own = await parts.routes.read(caller.tenant_id)
    return [_view(parts, own, name) for name in sorted(parts.settings.routes | own)]


@router.put("/routes/{name}")
async def put(name: Name, body: Route, caller: Admin, parts: Parts) -> RouteView:
    """Set a route of the tenant's own, over deployments that the operator has configured."""
    check_route(name, body, parts.settings.deployments)
    await parts.routes.put(caller, name, body)
    return RouteView(name=name, source="tenant", route=body)


@router.delete("/routes/{name}", status_code=204)
async def delete(name: Name, caller: Admin, parts: Parts) -> None:
    """Go back to the settings' route."""
    await parts.routes.delete(caller, name)


@router.get("/deployments", dependencies=[Depends(requires(Scope.MODELS_READ))])
async def deployments(parts: Parts) -> list[DeploymentView]:
    """The operator's deployments, and what the fleet knows of their health."""
    known = parts.settings.deployments
    health = await parts.routes.health(list(known))
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
    parts: Parts,
    route: Annotated[str | None, Query(max_length=100)] = None,
    prompt: Annotated[str | None, Query(max_length=100)] = None,
) -> CacheCleared:
    """Forget the tenant's cached answers, all of them or those of a route or a prompt."""
    deleted = await parts.cache.invalidate(caller.tenant_id, route, prompt)
    return CacheCleared(deleted=deleted)


def _view(parts: State, own: dict[str, Route], name: str) -> RouteView:
    if name in own:
        return RouteView(name=name, source="tenant", route=own[name])
    return RouteView(name=name, source="settings", route=parts.settings.routes[name])
