"""The API's routes, walked: what each of them is, asks for, and takes."""

from dataclasses import dataclass
from functools import cache
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute, APIWebSocketRoute, iter_route_contexts

from api.app import create_app
from domain.identity.principals import Scope
from domain.settings import Settings

# What anybody may ask: is it alive, and how is it used.
PUBLIC = {
    *("/health", "/ready", "/metrics"),
    *("/openapi.json", "/docs"),
}
_BODIES: dict[str, dict[str, Any]] = {
    "POST /api/v1/threads": {"title": "new"},
    "PATCH /api/v1/threads/{thread_id}": {"title": "other"},
    "POST /api/v1/threads/{thread_id}/messages": {"text": "hello"},
    "POST /api/v1/runs/{run_id}/decisions/{decision_id}": {"verdict": "deny", "digest": "x"},
    "POST /api/{user_id}/chat": {"message": "hello"},
    "PUT /api/v1/models/routes/{name}": {"deployments": ["default"]},
    "PUT /api/v1/budgets/{budget_id}": {"scope": "tenant", "hard_micros": 1_000_000},
    "POST /api/v1/prompts/{name}/versions": {"text": "You are kind."},
    "PUT /api/v1/ai/leads/{lead_id}": {"profile": {"name": "Ann"}},
    "POST /api/v1/ai/leads/{lead_id}/events": {"type": "email_opened"},
    "POST /api/v1/ai/leads/{lead_id}/outcome": {"outcome": "won"},
    "POST /api/v1/ai/scoring/leads": {"lead_id": "none"},
    "POST /api/v1/ai/scoring/leads/batch": {"ids": ["none"]},
    "POST /api/v1/ai/scoring/models/test": {"models": ["starter.0", "none.1"]},
    "POST /api/v1/ai/scoring/batches/{run_id}/pause": {"note": "later"},
    "POST /api/v1/ai/scoring/models": {"name": "none", "rules": "base = 1"},
    "POST /api/v1/ai/scoring/trainings": {"name": "none"},
    "PUT /api/v1/ai/scoring/settings": {"four_eyes": True},
    "POST /api/v1/ai/scoring/experiments": {
        "id": "none",
        "arms": [{"name": "a", "model": "none.1"}, {"name": "b", "model": "none.2"}],
    },
    "POST /api/v1/ai/scoring/checks": {"days": 7},
    "POST /api/v1/schedules": {"id": "none", "spec": {"cron": "0 2 * * *"}},
    "POST /api/v1/schedules/{schedule_id}/pause": {"note": "later"},
    "POST /api/v1/schedules/{schedule_id}/backfill": {
        "start_at": "2026-01-01T00:00:00Z",
        "end_at": "2026-01-02T00:00:00Z",
    },
}


@dataclass(frozen=True)
class Endpoint:
    """One method of one route, and the scopes that its dependencies ask for."""

    method: str
    path: str
    scopes: tuple[Scope, ...]
    documented: bool

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def body(self) -> dict[str, Any] | None:
        """A body that it takes."""
        return _BODIES.get(self.name)

    def url(self, **ids: str) -> str:
        """Its path with these ids."""
        known = {"thread_id": "th-0", "run_id": "turn.th-0.0", "decision_id": "1-0"}
        known |= {"lead_id": "none", "model_id": "none.1", "experiment_id": "none"}
        known |= {"schedule_id": "none"}
        known |= {"budget_id": "none", "name": "none", "version": "1", "message_id": "none"}
        return self.path.format(**{"user_id": "ann", **known, **ids})


@cache
def app() -> FastAPI:
    """Return the app over a database that nobody needs to ask."""
    values = {"database_url": "postgresql://nobody@/none", "secret": "x" * 32}
    return create_app(Settings.model_validate(values))


@cache
def endpoints() -> list[Endpoint]:
    """Every endpoint of the app, those of frameworks too."""
    found = []
    for route in iter_route_contexts(app().routes):
        if isinstance(route.route, APIWebSocketRoute):
            continue
        dependencies = route.dependant.dependencies if isinstance(route.route, APIRoute) else ()
        scopes = [getattr(dependency.call, "scope", None) for dependency in dependencies]
        found += [
            Endpoint(
                method,
                str(route.path),
                tuple(scope for scope in scopes if isinstance(scope, Scope)),
                isinstance(route.route, APIRoute),
            )
            for method in sorted(route.methods or {"POST"})
            if method != "HEAD"
        ]
    return found


def private() -> list[Endpoint]:
    """What only callers that we know may ask."""
    return [endpoint for endpoint in endpoints() if endpoint.path not in PUBLIC]


def guarded() -> list[Endpoint]:
    """Endpoints whose dependencies ask for a scope: all private ones but MCP's own."""
    return [endpoint for endpoint in private() if endpoint.path != "/mcp"]
