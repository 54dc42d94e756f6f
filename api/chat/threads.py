"""Threads: conversations of a user."""

from contextlib import suppress
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from api.chat.dependencies import ThreadReader, Threads, ThreadWriter
from api.problems import errors
from api.runs.dependencies import Engine
from domain.base import Page
from domain.chat.errors import MessageUnknown, ThreadUnknown
from domain.chat.threads import Message, Thread
from domain.errors import CursorInvalid, Unavailable
from domain.fields import OneLine
from domain.runs.runs import RunRef

router = APIRouter(prefix="/api/v1/threads", tags=["threads"])
Limit = Annotated[int, Query(ge=1, le=100)]
Cursor = Annotated[str | None, Query(max_length=500)]


_ARCHIVED = {"true": True, "false": False, "any": None}


class ThreadCreate(BaseModel):
    """A new thread; without a title it gets one from its first message."""

    title: Annotated[OneLine, Field(max_length=200)] = ""


class ThreadChange(BaseModel):
    """Changes of a thread; what is left out stays."""

    title: Annotated[OneLine, Field(min_length=1, max_length=200)] | None = None
    archived: bool | None = None


@router.post("", status_code=201)
async def create(
    caller: ThreadWriter, threads: Threads, body: ThreadCreate | None = None
) -> Thread:
    """Start a conversation."""
    return await threads.create(caller, body.title if body else "")


@router.get("", responses=errors(CursorInvalid))
async def find(
    caller: ThreadReader,
    threads: Threads,
    search: Annotated[str | None, Query(max_length=200)] = None,
    archived: Literal["true", "false", "any"] = "false",
    cursor: Cursor = None,
    limit: Limit = 20,
) -> Page[Thread]:
    """List the caller's threads, the latest first; `search` looks into titles and messages."""
    return await threads.find(
        caller, search=search, archived=_ARCHIVED[archived], cursor=cursor, limit=limit
    )


@router.get("/{thread_id}", responses=errors(ThreadUnknown))
async def read(thread_id: str, caller: ThreadReader, threads: Threads) -> Thread:
    """Return one thread."""
    return await threads.read(caller, thread_id)


@router.patch("/{thread_id}", responses=errors(ThreadUnknown))
async def change(
    thread_id: str, body: ThreadChange, caller: ThreadWriter, threads: Threads
) -> Thread:
    """Rename a thread, archive it or bring it back."""
    if not body.model_fields_set:
        return await threads.read(caller, thread_id)
    return await threads.change(caller, thread_id, title=body.title, archived=body.archived)


@router.delete("/{thread_id}", status_code=204, responses=errors(ThreadUnknown))
async def delete(thread_id: str, caller: ThreadWriter, threads: Threads, engine: Engine) -> None:
    """Delete a thread and all that was said in it; a turn that runs is stopped."""
    for run_id in await threads.delete(caller, thread_id):
        # Its rows are gone: without a cancel it ends by itself, at its next step.
        with suppress(Unavailable):
            await engine.cancel(RunRef(tenant_id=caller.tenant_id, run_id=run_id))


@router.get("/{thread_id}/messages", responses=errors(ThreadUnknown, CursorInvalid))
async def messages(
    thread_id: str, caller: ThreadReader, threads: Threads, cursor: Cursor = None, limit: Limit = 50
) -> Page[Message]:
    """List the messages of a thread, in the order of the conversation."""
    return await threads.messages(caller, thread_id, cursor=cursor, limit=limit)


@router.put(
    "/{thread_id}/messages/{message_id}/pin",
    status_code=204,
    responses=errors(ThreadUnknown, MessageUnknown),
)
async def pin(thread_id: str, message_id: str, caller: ThreadWriter, threads: Threads) -> None:
    """Keep a message word for word in every prompt, however long the conversation grows."""
    await threads.pin(caller, thread_id, message_id, pinned=True)


@router.delete(
    "/{thread_id}/messages/{message_id}/pin",
    status_code=204,
    responses=errors(ThreadUnknown, MessageUnknown),
)
async def unpin(thread_id: str, message_id: str, caller: ThreadWriter, threads: Threads) -> None:
    """Let a pinned message be summed up like the others."""
    await threads.pin(caller, thread_id, message_id, pinned=False)
