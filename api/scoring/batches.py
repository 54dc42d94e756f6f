"""Batches: many leads scored by one run, told as it goes on, paused, resumed, tried again."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import JSONResponse

from api.deps import Parts, requires
from api.runs.accepting import Key, RunAccepted, digest_of, headers_of, start
from api.state import State
from domain.base import Page, StrictModel
from domain.errors import Conflict
from domain.identity.principals import Principal, Scope
from domain.runs.runs import RunRef
from domain.scoring.batches import (
    Batch,
    BatchMode,
    BatchRequest,
    ComparedModels,
    Estimate,
    Failure,
    Note,
    Parallel,
    Selection,
)
from domain.scoring.experiments import ArmName, ModelId
from domain.scoring.reports import Comparison

router = APIRouter(prefix="/api/v1/ai/scoring", tags=["batches"])
Reader = Annotated[Principal, Depends(requires(Scope.SCORING_READ))]
Writer = Annotated[Principal, Depends(requires(Scope.SCORING_WRITE))]


class BatchCreate(Selection):
    """What to score, with what. `dry_run` only says what it would be."""

    model: ModelId | None = None
    experiment: ArmName | None = None
    parallel: Parallel | None = None
    note: Note = ""
    dry_run: bool = False


class ComparisonCreate(Selection):
    """Which models to compare, and on which leads."""

    models: ComparedModels
    parallel: Parallel | None = None
    note: Note = ""
    dry_run: bool = False


class BatchAccepted(RunAccepted):
    """The run that scores the leads; an `empty` one has ended already."""

    empty: bool


class PauseCreate(StrictModel):
    """Why a batch is to rest."""

    note: Note = ""


@router.post("/leads/batch", status_code=202, response_model=BatchAccepted | Estimate)
async def create(body: BatchCreate, caller: Writer, parts: Parts, key: Key) -> Response:
    """Score many leads: 202 with the run, whose events tell how far it is; 200 with the result of
    a batch without a lead, and with the estimate of a dry run."""
    order = BatchRequest(
        selection=_selection(body),
        model=body.model,
        experiment=body.experiment,
        parallel=body.parallel,
        note=body.note,
    )
    return await _accepted(parts, caller, order, key, dry=body.dry_run)


@router.post("/models/test", status_code=202, response_model=BatchAccepted | Estimate)
async def compare(body: ComparisonCreate, caller: Writer, parts: Parts, key: Key) -> Response:
    """Compare models: each scores all of the leads, and nobody is shown the scores. The results
    are at `…/batches/{run_id}/results`."""
    order = BatchRequest(
        mode=BatchMode.TEST,
        selection=_selection(body),
        models=body.models,
        parallel=body.parallel,
        note=body.note,
    )
    return await _accepted(parts, caller, order, key, dry=body.dry_run)


@router.get("/batches")
async def find(
    caller: Reader,
    parts: Parts,
    cursor: Annotated[str | None, Query(max_length=500)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Page[Batch]:
    """Batches, the latest first."""
    return await parts.batch_reports.find(caller, cursor=cursor, limit=limit)


@router.get("/batches/{run_id}")
async def read(run_id: str, caller: Reader, parts: Parts) -> Batch:
    """One batch: its plan, how far it is, how fast, and how long it will take."""
    return await parts.batch_reports.read(caller, run_id)


@router.get("/batches/{run_id}/failures")
async def failures(
    run_id: str,
    caller: Reader,
    parts: Parts,
    cursor: Annotated[str | None, Query(max_length=100)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Page[Failure]:
    """The leads that could not be scored, and why; `failed_of` scores them again."""
    return await parts.batch_reports.failures(caller, run_id, after=cursor, limit=limit)


@router.get("/batches/{run_id}/results")
async def results(run_id: str, caller: Reader, parts: Parts) -> Comparison:
    """What each model or arm of a batch came to: distribution, agreement, cost, and conversion by
    tenths of the score with 95 % intervals."""
    return await parts.reports.of_batch(caller, run_id)


@router.post("/batches/{run_id}/pause", status_code=202)
async def pause(
    run_id: str, caller: Writer, parts: Parts, body: PauseCreate | None = None
) -> RunAccepted:
    """Let a batch rest: the page that is being scored is finished, no other is begun."""
    run = await _open(parts, caller, run_id)
    await parts.engine.pause(run, body.note if body else "")
    return RunAccepted(run_id=run_id)


@router.post("/batches/{run_id}/resume", status_code=202)
async def resume(run_id: str, caller: Writer, parts: Parts) -> RunAccepted:
    """Let a batch go on."""
    run = await _open(parts, caller, run_id)
    await parts.engine.resume(run)
    return RunAccepted(run_id=run_id)


def _selection(body: Selection) -> Selection:
    return Selection(ids=body.ids, filter=body.filter, failed_of=body.failed_of)


async def _accepted(
    parts: State, caller: Principal, order: BatchRequest, key: str, *, dry: bool
) -> Response:
    if dry:
        estimate = await parts.batch_reports.estimate(caller, order)
        return JSONResponse(estimate.model_dump(mode="json"))
    accepted = await parts.batches.accept(caller, order, key, digest_of(order))
    await start(parts, accepted.spec)
    body = BatchAccepted(run_id=accepted.run_id, empty=accepted.empty).model_dump()
    run = RunRef(tenant_id=caller.tenant_id, run_id=accepted.run_id)
    return JSONResponse(body, 200 if accepted.empty else 202, headers_of(run))


async def _open(parts: State, caller: Principal, run_id: str) -> RunRef:
    batch = await parts.batch_reports.read(caller, run_id)
    if batch.outcome is not None:
        raise Conflict("This batch has ended.", code="run_finished", run_id=run_id)
    return RunRef(tenant_id=caller.tenant_id, run_id=run_id)
