"""Health: alive, ready, and the figures for Prometheus."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from prometheus_client import generate_latest

from api.deps import provide
from api.problems import errors
from api.runs.dependencies import Engine
from db.session import Database
from domain.errors import DatabaseUnavailable, TemporalUnavailable

router = APIRouter(tags=["health"])


@router.get("/health")
async def health() -> dict[str, str]:
    """Say that the process is alive."""
    return {"status": "ok"}


@router.get("/ready", responses=errors(DatabaseUnavailable, TemporalUnavailable))
async def ready(
    database: Annotated[Database, Depends(provide(Database))], engine: Engine
) -> dict[str, str]:
    """Say that the database and Temporal answer; 503 names the one that does not."""
    async with database.session():
        pass
    if not await engine.is_reachable():
        raise TemporalUnavailable
    return {"status": "ok", "database": "ok", "temporal": "ok"}


@router.get("/metrics", include_in_schema=False)
async def metrics(request: Request) -> Response:
    """Return the process's figures in Prometheus' text format."""
    text = generate_latest(request.app.state.registry)
    return Response(text, media_type="text/plain; version=0.0.4")
