"""The tables, as SQLModel: what Alembic's check compares the migrated database with.

Queries are SQL, in the file of their noun; these classes are the one description of the columns.
Every table has `tenant_id` and forced row-level security (`tests/test_isolation.py` walks them).
"""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Identity,
    Index,
    LargeBinary,
    Text,
    UniqueConstraint,
)
from sqlalchemy import (
    text as sql,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from db import columns


class TenantRow(SQLModel, table=True):
    __tablename__ = "tenants"
    tenant_id: str = Field(primary_key=True, sa_type=Text)
    name: str = Field(sa_column=columns.text())
    created_at: datetime = Field(sa_column=columns.time())


class ApiKeyRow(columns.Row, table=True):
    __tablename__ = "api_keys"
    id: str = Field(primary_key=True, sa_type=Text)
    name: str = Field(sa_column=columns.text())
    user_id: str = Field(sa_column=columns.text())
    role: int
    hash: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    created_at: datetime = Field(sa_column=columns.time())
    last_used_at: datetime | None = Field(sa_column=columns.time(nullable=True))
    revoked_at: datetime | None = Field(sa_column=columns.time(nullable=True))


class ThreadRow(columns.Row, table=True):
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


class RunRow(columns.Row, table=True):
    __tablename__ = "runs"
    __table_args__ = (
        Index("runs_by_time", "tenant_id", "created_at", "id"),
        Index("runs_open", "tenant_id", "id", postgresql_where=sql("finished_at IS NULL")),
    )
    id: str = Field(primary_key=True, sa_type=Text)
    kind: str = Field(sa_column=columns.text())
    subject_id: str = Field(sa_column=columns.text())
    user_id: str = Field(sa_column=columns.text())
    status: str = Field(sa_column=columns.text())
    outcome: str | None = Field(sa_column=columns.text(nullable=True))
    error_code: str | None = Field(sa_column=columns.text(nullable=True))
    error_detail: str | None = Field(sa_column=columns.text(nullable=True))
    model: str = Field(sa_column=columns.text())
    step: int
    attempt: int
    worker: int | None = Field(sa_column=Column(BigInteger, nullable=True))
    activity_id: str | None = Field(sa_column=columns.text(nullable=True))
    cancelling: bool = Field(sa_column_kwargs={"server_default": sql("false")})
    last_seq: int
    input_tokens: int
    output_tokens: int
    cost_micros: int = Field(sa_column=Column(BigInteger, nullable=False))
    created_at: datetime = Field(sa_column=columns.time())
    active_at: datetime = Field(sa_column=columns.time())
    checked_at: datetime | None = Field(sa_column=columns.time(nullable=True))
    finished_at: datetime | None = Field(sa_column=columns.time(nullable=True))


class RunEventRow(columns.Row, table=True):
    __tablename__ = "run_events"
    __table_args__ = (columns.belongs_to("runs", "run_id"),)
    run_id: str = Field(primary_key=True, sa_type=Text)
    seq: int = Field(primary_key=True)
    step: int
    attempt: int
    type: str = Field(sa_column=columns.text())
    data: dict[str, Any] = Field(sa_column=columns.json())
    created_at: datetime = Field(sa_column=columns.time())


class TurnRow(columns.Row, table=True):
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
    interrupts: str | None = Field(sa_column=columns.text(nullable=True))


class MessageRow(columns.Row, table=True):
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


class ToolCallRow(columns.Row, table=True):
    __tablename__ = "tool_calls"
    __table_args__ = (columns.belongs_to("runs", "run_id"),)
    run_id: str = Field(primary_key=True, sa_type=Text)
    step: int = Field(primary_key=True)
    n: int = Field(primary_key=True)
    call_id: str = Field(sa_column=columns.text())
    name: str = Field(sa_column=columns.text())
    arguments: dict[str, Any] = Field(sa_column=columns.json())
    safety: str = Field(sa_column=columns.text())
    status: str = Field(sa_column=columns.text())
    attempt: int
    worker: int | None = Field(sa_column=Column(BigInteger, nullable=True))
    activity_id: str | None = Field(sa_column=columns.text(nullable=True))
    result: str | None = Field(sa_column=columns.text(nullable=True))
    created_at: datetime = Field(sa_column=columns.time())
    finished_at: datetime | None = Field(sa_column=columns.time(nullable=True))


class DecisionRow(columns.Row, table=True):
    __tablename__ = "decisions"
    __table_args__ = (columns.belongs_to("runs", "run_id"),)
    run_id: str = Field(primary_key=True, sa_type=Text)
    id: str = Field(primary_key=True, sa_type=Text)
    step: int
    n: int
    digest: str = Field(sa_column=columns.text())
    reason: str = Field(sa_column=columns.text())
    verdict: str | None = Field(sa_column=columns.text(nullable=True))
    decided_by: str | None = Field(sa_column=columns.text(nullable=True))
    decided_at: datetime | None = Field(sa_column=columns.time(nullable=True))
    expires_at: datetime = Field(sa_column=columns.time())
    created_at: datetime = Field(sa_column=columns.time())


class TaskRow(columns.Row, table=True):
    __tablename__ = "tasks"
    user_id: str = Field(primary_key=True, sa_type=Text)
    number: int = Field(primary_key=True)
    title: str = Field(sa_column=columns.text())
    created_at: datetime = Field(sa_column=columns.time())
    completed_at: datetime | None = Field(sa_column=columns.time(nullable=True))
    deleted_at: datetime | None = Field(sa_column=columns.time(nullable=True))


class EffectRow(columns.Row, table=True):
    __tablename__ = "effects"
    key: str = Field(primary_key=True, sa_type=Text)
    result: dict[str, Any] = Field(sa_column=columns.json())
    created_at: datetime = Field(sa_column=columns.time())


class AuditRow(columns.Row, table=True):
    __tablename__ = "audit_entries"
    id: int = Field(sa_column=Column(BigInteger, Identity(always=True), primary_key=True))
    actor: str = Field(sa_column=columns.text())
    action: str = Field(sa_column=columns.text())
    subject: str = Field(sa_column=columns.text())
    data: dict[str, Any] = Field(sa_column=columns.json())
    created_at: datetime = Field(sa_column=columns.time())
