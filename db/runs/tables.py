"""Tables of runs, their events and their specs."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    Text,
)
from sqlalchemy import text as sql
from sqlmodel import Field

from db import columns


class RunSpecRow(columns.OwnedRow, table=True):
    __tablename__ = "run_specs"
    __table_args__ = (columns.belongs_to("runs", "run_id"),)
    run_id: str = Field(primary_key=True, sa_type=Text)
    spec: dict[str, Any] = Field(sa_column=columns.json())


class RunRow(columns.OwnedRow, table=True):
    __tablename__ = "runs"
    __table_args__ = (
        Index("runs_by_time", "tenant_id", "created_at", "id"),
        Index("runs_open", "tenant_id", "id", postgresql_where=sql("finished_at IS NULL")),
        CheckConstraint("(status = 'finished') = (finished_at IS NOT NULL)", "runs_finished"),
        CheckConstraint("(outcome IS NOT NULL) = (finished_at IS NOT NULL)", "runs_outcome"),
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


class RunEventRow(columns.OwnedRow, table=True):
    __tablename__ = "run_events"
    __table_args__ = (columns.belongs_to("runs", "run_id"),)
    run_id: str = Field(primary_key=True, sa_type=Text)
    seq: int = Field(primary_key=True)
    step: int
    attempt: int
    type: str = Field(sa_column=columns.text())
    data: dict[str, Any] = Field(sa_column=columns.json())
    created_at: datetime = Field(sa_column=columns.time())
