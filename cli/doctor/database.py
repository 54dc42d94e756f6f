"""The doctor's findings about PostgreSQL."""

from collections.abc import Iterator

import psycopg

from cli.doctor.findings import Finding, ok, problem, warning
from cli.stack.postgres import binaries
from db.migrate import pending
from domain.errors import PerdureError
from domain.settings import Settings

_MIN_VERSION = 150000
_ROLE = "SELECT rolname, rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user"


def program(settings: Settings) -> Iterator[Finding]:
    """Check that there are programs to run an embedded server with."""
    if settings.database_url:
        return
    try:
        yield ok("PostgreSQL", f"embedded, {binaries()}.")
    except PerdureError as error:
        yield problem("PostgreSQL", error.detail)


def database(settings: Settings) -> Iterator[Finding]:
    """Check that the database answers, is up to date, and keeps tenants apart."""
    if settings.database_url is None:
        yield warning("Database", "not running; `perdure up` starts it.")
        return
    try:
        with psycopg.connect(
            settings.database_url.get_secret_value(), connect_timeout=5
        ) as connection:
            yield from _server(connection)
            yield from _role(connection)
    except psycopg.OperationalError as error:
        yield problem("Database", f"does not answer: {error}. Check DATABASE_URL.")
        return
    yield _migrations(settings)


def _server(connection: psycopg.Connection) -> Iterator[Finding]:
    version = connection.info.server_version
    if version < _MIN_VERSION:
        yield problem("Database", f"PostgreSQL {version // 10000}; Perdure needs 15 or newer.")
    else:
        yield ok("Database", f"PostgreSQL {version // 10000} answers.")


def _role(connection: psycopg.Connection) -> Iterator[Finding]:
    row = connection.execute(_ROLE).fetchone()
    if row and row[1]:
        yield problem(
            "Role",
            f"{row[0]} passes by row-level security, so tenants are not kept apart. "
            "Let DATABASE_URL log in as perdure_app, and PERDURE_DATABASE_OWNER_URL as the owner.",
        )
    elif row:
        yield ok("Role", f"{row[0]} cannot pass by row-level security.")


def _migrations(settings: Settings) -> Finding:
    url = settings.database_owner_url or settings.database_url
    assert url is not None
    try:
        waiting = pending(url.get_secret_value())
    except PerdureError as error:
        return problem("Migrations", error.detail)
    except Exception as error:  # noqa: BLE001
        return warning("Migrations", f"their state cannot be read: {error}")
    if waiting:
        return problem("Migrations", "the database is behind; run `perdure migrate`.")
    return ok("Migrations", "all done.")
