"""Runs: their events, their state, and what a person may do about them."""

from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from api.deps import Parts, requires
from api.runs.streaming import as_json
from api.state import State
from domain.base import Page
from domain.errors import Forbidden, Invalid, Unavailable
from domain.identity.principals import Principal, Scope, first_role
from domain.names import Kind
from domain.runs.errors import RunFinished
from domain.runs.kinds import KINDS
from domain.runs.runs import Outcome, Run, RunRef, RunStatus
from domain.tools.decisions import Decision, DecisionRef, NewDecision, Verdict

router = APIRouter(prefix="/api/v1/runs", tags=["runs"])
Reader = Annotated[Principal, Depends(requires(Scope.RUNS_READ))]
Writer = Annotated[Principal, Depends(requires(Scope.RUNS_WRITE))]
_STREAM_HEADERS = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}


class RunDetail(Run):
    """A run with the questions that it put to people."""

    decisions: list[Decision]


class Cancelling(BaseModel):
    """The run was asked to stop; `run.finished` says when it has."""

    run_id: str
    status: str


class Decided(BaseModel):
    """The decision that was recorded."""

    run_id: str
    decision_id: str
    verdict: Verdict


@router.get("")
async def find(
    caller: Reader,
    parts: Parts,
    kind: Kind | None = None,
    subject_id: Annotated[str | None, Query(max_length=200)] = None,
    status: RunStatus | None = None,
    outcome: Outcome | None = None,
    cursor: Annotated[str | None, Query(max_length=500)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Page[Run]:
    """The caller's runs, the latest first; managers and admins see their tenant's."""
    return await parts.runs.find(
        caller,
        kind=kind,
        subject=subject_id,
        status=status,
        outcome=outcome,
        cursor=cursor,
        limit=limit,
    )


@router.get("/{run_id}")
async def read(run_id: str, caller: Reader, parts: Parts) -> RunDetail:
    """One run, told truly: a workflow that was terminated from outside is found out here."""
    run = await parts.runs.read(caller, run_id)
    ref = RunRef(tenant_id=caller.tenant_id, run_id=run_id)
    if run.status is not RunStatus.FINISHED and await _has_ended(parts, ref):
        run = await parts.runs.read(caller, run_id)
    decisions = await parts.calls.decisions(ref)
    return RunDetail(**run.model_dump(), decisions=decisions)


@router.get("/{run_id}/events", response_model=None)
async def events(
    run_id: str,
    caller: Reader,
    parts: Parts,
    request: Request,
    after: Annotated[int | None, Query(ge=0, le=2**31 - 1)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 500,
    last_event_id: Annotated[str | None, Header()] = None,
) -> Response:
    """The run's events behind `after` (or `Last-Event-ID`): server-sent events until
    `run.finished`, or with `Accept: application/json` one page of the same rows."""
    run = await parts.runs.read(caller, run_id)
    seq = after if after is not None else _seq(last_event_id)
    if seq > run.last_seq:
        detail = f"The run has {run.last_seq} events so far."
        raise Invalid(detail, code="event_unknown", last_seq=run.last_seq)
    ref = RunRef(tenant_id=caller.tenant_id, run_id=run_id)
    if "application/json" in request.headers.get("accept", ""):
        return await _page(parts, ref, seq, limit)
    if run.status is RunStatus.FINISHED and seq == run.last_seq:
        return Response(status_code=204)
    return event_stream(parts, ref, seq)


@router.post("/{run_id}/cancel", status_code=202)
async def cancel(run_id: str, caller: Writer, parts: Parts) -> Cancelling:
    """Stop a run; what it has said so far is kept. 409 when it has ended already."""
    run = await parts.runs.read(caller, run_id)
    ref = RunRef(tenant_id=caller.tenant_id, run_id=run_id)
    scope = KINDS[run.kind].cancel
    if not caller.may(scope):
        role = first_role(scope).name.lower()
        detail = f"This needs the scope {scope}: the role {role}, or a higher one."
        raise Forbidden(detail, scope=scope)
    if run.status is RunStatus.FINISHED or await _has_ended(parts, ref):
        raise RunFinished(run_id=run_id)
    await parts.runs.note_cancel(caller, run_id)
    await parts.engine.cancel(ref)
    return Cancelling(run_id=run_id, status="cancelling")


@router.post("/{run_id}/decisions/{decision_id}")
async def decide(
    run_id: str, decision_id: str, body: NewDecision, caller: Writer, parts: Parts
) -> Decided:
    """Answer the question that a run waits for; the digest must be the one that was shown."""
    run = RunRef(tenant_id=caller.tenant_id, run_id=run_id)
    await parts.calls.decide(caller, DecisionRef(run=run, decision_id=decision_id), body)
    # The record has it: a turn that is not woken up now reads it when its own timer rings.
    with suppress(Unavailable):
        await parts.engine.decided(run, decision_id)
    return Decided(run_id=run_id, decision_id=decision_id, verdict=body.verdict)


def event_stream(
    parts: State, run: RunRef, after: int, headers: dict[str, str] | None = None
) -> Response:
    """The run's events behind `after`, as they come."""
    return StreamingResponse(
        parts.hub.stream(run, after),
        media_type="text/event-stream",
        headers=_STREAM_HEADERS | (headers or {}),
    )


async def _page(parts: State, run: RunRef, after: int, limit: int) -> Response:
    rows = await parts.ledger.read(run, after, limit)
    last = rows[-1].seq if rows else after
    body = b'{"items":[%s],"last_seq":%d}' % (b",".join(map(as_json, rows)), last)
    return Response(body, media_type="application/json")


async def _has_ended(parts: State, run: RunRef) -> bool:
    try:
        return await parts.reconciler.reconcile(run)
    except Unavailable:
        return False


def _seq(last_event_id: str | None) -> int:
    if last_event_id is None or last_event_id == "":
        return 0
    if not last_event_id.isdecimal() or len(last_event_id) > 9:
        raise Invalid("Last-Event-ID is the seq of an event.", code="event_unknown")
    return int(last_event_id)
