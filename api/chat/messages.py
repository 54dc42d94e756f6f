"""Chat: a message goes in, a run comes out."""

import uuid
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from api.deps import Parts, requires
from api.runs.accepting import headers_of, key_of, start
from api.runs.runs import event_stream
from api.state import State
from domain.chat.threads import MAX_TEXT_BYTES, MessageId, Policy
from domain.chat.turns import NewMessage, TurnLimits
from domain.errors import Invalid, TooLarge
from domain.fields import Storable
from domain.gateway.routes import CHAT
from domain.identity.principals import Principal, Scope
from domain.runs.runs import RunRef
from domain.settings import Settings

router = APIRouter(prefix="/api/v1/threads", tags=["chat"])
Writer = Annotated[Principal, Depends(requires(Scope.THREADS_WRITE))]


class MessageCreate(BaseModel):
    """A message. Its id is its idempotency key: the same id is the same message."""

    text: Storable
    message_id: MessageId | None = None
    policy: Policy = Policy.QUEUE


class MessageAccepted(BaseModel):
    """The run that answers a message."""

    run_id: str
    thread_id: str
    message_id: str


@router.post("/{thread_id}/messages", status_code=202, response_model=MessageAccepted)
async def send(
    thread_id: str,
    body: MessageCreate,
    caller: Writer,
    parts: Parts,
    request: Request,
    idempotency_key: Annotated[str | None, Header(max_length=255)] = None,
) -> Response:
    """Answer a message; sending it again joins the turn that answers it.

    With `Accept: text/event-stream` the answer is the run's event stream.
    """
    message_id = body.message_id or message_id_of(idempotency_key)
    run = await accept(parts, caller, thread_id, message_id, body.text, body.policy)
    headers = headers_of(run)
    if "text/event-stream" in request.headers.get("accept", ""):
        return event_stream(parts, run, 0, headers)
    accepted = MessageAccepted(run_id=run.run_id, thread_id=thread_id, message_id=message_id)
    return JSONResponse(accepted.model_dump(), 202, headers)


async def accept(
    parts: State, caller: Principal, thread_id: str, message_id: str, text: str, policy: Policy
) -> RunRef:
    """Write a message into the record and start its turn; raises Invalid, TooLarge, NotFound and
    Conflict."""
    check(text)
    message = NewMessage(
        tenant_id=caller.tenant_id,
        user_id=caller.user_id,
        thread_id=thread_id,
        message_id=message_id,
        text=text,
        policy=policy,
        model=CHAT,
        first_model=parts.settings.model_of(CHAT),
        limits=_limits(parts.settings),
        any_thread=caller.may(Scope.THREADS_ADMIN),
    )
    run, spec = await parts.turns.accept(message)
    await start(parts, spec)
    return run


def _limits(settings: Settings) -> TurnLimits:
    return TurnLimits(
        max_steps=settings.max_steps,
        limit_seconds=settings.turn_seconds,
        decision_seconds=settings.decision_seconds,
    )


def check(text: str) -> None:
    """Raises Invalid for an empty text, TooLarge for one of more than 64 KiB."""
    if not text.strip():
        raise Invalid("A message needs a text.", code="text_empty")
    if len(text.encode()) > MAX_TEXT_BYTES:
        limit = MAX_TEXT_BYTES // 1024
        raise TooLarge(f"A text may have {limit} KiB; more is an attachment.", code="text_too_long")


def message_id_of(idempotency_key: str | None) -> str:
    """The message id that an `Idempotency-Key` stands for, or a new one."""
    return key_of(idempotency_key) or uuid.uuid4().hex
