"""Scoring models: the registry, approvals, trainings, and what a tenant decides."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response
from pydantic import Field

from api.deps import Parts, requires
from api.runs.accepting import Key, RunAccepted, accepted
from domain.base import StrictModel
from domain.errors import Invalid
from domain.fields import Storable
from domain.identity.principals import Principal, Scope
from domain.scoring.models import (
    LlmSettings,
    ModelKind,
    ModelName,
    NewModel,
    ScoringModel,
    ScoringSettings,
    SettingsChange,
    rules_of,
)
from domain.scoring.trainings import TrainingRequest, training_spec

router = APIRouter(prefix="/api/v1/ai/scoring", tags=["scoring models"])
Reader = Annotated[Principal, Depends(requires(Scope.SCORING_READ))]
Writer = Annotated[Principal, Depends(requires(Scope.SCORING_WRITE))]
Admin = Annotated[Principal, Depends(requires(Scope.SCORING_ADMIN))]


class ModelCreate(StrictModel):
    """A version to add: `rules` (TOML) for one kind, `judge` for the other. Learned models come
    from trainings."""

    name: ModelName
    description: Annotated[Storable, Field(max_length=2_000)] = ""
    rules: Annotated[Storable | None, Field(max_length=100_000)] = None
    judge: LlmSettings | None = None


@router.get("/models")
async def find(caller: Reader, parts: Parts) -> list[ScoringModel]:
    """Every version, the latest first, and the rules that are built in."""
    return await parts.scoring_models.find(caller)


@router.get("/models/{model_id}")
async def read(model_id: str, caller: Reader, parts: Parts) -> ScoringModel:
    """One version, `{name}.{version}`, with its definition and its metrics."""
    return await parts.scoring_models.read(caller.tenant_id, model_id)


@router.post("/models", status_code=201)
async def add(body: ModelCreate, caller: Writer, parts: Parts) -> ScoringModel:
    """Add a version as a candidate, checked here: `rules` or a `judge`."""
    if (body.rules is None) == (body.judge is None):
        raise Invalid("Give either rules or a judge.", code="model_invalid")
    if body.judge is not None:
        kind, definition = ModelKind.LLM, body.judge.model_dump()
        parts.settings.route(body.judge.route)
    else:
        kind, definition = ModelKind.RULES, rules_of(body.rules or "")
    new = NewModel(name=body.name, kind=kind, description=body.description, definition=definition)
    return await parts.scoring_models.add(caller.tenant_id, caller.user_id, new)


@router.post("/models/{model_id}/approve")
async def approve(model_id: str, caller: Admin, parts: Parts) -> ScoringModel:
    """Approve a candidate that somebody else has made."""
    return await parts.scoring_models.approve(caller, model_id)


@router.post("/models/{model_id}/promote")
async def promote(model_id: str, caller: Admin, parts: Parts) -> ScoringModel:
    """Score with an approved version from now on; the champion before it stays approved."""
    return await parts.scoring_models.promote(caller, model_id)


@router.post("/models/{model_id}/retire")
async def retire(model_id: str, caller: Admin, parts: Parts) -> ScoringModel:
    """Score with a version no more."""
    return await parts.scoring_models.retire(caller, model_id)


@router.post("/trainings", status_code=202, response_model=RunAccepted)
async def train(body: TrainingRequest, caller: Writer, parts: Parts, key: Key) -> Response:
    """Learn a model from the leads whose outcome is known; it becomes a candidate."""
    return await accepted(parts, training_spec(caller.tenant_id, caller.user_id, body, key), body)


@router.get("/settings")
async def settings(caller: Reader, parts: Parts) -> ScoringSettings:
    """What the tenant has decided about scoring."""
    return await parts.scoring_models.settings(caller)


@router.put("/settings")
async def decide(body: SettingsChange, caller: Admin, parts: Parts) -> ScoringSettings:
    """Decide whether models need a second person, how long scores count, and whether changes of a
    lead rescore it; what is left out stays as it is."""
    return await parts.scoring_models.decide(caller, body)
