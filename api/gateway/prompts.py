"""Prompts: what models are told, in versions that are approved before they are used."""

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from api.deps import Parts, requires
from domain.fields import Storable
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
async def find(caller: Reader, parts: Parts) -> list[PromptView]:
    """Every prompt, with the tenant's own versions."""
    return await parts.prompts.find(caller)


@router.get("/{name}")
async def read(name: str, caller: Reader, parts: Parts) -> PromptView:
    """One prompt."""
    return await parts.prompts.read(caller, name)


@router.post("/{name}/versions", status_code=201)
async def draft(name: str, body: PromptDraft, caller: Writer, parts: Parts) -> PromptVersion:
    """Write a version that nobody uses yet."""
    return await parts.prompts.draft(caller, name, body.text)


@router.post("/{name}/versions/{version}/approve")
async def approve(name: str, version: int, caller: Admin, parts: Parts) -> PromptVersion:
    """Approve a draft of somebody else."""
    return await parts.prompts.approve(caller, name, version)


@router.post("/{name}/versions/{version}/activate")
async def activate(name: str, version: int, caller: Admin, parts: Parts) -> PromptVersion:
    """Use an approved version, within seconds and in every worker."""
    return await parts.prompts.activate(caller, name, version)


@router.post("/{name}/versions/{version}/retire")
async def retire(name: str, version: int, caller: Admin, parts: Parts) -> PromptVersion:
    """Use a version no more."""
    return await parts.prompts.retire(caller, name, version)
