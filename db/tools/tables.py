"""Tables of tool calls, decisions, effects and to-dos."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Text,
)
from sqlalchemy import (
    text as sql,
)
from sqlmodel import Field

from db import columns


class ToolCallRow(columns.OwnedRow, table=True):
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
    failures: int = Field(sa_column_kwargs={"server_default": sql("0")})
    result: str | None = Field(sa_column=columns.text(nullable=True))
    created_at: datetime = Field(sa_column=columns.time())
    finished_at: datetime | None = Field(sa_column=columns.time(nullable=True))


class DecisionRow(columns.OwnedRow, table=True):
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


class TodoRow(columns.OwnedRow, table=True):
    __tablename__ = "todos"
    user_id: str = Field(primary_key=True, sa_type=Text)
    number: int = Field(primary_key=True)
    title: str = Field(sa_column=columns.text())
    created_at: datetime = Field(sa_column=columns.time())
    completed_at: datetime | None = Field(sa_column=columns.time(nullable=True))
    deleted_at: datetime | None = Field(sa_column=columns.time(nullable=True))


class ToolEffectRow(columns.OwnedRow, table=True):
    __tablename__ = "tool_effects"
    key: str = Field(primary_key=True, sa_type=Text)
    result: dict[str, Any] = Field(sa_column=columns.json())
    created_at: datetime = Field(sa_column=columns.time())
