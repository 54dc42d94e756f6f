"""Alerts: what administrators should know of."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from api.deps import requires
from api.gateway.dependencies import Alerts
from api.problems import errors
from domain.base import Page
from domain.errors import CursorInvalid
from domain.gateway.alerts import Alert
from domain.identity.principals import Principal, Scope

router = APIRouter(prefix="/api/v1/alerts", tags=["alerts"])
Reader = Annotated[Principal, Depends(requires(Scope.ALERTS_READ))]


@router.get("", responses=errors(CursorInvalid))
async def find(
    caller: Reader,
    alerts: Alerts,
    kind: Annotated[str | None, Query(max_length=100)] = None,
    cursor: Annotated[str | None, Query(max_length=500)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Page[Alert]:
    """List the tenant's alerts, the latest first; the same one within five minutes is counted."""
    return await alerts.find(caller, kind=kind, cursor=cursor, limit=limit)
