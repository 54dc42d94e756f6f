"""Batches: many leads scored by one run, its plan, its parts and its counts."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from domain.base import Contract, StrictModel
from domain.fields import OneLine, Storable
from domain.leads.leads import LeadFilter, LeadId
from domain.names import Kind
from domain.runs.runs import Outcome, RunInput, RunRef, RunSpec
from domain.scoring.experiments import ArmName, ModelId, ScoringPlan

Note = Annotated[OneLine, Field(max_length=200)]
Parallel = Annotated[int, Field(ge=1, le=32)]


def _distinct(models: tuple[ModelId, ...]) -> tuple[ModelId, ...]:
    if len(set(models)) < 2:
        raise ValueError("a test compares at least two models")
    return models


ComparedModels = Annotated[tuple[ModelId, ...], Field(max_length=8), AfterValidator(_distinct)]


class Selection(StrictModel):
    """The leads of a batch: these ids, those that a filter finds, those that failed in a batch,
    or all."""

    ids: tuple[LeadId, ...] | None = Field(default=None, max_length=10_000)
    filter: LeadFilter | None = None
    failed_of: Annotated[Storable, Field(max_length=200)] | None = None

    @model_validator(mode="after")
    def _one_way(self) -> "Selection":
        if sum(way is not None for way in (self.ids, self.filter, self.failed_of)) > 1:
            raise ValueError("give only one of ids, filter and failed_of")
        return self


class BatchMode(StrEnum):
    """The two kinds of a batch: `score` makes its scores visible; `test` only compares models."""

    SCORE = "score"
    TEST = "test"


class BatchRequest(StrictModel):
    """The leads to score, and the models that score them. Without `model` and `experiment` these
    are the champion and the running experiment; `models` are those that a test compares."""

    mode: BatchMode = BatchMode.SCORE
    selection: Selection = Selection()
    model: ModelId | None = None
    experiment: ArmName | None = None
    models: ComparedModels | tuple[()] = ()
    parallel: Parallel | None = None
    note: Note = ""

    @model_validator(mode="after")
    def _models_of_a_test(self) -> "BatchRequest":
        if (self.mode is BatchMode.TEST) != bool(self.models):
            raise ValueError("`models` are those of a test")
        return self


class BatchInput(RunInput):
    """The input of LeadBatch; the request is in the record. `cursor`: how far an earlier run of
    the same workflow had come when it began a new history."""

    tenant_id: str
    user_id: str
    cursor: str = ""
    paused: bool = False


class BatchStart(Contract):
    """The size of a batch that begins, its counts, and how it is divided: `parallel` chunks at a
    time, in pages. `calls_models`: each lead takes a model call. `finished`: there is nothing to
    do, or it has ended."""

    total: int
    scored: int = 0
    failed: int = 0
    parallel: int
    chunk: int
    page: int
    calls_models: bool = False
    finished: bool = False


_CHUNKS, _PAGE = 2, 200
_CALLS, _PAGES_OF_CALLS = 8, 5


def divide(chunk: int, parallel: int | None, *, calls_models: bool) -> dict[str, int]:
    """Return how to divide a batch: chunks at a time, leads of a chunk and of a page. Where models
    are called, `parallel` is how many leads wait for an answer at once, all in one activity: a
    crash loses no more than their cost."""
    if calls_models:
        page = parallel or _CALLS
        return {"parallel": 1, "chunk": min(chunk, page * _PAGES_OF_CALLS), "page": page}
    return {"parallel": parallel or _CHUNKS, "chunk": chunk, "page": _PAGE}


class Chunk(Contract):
    """Leads after one id, up to another."""

    after: str
    through: str


class ChunkPlan(Contract):
    """The next chunks of a batch; `last`: none follow."""

    chunks: tuple[Chunk, ...]
    last: bool


class PlanRef(Contract):
    """The position in a batch behind which chunks are to be planned."""

    run: RunRef
    after: str
    chunk: int


class ChunkRef(Contract):
    """One chunk of a batch. `size`: how many leads are read, scored and stored at a time, at once
    if each takes a model call (`calls_models`)."""

    run: RunRef
    chunk: Chunk
    size: int
    calls_models: bool = False


class ChunkResult(Contract):
    """The result of a chunk; `scored` and `failed` are those of the whole batch by then.
    `paused_at`: it stopped behind this id, because the batch is paused; `over_budget`: the budget
    is spent, so the rest was not scored."""

    scored: int
    failed: int
    paused_at: str | None = None
    over_budget: bool = False


class BatchResult(Contract):
    """The outcome of a batch and its counts."""

    outcome: Outcome
    scored: int
    failed: int


class BatchPause(Contract):
    """A pause of a batch, or the end of one, with the reason."""

    run: RunRef
    paused: bool
    note: str = ""


class BatchCounts(Contract):
    """The progress of a batch: leads, leads per second, seconds that are left."""

    total: int
    scored: int
    failed: int
    rate: float
    eta_seconds: float | None
    cost_micros: int


class Batch(Contract):
    """A batch as the API shows it."""

    run_id: str
    mode: BatchMode
    status: Literal["queued", "running", "paused", "cancelling", "finished"]
    outcome: Outcome | None
    plan: ScoringPlan
    selection: dict[str, Any]
    counts: BatchCounts
    note: str
    created_by: str
    created_at: datetime
    finished_at: datetime | None


class Failure(Contract):
    """A lead that a batch could not score."""

    lead_id: str
    code: str
    detail: str


# A prompt of the longest profile with fifty events, its answer, and both again for a repair.
LONGEST_PROMPT_TOKENS, LONGEST_ANSWER_TOKENS = 2 * 12_000, 2 * 1_500


class Estimate(Contract):
    """The size, cost and duration of a batch that is not run. `cost_micros` is what model calls
    would cost, from the last scores of these models, or at most from the price of the longest
    prompt and answer; None if neither is known. Rules cost nothing."""

    leads: int
    models: list[str]
    cost_micros: int | None
    seconds: float
    basis: str


def batch_spec(run: RunRef, user_id: str, request: BatchRequest, models: Sequence[str]) -> RunSpec:
    """Return the run that scores a batch with these models."""
    model = ", ".join(models)
    verb = "Compare" if request.mode is BatchMode.TEST else "Score"
    note = f": {request.note:.100}" if request.note else ""
    return RunSpec(
        run=run,
        kind=Kind.BATCH,
        subject_id="leads",
        user_id=user_id,
        model=model,
        summary=f"{verb} leads with {model:.200} for {user_id:.60}{note}",
        input=BatchInput(tenant_id=run.tenant_id, user_id=user_id).model_dump(mode="json"),
    )


def scheduled_spec(run: RunRef, user_id: str, request: BatchRequest) -> RunSpec:
    """Return the run that scores a batch for a schedule: its models are chosen when it begins."""
    models = request.models or (request.model or "champion",)
    spec = batch_spec(run, user_id, request, models)
    return spec.model_copy(update={"request": request.model_dump(mode="json")})
