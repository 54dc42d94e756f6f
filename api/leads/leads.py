"""Leads: their profiles, what they do, how it ended, and files of them."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Discriminator, Field, Tag

from api.leads.dependencies import LeadReader, Leads, LeadWriter
from api.problems import errors
from api.runs.dependencies import Starter
from domain.base import Page, StrictModel
from domain.errors import CursorInvalid
from domain.fields import Storable
from domain.leads.errors import EventAhead, FileInvalid, LeadUnknown
from domain.leads.files import FileKind, LeadFile
from domain.leads.leads import (
    ImportReport,
    Lead,
    LeadEvent,
    LeadFilter,
    LeadLine,
    LeadOutcome,
    NewLeadEvent,
    OutcomeKind,
    Profile,
    RejectedLine,
)
from domain.names import ID_PATTERN

router = APIRouter(prefix="/api/v1/ai/leads", tags=["leads"])
Id = Annotated[str, Path(pattern=ID_PATTERN)]
AnyOf = Annotated[list[Storable] | None, Query(max_length=20)]
_ROWS_AT_ONCE = 1_000
_REJECTS_SHOWN = 1_000
_CHARACTERS_SHOWN = 2_000
_KINDS: dict[str, FileKind] = {
    "text/csv": "csv",
    "application/jsonl": "jsonl",
    "application/x-ndjson": "jsonl",
    "application/x-jsonlines": "jsonl",
}


class LeadPut(StrictModel):
    """A lead's profile; fields that nobody here knows are kept."""

    profile: Profile


class LeadWritten(Lead):
    """The lead, and the run that will score it anew; None if nothing has changed, or if a run that
    has not begun yet will see the change."""

    run_id: str | None


class EventsCreate(StrictModel):
    """Several events at once."""

    events: Annotated[list[NewLeadEvent], Field(min_length=1, max_length=100)]


def _form(body: Any) -> str:
    return "several" if isinstance(body, dict) and "events" in body else "one"


_OneOrMore = Annotated[
    Annotated[EventsCreate, Tag("several")] | Annotated[NewLeadEvent, Tag("one")],
    Discriminator(_form),
]


class EventsAdded(BaseModel):
    """The ids of events that are new, and the run that will score the lead anew."""

    added: list[str]
    run_id: str | None


@router.post("/import", responses=errors(FileInvalid))
async def load(request: Request, caller: LeadWriter, leads: Leads) -> ImportReport:
    """Take in a file: the body is CSV (`text/csv`) or JSON Lines (`application/x-ndjson`), of any
    size. Good lines are kept as they come; bad ones are reported with their numbers. A lead that
    comes again further down is changed again, here and when the file is sent anew. Leads are not
    scored by this: start a batch."""
    kind = _KINDS.get(request.headers.get("content-type", "").partition(";")[0].strip().lower())
    if kind is None:
        raise FileInvalid("Send text/csv or application/x-ndjson.")
    file = LeadFile(kind)
    upload = _Import(leads, caller.tenant_id)
    async for piece in request.stream():
        await upload.add(file.feed(piece))
        if file.stopped is not None:
            break
    await upload.add(file.finish())
    stopped = _cut(file.stopped) if file.stopped is not None else None
    return (await upload.finish()).model_copy(update={"stopped": stopped})


@router.put("/{lead_id}")
async def put(
    lead_id: Id, body: LeadPut, caller: LeadWriter, leads: Leads, runs: Starter
) -> Response:
    """Make a lead (201), or replace its profile (200); a change is followed by a new score."""
    lead, created, spec = await leads.put(caller, lead_id, body.profile.stored)
    written = LeadWritten(**lead.model_dump(), run_id=await runs.start(spec))
    return JSONResponse(written.model_dump(mode="json"), 201 if created else 200)


@router.get("/{lead_id}", responses=errors(LeadUnknown))
async def read(lead_id: Id, caller: LeadReader, leads: Leads) -> Lead:
    """Return one lead with its current score."""
    return await leads.read(caller, lead_id)


@router.delete("/{lead_id}", status_code=204, responses=errors(LeadUnknown))
async def forget(lead_id: Id, caller: LeadWriter, leads: Leads) -> None:
    """Erase a lead with its events, scores and runs."""
    await leads.forget(caller, lead_id)


@router.get("", responses=errors(CursorInvalid))
async def find(
    caller: LeadReader,
    leads: Leads,
    source: AnyOf = None,
    industry: AnyOf = None,
    country: AnyOf = None,
    company: AnyOf = None,
    outcome: OutcomeKind | None = None,
    open: bool | None = None,
    min_score: Annotated[float | None, Query(ge=0, le=100)] = None,
    max_score: Annotated[float | None, Query(ge=0, le=100)] = None,
    sort: Literal["score", "created", "updated", "name"] = "updated",
    order: Literal["asc", "desc"] = "desc",
    cursor: Annotated[str | None, Query(max_length=1000)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Page[Lead]:
    """List the leads that meet every condition; one that is repeated takes any of its values."""
    fields = {"source": source, "industry": industry, "country": country, "company": company}
    chosen = LeadFilter(
        profile={name: list(values) for name, values in fields.items() if values},
        outcome=outcome,
        open=open,
        min_score=min_score,
        max_score=max_score,
    )
    return await leads.find(
        caller, chosen, sort=sort, descending=order == "desc", cursor=cursor, limit=limit
    )


@router.post("/{lead_id}/events", status_code=202, responses=errors(LeadUnknown, EventAhead))
async def add_events(
    lead_id: Id,
    body: _OneOrMore,
    caller: LeadWriter,
    leads: Leads,
    runs: Starter,
) -> EventsAdded:
    """Keep one event, or several as `{"events": […]}`; a new score follows within seconds. The same
    event again changes nothing. An event that lies more than five minutes in the future is refused
    with all that came with it (422 `event_ahead`)."""
    events = body.events if isinstance(body, EventsCreate) else [body]
    added, spec = await leads.add_events(caller, lead_id, events)
    return EventsAdded(added=added, run_id=await runs.start(spec))


@router.get("/{lead_id}/events", responses=errors(LeadUnknown))
async def events(
    lead_id: Id,
    caller: LeadReader,
    leads: Leads,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> list[LeadEvent]:
    """List what a lead did, the latest first."""
    return await leads.events(caller, lead_id, limit)


@router.post("/{lead_id}/outcome", responses=errors(LeadUnknown))
async def set_outcome(lead_id: Id, body: LeadOutcome, caller: LeadWriter, leads: Leads) -> Lead:
    """Write down how it ended with a lead: what models learn from."""
    return await leads.set_outcome(caller, lead_id, body)


class _Import:
    """A file on its way into the database, some rows at a time."""

    def __init__(self, leads: Leads, tenant_id: str) -> None:
        self._leads = leads
        self._tenant_id = tenant_id
        self._rows: list[LeadLine] = []
        self._rejects: list[RejectedLine] = []
        self._seen = self._changed = self._rejected = 0

    async def add(self, items: Iterator[LeadLine | RejectedLine]) -> None:
        for item in items:
            if isinstance(item, LeadLine):
                self._rows.append(item)
            else:
                self._reject(item)
            if len(self._rows) >= _ROWS_AT_ONCE:
                await self._flush()

    async def finish(self) -> ImportReport:
        await self._flush()
        return ImportReport(
            loaded=self._changed,
            unchanged=self._seen - self._changed,
            rejected=self._rejected,
            rejects=self._rejects,
        )

    def _reject(self, item: RejectedLine) -> None:
        self._rejected += 1
        if len(self._rejects) < _REJECTS_SHOWN:
            self._rejects.append(_cut(item))

    async def _flush(self) -> None:
        rows, self._rows = self._rows, []
        self._seen += len(rows)
        if rows:
            self._changed += await self._leads.load(self._tenant_id, rows)


def _cut(reject: RejectedLine) -> RejectedLine:
    return reject.model_copy(update={"text": reject.text[:_CHARACTERS_SHOWN]})
