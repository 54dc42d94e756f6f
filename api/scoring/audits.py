"""Score audits: exports of scores, and checks of them."""

import csv
import io
from collections.abc import AsyncIterator
from typing import Annotated, Literal

import orjson
from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import StreamingResponse

from api.deps import Parts, requires
from api.runs.accepting import Key, RunAccepted, accepted
from domain import names
from domain.base import Page
from domain.fields import Time
from domain.identity.principals import Principal, Scope
from domain.leads.leads import LeadId
from domain.names import Kind
from domain.runs.runs import RunRef
from domain.scoring.checks import Check, CheckRequest, check_spec
from domain.scoring.scores import LeadScored

router = APIRouter(prefix="/api/v1/ai/scoring", tags=["score audits"])
Reader = Annotated[Principal, Depends(requires(Scope.SCORING_READ))]
Writer = Annotated[Principal, Depends(requires(Scope.SCORING_WRITE))]
Admin = Annotated[Principal, Depends(requires(Scope.SCORING_ADMIN))]
_TYPES = {"jsonl": "application/x-ndjson", "csv": "text/csv"}
# What a spreadsheet would take for a formula.
_FORMULAS = ("=", "+", "-", "@", "\t", "\r")


@router.get("/audit", response_model=None)
async def export(
    caller: Admin,
    parts: Parts,
    lead_id: LeadId | None = None,
    first: Annotated[Time | None, Query(alias="from")] = None,
    last: Annotated[Time | None, Query(alias="to")] = None,
    format: Literal["jsonl", "csv"] = "jsonl",
) -> StreamingResponse:
    """Every score of a lead or a period, in the order of time: inputs' digest, features, model,
    arm, run and who asked. `from` is included, `to` is not."""
    rows = parts.score_audits.rows(caller, lead_id=lead_id, first=first, last=last)
    lines = _csv(rows) if format == "csv" else _jsonl(rows)
    headers = {"Content-Disposition": f'attachment; filename="scores.{format}"'}
    return StreamingResponse(lines, media_type=_TYPES[format], headers=headers)


@router.post("/checks", status_code=202, response_model=RunAccepted)
async def check(body: CheckRequest, caller: Writer, parts: Parts, key: Key) -> Response:
    """Look for drift and unfairness now; a schedule does so again and again."""
    run = RunRef(tenant_id=caller.tenant_id, run_id=names.run_id(Kind.CHECK, key))
    return await accepted(parts, check_spec(run, caller.user_id, body), body)


@router.get("/checks")
async def find(
    caller: Reader,
    parts: Parts,
    cursor: Annotated[str | None, Query(max_length=500)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Page[Check]:
    """What checks have found, the latest first."""
    return await parts.checks.find(caller, cursor=cursor, limit=limit)


@router.get("/checks/{run_id}")
async def read(run_id: str, caller: Reader, parts: Parts) -> Check:
    """What one check has found."""
    return await parts.checks.read(caller, run_id)


async def _jsonl(rows: AsyncIterator[LeadScored]) -> AsyncIterator[bytes]:
    async for row in rows:
        yield orjson.dumps(row.model_dump(mode="json"), option=orjson.OPT_APPEND_NEWLINE)


async def _csv(rows: AsyncIterator[LeadScored]) -> AsyncIterator[bytes]:
    columns = list(LeadScored.model_fields)
    yield _line(columns)
    async for row in rows:
        values = row.model_dump(mode="json")
        yield _line([_cell(values[name]) for name in columns])


def _cell(value: object) -> str:
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULAS) else value
    return orjson.dumps(value).decode() if value is not None else ""


def _line(cells: list[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerow(cells)
    return text.getvalue().encode()
