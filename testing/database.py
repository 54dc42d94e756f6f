"""The database of a stack, seen by its owner and by the application's role."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.sql import SQL, Identifier

from db.session import seal_key, sealed
from domain.settings import Settings
from testing.stack import Stack


def settings_of(stack: Stack) -> Settings:
    """The settings that lead to a stack's database."""
    return stack.settings


def url_of(stack: Stack, *, owner: bool) -> str:
    """How to log in, as the owner or as the application."""
    settings = settings_of(stack)
    url = settings.database_owner_url if owner else settings.database_url
    assert url is not None
    return url.get_secret_value()


def seal_of(stack: Stack, tenant: str) -> str:
    """What the application says to act for a tenant."""
    return sealed(seal_key(settings_of(stack).secret.get_secret_value()), tenant)


@contextmanager
def as_owner(stack: Stack) -> Iterator[psycopg.Connection[Any]]:
    """A connection that may see everything."""
    with psycopg.connect(url_of(stack, owner=True), autocommit=True) as connection:
        yield connection


@contextmanager
def as_application(stack: Stack, tenant: str | None = None) -> Iterator[psycopg.Connection[Any]]:
    """A connection of the application's role, inside a transaction of a tenant, or of none."""
    with psycopg.connect(url_of(stack, owner=False)) as connection:
        if tenant is not None:
            claim = seal_of(stack, tenant)
            connection.execute("SELECT set_config('perdure.tenant', %s, false)", [claim])
        yield connection
        connection.rollback()


def row_counts(stack: Stack, tenant: str) -> dict[str, int]:
    """How many rows a tenant has in each table."""
    tables = "SELECT table_name FROM information_schema.columns WHERE column_name = 'tenant_id'"
    with as_owner(stack) as connection:
        names = [name for (name,) in connection.execute(f"{tables} AND table_schema = 'public'")]
        queries = [
            SQL("SELECT * FROM {} WHERE tenant_id = %s").format(Identifier(n)) for n in names
        ]
        return {
            name: connection.execute(query, [tenant]).rowcount
            for name, query in zip(names, queries, strict=True)
        }
