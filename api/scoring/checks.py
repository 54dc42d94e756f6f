"""Checks: drift and fairness of the scores, looked for on demand."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from api.problems import errors
from api.runs.accepting import Key, RunAccepted
from api.runs.dependencies import Starter
from api.scoring.dependencies import Checks, ScoringReader, ScoringWriter
from domain import names
from domain.base import Page
from domain.errors import CursorInvalid
from domain.names import Kind
from domain.runs.errors import KeyReused
from domain.runs.runs import RunRef
from domain.scoring.checks import Check, CheckRequest, check_spec
from domain.scoring.errors import CheckUnknown

router = APIRouter(prefix="/api/v1/ai/scoring", tags=["score audits"])


@router.post("/checks", status_code=202, response_model=RunAccepted, responses=errors(KeyReused))
async def check(body: CheckRequest, caller: ScoringWriter, runs: Starter, key: Key) -> Response:
    """Look for drift and unfairness now; a schedule does so again and again."""
    run = RunRef(tenant_id=caller.tenant_id, run_id=names.run_id(Kind.CHECK, key))
    return await runs.accept(check_spec(run, caller.user_id, body), body)


@router.get("/checks", responses=errors(CursorInvalid))
async def find(
    caller: ScoringReader,
    checks: Checks,
    cursor: Annotated[str | None, Query(max_length=500)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Page[Check]:
    """List the reports of checks, the latest first."""
    return await checks.find(caller, cursor=cursor, limit=limit)


@router.get("/checks/{run_id}", responses=errors(CheckUnknown))
async def read(run_id: str, caller: ScoringReader, checks: Checks) -> Check:
    """Return the report of one check."""
    return await checks.read(caller, run_id)
