"""Batches: many leads scored by one run, with its progress, pauses, failures and results."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse

from api.problems import errors
from api.runs.accepting import Key, RunAccepted, headers_of, request_digest
from api.runs.dependencies import Engine, Starter
from api.scoring.dependencies import (
    Batches,
    BatchReports,
    Reports,
    ScoringReader,
    ScoringWriter,
)
from domain import names
from domain.base import Page, StrictModel
from domain.errors import CursorInvalid, TemporalUnavailable
from domain.identity.principals import Principal
from domain.names import Kind
from domain.runs.errors import KeyReused, RunFinished, RunNotBegun
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
from domain.scoring.errors import (
    BatchUnknown,
    ExperimentStopped,
    ExperimentUnknown,
    ModelNotApproved,
    ModelRetired,
    ModelUnknown,
)
from domain.scoring.experiments import ArmName, ModelId
from domain.scoring.reports import Comparison

router = APIRouter(prefix="/api/v1/ai/scoring", tags=["batches"])
_MODEL_REFUSALS = (ModelUnknown, ModelRetired, ModelNotApproved)
_REFUSALS = (*_MODEL_REFUSALS, ExperimentUnknown, ExperimentStopped, BatchUnknown, KeyReused)
_PAUSE_REFUSALS = (BatchUnknown, RunFinished, RunNotBegun, TemporalUnavailable)


class BatchCreate(Selection):
    """The leads to score, and the models. `dry_run` only estimates."""

    model: ModelId | None = None
    experiment: ArmName | None = None
    parallel: Parallel | None = None
    note: Note = ""
    dry_run: bool = False


class ComparisonCreate(Selection):
    """The models to compare, and the leads to compare them on."""

    models: ComparedModels
    parallel: Parallel | None = None
    note: Note = ""
    dry_run: bool = False


class BatchAccepted(RunAccepted):
    """The run that scores the leads; an `empty` one has ended already."""

    empty: bool


class PauseRequest(StrictModel):
    """The reason why a batch is to rest."""

    note: Note = ""


@router.post(
    "/leads/batch",
    status_code=202,
    response_model=BatchAccepted | Estimate,
    responses=errors(*_REFUSALS),
)
async def create(
    body: BatchCreate,
    caller: ScoringWriter,
    batches: Batches,
    reports: BatchReports,
    runs: Starter,
    key: Key,
) -> Response:
    """Score many leads: 202 with the run, whose events tell how far it is; 200 with the result of
    a batch without a lead, and with the estimate of a dry run."""
    order = BatchRequest(
        selection=_selection(body),
        model=body.model,
        experiment=body.experiment,
        parallel=body.parallel,
        note=body.note,
    )
    if body.dry_run:
        return await _estimate(reports, caller, order)
    return await _start(batches, runs, caller, order, key)


@router.post(
    "/models/test",
    status_code=202,
    response_model=BatchAccepted | Estimate,
    responses=errors(*_REFUSALS),
)
async def compare(
    body: ComparisonCreate,
    caller: ScoringWriter,
    batches: Batches,
    reports: BatchReports,
    runs: Starter,
    key: Key,
) -> Response:
    """Compare models: each scores all of the leads, and nobody is shown the scores. The results
    are at `…/batches/{run_id}/results`."""
    order = BatchRequest(
        mode=BatchMode.TEST,
        selection=_selection(body),
        models=body.models,
        parallel=body.parallel,
        note=body.note,
    )
    if body.dry_run:
        return await _estimate(reports, caller, order)
    return await _start(batches, runs, caller, order, key)


@router.get("/batches", responses=errors(CursorInvalid))
async def find(
    caller: ScoringReader,
    reports: BatchReports,
    cursor: Annotated[str | None, Query(max_length=500)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Page[Batch]:
    """List batches, the latest first."""
    return await reports.find(caller, cursor=cursor, limit=limit)


@router.get("/batches/{run_id}", responses=errors(BatchUnknown))
async def read(run_id: str, caller: ScoringReader, reports: BatchReports) -> Batch:
    """Return one batch: its plan, how far it is, how fast, and how long it will take."""
    return await reports.read(caller, run_id)


@router.get("/batches/{run_id}/failures", responses=errors(BatchUnknown))
async def failures(
    run_id: str,
    caller: ScoringReader,
    reports: BatchReports,
    cursor: Annotated[str | None, Query(max_length=100)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Page[Failure]:
    """List the leads that could not be scored, and why; `failed_of` scores them again."""
    return await reports.failures(caller, run_id, after=cursor, limit=limit)


@router.get("/batches/{run_id}/results", responses=errors(BatchUnknown))
async def results(run_id: str, caller: ScoringReader, comparisons: Reports) -> Comparison:
    """Compare the models or arms of a batch: distribution, agreement, cost, and conversion by
    tenths of the score with 95 % intervals."""
    return await comparisons.of_batch(caller, run_id)


@router.post("/batches/{run_id}/pause", status_code=202, responses=errors(*_PAUSE_REFUSALS))
async def pause(
    run_id: str,
    caller: ScoringWriter,
    reports: BatchReports,
    engine: Engine,
    body: PauseRequest | None = None,
) -> RunAccepted:
    """Let a batch rest: the page that is being scored is finished, no other is begun."""
    run = await _unfinished(reports, caller, run_id)
    await engine.pause(run, body.note if body else "")
    return RunAccepted(run_id=run_id)


@router.post("/batches/{run_id}/resume", status_code=202, responses=errors(*_PAUSE_REFUSALS))
async def resume(
    run_id: str, caller: ScoringWriter, reports: BatchReports, engine: Engine
) -> RunAccepted:
    """Let a batch go on."""
    run = await _unfinished(reports, caller, run_id)
    await engine.resume(run)
    return RunAccepted(run_id=run_id)


def _selection(body: Selection) -> Selection:
    return Selection(ids=body.ids, filter=body.filter, failed_of=body.failed_of)


async def _estimate(reports: BatchReports, caller: Principal, order: BatchRequest) -> Response:
    estimate = await reports.estimate(caller, order)
    return JSONResponse(estimate.model_dump(mode="json"))


async def _start(
    batches: Batches, runs: Starter, caller: Principal, order: BatchRequest, key: str
) -> Response:
    spec = await batches.accept(caller, order, key, request_digest(order))
    await runs.start(spec)
    run = RunRef(tenant_id=caller.tenant_id, run_id=names.run_id(Kind.BATCH, key))
    body = BatchAccepted(run_id=run.run_id, empty=spec is None).model_dump()
    return JSONResponse(body, 202 if spec else 200, headers_of(run))


async def _unfinished(reports: BatchReports, caller: Principal, run_id: str) -> RunRef:
    batch = await reports.read(caller, run_id)
    if batch.outcome is not None:
        raise RunFinished(run_id=run_id)
    return RunRef(tenant_id=caller.tenant_id, run_id=run_id)
