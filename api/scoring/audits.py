"""Score audits: exports of all scores, with what they were made of."""

import csv
import io
from collections.abc import AsyncIterator
from typing import Annotated, Literal

import orjson
from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from api.scoring.dependencies import Audits, ScoringAdmin
from domain.fields import Time
from domain.leads.leads import LeadId
from domain.scoring.scores import LeadScored

router = APIRouter(prefix="/api/v1/ai/scoring", tags=["score audits"])
_TYPES = {"jsonl": "application/x-ndjson", "csv": "text/csv"}
# What a spreadsheet would take for a formula.
_FORMULAS = ("=", "+", "-", "@", "\t", "\r")


@router.get("/audit", response_model=None)
async def export(
    caller: ScoringAdmin,
    audits: Audits,
    lead_id: LeadId | None = None,
    first: Annotated[Time | None, Query(alias="from")] = None,
    last: Annotated[Time | None, Query(alias="to")] = None,
    format: Literal["jsonl", "csv"] = "jsonl",
) -> StreamingResponse:
    """Export every score of a lead or a period, in the order of time: the inputs' digest, features,
    model, arm, run and who asked. `from` is included, `to` is not."""
    rows = audits.rows(caller, lead_id=lead_id, first=first, last=last)
    lines = _csv(rows) if format == "csv" else _jsonl(rows)
    headers = {"Content-Disposition": f'attachment; filename="scores.{format}"'}
    return StreamingResponse(lines, media_type=_TYPES[format], headers=headers)


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
