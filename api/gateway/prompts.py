"""Prompts: what models are told, in versions that are approved before they are used."""

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from api.deps import requires
from api.gateway.dependencies import Prompts
from api.problems import errors
from domain.errors import ApprovalNeedsAnother
from domain.fields import Storable
from domain.gateway.errors import PromptInvalid, PromptNotApproved, PromptUnknown
from domain.gateway.prompts import PromptVersion, PromptView
from domain.identity.principals import Principal, Scope

router = APIRouter(prefix="/api/v1/prompts", tags=["prompts"])
Reader = Annotated[Principal, Depends(requires(Scope.PROMPTS_READ))]
Writer = Annotated[Principal, Depends(requires(Scope.PROMPTS_WRITE))]
Admin = Annotated[Principal, Depends(requires(Scope.PROMPTS_ADMIN))]


class PromptDraft(BaseModel):
    """A new text; it may use the fields of the prompt's file, as `{{ field }}`."""

    text: Annotated[Storable, Field(min_length=1, max_length=20_000)]


@router.get("")
async def find(caller: Reader, prompts: Prompts) -> list[PromptView]:
    """List every prompt, with the tenant's own versions."""
    return await prompts.find(caller)


@router.get("/{name}", responses=errors(PromptUnknown))
async def read(name: str, caller: Reader, prompts: Prompts) -> PromptView:
    """Return one prompt."""
    return await prompts.read(caller, name)


@router.post("/{name}/versions", status_code=201, responses=errors(PromptUnknown, PromptInvalid))
async def draft(name: str, body: PromptDraft, caller: Writer, prompts: Prompts) -> PromptVersion:
    """Write a version that nobody uses yet."""
    return await prompts.draft(caller, name, body.text)


@router.post(
    "/{name}/versions/{version}/approve",
    responses=errors(PromptUnknown, ApprovalNeedsAnother),
)
async def approve(name: str, version: int, caller: Admin, prompts: Prompts) -> PromptVersion:
    """Approve a draft of somebody else."""
    return await prompts.approve(caller, name, version)


@router.post(
    "/{name}/versions/{version}/activate",
    responses=errors(PromptUnknown, PromptNotApproved, PromptInvalid),
)
async def activate(name: str, version: int, caller: Admin, prompts: Prompts) -> PromptVersion:
    """Use an approved version, within seconds and in every worker."""
    return await prompts.activate(caller, name, version)


@router.post("/{name}/versions/{version}/retire", responses=errors(PromptUnknown))
async def retire(name: str, version: int, caller: Admin, prompts: Prompts) -> PromptVersion:
    """Use a version no more."""
    return await prompts.retire(caller, name, version)
