"""The tables, as SQLModel: what Alembic's check compares the migrated database with.

Queries are SQL, in the file of their noun; these classes are the one description of the columns.
Every table has `tenant_id` and forced row-level security (`tests/test_isolation.py` walks them).
"""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    ForeignKeyConstraint,
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


def _time(nullable: bool = False) -> Any:
    default = None if nullable else sql("now()")
    return Column(DateTime(timezone=True), nullable=nullable, server_default=default)


def _json() -> Any:
    return Column(JSONB, nullable=False)


def _text(nullable: bool = False) -> Any:
    return Column(Text, nullable=nullable)


class _Row(SQLModel):
    tenant_id: str = Field(primary_key=True, sa_type=Text)


def belongs_to(table: str, *columns: str) -> ForeignKeyConstraint:
    """The foreign key to a row of the same tenant; it goes when that row goes."""
    target = [f"{table}.tenant_id", f"{table}.id"]
    return ForeignKeyConstraint(["tenant_id", *columns], target, ondelete="CASCADE")


class TenantRow(SQLModel, table=True):
    __tablename__ = "tenants"
    tenant_id: str = Field(primary_key=True, sa_type=Text)
    name: str = Field(sa_column=_text())
    created_at: datetime = Field(sa_column=_time())


class ApiKeyRow(_Row, table=True):
    __tablename__ = "api_keys"
    id: str = Field(primary_key=True, sa_type=Text)
    name: str = Field(sa_column=_text())
    user_id: str = Field(sa_column=_text())
    role: int
    hash: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    created_at: datetime = Field(sa_column=_time())
    last_used_at: datetime | None = Field(sa_column=_time(nullable=True))
    revoked_at: datetime | None = Field(sa_column=_time(nullable=True))


class ThreadRow(_Row, table=True):
    __tablename__ = "threads"
    __table_args__ = (Index("threads_by_user", "tenant_id", "user_id", "updated_at", "id"),)
    id: str = Field(primary_key=True, sa_type=Text)
    user_id: str = Field(sa_column=_text())
    title: str = Field(sa_column=_text())
    floor_run_id: str | None = Field(sa_column=_text(nullable=True))
    last_position: int
    archived_at: datetime | None = Field(sa_column=_time(nullable=True))
    created_at: datetime = Field(sa_column=_time())
    updated_at: datetime = Field(sa_column=_time())


class RunRow(_Row, table=True):
    __tablename__ = "runs"
    __table_args__ = (
        Index("runs_by_time", "tenant_id", "created_at", "id"),
        Index("runs_open", "tenant_id", "id", postgresql_where=sql("finished_at IS NULL")),
    )
    id: str = Field(primary_key=True, sa_type=Text)
    kind: str = Field(sa_column=_text())
    subject_id: str = Field(sa_column=_text())
    user_id: str = Field(sa_column=_text())
    status: str = Field(sa_column=_text())
    outcome: str | None = Field(sa_column=_text(nullable=True))
    error_code: str | None = Field(sa_column=_text(nullable=True))
    error_detail: str | None = Field(sa_column=_text(nullable=True))
    model: str = Field(sa_column=_text())
    step: int
    attempt: int
    worker: int | None = Field(sa_column=Column(BigInteger, nullable=True))
    activity_id: str | None = Field(sa_column=_text(nullable=True))
    cancelling: bool = Field(sa_column_kwargs={"server_default": sql("false")})
    last_seq: int
    input_tokens: int
    output_tokens: int
    cost_micros: int = Field(sa_column=Column(BigInteger, nullable=False))
    created_at: datetime = Field(sa_column=_time())
    active_at: datetime = Field(sa_column=_time())
    checked_at: datetime | None = Field(sa_column=_time(nullable=True))
    finished_at: datetime | None = Field(sa_column=_time(nullable=True))


class RunEventRow(_Row, table=True):
    __tablename__ = "run_events"
    __table_args__ = (belongs_to("runs", "run_id"),)
    run_id: str = Field(primary_key=True, sa_type=Text)
    seq: int = Field(primary_key=True)
    step: int
    attempt: int
    type: str = Field(sa_column=_text())
    data: dict[str, Any] = Field(sa_column=_json())
    created_at: datetime = Field(sa_column=_time())


class TurnRow(_Row, table=True):
    __tablename__ = "turns"
    __table_args__ = (
        belongs_to("runs", "run_id"),
        belongs_to("threads", "thread_id"),
        UniqueConstraint("tenant_id", "thread_id", "position"),
    )
    run_id: str = Field(primary_key=True, sa_type=Text)
    thread_id: str = Field(sa_column=_text())
    message_id: str = Field(sa_column=_text())
    position: int
    interrupts: str | None = Field(sa_column=_text(nullable=True))


class MessageRow(_Row, table=True):
    __tablename__ = "messages"
    __table_args__ = (
        belongs_to("threads", "thread_id"),
        Index("messages_in_order", "tenant_id", "thread_id", "position", "step", "part"),
    )
    thread_id: str = Field(primary_key=True, sa_type=Text)
    id: str = Field(primary_key=True, sa_type=Text)
    run_id: str = Field(sa_column=_text())
    position: int
    step: int | None
    part: int
    role: str = Field(sa_column=_text())
    text: str = Field(sa_column=_text())
    partial: bool
    pinned: bool = Field(sa_column_kwargs={"server_default": sql("false")})
    verdict: dict[str, Any] | None = Field(sa_column=Column(JSONB, nullable=True))
    created_at: datetime = Field(sa_column=_time())


class ToolCallRow(_Row, table=True):
    __tablename__ = "tool_calls"
    __table_args__ = (belongs_to("runs", "run_id"),)
    run_id: str = Field(primary_key=True, sa_type=Text)
    step: int = Field(primary_key=True)
    n: int = Field(primary_key=True)
    call_id: str = Field(sa_column=_text())
    name: str = Field(sa_column=_text())
    arguments: dict[str, Any] = Field(sa_column=_json())
    safety: str = Field(sa_column=_text())
    status: str = Field(sa_column=_text())
    attempt: int
    worker: int | None = Field(sa_column=Column(BigInteger, nullable=True))
    activity_id: str | None = Field(sa_column=_text(nullable=True))
    result: str | None = Field(sa_column=_text(nullable=True))
    created_at: datetime = Field(sa_column=_time())
    finished_at: datetime | None = Field(sa_column=_time(nullable=True))


class DecisionRow(_Row, table=True):
    __tablename__ = "decisions"
    __table_args__ = (belongs_to("runs", "run_id"),)
    run_id: str = Field(primary_key=True, sa_type=Text)
    id: str = Field(primary_key=True, sa_type=Text)
    step: int
    n: int
    digest: str = Field(sa_column=_text())
    reason: str = Field(sa_column=_text())
    verdict: str | None = Field(sa_column=_text(nullable=True))
    decided_by: str | None = Field(sa_column=_text(nullable=True))
    decided_at: datetime | None = Field(sa_column=_time(nullable=True))
    expires_at: datetime = Field(sa_column=_time())
    created_at: datetime = Field(sa_column=_time())


class TaskRow(_Row, table=True):
    __tablename__ = "tasks"
    user_id: str = Field(primary_key=True, sa_type=Text)
    number: int = Field(primary_key=True)
    title: str = Field(sa_column=_text())
    created_at: datetime = Field(sa_column=_time())
    completed_at: datetime | None = Field(sa_column=_time(nullable=True))
    deleted_at: datetime | None = Field(sa_column=_time(nullable=True))


class EffectRow(_Row, table=True):
    __tablename__ = "effects"
    key: str = Field(primary_key=True, sa_type=Text)
    result: dict[str, Any] = Field(sa_column=_json())
    created_at: datetime = Field(sa_column=_time())


class AuditRow(_Row, table=True):
    __tablename__ = "audit_entries"
    id: int = Field(sa_column=Column(BigInteger, Identity(always=True), primary_key=True))
    actor: str = Field(sa_column=_text())
    action: str = Field(sa_column=_text())
    subject: str = Field(sa_column=_text())
    data: dict[str, Any] = Field(sa_column=_json())
    created_at: datetime = Field(sa_column=_time())
