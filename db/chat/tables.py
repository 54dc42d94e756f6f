"""Tables of threads, turns, messages and summaries."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    Column,
    Index,
    Text,
    UniqueConstraint,
)
from sqlalchemy import Text as TextType
from sqlalchemy import (
    text as sql,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from db import columns


class SummaryRow(columns.OwnedRow, table=True):
    __tablename__ = "summaries"
    __table_args__ = (columns.belongs_to("threads", "thread_id"),)
    thread_id: str = Field(primary_key=True, sa_type=TextType)
    position: int = Field(primary_key=True)
    text: str = Field(sa_column=columns.text())
    run_id: str = Field(sa_column=columns.text())
    prompt_version: str = Field(sa_column=columns.text())
    tokens_before: int
    tokens_after: int
    created_at: datetime = Field(sa_column=columns.time())


class ThreadRow(columns.OwnedRow, table=True):
    __tablename__ = "threads"
    __table_args__ = (Index("threads_by_user", "tenant_id", "user_id", "updated_at", "id"),)
    id: str = Field(primary_key=True, sa_type=Text)
    user_id: str = Field(sa_column=columns.text())
    title: str = Field(sa_column=columns.text())
    floor_run_id: str | None = Field(sa_column=columns.text(nullable=True))
    last_position: int
    archived_at: datetime | None = Field(sa_column=columns.time(nullable=True))
    created_at: datetime = Field(sa_column=columns.time())
    updated_at: datetime = Field(sa_column=columns.time())


class TurnRow(columns.OwnedRow, table=True):
    __tablename__ = "turns"
    __table_args__ = (
        columns.belongs_to("runs", "run_id"),
        columns.belongs_to("threads", "thread_id"),
        UniqueConstraint("tenant_id", "thread_id", "position"),
    )
    run_id: str = Field(primary_key=True, sa_type=Text)
    thread_id: str = Field(sa_column=columns.text())
    message_id: str = Field(sa_column=columns.text())
    position: int


class MessageRow(columns.OwnedRow, table=True):
    __tablename__ = "messages"
    __table_args__ = (
        columns.belongs_to("threads", "thread_id"),
        Index("messages_in_order", "tenant_id", "thread_id", "position", "step", "part"),
    )
    thread_id: str = Field(primary_key=True, sa_type=Text)
    id: str = Field(primary_key=True, sa_type=Text)
    run_id: str = Field(sa_column=columns.text())
    position: int
    step: int | None
    part: int
    role: str = Field(sa_column=columns.text())
    text: str = Field(sa_column=columns.text())
    partial: bool
    pinned: bool = Field(sa_column_kwargs={"server_default": sql("false")})
    verdict: dict[str, Any] | None = Field(sa_column=Column(JSONB, nullable=True))
    created_at: datetime = Field(sa_column=columns.time())
