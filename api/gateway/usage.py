"""Usage: what model calls took and what they cost."""

import csv
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel

from api.deps import requires
from api.gateway.dependencies import Usages
from api.problems import errors
from domain.base import Contract, Page
from domain.errors import CursorInvalid
from domain.gateway.errors import GroupUnknown, PeriodInvalid
from domain.gateway.usage import GroupBy, ModelCall, UsageRow
from domain.identity.principals import Principal, Scope

router = APIRouter(prefix="/api/v1/usage", tags=["usage"])
Reader = Annotated[Principal, Depends(requires(Scope.USAGE_READ))]
Format = Annotated[Literal["json", "csv"], Query()]
_GROUPS: tuple[GroupBy, ...] = ("day", "feature", "model", "user", "run")
_USUAL = timedelta(days=30)


class UsageReport(BaseModel):
    """Groups of calls, the dearest first, and the sum of all calls of the period."""

    items: list[UsageRow]
    total: UsageRow


class Period(BaseModel):
    """Days in UTC, both ends included; the last 30 days where nothing is said."""

    since: date
    until: date


async def period(
    since: Annotated[date | None, Query(alias="from")] = None,
    until: Annotated[date | None, Query(alias="to")] = None,
) -> Period:
    """Return the period that a request asks for. Raises PeriodInvalid."""
    last = until or datetime.now(UTC).date()
    try:
        first = since or last - _USUAL
    except OverflowError:
        raise PeriodInvalid from None
    if first > last or last.year > 9998:
        raise PeriodInvalid("`from` must not be after `to`.")
    return Period(since=first, until=last)


Dates = Annotated[Period, Depends(period)]


@router.get("", response_model=UsageReport, responses=errors(PeriodInvalid, GroupUnknown))
async def sums(
    request: Request,
    caller: Reader,
    usage: Usages,
    dates: Dates,
    group_by: Annotated[str, Query(max_length=100)] = "day",
    format: Format = "json",
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
) -> Response:
    """Sum up calls, tokens and cost, grouped by day, feature, model, user or run (a comma between
    several); one's own, or the tenant's with `usage:admin`. `Accept: text/csv` gives CSV."""
    groups = _groups(group_by)
    items = await usage.sums(caller, groups, dates.since, dates.until, limit)
    if _wants_csv(request, format):
        return _csv(_rows(items, groups))
    (total,) = await usage.sums(caller, (), dates.since, dates.until, 1)
    return JSONResponse(UsageReport(items=items, total=total).model_dump(mode="json"))


@router.get(
    "/calls", response_model=Page[ModelCall], responses=errors(PeriodInvalid, CursorInvalid)
)
async def calls(
    request: Request,
    caller: Reader,
    usage: Usages,
    dates: Dates,
    run: Annotated[str | None, Query(max_length=200)] = None,
    status: Annotated[str | None, Query(max_length=50)] = None,
    cursor: Annotated[str | None, Query(max_length=500)] = None,
    format: Format = "json",
    limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
) -> Response:
    """List single calls, the latest first: the model, the reason, the usage and the outcome. As CSV
    all of them come, however many."""

    async def page(cursor: str | None) -> Page[ModelCall]:
        return await usage.calls(
            caller,
            dates.since,
            dates.until,
            run=run,
            status=status,
            cursor=cursor,
            limit=limit,
        )

    first = await page(cursor)
    if _wants_csv(request, format):
        return _csv(_all(page, first))
    return JSONResponse(first.model_dump(mode="json"))


async def _all(
    page: Callable[[str | None], Awaitable[Page[ModelCall]]], first: Page[ModelCall]
) -> AsyncIterator[dict[str, Any]]:
    while True:
        for call in first.items:
            yield call.model_dump(mode="json")
        if first.next_cursor is None:
            return
        first = await page(first.next_cursor)


def _groups(text: str) -> tuple[GroupBy, ...]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if unknown := [name for name in names if name not in _GROUPS]:
        known = ", ".join(_GROUPS)
        raise GroupUnknown(f"Cannot group by {unknown[0]!r}; by {known}.")
    return tuple(group for group in _GROUPS if group in names)


def _wants_csv(request: Request, format: str) -> bool:
    return format == "csv" or "text/csv" in request.headers.get("accept", "")


async def _rows(items: Iterable[UsageRow], groups: Iterable[str]) -> AsyncIterator[dict[str, Any]]:
    for row in items:
        yield _flat(row, groups)


def _flat(row: Contract, groups: Iterable[str]) -> dict[str, Any]:
    values = row.model_dump(mode="json")
    usage: dict[str, Any] = values.pop("usage")
    named = {group: values[group] for group in groups}
    return named | {key: values[key] for key in values if key not in _GROUPS} | usage


def _csv(rows: AsyncIterator[dict[str, Any]]) -> Response:
    headers = {"Content-Disposition": 'attachment; filename="usage.csv"'}
    return StreamingResponse(_lines(rows), media_type="text/csv", headers=headers)


async def _lines(rows: AsyncIterator[dict[str, Any]]) -> AsyncIterator[str]:
    begun = False
    async for row in rows:
        text = io.StringIO()
        writer = csv.DictWriter(text, row.keys())
        if not begun:
            writer.writeheader()
        begun = True
        writer.writerow({name: _harmless(value) for name, value in row.items()})
        yield text.getvalue()


def _harmless(value: Any) -> Any:
    """Quote what a spreadsheet would run as a formula."""
    risky = isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r"))
    return f"'{value}" if risky else value
