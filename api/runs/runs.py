"""Runs: their events, their state, and what a person may do about them."""

from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel

from api.deps import check_scope
from api.problems import errors
from api.runs.dependencies import (
    Engine,
    Events,
    Hub,
    LastEventId,
    Reconciler,
    RunReader,
    Runs,
    RunWriter,
    ToolCalls,
)
from api.runs.streaming import as_json, sse
from domain.base import Page
from domain.errors import CursorInvalid, TemporalUnavailable, Unavailable
from domain.names import Kind
from domain.runs.errors import EventUnknown, RunFinished, RunUnknown
from domain.runs.kinds import KINDS
from domain.runs.runs import Outcome, Run, RunRef, RunStatus
from domain.tools.decisions import Decision, DecisionRef, NewDecision, Verdict
from domain.tools.errors import ArgumentsChanged, DecisionExpired, DecisionMade, DecisionUnknown

router = APIRouter(prefix="/api/v1/runs", tags=["runs"])


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


@router.get("", responses=errors(CursorInvalid))
async def find(
    caller: RunReader,
    runs: Runs,
    kind: Kind | None = None,
    subject_id: Annotated[str | None, Query(max_length=200)] = None,
    status: RunStatus | None = None,
    outcome: Outcome | None = None,
    cursor: Annotated[str | None, Query(max_length=500)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Page[Run]:
    """List the caller's runs, the latest first; managers and admins see their tenant's."""
    return await runs.find(
        caller,
        kind=kind,
        subject=subject_id,
        status=status,
        outcome=outcome,
        cursor=cursor,
        limit=limit,
    )


@router.get("/{run_id}", responses=errors(RunUnknown))
async def read(
    run_id: str, caller: RunReader, runs: Runs, reconciler: Reconciler, tool_calls: ToolCalls
) -> RunDetail:
    """Return one run as it is: a workflow that was terminated from outside is noticed here."""
    run = await runs.read(caller, run_id)
    ref = RunRef(tenant_id=caller.tenant_id, run_id=run_id)
    if run.status is not RunStatus.FINISHED and await _has_ended(reconciler, ref):
        run = await runs.read(caller, run_id)
    decisions = await tool_calls.decisions(ref)
    return RunDetail(**run.model_dump(), decisions=decisions)


@router.get("/{run_id}/events", response_model=None, responses=errors(RunUnknown, EventUnknown))
async def events(
    run_id: str,
    caller: RunReader,
    runs: Runs,
    log: Events,
    hub: Hub,
    last_event_id: LastEventId,
    request: Request,
    limit: Annotated[int, Query(ge=1, le=1000)] = 500,
) -> Response:
    """Return the run's events behind `after` (or `Last-Event-ID`): server-sent events until
    `run.finished`, or with `Accept: application/json` one page of the same rows."""
    run = await runs.read(caller, run_id)
    seq = last_event_id or 0
    if seq > run.last_seq:
        raise EventUnknown(f"The run has {run.last_seq} events so far.", last_seq=run.last_seq)
    ref = RunRef(tenant_id=caller.tenant_id, run_id=run_id)
    if "application/json" in request.headers.get("accept", ""):
        return await _page(log, ref, seq, limit)
    if run.status is RunStatus.FINISHED and seq == run.last_seq:
        return Response(status_code=204)
    return sse(hub.stream(ref, seq))


@router.post(
    "/{run_id}/cancel",
    status_code=202,
    responses=errors(RunUnknown, RunFinished, TemporalUnavailable),
)
async def cancel(
    run_id: str, caller: RunWriter, runs: Runs, reconciler: Reconciler, engine: Engine
) -> Cancelling:
    """Stop a run; what it has said so far is kept. 409 when it has ended already."""
    run = await runs.read(caller, run_id)
    ref = RunRef(tenant_id=caller.tenant_id, run_id=run_id)
    check_scope(caller, KINDS[run.kind].cancel)
    if run.status is RunStatus.FINISHED or await _has_ended(reconciler, ref):
        raise RunFinished(run_id=run_id)
    await runs.note_cancel(caller, run_id)
    await engine.cancel(ref)
    return Cancelling(run_id=run_id, status="cancelling")


@router.post(
    "/{run_id}/decisions/{decision_id}",
    responses=errors(
        RunUnknown, RunFinished, DecisionUnknown, DecisionMade, DecisionExpired, ArgumentsChanged
    ),
)
async def decide(
    run_id: str,
    decision_id: str,
    body: NewDecision,
    caller: RunWriter,
    tool_calls: ToolCalls,
    engine: Engine,
) -> Decided:
    """Answer the question that a run waits for; the digest must be the one that was shown."""
    run = RunRef(tenant_id=caller.tenant_id, run_id=run_id)
    await tool_calls.decide(caller, DecisionRef(run=run, decision_id=decision_id), body)
    # The record has it: a turn that is not woken up now reads it when its own timer rings.
    with suppress(Unavailable):
        await engine.decided(run, decision_id)
    return Decided(run_id=run_id, decision_id=decision_id, verdict=body.verdict)


async def _page(log: Events, run: RunRef, after: int, limit: int) -> Response:
    rows = await log.read(run, after, limit)
    last = rows[-1].seq if rows else after
    body = b'{"items":[%s],"last_seq":%d}' % (b",".join(map(as_json, rows)), last)
    return Response(body, media_type="application/json")


async def _has_ended(reconciler: Reconciler, run: RunRef) -> bool:
    try:
        return await reconciler.reconcile(run)
    except Unavailable:
        return False
