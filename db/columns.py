"""Columns of the tables' classes."""

from typing import Any

from sqlalchemy import BigInteger, Column, DateTime, Double, ForeignKeyConstraint, Text
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel


class OwnedRow(SQLModel):
    """A row that belongs to a tenant."""

    tenant_id: str = Field(primary_key=True, sa_type=Text)


def time(nullable: bool = False) -> Any:
    """Return a column for a moment; its default is now, unless it may be missing."""
    default = None if nullable else sql("now()")
    return Column(DateTime(timezone=True), nullable=nullable, server_default=default)


def moment() -> Any:
    """Return a column for a moment that has no default."""
    return Column(DateTime(timezone=True), nullable=False)


def json(nullable: bool = False) -> Any:
    """Return a column for any JSON."""
    return Column(JSONB, nullable=nullable)


def text(nullable: bool = False) -> Any:
    """Return a column for any text."""
    return Column(Text, nullable=nullable)


def big(nullable: bool = False, default: str | None = None) -> Any:
    """Return a column for a whole number of 64 bits."""
    return Column(BigInteger, nullable=nullable, server_default=_default(default))


def double(nullable: bool = False, default: str | None = None) -> Any:
    """Return a column for a number of double precision."""
    return Column(Double, nullable=nullable, server_default=_default(default))


def _default(value: str | None) -> Any:
    return None if value is None else sql(value)


def belongs_to(table: str, *columns: str) -> ForeignKeyConstraint:
    """Return the foreign key to a row of the same tenant; deleting that row deletes this one."""
    target = [f"{table}.tenant_id", f"{table}.id"]
    return ForeignKeyConstraint(["tenant_id", *columns], target, ondelete="CASCADE")
