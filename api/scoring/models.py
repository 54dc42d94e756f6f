"""Scoring models: the registry, approvals, and what a tenant decides."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from api.deps import InstallationSettings
from api.problems import errors
from api.scoring.dependencies import Models, ScoringAdmin, ScoringReader, ScoringWriter
from domain.base import StrictModel
from domain.errors import ApprovalNeedsAnother
from domain.fields import Storable
from domain.gateway.errors import RouteUnknown
from domain.scoring.errors import (
    ModelBuiltIn,
    ModelInUse,
    ModelInvalid,
    ModelNotApproved,
    ModelRetired,
    ModelUnknown,
    RulesInvalid,
)
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

router = APIRouter(prefix="/api/v1/ai/scoring", tags=["scoring models"])


class ModelCreate(StrictModel):
    """A version to add: `rules` (TOML) or a `judge`. Learned models come
    from trainings."""

    name: ModelName
    description: Annotated[Storable, Field(max_length=2_000)] = ""
    rules: Annotated[Storable | None, Field(max_length=100_000)] = None
    judge: LlmSettings | None = None


@router.get("/models")
async def find(caller: ScoringReader, models: Models) -> list[ScoringModel]:
    """List every version, the latest first, and the rules that are built in."""
    return await models.find(caller)


@router.get("/models/{model_id}", responses=errors(ModelUnknown))
async def read(model_id: str, caller: ScoringReader, models: Models) -> ScoringModel:
    """Return one version, `{name}.{version}`, with its definition and its metrics."""
    return await models.read(caller.tenant_id, model_id)


@router.post("/models", status_code=201, responses=errors(ModelInvalid, RulesInvalid, RouteUnknown))
async def add(
    body: ModelCreate, caller: ScoringWriter, settings: InstallationSettings, models: Models
) -> ScoringModel:
    """Add a version as a candidate, checked here: `rules` or a `judge`."""
    if (body.rules is None) == (body.judge is None):
        raise ModelInvalid
    if body.judge is not None:
        kind, definition = ModelKind.LLM, body.judge.model_dump()
        settings.route(body.judge.route)
    else:
        kind, definition = ModelKind.RULES, rules_of(body.rules or "")
    new = NewModel(name=body.name, kind=kind, description=body.description, definition=definition)
    return await models.add(caller.tenant_id, caller.user_id, new)


@router.post(
    "/models/{model_id}/approve",
    responses=errors(ModelUnknown, ModelBuiltIn, ModelRetired, ApprovalNeedsAnother),
)
async def approve(model_id: str, caller: ScoringAdmin, models: Models) -> ScoringModel:
    """Approve a candidate that somebody else has made."""
    return await models.approve(caller, model_id)


@router.post(
    "/models/{model_id}/promote",
    responses=errors(ModelUnknown, ModelRetired, ModelNotApproved),
)
async def promote(model_id: str, caller: ScoringAdmin, models: Models) -> ScoringModel:
    """Score with an approved version from now on; the champion before it stays approved."""
    return await models.promote(caller, model_id)


@router.post(
    "/models/{model_id}/retire",
    responses=errors(ModelUnknown, ModelBuiltIn, ModelInUse),
)
async def retire(model_id: str, caller: ScoringAdmin, models: Models) -> ScoringModel:
    """Score with a version no more."""
    return await models.retire(caller, model_id)


@router.get("/settings")
async def settings(caller: ScoringReader, models: Models) -> ScoringSettings:
    """Return what the tenant has decided about scoring."""
    return await models.settings(caller)


@router.put("/settings")
async def decide(body: SettingsChange, caller: ScoringAdmin, models: Models) -> ScoringSettings:
    """Decide whether models need a second person, how long scores count, and whether changes of a
    lead rescore it; what is left out stays as it is."""
    return await models.decide(caller, body)
