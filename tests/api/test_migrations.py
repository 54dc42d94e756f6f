"""Migrations: a database that this version cannot carry on with is refused in one sentence."""

from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from db.migrate import DatabaseTooNew, DatabaseTooOld, migrate, pending
from domain.settings import Settings
from testing.database import as_owner, settings_of, url_of
from testing.stack import Stack


@pytest.fixture(scope="module")
def foreign(stack: Stack) -> Iterator[Settings]:
    """A database of its own, with the table in which Alembic keeps the version."""
    name = f"foreign_{uuid4().hex[:8]}"
    with as_owner(stack) as owner:
        owner.autocommit = True
        owner.execute(f"CREATE DATABASE {name}")
    url = make_conninfo(url_of(stack, owner=True), dbname=name)
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num varchar(32) NOT NULL)")
    yield settings_of(stack).model_copy(update={"database_owner_url": SecretStr(url)})
    with as_owner(stack) as owner:
        owner.autocommit = True
        owner.execute(f"DROP DATABASE {name}")


@pytest.mark.parametrize(
    ("version", "refusal"),
    [
        ("0001", DatabaseTooOld),
        ("0006", DatabaseTooOld),
        ("0099_moons", DatabaseTooNew),
        ("abc", DatabaseTooNew),
    ],
)
def test_tables_of_an_unknown_version_are_refused_and_left_alone(
    foreign: Settings, version: str, refusal: type[Exception]
) -> None:
    """The sentence says what the database is; nothing in it has changed."""
    assert foreign.database_owner_url is not None
    url = foreign.database_owner_url.get_secret_value()
    with psycopg.connect(url) as connection:
        connection.execute("DELETE FROM alembic_version")
        connection.execute("INSERT INTO alembic_version VALUES (%s)", [version])

    with pytest.raises(refusal, match=r"^This database (is from before|was made by a newer)"):
        migrate(foreign)
    with pytest.raises(refusal):
        pending(url)

    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [
            (version,)
        ]
        tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
        assert connection.execute(tables).fetchone() == (1,)
