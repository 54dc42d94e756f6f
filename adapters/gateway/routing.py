"""Routing: from the name that a caller uses to deployments, the best one first."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from activities.gateway.ports import ModelCallStore
from adapters.gateway import prices
from domain.gateway.completions import ModelRequest
from domain.gateway.errors import ModelRejected
from domain.gateway.routes import (
    Candidate,
    Capability,
    Deployment,
    Health,
    Route,
    capable,
    ranked,
)
from domain.settings import Settings

_FRESH_SECONDS = 5.0
_EXPECTED_OUTPUT = 300


@dataclass(frozen=True)
class RoutePlan:
    """A route as one call uses it. `input_tokens` is an estimate, `output_tokens` the limit."""

    name: str
    route: Route
    candidates: tuple[Candidate, ...]
    input_tokens: int
    output_tokens: int


class Routing:
    """Every route, with a tenant's own; what was read of a tenant holds for 5 seconds."""

    def __init__(self, settings: Settings, calls: ModelCallStore) -> None:
        self._settings = settings
        self._calls = calls
        self._overrides: dict[str, tuple[float, dict[str, Route]]] = {}
        self._health: tuple[float, dict[str, Health]] = (-_FRESH_SECONDS, {})

    async def plan(self, tenant_id: str, request: ModelRequest) -> RoutePlan:
        """Rank the deployments that may answer a request; raises ModelRejected."""
        name = request.model
        route = await self.route(tenant_id, name)
        tokens = estimate(request)
        health = await self._known_health() if route.policy == "fastest" else {}
        candidates = ranked(route, self.candidates(route), health, _EXPECTED_OUTPUT)
        ordered = capable(candidates, _needs(request), tokens)
        output = request.max_output or route.max_output or ordered[0].deployment.max_output
        return RoutePlan(name, route, tuple(ordered), tokens, output)

    async def route(self, tenant_id: str, name: str) -> Route:
        """Return a tenant's route of this name, else the settings'; a model's name is a route too.

        Raises ModelRejected.
        """
        overrides = await self._of(tenant_id)
        route = overrides.get(name) or self._settings.routes.get(name)
        if route is None and "/" not in name and name not in self._settings.deployments:
            raise ModelRejected(f"There is no route {name!r}.")
        return route or Route(deployments=(name,))

    async def windows(self, tenant_id: str, name: str) -> list[int]:
        """Return the context windows of a route's deployments, in tokens."""
        route = await self.route(tenant_id, name)
        return [candidate.window for candidate in self.candidates(route)]

    def deployment(self, name: str) -> Deployment:
        """Return a deployment by its name, or else one of the model of this name."""
        known = self._settings.deployments.get(name)
        return known or Deployment(model=name, window=self._settings.model_window)

    def candidates(self, route: Route) -> list[Candidate]:
        """Return a route's deployments, with their windows and prices."""
        return [_candidate(name, self.deployment(name)) for name in route.deployments]

    async def _of(self, tenant_id: str) -> Mapping[str, Route]:
        read_at, routes = self._overrides.get(tenant_id, (-_FRESH_SECONDS, {}))
        if time.monotonic() - read_at > _FRESH_SECONDS:
            routes = await self._calls.overrides(tenant_id)
            self._overrides[tenant_id] = (time.monotonic(), routes)
        return routes

    async def _known_health(self) -> Mapping[str, Health]:
        read_at, health = self._health
        if time.monotonic() - read_at > _FRESH_SECONDS:
            health = await self._calls.health(list(self._settings.deployments))
            self._health = (time.monotonic(), health)
        return health


def estimate(request: ModelRequest) -> int:
    """Estimate a prompt's tokens, rather too many: three to four bytes are one."""
    size = sum(len(message.text.encode()) + 16 for message in request.messages)
    size += sum(len(str(c.arguments)) for m in request.messages for c in m.tool_calls)
    size += sum(len(t.description) + len(str(t.parameters)) for t in request.tools)
    return size // 3 + 1


def _needs(request: ModelRequest) -> frozenset[Capability]:
    """Return the needs of a request. A schema has none: a prompt asks where JSON is not native."""
    return frozenset({"tools"}) if request.tools else frozenset()


def _candidate(name: str, deployment: Deployment) -> Candidate:
    return Candidate(
        name=name,
        deployment=deployment,
        window=prices.window(deployment),
        price=prices.price(deployment),
        reason="",
    )
