"""Tables of scores, batches, models, experiments and checks."""

from datetime import datetime
from typing import Any

from sqlalchemy import Index, Text
from sqlalchemy import text as sql
from sqlmodel import Field

from db import columns


class ScoreRow(columns.OwnedRow, table=True):
    __tablename__ = "scores"
    __table_args__ = (
        Index("scores_by_lead", "tenant_id", "lead_id", "calculated_at"),
        Index(
            "scores_by_experiment",
            "tenant_id",
            "experiment_id",
            "lead_id",
            postgresql_where=sql("experiment_id IS NOT NULL"),
        ),
        Index("scores_by_time", "tenant_id", "calculated_at", "lead_id"),
        Index(
            "scores_by_model",
            "tenant_id",
            "model_version",
            "calculated_at",
            "lead_id",
            postgresql_where=sql("visible"),
        ),
    )
    run_id: str = Field(primary_key=True, sa_type=Text)
    lead_id: str = Field(primary_key=True, sa_type=Text)
    arm: str = Field(primary_key=True, sa_type=Text)
    score: float = Field(sa_column=columns.double())
    confidence: float = Field(sa_column=columns.double())
    reasoning: str = Field(sa_column=columns.text())
    components: list[Any] = Field(sa_column=columns.json())
    features: dict[str, Any] = Field(sa_column=columns.json())
    model_version: str = Field(sa_column=columns.text())
    experiment_id: str | None = Field(sa_column=columns.text(nullable=True))
    visible: bool
    requested_by: str = Field(sa_column=columns.text())
    inputs_digest: str = Field(sa_column=columns.text())
    cost_micros: int = Field(sa_column=columns.big())
    calculated_at: datetime = Field(sa_column=columns.moment())
    expires_at: datetime = Field(sa_column=columns.moment())


class CurrentScoreRow(columns.OwnedRow, table=True):
    __tablename__ = "current_scores"
    __table_args__ = (Index("current_scores_by_score", "tenant_id", "score", "lead_id"),)
    lead_id: str = Field(primary_key=True, sa_type=Text)
    run_id: str = Field(sa_column=columns.text())
    arm: str = Field(sa_column=columns.text())
    score: float = Field(sa_column=columns.double())
    calculated_at: datetime = Field(sa_column=columns.moment())


class BatchFailureRow(columns.OwnedRow, table=True):
    __tablename__ = "batch_failures"
    run_id: str = Field(primary_key=True, sa_type=Text)
    lead_id: str = Field(primary_key=True, sa_type=Text)
    code: str = Field(sa_column=columns.text())
    detail: str = Field(sa_column=columns.text())
    created_at: datetime = Field(sa_column=columns.time())


class BatchRow(columns.OwnedRow, table=True):
    __tablename__ = "batches"
    __table_args__ = (columns.belongs_to("runs", "run_id"),)
    run_id: str = Field(primary_key=True, sa_type=Text)
    mode: str = Field(sa_column=columns.text())
    plan: dict[str, Any] = Field(sa_column=columns.json())
    selection: dict[str, Any] = Field(sa_column=columns.json())
    parallel: int | None
    note: str = Field(sa_column=columns.text())
    total: int | None
    scored: int = Field(sa_column_kwargs={"server_default": sql("0")})
    failed: int = Field(sa_column_kwargs={"server_default": sql("0")})
    cost_micros: int = Field(sa_column=columns.big(default="0"))
    paused: bool = Field(sa_column_kwargs={"server_default": sql("false")})
    closed: bool = Field(sa_column_kwargs={"server_default": sql("false")})
    rate: float = Field(sa_column=columns.double(default="0"))
    reported: int = Field(sa_column_kwargs={"server_default": sql("0")})
    reported_at: datetime | None = Field(sa_column=columns.time(nullable=True))
    created_at: datetime = Field(sa_column=columns.time())


class ScoringModelRow(columns.OwnedRow, table=True):
    __tablename__ = "scoring_models"
    __table_args__ = (
        Index(
            "scoring_models_champion",
            "tenant_id",
            unique=True,
            postgresql_where=sql("status = 'champion'"),
        ),
        Index(
            "scoring_models_by_run",
            "tenant_id",
            "run_id",
            unique=True,
            postgresql_where=sql("run_id IS NOT NULL"),
        ),
    )
    name: str = Field(primary_key=True, sa_type=Text)
    version: int = Field(primary_key=True)
    kind: str = Field(sa_column=columns.text())
    status: str = Field(sa_column=columns.text())
    description: str = Field(sa_column=columns.text())
    definition: dict[str, Any] = Field(sa_column=columns.json())
    window_from: datetime | None = Field(sa_column=columns.time(nullable=True))
    window_to: datetime | None = Field(sa_column=columns.time(nullable=True))
    metrics: dict[str, Any] | None = Field(sa_column=columns.json(nullable=True))
    baseline: dict[str, Any] | None = Field(sa_column=columns.json(nullable=True))
    run_id: str | None = Field(sa_column=columns.text(nullable=True))
    created_by: str = Field(sa_column=columns.text())
    created_at: datetime = Field(sa_column=columns.time())
    approved_by: str | None = Field(sa_column=columns.text(nullable=True))
    approved_at: datetime | None = Field(sa_column=columns.time(nullable=True))
    promoted_by: str | None = Field(sa_column=columns.text(nullable=True))
    promoted_at: datetime | None = Field(sa_column=columns.time(nullable=True))
    retired_at: datetime | None = Field(sa_column=columns.time(nullable=True))


class ScoringSettingsRow(columns.OwnedRow, table=True):
    __tablename__ = "scoring_settings"
    four_eyes: bool
    valid_hours: float = Field(sa_column=columns.double())
    rescore: bool
    changed_by: str = Field(sa_column=columns.text())
    changed_at: datetime = Field(sa_column=columns.time())


class ExperimentRow(columns.OwnedRow, table=True):
    __tablename__ = "experiments"
    __table_args__ = (
        Index(
            "experiments_running",
            "tenant_id",
            unique=True,
            postgresql_where=sql("status = 'running'"),
        ),
    )
    id: str = Field(primary_key=True, sa_type=Text)
    arms: list[Any] = Field(sa_column=columns.json())
    filter: dict[str, Any] | None = Field(sa_column=columns.json(nullable=True))
    status: str = Field(sa_column=columns.text())
    created_by: str = Field(sa_column=columns.text())
    created_at: datetime = Field(sa_column=columns.time())
    stopped_at: datetime | None = Field(sa_column=columns.time(nullable=True))


class CheckRow(columns.OwnedRow, table=True):
    __tablename__ = "checks"
    __table_args__ = (columns.belongs_to("runs", "run_id"),)
    run_id: str = Field(primary_key=True, sa_type=Text)
    request: dict[str, Any] = Field(sa_column=columns.json())
    drift: list[Any] = Field(sa_column=columns.json())
    fairness: dict[str, Any] | None = Field(sa_column=columns.json(nullable=True))
    alerts: int
    created_at: datetime = Field(sa_column=columns.time())
