"""Tables of model calls, caches, budgets, routes, prompts and alerts."""

from datetime import date, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Date,
    DateTime,
    Identity,
    Index,
    UniqueConstraint,
)
from sqlalchemy import Text as TextType
from sqlalchemy import (
    text as sql,
)
from sqlalchemy.dialects.postgresql.base import ischema_names
from sqlalchemy.types import UserDefinedType
from sqlmodel import Field

from db import columns


class Vector(UserDefinedType[Any]):
    """pgvector's type, of any number of dimensions."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "VECTOR"


ischema_names["vector"] = Vector


class ModelCallRow(columns.OwnedRow, table=True):
    __tablename__ = "model_calls"
    __table_args__ = (
        Index("model_calls_by_time", "tenant_id", "created_at"),
        Index("model_calls_by_run", "tenant_id", "run_id", "step"),
        Index("model_calls_open", "created_at", postgresql_where=sql("finished_at IS NULL")),
    )
    id: str = Field(primary_key=True, sa_type=TextType)
    user_id: str = Field(sa_column=columns.text())
    feature: str = Field(sa_column=columns.text())
    run_id: str | None = Field(sa_column=columns.text(nullable=True))
    step: int
    attempt: int
    route: str = Field(sa_column=columns.text())
    deployment: str = Field(sa_column=columns.text())
    provider: str = Field(sa_column=columns.text())
    model: str = Field(sa_column=columns.text())
    reason: str = Field(sa_column=columns.text())
    status: str = Field(sa_column=columns.text())
    cache: str | None = Field(sa_column=columns.text(nullable=True))
    source_call: str | None = Field(sa_column=columns.text(nullable=True))
    prompt: str | None = Field(sa_column=columns.text(nullable=True))
    prompt_version: str | None = Field(sa_column=columns.text(nullable=True))
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    estimated: bool
    cost_micros: int = Field(sa_column=columns.big())
    reserved_micros: int = Field(sa_column=columns.big())
    budgets: list[Any] = Field(sa_column=columns.json())
    input_price: float = Field(sa_column=columns.double())
    output_price: float = Field(sa_column=columns.double())
    first_token_ms: float | None = Field(sa_column=columns.double(nullable=True))
    total_ms: float | None = Field(sa_column=columns.double(nullable=True))
    created_at: datetime = Field(sa_column=columns.time())
    finished_at: datetime | None = Field(sa_column=columns.time(nullable=True))


class AnswerCacheRow(columns.OwnedRow, table=True):
    __tablename__ = "answer_cache"
    __table_args__ = (
        Index("answer_cache_by_scope", "tenant_id", "scope", "expires_at"),
        Index(
            "answer_cache_by_subject",
            "tenant_id",
            "subject",
            postgresql_where=sql("subject IS NOT NULL"),
        ),
    )
    digest: str = Field(primary_key=True, sa_type=TextType)
    route: str = Field(sa_column=columns.text())
    prompt: str | None = Field(sa_column=columns.text(nullable=True))
    prompt_version: str | None = Field(sa_column=columns.text(nullable=True))
    scope: str = Field(sa_column=columns.text())
    question: str = Field(sa_column=columns.text())
    embedding: Any = Field(sa_column=Column(Vector, nullable=True))
    text: str = Field(sa_column=columns.text())
    model: str = Field(sa_column=columns.text())
    input_tokens: int
    output_tokens: int
    call_id: str = Field(sa_column=columns.text())
    subject: str | None = Field(sa_column=columns.text(nullable=True))
    hits: int = Field(sa_column_kwargs={"server_default": sql("0")})
    created_at: datetime = Field(sa_column=columns.time())
    expires_at: datetime = Field(sa_column=columns.time())


class EmbeddingRow(columns.OwnedRow, table=True):
    __tablename__ = "embeddings"
    model: str = Field(primary_key=True, sa_type=TextType)
    digest: str = Field(primary_key=True, sa_type=TextType)
    embedding: Any = Field(sa_column=Column(Vector, nullable=False))
    created_at: datetime = Field(sa_column=columns.time())


class BudgetRow(columns.OwnedRow, table=True):
    __tablename__ = "budgets"
    id: str = Field(primary_key=True, sa_type=TextType)
    scope: str = Field(sa_column=columns.text())
    subject: str = Field(sa_column=columns.text())
    period: str = Field(sa_column=columns.text())
    soft_micros: int | None = Field(sa_column=columns.big(nullable=True))
    hard_micros: int | None = Field(sa_column=columns.big(nullable=True))
    downgrade_to: str | None = Field(sa_column=columns.text(nullable=True))
    created_by: str = Field(sa_column=columns.text())
    created_at: datetime = Field(sa_column=columns.time())
    updated_at: datetime = Field(sa_column=columns.time())


class BudgetSpendingRow(columns.OwnedRow, table=True):
    __tablename__ = "budget_spending"
    __table_args__ = (columns.belongs_to("budgets", "budget_id"),)
    budget_id: str = Field(primary_key=True, sa_type=TextType)
    subject: str = Field(primary_key=True, sa_type=TextType)
    starts_on: date = Field(primary_key=True, sa_type=Date)
    spent_micros: int = Field(sa_column=columns.big())
    reserved_micros: int = Field(sa_column=columns.big())
    warned_at: datetime | None = Field(sa_column=columns.time(nullable=True))


class RouteOverrideRow(columns.OwnedRow, table=True):
    __tablename__ = "route_overrides"
    route: str = Field(primary_key=True, sa_type=TextType)
    value: dict[str, Any] = Field(sa_column=columns.json())
    changed_by: str = Field(sa_column=columns.text())
    changed_at: datetime = Field(sa_column=columns.time())


class PromptVersionRow(columns.OwnedRow, table=True):
    __tablename__ = "prompt_versions"
    name: str = Field(primary_key=True, sa_type=TextType)
    version: int = Field(primary_key=True)
    text: str = Field(sa_column=columns.text())
    status: str = Field(sa_column=columns.text())
    created_by: str = Field(sa_column=columns.text())
    created_at: datetime = Field(sa_column=columns.time())
    approved_by: str | None = Field(sa_column=columns.text(nullable=True))
    approved_at: datetime | None = Field(sa_column=columns.time(nullable=True))
    activated_at: datetime | None = Field(sa_column=columns.time(nullable=True))


class AlertRow(columns.OwnedRow, table=True):
    __tablename__ = "alerts"
    __table_args__ = (UniqueConstraint("tenant_id", "kind", "subject", "bucket"),)
    id: int = Field(sa_column=Column(BigInteger, Identity(always=True), primary_key=True))
    kind: str = Field(sa_column=columns.text())
    subject: str = Field(sa_column=columns.text())
    bucket: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))
    data: dict[str, Any] = Field(sa_column=columns.json())
    count: int = Field(sa_column_kwargs={"server_default": sql("1")})
    created_at: datetime = Field(sa_column=columns.time())
    last_at: datetime = Field(sa_column=columns.time())
