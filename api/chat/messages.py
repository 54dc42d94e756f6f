"""Messages: a message goes in, a run comes out."""

import uuid
from typing import Annotated

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from api.chat.acceptance import REFUSALS
from api.chat.dependencies import Acceptance, ThreadWriter
from api.problems import errors
from api.runs.accepting import headers_of, key_of
from api.runs.dependencies import Hub
from api.runs.streaming import sse
from domain.chat.threads import MessageId, Policy
from domain.fields import Storable

router = APIRouter(prefix="/api/v1/threads", tags=["chat"])


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


@router.post(
    "/{thread_id}/messages",
    status_code=202,
    response_model=MessageAccepted,
    responses=errors(*REFUSALS),
)
async def send(
    thread_id: str,
    body: MessageCreate,
    caller: ThreadWriter,
    acceptance: Acceptance,
    hub: Hub,
    request: Request,
    idempotency_key: Annotated[str | None, Header(max_length=255)] = None,
) -> Response:
    """Answer a message; sending it again joins the turn that answers it.

    With `Accept: text/event-stream` the answer is the run's event stream.
    """
    message_id = body.message_id or message_id_of(idempotency_key)
    run = await acceptance.accept(caller, thread_id, message_id, body.text, body.policy)
    headers = headers_of(run)
    if "text/event-stream" in request.headers.get("accept", ""):
        return sse(hub.stream(run, 0), **headers)
    accepted = MessageAccepted(run_id=run.run_id, thread_id=thread_id, message_id=message_id)
    return JSONResponse(accepted.model_dump(), 202, headers)


def message_id_of(idempotency_key: str | None) -> str:
    """Return the message id that an `Idempotency-Key` stands for, or a new one."""
    return key_of(idempotency_key) or uuid.uuid4().hex
