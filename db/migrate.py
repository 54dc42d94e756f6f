"""Migrations, run by the owner of the database: tables, the application's role, the seal's key."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg import sql
from psycopg.errors import DuplicateObject, UniqueViolation
from sqlalchemy import Connection, create_engine

from db.session import check_secret, seal_key
from domain.errors import DatabaseUnavailable, Invalid, SettingsInvalid
from domain.settings import Settings

APP_ROLE = "perdure_app"
# Before `baseline-1` migrations had numbers alone; what they made is not carried over.
_BEFORE_BASELINE = frozenset(f"000{number}" for number in range(1, 10))
_FOLDER = Path(__file__).parent / "migrations"


class DatabaseTooOld(Invalid):
    """This database is from before the first baseline, and cannot be carried over. Drop it, and its
    Temporal namespace too; for `perdure up`, remove the data directory."""

    code = "database_too_old"


class DatabaseTooNew(Invalid):
    """This database was made by a newer Perdure. Use that version, or an empty database."""

    code = "database_too_new"


def migrate(settings: Settings) -> None:
    """Bring the database to the newest version. Safe to run again, and while workers run.

    Raises SettingsInvalid without an owner's URL, DatabaseUnavailable when the database cannot be
    reached, DatabaseTooOld and DatabaseTooNew when its tables are of no version known here.
    """
    owner_url = owner_url_of(settings)
    password = _password(settings)
    with _connected(owner_url) as connection:
        raw = connection.connection.driver_connection
        assert isinstance(raw, psycopg.Connection)
        raw.execute("SELECT pg_advisory_xact_lock(7300421)")
        _check_revision(connection)
        _ensure_role(raw, password)
        command.upgrade(_config(connection), "head")
        _set_seal(raw, settings.secret.get_secret_value())


def pending(owner_url: str) -> bool:
    """Return whether the database waits for a migration. Raises as `migrate`."""
    with _connected(owner_url) as connection:
        _check_revision(connection)
        head = ScriptDirectory(str(_FOLDER)).get_current_head()
        return MigrationContext.configure(connection).get_current_revision() != head


def owner_url_of(settings: Settings) -> str:
    """Return the URL of the database's owner, who may change tables. Raises SettingsInvalid."""
    url = settings.database_owner_url or settings.database_url
    if url is None:
        raise SettingsInvalid("Set PERDURE_DATABASE_OWNER_URL or DATABASE_URL.")
    return url.get_secret_value()


def _check_revision(connection: Connection) -> None:
    """Raise DatabaseTooOld or DatabaseTooNew for tables that no migration here has made."""
    revision = MigrationContext.configure(connection).get_current_revision()
    if revision is None:
        return
    if revision in _BEFORE_BASELINE:
        raise DatabaseTooOld
    known = {script.revision for script in ScriptDirectory(str(_FOLDER)).walk_revisions()}
    if revision not in known:
        raise DatabaseTooNew


@contextmanager
def _connected(url: str) -> Iterator[Connection]:
    engine = create_engine("postgresql+psycopg://", creator=lambda: _connect(url))
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def _connect(url: str) -> psycopg.Connection:
    try:
        return psycopg.connect(url, connect_timeout=10)
    except psycopg.OperationalError:
        raise DatabaseUnavailable from None


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    config.attributes["connection"] = connection
    return config


def _password(settings: Settings) -> str | None:
    """Return the application's own password, if its URL has one."""
    if settings.database_url is None:
        return None
    parts = psycopg.conninfo.conninfo_to_dict(settings.database_url.get_secret_value())
    return str(parts["password"]) if parts.get("user") == APP_ROLE and "password" in parts else None


def _ensure_role(connection: psycopg.Connection, password: str | None) -> None:
    row = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [APP_ROLE]).fetchone()
    role = sql.Identifier(APP_ROLE)
    if row is None:
        # Roles belong to the server: the migration of another database may create it meanwhile.
        with suppress(DuplicateObject, UniqueViolation), connection.transaction():
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN NOSUPERUSER NOBYPASSRLS").format(role))
    if password is not None:
        statement = sql.SQL("ALTER ROLE {} PASSWORD {}").format(role, sql.Literal(password))
        connection.execute(statement)


def _set_seal(connection: psycopg.Connection, secret: str) -> None:
    check_secret(secret)
    key = seal_key(secret)
    connection.execute(
        "INSERT INTO tenant_seal (inner_pad, outer_pad) VALUES (%s, %s) "
        "ON CONFLICT (single) DO UPDATE SET inner_pad = EXCLUDED.inner_pad, "
        "outer_pad = EXCLUDED.outer_pad",
        [bytes(b ^ 0x36 for b in key), bytes(b ^ 0x5C for b in key)],
    )
