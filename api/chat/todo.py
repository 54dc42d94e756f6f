"""The todo agent's endpoint: one request, one answer, on the same turns as everything else."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header
from pydantic import BaseModel

from api.chat.messages import accept, check, message_id_of
from api.deps import Parts, requires
from api.state import State
from domain.chat.threads import Policy
from domain.errors import Forbidden, PerdureError
from domain.fields import Storable
from domain.identity.principals import Principal, Scope
from domain.runs.events import RunEvent
from domain.runs.runs import Outcome, RunRef
from domain.tools.calls import CallStatus

router = APIRouter(prefix="/api", tags=["todo"])
Writer = Annotated[Principal, Depends(requires(Scope.THREADS_WRITE))]
_PATIENCE_SECONDS = 120.0


class ChatRequest(BaseModel):
    """A message to the todo agent; without a conversation it begins one."""

    conversation_id: Storable | None = None
    message: Storable


class ToolUse(BaseModel):
    """A tool that the agent used."""

    tool: str
    arguments: dict[str, Any]
    status: CallStatus
    result: str | None


class ChatResponse(BaseModel):
    """The agent's answer."""

    conversation_id: str
    response: str
    tool_calls: list[ToolUse]


@router.post("/{user_id}/chat")
async def chat(
    user_id: str,
    body: ChatRequest,
    caller: Writer,
    parts: Parts,
    idempotency_key: Annotated[str | None, Header(max_length=255)] = None,
) -> ChatResponse:
    """Say something to the todo agent and wait for its answer; `user_id` must be the caller.

    504 (`run_unfinished`, with the run's id) if it takes longer than two minutes: it goes on.
    """
    if user_id != caller.user_id:
        raise Forbidden("You may only chat as yourself.", code="user_mismatch")
    check(body.message)
    thread_id = body.conversation_id
    if not thread_id:
        thread_id = (await parts.threads.create(caller, "", key=idempotency_key or None)).id
    message_id = message_id_of(idempotency_key)
    run = await accept(parts, caller, thread_id, message_id, body.message, Policy.QUEUE)
    last = await _finished(parts, run)
    return ChatResponse(
        conversation_id=thread_id,
        response=_answer(last),
        tool_calls=await _tool_calls(parts, run),
    )


async def _finished(parts: State, run: RunRef) -> RunEvent:
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            return await parts.hub.finished(run)
    except TimeoutError:
        raise StillRunning("The answer takes longer; see the run.", run_id=run.run_id) from None


class StillRunning(PerdureError):
    """The answer did not come while the caller waited."""

    code = "run_unfinished"
    status = 504


class NoAnswer(PerdureError):
    """The run ended without an answer; `partial` is what it had said."""

    code = "run_failed"
    status = 502


def _answer(last: RunEvent) -> str:
    outcome, text = str(last.data["outcome"]), str(last.data["text"])
    if outcome != Outcome.ANSWERED:
        detail = "The agent could not answer to the end."
        raise NoAnswer(detail, run_id=last.run_id, outcome=outcome, partial=text)
    return text


async def _tool_calls(parts: State, run: RunRef) -> list[ToolUse]:
    return [
        ToolUse(**call.model_dump(exclude={"call_id", "name"}), tool=call.name)
        for call in await parts.calls.of_run(run)
    ]
