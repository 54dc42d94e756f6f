"""The tables of model calls, beside those in `db/tables.py`."""

from datetime import date, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Date,
    DateTime,
    Double,
    Identity,
    Index,
    UniqueConstraint,
)
from sqlalchemy import Text as TextType
from sqlalchemy import (
    text as sql,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql.base import ischema_names
from sqlalchemy.types import UserDefinedType
from sqlmodel import Field, SQLModel

from db.tables import belongs_to


class Vector(UserDefinedType[Any]):
    """pgvector's type, of any number of dimensions."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "VECTOR"


ischema_names["vector"] = Vector


def _time(nullable: bool = False) -> Any:
    default = None if nullable else sql("now()")
    return Column(DateTime(timezone=True), nullable=nullable, server_default=default)


def _text(nullable: bool = False) -> Any:
    return Column(TextType, nullable=nullable)


def _json() -> Any:
    return Column(JSONB, nullable=False)


def _big(nullable: bool = False) -> Any:
    return Column(BigInteger, nullable=nullable)


def _double(nullable: bool = False) -> Any:
    return Column(Double, nullable=nullable)


class _Row(SQLModel):
    tenant_id: str = Field(primary_key=True, sa_type=TextType)


class ModelCallRow(_Row, table=True):
    __tablename__ = "model_calls"
    __table_args__ = (
        Index("model_calls_by_time", "tenant_id", "created_at"),
        Index("model_calls_by_run", "tenant_id", "run_id", "step"),
        Index("model_calls_open", "created_at", postgresql_where=sql("finished_at IS NULL")),
    )
    id: str = Field(primary_key=True, sa_type=TextType)
    user_id: str = Field(sa_column=_text())
    feature: str = Field(sa_column=_text())
    run_id: str | None = Field(sa_column=_text(nullable=True))
    step: int
    attempt: int
    route: str = Field(sa_column=_text())
    deployment: str = Field(sa_column=_text())
    provider: str = Field(sa_column=_text())
    model: str = Field(sa_column=_text())
    reason: str = Field(sa_column=_text())
    status: str = Field(sa_column=_text())
    cache: str | None = Field(sa_column=_text(nullable=True))
    source_call: str | None = Field(sa_column=_text(nullable=True))
    prompt: str | None = Field(sa_column=_text(nullable=True))
    prompt_version: str | None = Field(sa_column=_text(nullable=True))
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    estimated: bool
    cost_micros: int = Field(sa_column=_big())
    reserved_micros: int = Field(sa_column=_big())
    budgets: list[Any] = Field(sa_column=_json())
    input_price: float = Field(sa_column=_double())
    output_price: float = Field(sa_column=_double())
    first_token_ms: float | None = Field(sa_column=_double(nullable=True))
    total_ms: float | None = Field(sa_column=_double(nullable=True))
    created_at: datetime = Field(sa_column=_time())
    finished_at: datetime | None = Field(sa_column=_time(nullable=True))


class ModelCacheRow(_Row, table=True):
    __tablename__ = "model_cache"
    __table_args__ = (Index("model_cache_by_scope", "tenant_id", "scope", "expires_at"),)
    digest: str = Field(primary_key=True, sa_type=TextType)
    route: str = Field(sa_column=_text())
    prompt: str | None = Field(sa_column=_text(nullable=True))
    prompt_version: str | None = Field(sa_column=_text(nullable=True))
    scope: str = Field(sa_column=_text())
    question: str = Field(sa_column=_text())
    embedding: Any = Field(sa_column=Column(Vector, nullable=True))
    text: str = Field(sa_column=_text())
    model: str = Field(sa_column=_text())
    input_tokens: int
    output_tokens: int
    call_id: str = Field(sa_column=_text())
    hits: int = Field(sa_column_kwargs={"server_default": sql("0")})
    created_at: datetime = Field(sa_column=_time())
    expires_at: datetime = Field(sa_column=_time())


class EmbeddingRow(_Row, table=True):
    __tablename__ = "embeddings"
    model: str = Field(primary_key=True, sa_type=TextType)
    digest: str = Field(primary_key=True, sa_type=TextType)
    embedding: Any = Field(sa_column=Column(Vector, nullable=False))
    created_at: datetime = Field(sa_column=_time())


class BudgetRow(_Row, table=True):
    __tablename__ = "budgets"
    id: str = Field(primary_key=True, sa_type=TextType)
    scope: str = Field(sa_column=_text())
    subject: str = Field(sa_column=_text())
    period: str = Field(sa_column=_text())
    soft_micros: int | None = Field(sa_column=_big(nullable=True))
    hard_micros: int | None = Field(sa_column=_big(nullable=True))
    downgrade_to: str | None = Field(sa_column=_text(nullable=True))
    created_by: str = Field(sa_column=_text())
    created_at: datetime = Field(sa_column=_time())
    updated_at: datetime = Field(sa_column=_time())


class BudgetSpendingRow(_Row, table=True):
    __tablename__ = "budget_spending"
    __table_args__ = (belongs_to("budgets", "budget_id"),)
    budget_id: str = Field(primary_key=True, sa_type=TextType)
    subject: str = Field(primary_key=True, sa_type=TextType)
    starts_on: date = Field(primary_key=True, sa_type=Date)
    spent_micros: int = Field(sa_column=_big())
    reserved_micros: int = Field(sa_column=_big())
    warned_at: datetime | None = Field(sa_column=_time(nullable=True))


class RouteOverrideRow(_Row, table=True):
    __tablename__ = "route_overrides"
    route: str = Field(primary_key=True, sa_type=TextType)
    value: dict[str, Any] = Field(sa_column=_json())
    changed_by: str = Field(sa_column=_text())
    changed_at: datetime = Field(sa_column=_time())


class PromptVersionRow(_Row, table=True):
    __tablename__ = "prompt_versions"
    name: str = Field(primary_key=True, sa_type=TextType)
    version: int = Field(primary_key=True)
    text: str = Field(sa_column=_text())
    status: str = Field(sa_column=_text())
    created_by: str = Field(sa_column=_text())
    created_at: datetime = Field(sa_column=_time())
    approved_by: str | None = Field(sa_column=_text(nullable=True))
    approved_at: datetime | None = Field(sa_column=_time(nullable=True))
    activated_at: datetime | None = Field(sa_column=_time(nullable=True))


class AlertRow(_Row, table=True):
    __tablename__ = "alerts"
    __table_args__ = (UniqueConstraint("tenant_id", "kind", "subject", "bucket"),)
    id: int = Field(sa_column=Column(BigInteger, Identity(always=True), primary_key=True))
    kind: str = Field(sa_column=_text())
    subject: str = Field(sa_column=_text())
    bucket: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))
    data: dict[str, Any] = Field(sa_column=_json())
    count: int = Field(sa_column_kwargs={"server_default": sql("1")})
    created_at: datetime = Field(sa_column=_time())
    last_at: datetime = Field(sa_column=_time())


class SummaryRow(_Row, table=True):
    __tablename__ = "summaries"
    __table_args__ = (belongs_to("threads", "thread_id"),)
    thread_id: str = Field(primary_key=True, sa_type=TextType)
    position: int = Field(primary_key=True)
    text: str = Field(sa_column=_text())
    run_id: str = Field(sa_column=_text())
    prompt_version: str = Field(sa_column=_text())
    tokens_before: int
    tokens_after: int
    created_at: datetime = Field(sa_column=_time())
