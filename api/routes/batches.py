"""Batches: many leads scored by one run, told as it goes on, paused, resumed, tried again."""

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from api.deps import Parts, requires, start
from api.state import State
from api.texts import OneLine, Storable, Strict, key_of
from domain.auth import Principal, Scope
from domain.base import Page
from domain.batches import Batch, BatchMode, BatchOrder, Estimate, Failure, Selection
from domain.errors import Conflict
from domain.experiments import ArmName, ModelId
from domain.leads import LeadFilter, LeadId
from domain.reports import Comparison
from domain.runs import RunRef

router = APIRouter(prefix="/api/v1/ai/scoring", tags=["batches"])
Reader = Annotated[Principal, Depends(requires(Scope.SCORING_READ))]
Writer = Annotated[Principal, Depends(requires(Scope.SCORING_WRITE))]
Note = Annotated[OneLine, Field(max_length=200)]
Key = Annotated[str | None, Header(max_length=255)]


class Chosen(Strict):
    """Which leads: `ids`, a `filter`, those that `failed_of` another batch, or all."""

    ids: Annotated[tuple[LeadId, ...] | None, Field(max_length=10_000)] = None
    filter: LeadFilter | None = None
    failed_of: Annotated[Storable | None, Field(max_length=200)] = None

    @property
    def selection(self) -> Selection:
        return Selection(ids=self.ids, filter=self.filter, failed_of=self.failed_of)


class BatchCreate(Chosen):
    """What to score, with what. `dry_run` only says what it would be."""

    model: ModelId | None = None
    experiment: ArmName | None = None
    parallel: Annotated[int | None, Field(ge=1, le=32)] = None
    note: Note = ""
    dry_run: bool = False


class ComparisonCreate(Chosen):
    """Which models to compare, and on which leads."""

    models: Annotated[tuple[ModelId, ...], Field(min_length=2, max_length=8)]
    parallel: Annotated[int | None, Field(ge=1, le=32)] = None
    note: Note = ""
    dry_run: bool = False


class BatchAccepted(BaseModel):
    """The run that scores the leads; an `empty` one has ended already."""

    run_id: str
    empty: bool


class PauseCreate(Strict):
    """Why a batch is to rest."""

    note: Note = ""


@router.post("/leads/batch", status_code=202, response_model=BatchAccepted | Estimate)
async def create(
    body: BatchCreate, caller: Writer, parts: Parts, idempotency_key: Key = None
) -> Response:
    """Score many leads: 202 with the run, whose events tell how far it is; 200 with the result of
    a batch without a lead, and with the estimate of a dry run."""
    order = BatchOrder(
        selection=body.selection,
        model=body.model,
        experiment=body.experiment,
        parallel=body.parallel,
        note=body.note,
    )
    return await _accepted(parts, caller, order, key_of(idempotency_key), dry=body.dry_run)


@router.post("/models/test", status_code=202, response_model=BatchAccepted | Estimate)
async def compare(
    body: ComparisonCreate, caller: Writer, parts: Parts, idempotency_key: Key = None
) -> Response:
    """Compare models: each scores all of the leads, and nobody is shown the scores. The results
    are at `…/batches/{run_id}/results`."""
    order = BatchOrder(
        mode=BatchMode.TEST,
        selection=body.selection,
        models=body.models,
        parallel=body.parallel,
        note=body.note,
    )
    return await _accepted(parts, caller, order, key_of(idempotency_key), dry=body.dry_run)


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
) -> BatchAccepted:
    """Let a batch rest: the page that is being scored is finished, no other is begun."""
    run = await _open(parts, caller, run_id)
    await parts.engine.pause(run, body.note if body else "")
    return BatchAccepted(run_id=run_id, empty=False)


@router.post("/batches/{run_id}/resume", status_code=202)
async def resume(run_id: str, caller: Writer, parts: Parts) -> BatchAccepted:
    """Let a batch go on."""
    run = await _open(parts, caller, run_id)
    await parts.engine.resume(run)
    return BatchAccepted(run_id=run_id, empty=False)


async def _accepted(
    parts: State, caller: Principal, order: BatchOrder, mark: str | None, *, dry: bool
) -> Response:
    if dry:
        await parts.batches.check(caller.tenant_id, order)
        estimate = await parts.batch_reports.estimate(caller, order)
        return JSONResponse(estimate.model_dump(mode="json"))
    accepted = await parts.batches.accept(caller, order, mark)
    await start(parts, accepted.launch)
    body = BatchAccepted(run_id=accepted.run_id, empty=accepted.empty).model_dump()
    headers = {"Location": f"/api/v1/runs/{accepted.run_id}", "X-Run-Id": accepted.run_id}
    return JSONResponse(body, 200 if accepted.empty else 202, headers)


async def _open(parts: State, caller: Principal, run_id: str) -> RunRef:
    batch = await parts.batch_reports.read(caller, run_id)
    if batch.outcome is not None:
        raise Conflict("This batch has ended.", code="run_finished", run_id=run_id)
    return RunRef(tenant_id=caller.tenant_id, run_id=run_id)
