"""Tables of tenants, their API keys and the audit trail."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Identity,
    LargeBinary,
    Text,
)
from sqlmodel import Field, SQLModel

from db import columns


class TenantRow(SQLModel, table=True):
    __tablename__ = "tenants"
    tenant_id: str = Field(primary_key=True, sa_type=Text)
    name: str = Field(sa_column=columns.text())
    created_at: datetime = Field(sa_column=columns.time())


class ApiKeyRow(columns.OwnedRow, table=True):
    __tablename__ = "api_keys"
    id: str = Field(primary_key=True, sa_type=Text)
    name: str = Field(sa_column=columns.text())
    user_id: str = Field(sa_column=columns.text())
    role: int
    hash: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    created_at: datetime = Field(sa_column=columns.time())
    last_used_at: datetime | None = Field(sa_column=columns.time(nullable=True))
    revoked_at: datetime | None = Field(sa_column=columns.time(nullable=True))


class AuditRow(columns.OwnedRow, table=True):
    __tablename__ = "audit_entries"
    id: int = Field(sa_column=Column(BigInteger, Identity(always=True), primary_key=True))
    actor: str = Field(sa_column=columns.text())
    action: str = Field(sa_column=columns.text())
    subject: str = Field(sa_column=columns.text())
    data: dict[str, Any] = Field(sa_column=columns.json())
    created_at: datetime = Field(sa_column=columns.time())
