"""The todo agent's endpoint: one request, one answer, on the same turns as everything else."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Header
from pydantic import BaseModel

from api.chat.acceptance import REFUSALS, check_text
from api.chat.dependencies import Acceptance, Threads, ThreadWriter
from api.chat.messages import message_id_of
from api.problems import errors
from api.runs.dependencies import Hub, ToolCalls
from domain.chat.threads import Policy
from domain.errors import PerdureError
from domain.fields import Storable
from domain.identity.errors import UserMismatch
from domain.runs.errors import RunUnknown
from domain.runs.events import RunEvent
from domain.runs.runs import Outcome, RunRef
from domain.tools.calls import CallStatus

router = APIRouter(prefix="/api", tags=["todo"])
_WAIT_SECONDS = 120.0


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


class RunUnfinished(PerdureError):
    """The answer takes longer than two minutes: the run goes on."""

    code = "run_unfinished"
    status = 504


class RunFailed(PerdureError):
    """The agent could not answer to the end.

    `partial` is what it had said.
    """

    code = "run_failed"
    status = 502


@router.post(
    "/{user_id}/chat",
    responses=errors(UserMismatch, *REFUSALS, RunUnknown, RunUnfinished, RunFailed),
)
async def chat(
    user_id: str,
    body: ChatRequest,
    caller: ThreadWriter,
    threads: Threads,
    acceptance: Acceptance,
    hub: Hub,
    tool_calls: ToolCalls,
    idempotency_key: Annotated[str | None, Header(max_length=255)] = None,
) -> ChatResponse:
    """Say something to the todo agent and wait for its answer; `user_id` must be the caller.

    504 (`run_unfinished`, with the run's id) if it takes longer than two minutes: it goes on.
    """
    if user_id != caller.user_id:
        raise UserMismatch
    check_text(body.message)
    thread_id = body.conversation_id
    if not thread_id:
        thread_id = (await threads.create(caller, "", key=idempotency_key or None)).id
    message_id = message_id_of(idempotency_key)
    run = await acceptance.accept(caller, thread_id, message_id, body.message, Policy.QUEUE)
    last = await _last_event(hub, run)
    return ChatResponse(
        conversation_id=thread_id,
        response=_answer(last),
        tool_calls=[
            ToolUse(**call.model_dump(exclude={"call_id", "name"}), tool=call.name)
            for call in await tool_calls.of_run(run)
        ],
    )


async def _last_event(hub: Hub, run: RunRef) -> RunEvent:
    try:
        async with asyncio.timeout(_WAIT_SECONDS):
            return await hub.finished(run)
    except TimeoutError:
        raise RunUnfinished(run_id=run.run_id) from None


def _answer(last: RunEvent) -> str:
    outcome, text = str(last.data["outcome"]), str(last.data["text"])
    if outcome != Outcome.ANSWERED:
        raise RunFailed(run_id=last.run_id, outcome=outcome, partial=text)
    return text
