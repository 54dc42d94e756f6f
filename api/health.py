"""Health: alive, ready, and the figures for Prometheus."""

from fastapi import APIRouter, Request, Response
from prometheus_client import generate_latest

from api.deps import Parts
from domain.errors import Unavailable

router = APIRouter(tags=["health"])


@router.get("/health")
async def health() -> dict[str, str]:
    """Alive: the process answers."""
    return {"status": "ok"}


@router.get("/ready")
async def ready(parts: Parts) -> dict[str, str]:
    """Ready: the database and Temporal answer; 503 names the one that does not."""
    async with parts.database.session():
        pass
    if not await parts.engine.is_reachable():
        raise Unavailable("Temporal does not answer.", code="temporal_unavailable")
    return {"status": "ok", "database": "ok", "temporal": "ok"}


@router.get("/metrics", include_in_schema=False)
async def metrics(request: Request) -> Response:
    """The process's figures in Prometheus' text format."""
    text = generate_latest(request.app.state.registry)
    return Response(text, media_type="text/plain; version=0.0.4")
