"""Threads: conversations of a user."""

from contextlib import suppress
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field

from api.deps import Parts, requires
from domain.base import Page
from domain.chat.threads import Message, Thread
from domain.errors import Unavailable
from domain.fields import OneLine
from domain.identity.principals import Principal, Scope
from domain.runs.runs import RunRef

router = APIRouter(prefix="/api/v1/threads", tags=["threads"])
Reader = Annotated[Principal, Depends(requires(Scope.THREADS_READ))]
Writer = Annotated[Principal, Depends(requires(Scope.THREADS_WRITE))]
Limit = Annotated[int, Query(ge=1, le=100)]
Cursor = Annotated[str | None, Query(max_length=500)]


_ARCHIVED = {"true": True, "false": False, "any": None}


class ThreadCreate(BaseModel):
    """A new thread; without a title it gets one from its first message."""

    title: Annotated[OneLine, Field(max_length=200)] = ""


class ThreadChange(BaseModel):
    """What to change; what is left out stays."""

    title: Annotated[OneLine, Field(min_length=1, max_length=200)] | None = None
    archived: bool | None = None


@router.post("", status_code=201)
async def create(caller: Writer, parts: Parts, body: ThreadCreate | None = None) -> Thread:
    """Start a conversation."""
    return await parts.threads.create(caller, body.title if body else "")


@router.get("")
async def find(
    caller: Reader,
    parts: Parts,
    search: Annotated[str | None, Query(max_length=200)] = None,
    archived: Literal["true", "false", "any"] = "false",
    cursor: Cursor = None,
    limit: Limit = 20,
) -> Page[Thread]:
    """The caller's threads, the latest first; `search` looks into titles and messages."""
    return await parts.threads.find(
        caller, search=search, archived=_ARCHIVED[archived], cursor=cursor, limit=limit
    )


@router.get("/{thread_id}")
async def read(thread_id: str, caller: Reader, parts: Parts) -> Thread:
    """One thread."""
    return await parts.threads.read(caller, thread_id)


@router.patch("/{thread_id}")
async def change(thread_id: str, body: ThreadChange, caller: Writer, parts: Parts) -> Thread:
    """Rename a thread, archive it or bring it back."""
    if not body.model_fields_set:
        return await parts.threads.read(caller, thread_id)
    return await parts.threads.change(caller, thread_id, title=body.title, archived=body.archived)


@router.delete("/{thread_id}", status_code=204)
async def delete(thread_id: str, caller: Writer, parts: Parts) -> None:
    """Delete a thread and all that was said in it; a turn that runs is stopped."""
    for run_id in await parts.threads.delete(caller, thread_id):
        # Its rows are gone: without a cancel it ends by itself, at its next step.
        with suppress(Unavailable):
            await parts.engine.cancel(RunRef(tenant_id=caller.tenant_id, run_id=run_id))


@router.get("/{thread_id}/messages")
async def messages(
    thread_id: str, caller: Reader, parts: Parts, cursor: Cursor = None, limit: Limit = 50
) -> Page[Message]:
    """The messages of a thread, in the order of the conversation."""
    return await parts.threads.messages(caller, thread_id, cursor=cursor, limit=limit)


@router.put("/{thread_id}/messages/{message_id}/pin", status_code=204)
async def pin(thread_id: str, message_id: str, caller: Writer, parts: Parts) -> None:
    """Keep a message word for word in every prompt, however long the conversation grows."""
    await parts.threads.pin(caller, thread_id, message_id, pinned=True)


@router.delete("/{thread_id}/messages/{message_id}/pin", status_code=204)
async def unpin(thread_id: str, message_id: str, caller: Writer, parts: Parts) -> None:
    """Let a pinned message be summed up like the others."""
    await parts.threads.pin(caller, thread_id, message_id, pinned=False)
