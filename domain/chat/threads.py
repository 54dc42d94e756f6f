"""Threads and messages: a user's conversation, as the API takes it in and shows it."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from domain.base import Contract
from domain.names import ID_PATTERN
from domain.tools.calls import ToolCallView

MAX_TEXT_BYTES = 64 * 1024
MessageId = Annotated[str, Field(pattern=ID_PATTERN)]


class Policy(StrEnum):
    """The effect of a message that comes while another turn holds the thread's floor."""

    QUEUE = "queue"  #: waits for its turn
    STEER = "steer"  #: joins the running turn at its next step
    INTERRUPT = "interrupt"  #: stops the running turn, keeps its partial answer, then runs
    REJECT = "reject"  #: is refused with 409


class Thread(Contract):
    """A conversation of one user."""

    id: str
    user_id: str
    title: str
    archived: bool
    created_at: datetime
    updated_at: datetime


class Message(Contract):
    """A message as the API shows it. An answer that was cut short says so in `partial`."""

    id: str
    thread_id: str
    run_id: str
    role: Literal["user", "assistant"]
    text: str
    partial: bool
    pinned: bool = False
    tool_calls: list[ToolCallView]
    created_at: datetime
