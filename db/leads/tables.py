"""Tables of leads, their events and requests for scores."""

from datetime import datetime
from typing import Any

from sqlalchemy import Index, Text
from sqlalchemy import text as sql
from sqlmodel import Field

from db import columns


class LeadRow(columns.OwnedRow, table=True):
    __tablename__ = "leads"
    __table_args__ = (
        Index("leads_by_change", "tenant_id", "updated_at", "id"),
        Index(
            "leads_by_outcome",
            "tenant_id",
            "outcome_at",
            postgresql_where=sql("outcome IS NOT NULL"),
        ),
    )
    id: str = Field(primary_key=True, sa_type=Text)
    profile: dict[str, Any] = Field(sa_column=columns.json())
    outcome: str | None = Field(sa_column=columns.text(nullable=True))
    outcome_at: datetime | None = Field(sa_column=columns.time(nullable=True))
    outcome_value: float | None = Field(sa_column=columns.double(nullable=True))
    created_at: datetime = Field(sa_column=columns.time())
    updated_at: datetime = Field(sa_column=columns.time())


class LeadEventRow(columns.OwnedRow, table=True):
    __tablename__ = "lead_events"
    __table_args__ = (
        columns.belongs_to("leads", "lead_id"),
        Index("lead_events_by_time", "tenant_id", "lead_id", "time"),
    )
    lead_id: str = Field(primary_key=True, sa_type=Text)
    id: str = Field(primary_key=True, sa_type=Text)
    type: str = Field(sa_column=columns.text())
    time: datetime = Field(sa_column=columns.moment())
    properties: dict[str, Any] = Field(sa_column=columns.json())
    created_at: datetime = Field(sa_column=columns.time())


class ScoreRequestRow(columns.OwnedRow, table=True):
    __tablename__ = "score_requests"
    lead_id: str = Field(primary_key=True, sa_type=Text)
    run_id: str | None = Field(sa_column=columns.text(nullable=True))
    streak: int = Field(sa_column_kwargs={"server_default": sql("0")})
    requested_at: datetime = Field(sa_column=columns.time())
